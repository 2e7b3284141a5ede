"""Rows of texts added up by key: one range of keys after the other, over all sources at once, so that each row is read once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes
from dft_stats.build.radix import Ints, Pairs, sorted_keys
from dft_stats.build.tally import Rows
from dft_stats.counts import COUNTS

_ROW_BYTES = 120  # of memory, for each row that is being added up
_RANGE_ROWS = 1 << 21  # added up at once, at the most: what is looked up stays near
_32 = np.uint64(32)
Numbers = NDArray[np.int64] | NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Source:
    """Tables of rows, each key once in a table, and the parts whose texts they are of: one, or those of a group."""

    texts: Mapping[str, Rows]
    first: int  # number, in all of the corpus, of the part that their units are counted from


class Sums(NamedTuple):
    """The rows of a range of keys."""

    key: Hashes  # (rows,)
    place: NDArray[np.uint64]  # (rows,): part << 32 | unit of one occurrence
    counts: Numbers  # (rows, 6)
    dropped: int  # how many more keys there are that occur once


def added(name: str, sources: Sequence[Source], memory: int, *, drops_singles: bool) -> Iterator[Sums]:
    """The rows of one table, range by range; of the same key one row.

    Args:
        name: of the table.
        sources: one at least.
        memory: bytes, for rows that are being added up.
        drops_singles: leave out what occurs once.
    """
    rows, first = [source.texts[name] for source in sources], np.array([source.first for source in sources], np.uint64)
    key_ranges = _ranges(rows, memory)
    for number in range(len(key_ranges[0][0]) - 1):
        yield _sum(rows, first, _slices(key_ranges, number), drops_singles)


def _ranges(rows: Sequence[Rows], memory: int) -> list[tuple[Ints, Ints]]:
    """Of each source, where each range of keys begins among its rows and among its singles."""
    size = sum(len(found.key) + len(found.single_key) for found in rows)
    most = min(memory // (4 * _ROW_BYTES), _RANGE_ROWS)
    bits = max(0, int(np.ceil(np.log2(max(1, size / most)))))
    edges = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - bits) if bits else np.empty(0, np.uint64)
    return [
        tuple(np.concatenate([[0], np.searchsorted(keys, edges), [len(keys)]]) for keys in (found.key, found.single_key))  # type: ignore[misc]
        for found in rows
    ]


def _slices(key_ranges: Sequence[tuple[Ints, Ints]], number: int) -> list[tuple[int, int, int, int]]:
    return [(int(a[number]), int(a[number + 1]), int(b[number]), int(b[number + 1])) for a, b in key_ranges]


def _sum(rows: Sequence[Rows], first: Hashes, slices: Sequence[tuple[int, int, int, int]], drops_singles: bool) -> Sums:
    """One range. `first`: (sources,), the part that the units of each source are counted from."""
    pieces = [_piece(found, *bounds) for found, bounds in zip(rows, slices, strict=True)]
    if len(rows) == 1:  # its keys are distinct
        (only,), base = pieces, first[0] << _32
        if drops_singles:
            return Sums(only.key, base + only.unit, only.counts, len(only.single_key))
        units = np.concatenate([only.unit, only.single_unit])
        return Sums(np.concatenate([only.key, only.single_key]), base + units, only.all_counts, 0)
    pairs = sorted_keys(np.concatenate([piece.key for piece in pieces] + [piece.single_key for piece in pieces]))
    counts, words = np.concatenate([piece.counts for piece in pieces]), np.concatenate([piece.single_words for piece in pieces])
    sums = np.empty((len(pairs), len(COUNTS)), np.int64)
    size, dropped = _add_runs(pairs, counts, words, drops_singles, sums)
    row = pairs[:size, 1].astype(np.int64)
    units = np.concatenate([piece.unit for piece in pieces] + [piece.single_unit for piece in pieces])
    begins = np.cumsum([0, *(len(piece.key) for piece in pieces), *(len(piece.single_key) for piece in pieces)])
    source = (np.searchsorted(begins, row, side="right") - 1) % len(rows)
    return Sums(pairs[:size, 0], (first[source] << _32) + units[row], sums[:size], dropped)


def _piece(rows: Rows, begin: int, behind: int, single: int, single_behind: int) -> Rows:
    return Rows(
        rows.key[begin:behind],
        rows.unit[begin:behind],
        rows.counts[begin:behind],
        rows.single_key[single:single_behind],
        rows.single_unit[single:single_behind],
        rows.single_words[single:single_behind],
    )


@njit(cache=True, nogil=True)
def _add_runs(pairs: Pairs, counts: Ints, words: NDArray[np.uint16], drops_singles: bool, sums: Ints) -> tuple[int, int]:
    """Sums of the rows of each key; rows are `counts`, and behind them singles. Returns (keys, dropped singles).

    The front of `pairs` becomes the key and the first row of each sum.
    """
    size = dropped = i = 0
    while i < len(pairs):
        behind = i + 1
        while behind < len(pairs) and pairs[behind, 0] == pairs[i, 0]:
            behind += 1
        if drops_singles and behind == i + 1 and np.int64(pairs[i, 1]) >= len(counts):
            dropped += 1
            i = behind
            continue
        key, first = pairs[i, 0], pairs[i, 1]
        for column in range(6):
            sums[size, column] = 0
        while i < behind:
            row = np.int64(pairs[i, 1])
            if row < len(counts):
                for column in range(6):
                    sums[size, column] += counts[row, column]
            else:
                for column in (0, 1, 2, 4):
                    sums[size, column] += 1
                sums[size, 3] += words[row - len(counts), 0]
                sums[size, 5] += words[row - len(counts), 1]
            i += 1
        pairs[size, 0], pairs[size, 1] = key, first
        size += 1
    return size, dropped
