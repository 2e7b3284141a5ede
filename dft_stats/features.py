"""Features of one document. Corpus marginals cannot see how even or uneven the sentences are *within* a document; these can."""

from itertools import pairwise

import numpy as np
import pyarrow as pa

from dft_stats.measures import correlation
from dft_stats.text import MARK_CLASSES, PROSE_MARKS, WORD, Document

TYPE_WINDOW = 100
FEATURES = (
    "words",
    "sentences",
    "sentence_length_mean",
    "sentence_length_cv",
    "sentence_length_lag1",
    "word_length_mean",
    "type_token_ratio",
    *(f"{mark}_per_1000_words" for mark in PROSE_MARKS),
)
SCHEMA = pa.schema([pa.field(name, pa.int64() if name in ("words", "sentences") else pa.float32()) for name in FEATURES])


def document_features(document: Document) -> dict[str, float | None]:
    """Features of one document; None where it is too short to have one.

    `sentence_length_cv` is SD over mean in words, `sentence_length_lag1` the correlation of successive lengths, `type_token_ratio` that of
    the first 100 words, lower-cased.
    """
    units = [unit for sentence in document for unit in sentence]
    words = [unit.text.lower() for unit in units if unit.kind == WORD]
    lengths = [length for sentence in document if (length := sum(unit.kind == WORD for unit in sentence))]
    features: dict[str, float | None] = dict.fromkeys(FEATURES)
    features |= {"words": len(words), "sentences": len(lengths)}
    if words:
        features["word_length_mean"] = sum(map(len, words)) / len(words)
        for mark in PROSE_MARKS:
            number = sum(unit.kind == MARK_CLASSES.index(mark) for unit in units)
            features[f"{mark}_per_1000_words"] = 1000 * number / len(words)
    if len(words) >= TYPE_WINDOW:
        features["type_token_ratio"] = len(set(words[:TYPE_WINDOW])) / TYPE_WINDOW
    if lengths:
        features["sentence_length_mean"] = float(np.mean(lengths))
    if len(lengths) >= 3:
        features["sentence_length_cv"] = float(np.std(lengths) / np.mean(lengths))
        x, y = zip(*pairwise(lengths), strict=True)
        features["sentence_length_lag1"] = correlation(x, y, np.ones(len(x)))
    return features
