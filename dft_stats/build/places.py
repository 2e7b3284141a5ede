"""Places of a part spelt out: the texts of its units, n-grams and stretches."""

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.events import STREAM_FLAGS
from dft_stats.build.scan import BROKEN, OPENS, SPACED
from dft_stats.statistics.surface import PARAGRAPH

STRETCH = 0
"""As a number of units: all up to the next white space, with the space before and the paragraph break behind them."""

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
assert PARAGRAPH == "\n\n"


def texts_at(vocabulary: pa.LargeStringArray, stream: NDArray[np.uint32], at: NDArray[np.uint32], units: int) -> pa.LargeStringArray:
    """Texts of `units` units each, or of the `STRETCH` that begins there.

    Args:
        vocabulary: (types,).
        stream: (units,), see `events.Part`.
        at: (texts,): first unit of each.
        units: how many units a text has.
    """
    _, offsets, data = vocabulary.buffers()
    starts = np.frombuffer(offsets, np.int64)[vocabulary.offset : vocabulary.offset + len(vocabulary) + 1]
    letters = np.frombuffer(data or b"", np.uint8)
    ends = np.zeros(len(at) + 1, np.int64)
    _measure(starts, stream, at, units, ends)
    spelt = np.empty(ends[-1], np.uint8)
    _write(starts, letters, stream, at, units, ends, spelt)
    return pa.LargeStringArray.from_buffers(len(at), pa.py_buffer(ends), pa.py_buffer(spelt))


@njit(cache=True, nogil=True)
def _goes_on(stream: NDArray[np.uint32], i: int, first: int, units: int) -> bool:
    if units:
        return i < first + units
    return i == first or (i < stream.size and not stream[i] & (SPACED | BROKEN | OPENS))


@njit(cache=True, nogil=True)
def _measure(starts: Ints, stream: NDArray[np.uint32], at: NDArray[np.uint32], units: int, ends: Ints) -> None:
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
        ends[row + 1] = ends[row] + size


@njit(cache=True, nogil=True)
def _write(starts: Ints, letters: Bytes, stream: NDArray[np.uint32], at: NDArray[np.uint32], units: int, ends: Ints, spelt: Bytes) -> None:
    for row in range(at.size):
        first = i = np.int64(at[row])
        to = ends[row]
        while _goes_on(stream, i, first, units):
            if stream[i] & SPACED and (i > first or not units):
                spelt[to] = 32
                to += 1
            type_ = np.int64(stream[i] >> STREAM_FLAGS)
            for j in range(starts[type_], starts[type_ + 1]):
                spelt[to] = letters[j]
                to += 1
            i += 1
        while to < ends[row + 1]:
            spelt[to] = 10
            to += 1
