"""Places of a part spelt out: the texts of its units, n-grams and stretches."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.events import STREAM_FLAGS
from dft_stats.build.scan import BROKEN, OPENS, SPACED
from dft_stats.statistics import SURFACE, TOKEN_FREQUENCY
from dft_stats.statistics.surface import PARAGRAPH

STRETCH = 0
"""As a number of units: all up to the next white space, with the space before and the paragraph break behind them."""

WORDS_AND_STRETCHES = {TOKEN_FREQUENCY.name: 1, SURFACE.name: STRETCH}

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
assert PARAGRAPH == "\n\n"


def units_of(name: str) -> int:
    """Units of a row of a table, as `texts_at` takes them."""
    return int(name.partition("/")[2]) if "/" in name else WORDS_AND_STRETCHES[name]


class Readable(Protocol):
    """What texts are read from. To ask for it may mean to read it from the disk, each time anew."""

    @property
    def vocabulary(self) -> pa.LargeStringArray:
        """(types,)."""

    @property
    def stream(self) -> NDArray[np.uint32]:
        """(units,), see `events.Part`."""


class Read(NamedTuple):
    """It, in memory."""

    vocabulary: pa.LargeStringArray
    stream: NDArray[np.uint32]


class Places(NamedTuple):
    """Where texts begin in a part."""

    of: Readable
    at: NDArray[np.uint32]  # (places,): first unit of each; those that rise are read from end to end, others here and there
    to: Ints  # (places,): which of all texts each is


def texts_at(places: Sequence[Places], texts: int, units: int) -> pa.LargeStringArray:
    """Texts of `units` units each, or of the `STRETCH` that begins there.

    Args:
        places: of so many `texts`, in one part or in several.
        texts: how many there are.
        units: of a text.
    """
    ends = np.zeros(texts + 1, np.int64)
    for starts, _, stream, at, to in _read(places):
        _measure(starts, stream, at, units, to, ends[1:])
    np.cumsum(ends, out=ends)
    letters = np.empty(ends[-1], np.uint8)
    for starts, data, stream, at, to in _read(places):
        _write(starts, data, stream, at, units, to, ends, letters)
    return pa.LargeStringArray.from_buffers(texts, pa.py_buffer(ends), pa.py_buffer(letters))


def _read(places: Sequence[Places]) -> Iterator[tuple[Ints, Bytes, NDArray[np.uint32], NDArray[np.uint32], Ints]]:
    """(where the texts of types begin, their letters, stream, at, to), one part in memory at a time."""
    for own in places:
        vocabulary = own.of.vocabulary
        _, offsets, letters = vocabulary.buffers()
        starts = np.frombuffer(offsets, np.int64)[vocabulary.offset : vocabulary.offset + len(vocabulary) + 1]
        yield starts, np.frombuffer(letters or b"", np.uint8), own.of.stream, own.at, own.to


@njit(cache=True, nogil=True)
def _goes_on(stream: NDArray[np.uint32], i: int, first: int, units: int) -> bool:
    if units:
        return i < first + units
    return i == first or (i < stream.size and not stream[i] & (SPACED | BROKEN | OPENS))


@njit(cache=True, nogil=True)
def _measure(starts: Ints, stream: NDArray[np.uint32], at: NDArray[np.uint32], units: int, to: Ints, sizes: Ints) -> None:
    for row in range(at.size):
        first = i = np.int64(at[row])
        size = 0
        while _goes_on(stream, i, first, units):
            type_ = np.int64(stream[i] >> STREAM_FLAGS)
            size += starts[type_ + 1] - starts[type_]
            size += (stream[i] & SPACED) != 0 and (i > first or not units)
            i += 1
        if not units and i < stream.size and stream[i] & BROKEN and not stream[i] & OPENS:
            size += 2
        sizes[to[row]] = size


@njit(cache=True, nogil=True)
def _write(
    starts: Ints, data: Bytes, stream: NDArray[np.uint32], at: NDArray[np.uint32], units: int, to: Ints, ends: Ints, letters: Bytes
) -> None:
    for row in range(at.size):
        first = i = np.int64(at[row])
        place, end = ends[to[row]], ends[to[row] + 1]
        while _goes_on(stream, i, first, units):
            if stream[i] & SPACED and (i > first or not units):
                letters[place] = 32
                place += 1
            type_ = np.int64(stream[i] >> STREAM_FLAGS)
            for j in range(starts[type_], starts[type_ + 1]):
                letters[place] = data[j]
                place += 1
            i += 1
        while place < end:
            letters[place] = 10
            place += 1
