"""`dft_stats.features.document_features` of a batch of documents, from arrays."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from dft_stats.build.events import sentence_lengths
from dft_stats.build.scan import OPENS
from dft_stats.build.units import read_units
from dft_stats.build.windows import read_windows
from dft_stats.features import FEATURES, SCHEMA, TYPE_WINDOW
from dft_stats.measures import correlation
from dft_stats.sentences import Segmenter
from dft_stats.text import MARK_CLASSES, PROSE_MARKS, WORD


def features_of(texts: Sequence[str], segmenter: Segmenter, *, typography: str = "fold") -> pa.Table:
    """Features of documents, a row each, in their order; a document without a unit has no row."""
    units = read_units(texts, segmenter, typography=typography)
    lowered = [text.lower() for text in units.vocabulary.to_pylist()]
    letters = np.array(list(map(len, lowered)), np.int64)
    kinds: dict[str, int] = {}
    types = np.array([kinds.setdefault(text, len(kinds)) for text in lowered], np.int64)
    first, lengths, _ = sentence_lengths(units, read_windows(units))
    begins = np.append(np.flatnonzero(units.flags & OPENS), len(units.id))
    rows = []
    for begin, end in pairwise(begins):
        kind = units.kind[begin:end]
        words = units.id[begin:end][kind == WORD]
        own = lengths[np.searchsorted(first, begin) : np.searchsorted(first, end)]
        row: dict[str, float | None] = dict.fromkeys(FEATURES)
        row |= {"words": len(words), "sentences": len(own)}
        if len(words):
            row["word_length_mean"] = float(letters[words].sum() / len(words))
            of_kind = np.bincount(kind[kind >= 0], minlength=len(MARK_CLASSES))
            row |= {f"{mark}_per_1000_words": float(1000 * of_kind[MARK_CLASSES.index(mark)] / len(words)) for mark in PROSE_MARKS}
        if len(words) >= TYPE_WINDOW:
            row["type_token_ratio"] = len(set(types[words[:TYPE_WINDOW]].tolist())) / TYPE_WINDOW
        if len(own):
            row["sentence_length_mean"] = float(own.mean())
        if len(own) >= 3:
            row["sentence_length_cv"] = float(own.std() / own.mean())
            row["sentence_length_lag1"] = correlation(own[:-1], own[1:], np.ones(len(own) - 1))
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCHEMA)
