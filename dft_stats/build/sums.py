"""Rows of texts added up by key: one range of keys after the other, over all sources at once, so that each row is read once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes
from dft_stats.build.radix import Ints, Pairs, sorted_keys
from dft_stats.build.tally import Rows
from dft_stats.counts import COUNTS

_ROW_BYTES = 120  # of memory, for each row that is being added up
_RANGE_ROWS = 1 << 20  # added up at once, at the most: what is looked up stays near
_32 = np.uint64(32)
Numbers = NDArray[np.int64] | NDArray[np.uint32]


class Table(Protocol):
    """Rows by key, each key once, in memory or in a file."""

    @property
    def left_out(self) -> Ints:
        """As of `Rows`."""

    @property
    def size(self) -> int:
        """How many rows there are."""

    @property
    def most(self) -> int:
        """No count is more."""

    def between(self, first: np.uint64, last: np.uint64) -> Rows:
        """Rows of these keys and of those between them."""


@dataclass(frozen=True, slots=True)
class Source:
    """Tables of rows, and the parts whose texts they are of: one, or those of a group."""

    texts: Mapping[str, Table]
    first: int  # number, in a list of parts, of the one that their units are counted from


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
    tables, parts = [source.texts[name] for source in sources], np.array([source.first for source in sources], np.uint64)
    most = min(memory // (4 * _ROW_BYTES), _RANGE_ROWS)
    bits = max(0, int(np.ceil(np.log2(max(1, sum(table.size for table in tables) / most)))))
    for number in range(1 << bits):
        first, last = (np.uint64((end << (64 - bits)) - down) for end, down in ((number, 0), (number + 1, 1)))
        yield _sum([table.between(first, last) for table in tables], parts, drops_singles)


def _sum(pieces: Sequence[Rows], first: Hashes, drops_singles: bool) -> Sums:
    """One range. `first`: (sources,), the part that the units of each source are counted from."""
    if len(pieces) == 1:  # its keys are distinct
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
    source = (np.searchsorted(begins, row, side="right") - 1) % len(pieces)
    return Sums(pairs[:size, 0], (first[source] << _32) + units[row], sums[:size], dropped)


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
