"""Tokens that were counted in the running text: what a profile that was built with a tokenizer holds for it.

Beside the tables `token_ids` and `token_pairs` that is an entry `tokenizer` of the manifest:

    sha256        of all that decides into which ids a text is encoded
    vocabulary    one more than the largest id
    name          if one was given
    reader        hash of how the ids are read as words and marks: the token table, and the version of the reader
    reading       what this reader saw in the ids of the corpus: words, marks by class, entropies of windows

A profile serves for a tokenizer directly if both hashes are right; otherwise its tokens are compiled from stretches, as those of any other.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dft_stats.chunks import Chunks, Reading, read_chunks
from dft_stats.compiled import TokenTable
from dft_stats.counts import Counts, rate_sd
from dft_stats.statistics.entropy import BITS, scaled_c_log_c
from dft_stats.statistics.surface import PARAGRAPH
from dft_stats.text import MARK_CLASSES
from dft_stats.tokenizer import encoding_fingerprint, vocabulary_size

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dft_stats.profile import Profile

READER = 3  # raise it with every change of how ids are read (`stream`, `chunks.read_chunks`) that is none of the token table
ENTROPY_WINDOW = 32  # words; the longest that fits into short samples
READING = ("words", *MARK_CLASSES, "windows", "centibits", "squared_centibits")
"""What is added up over a corpus; the last three are the number of windows and sums over their entropies, see `statistics.entropy`."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def reader_sha256(table: TokenTable) -> str:
    """Hash of how ids are read."""
    digest = hashlib.sha256(f"{READER} {ENTROPY_WINDOW}".encode())
    for field in fields(table):
        digest.update(np.ascontiguousarray(getattr(table, field.name), np.int64).tobytes())
    return digest.hexdigest()


def tokenizer_entry(tokenizer: "Tokenizer", table: TokenTable, reading: Mapping[str, int], name: str = "") -> dict[str, Any]:
    """The entry of the manifest."""
    entry = {"sha256": encoding_fingerprint(tokenizer), "vocabulary": vocabulary_size(tokenizer), "reader": reader_sha256(table)}
    return {**entry, "reading": {event: int(reading[event]) for event in READING}, **({"name": name} if name else {})}


# --- reading ----------------------------------------------------------------------------------------------------------------------


def read_streams(ids: Ints, lengths: Ints, table: TokenTable) -> dict[str, int]:
    """What the reader sees in streams of ids, each of which opens a document.

    Args:
        ids: (tokens,), one stream after another, no special ones.
        lengths: (streams,), in tokens.
        table: how ids are read.
    """
    chunks = _streams(ids, lengths)
    reading = read_chunks(chunks, table)
    types = table.entropy_type[table.fold[ids]]
    chosen = reading.begins & (types >= 0)
    centibits = _centibits(types[chosen].astype(np.int64), chunks.owner[chosen], ENTROPY_WINDOW)
    return {
        "words": round(reading.words),
        **dict(zip(MARK_CLASSES, map(round, reading.marks.tolist()), strict=True)),
        "windows": len(centibits),
        "centibits": int(centibits.sum()),
        "squared_centibits": int((centibits**2).sum()),
    }


def _streams(ids: Ints, lengths: Ints) -> Chunks:
    one = np.ones(len(lengths))
    return Chunks(ids, lengths, one, one, one.astype(np.int64), [PARAGRAPH] * len(lengths))


