"""The numbers that characterise a profile, derived from its counts when they are asked for. Nothing here is stored."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dft_stats.counts import Counts, Exposure
from dft_stats.measures import correlation, entropy_bits, mean_sd, miller_madow_bits, zipf_exponent
from dft_stats.statistics.entropy import WINDOW_WORDS
from dft_stats.statistics.ngram_frequency import ORDERS
from dft_stats.text import MARK_CLASSES, WORD, unit_kind

Integers = np.ndarray[Any, np.dtype[np.int64]]


def summarise(counts: Mapping[str, Counts], exposure: Exposure) -> dict[str, Any]:
    """Documents, sentences, words; sentence length; marks per 1,000 words; entropies in bits; types.

    `sentence_length`: mean, SD, CV = SD / mean and lag-1 correlation of successive sentences of a document, in words.
    `marks_per_1000_words`: every opening and closing quote or bracket is one mark, a run of one character ("...", "!!") too.
    `entropy_bits`: Miller-Madow entropy of the words' frequencies, case kept. Of a pruned profile it is nearly that: see
    `word_frequencies`.
    `entropies_bits`: mean plug-in entropy of windows of W lower-cased words ("window_W"); conditional entropy of the n-th unit of an
    n-gram given the ones before, H(n) - H(n - 1), plug-in, an underestimate that grows with n on small corpora, where it can fall below 0
    ("conditional_n").
    """
    tokens = counts["token_frequency"]
    return {
        "documents": exposure.documents,
        "sentences": exposure.sentences,
        "words": exposure.words,
        "sentence_length": sentence_lengths(counts["sentence_length"]),
        "marks_per_1000_words": marks(counts["punctuation_rhythm"], exposure),
        "entropy_bits": _miller_madow(*word_frequencies(tokens)),
        "entropies_bits": windows(counts["entropy"]) | _conditional(tokens, counts["ngram_frequency"]),
        "tokens": _types(tokens),
    }


def sentence_lengths(counts: Counts) -> dict[str, float | None]:
    """Mean, SD, CV and lag-1 correlation of sentence lengths in words; None where there is no sentence or no pair."""
    rows, pairs = counts.rows("words"), counts.rows("pairs")
    if not len(rows):
        return dict.fromkeys(("mean", "sd", "cv", "lag1"))
    mean, sd = mean_sd(rows["length"].to_numpy(), rows["count"].to_numpy())
    columns = [pairs[name].to_numpy() for name in ("length", "next_length", "count")]
    return {"mean": mean, "sd": sd, "cv": sd / mean, "lag1": correlation(*columns) if len(pairs) else None}


def marks(counts: Counts, exposure: Exposure) -> dict[str, float]:
    """Marks of each class per 1,000 words."""
    rows = counts.rows("marks")
    found = dict(zip(rows["mark"].to_pylist(), rows["count"].to_pylist(), strict=True))
    return {name: 1000 * found.get(name, 0) / max(exposure.words, 1) for name in MARK_CLASSES}


def windows(counts: Counts) -> dict[str, float]:
    """Mean entropy, and mean number of types, of windows of each length that occurs."""
    means: dict[str, float] = {}
    for window in WINDOW_WORDS:
        rows = counts.rows(window)
        if len(rows):  # centibits are rounded down: the middle of the cell is half a hundredth further
            means[f"window_{window}"] = mean_sd(rows["centibits"].to_numpy(), rows["count"].to_numpy())[0] / 100 + 0.005
    return means


def word_frequencies(tokens: Counts) -> tuple[Integers, Integers]:
    """(counts, how many word types have each). Pruned types are all taken for words, though a few are rare symbols and runs of marks."""
    units = tokens.table["unit"]
    is_word = pc.and_(pc.string_is_ascii(units), pc.ascii_is_alnum(units)).to_numpy().copy()  # nearly all, and soon said
    rest = np.flatnonzero(~is_word)
    is_word[rest] = [unit_kind(unit) == WORD for unit in units.take(pa.array(rest)).to_pylist()]
    kept = tokens.table["count"].to_numpy()[is_word]
    pruned, types = (tokens.spectrum[column].to_numpy() for column in ("count", "types"))
    return np.concatenate([kept, pruned]), np.concatenate([np.ones_like(kept), types])


def _miller_madow(counts: Integers, types: Integers) -> float | None:
    return miller_madow_bits(counts, types) if len(counts) else None


def _conditional(tokens: Counts, ngrams: Counts) -> dict[str, float]:
    block = {1: tokens.frequency_of_frequencies()} | {n: ngrams.frequency_of_frequencies(n) for n in ORDERS}
    bits = {n: entropy_bits(counts, types) for n, (counts, types) in block.items() if len(counts)}
    return {f"conditional_{n}": bits[n] - bits[n - 1] for n in ORDERS if n in bits and n - 1 in bits}


def _types(tokens: Counts) -> dict[str, Any]:
    counts, types = tokens.frequency_of_frequencies()
    return {
        "units": tokens.total(),
        "types": tokens.types(),
        "hapax": int(types[counts == 1].sum()),
        "type_token_ratio": tokens.types() / max(tokens.total(), 1),
        "zipf_exponent": zipf_exponent(counts, types) if tokens.types() >= 10 else None,
        "mass_in_table": tokens.share_told(),
    }