def _centibits(types: Ints, owner: Ints, window: int) -> Ints:
    """Entropies of the full windows of each stream, as `statistics.entropy.entropy_centibits` has them."""
    size = np.bincount(owner, minlength=1)
    rank = np.arange(len(types)) - (np.cumsum(size) - size)[owner]
    rows = np.sort(types[rank < (size // window * window)[owner]].reshape(-1, window), axis=1)
    if not len(rows):
        return np.zeros(0, np.int64)
    first = np.flatnonzero(np.diff(rows, axis=1, prepend=-1).ravel())  # of each run of one type; a window begins one
    runs = np.diff(first, append=rows.size)
    c_log_c = np.array([0, *map(scaled_c_log_c, range(1, window + 1))], np.int64)
    surplus = np.add.reduceat(c_log_c[runs], np.searchsorted(first, np.arange(len(rows)) * window))
    found: Ints = 100 * (scaled_c_log_c(window) - surplus) // (window * BITS)
    return found


def is_counted(profile: "Profile", tokenizer: "Tokenizer") -> bool:
    """Whether the tokens in a profile are those of this tokenizer."""
    entry = profile.manifest.get("tokenizer")
    return entry is not None and entry["sha256"] == encoding_fingerprint(tokenizer)


def counted_reading(profile: "Profile", tokenizer: "Tokenizer", table: TokenTable) -> Mapping[str, int] | None:
    """What the reader saw in the ids of the corpus, by `READING`; None if these are not this tokenizer's, or another reader read them."""
    if not is_counted(profile, tokenizer) or profile.manifest["tokenizer"]["reader"] != reader_sha256(table):
        return None
    reading: Mapping[str, int] = profile.manifest["tokenizer"]["reading"]
    return reading


def as_reading(reading: Mapping[str, int]) -> Reading:
    """Words and marks, as compiling takes them."""
    marks = np.array([reading[name] for name in MARK_CLASSES], np.float64)
    return Reading(words=float(reading["words"]), marks=marks, begins=np.zeros(0, bool))


def window_entropy(reading: Mapping[str, int]) -> tuple[float, float]:
    """Mean plug-in entropy of a window, in bits, and its standard deviation between windows. There is one window at least."""
    mean = reading["centibits"] / reading["windows"]
    variance = max(0.0, reading["squared_centibits"] / reading["windows"] - mean**2)
    return (mean + 0.5) / 100, variance**0.5 / 100


# --- counts -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tallied:
    """Tokens or pairs on ids with plain typography."""

    ids: Ints  # (rows, 1) or (rows, 2), distinct, sorted
    count: Floats  # (rows,)
    variance: Floats  # (rows,), of the occurrences per word, between windows
    documents: Ints  # (rows,)


def counted_pairs(profile: "Profile", table: TokenTable, window: int) -> Tallied:
    """Pairs of tokens that the profile holds; `window`: words, a length for which second moments are counted."""
    return _folded(profile.counts("token_pairs"), profile, table, window)


def counted_tokens(profile: "Profile", table: TokenTable, window: int, shape: Callable[[], Floats]) -> Tallied:
    """All ids of the vocabulary, in order. The counts sum to what was counted.

    Args:
        profile: built with this tokenizer.
        table: of the tokenizer.
        window: words, a length for which second moments are counted.
        shape: (vocab,), by which the mass of pruned rows is spread over the ids that have none; asked only if there is such mass.
    """
    counts = profile.counts("token_ids")
    found, size = _folded(counts, profile, table, window), len(table.fold)
    (at,) = found.ids.T
    whole = Tallied(np.arange(size)[:, None], np.zeros(size), np.zeros(size), np.zeros(size, np.int64))
    whole.count[at], whole.variance[at], whole.documents[at] = found.count, found.variance, found.documents
    pruned = int(counts.spectrum["count"].to_numpy() @ counts.spectrum["types"].to_numpy())
    if pruned:
        free = (whole.count == 0) & ~table.special & (table.fold == np.arange(size))
        weights = shape() * free
        weights = weights if weights.sum() > 0 else free.astype(np.float64)
        whole.count[:] += pruned * weights / max(weights.sum(), 1e-300)
    return whole


def _folded(counts: Counts, profile: "Profile", table: TokenTable, window: int) -> Tallied:
    """Of rows that become one, documents are those of the largest, and variances add up."""
    size, packed = len(table.fold), np.zeros(len(counts.table), np.int64)
    for key in counts.statistic.keys:
        packed = packed * size + table.fold[counts.table[key].to_numpy()]
    keys, row = np.unique(packed, return_inverse=True)
    ids = np.stack([keys // size, keys % size] if len(counts.statistic.keys) == 2 else [keys], axis=1)
    documents = np.zeros(len(keys), np.int64)
    np.maximum.at(documents, row, counts.table["documents"].to_numpy())
    return Tallied(
        ids,
        np.bincount(row, counts.table["count"].to_numpy(), len(keys)).astype(np.float64),
        np.bincount(row, rate_sd(counts, profile.exposure, window) ** 2, len(keys)).astype(np.float64),
        documents,
    )
