"""Rows of text in the order of their texts, without comparing many: units are ranked, and tuples of ranks are numbers.

Tuples are in the order of the texts but where a unit begins another one ("U", "U.S") and a mark follows it unspaced ("U/"). So they are
sorted first, then what they spell, which is nearly sorted and costs a pass.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.events import STREAM_FLAGS, Part
from dft_stats.build.places import texts_at
from dft_stats.build.radix import Ints
from dft_stats.build.scan import SPACED

Places = NDArray[np.uint64]  # part << 32 | unit of its stream

_32 = np.uint64(32)
_UNITS_A_KEY, _BITS = 3, 21  # a unit of a key: its rank, above whether no space stands before it


def spelt(parts: Sequence[Part], place: Places, units: int) -> pa.LargeStringArray:
    """Texts that begin at places, in their order.

    Args:
        parts: where they lie.
        place: (rows,); those that rise are read from end to end, others here and there.
        units: of each text, as `texts_at` takes them.
    """
    order, bounds = _by_part(parts, place)
    found = [
        texts_at(part.vocabulary, part.stream, place[order[bounds[i] : bounds[i + 1]]].astype(np.uint32), units)
        for i, part in enumerate(parts)
        if bounds[i] < bounds[i + 1]
    ]
    texts = pa.chunked_array(found, pa.large_string()).combine_chunks()
    if len(found) < 2 or (order[1:] > order[:-1]).all():
        return texts
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return texts.take(pa.array(back))


def sorted_by_text(parts: Sequence[Part], place: Places, units: int) -> tuple[pa.LargeStringArray, Ints]:
    """(texts, rising; row of each). Arguments as of `spelt`."""
    order = np.argsort(place)
    place = place[order]
    texts = spelt(parts, place, units)
    if units > 1:
        ranked = _by_rank(parts, place, units)
        texts, order = texts.take(pa.array(ranked)), order[ranked]
    exact = pl.Series(texts).arg_sort().to_numpy()
    if np.array_equal(exact, np.arange(len(exact))):
        return texts, order
    return texts.take(pa.array(exact)), order[exact]


def _by_part(parts: Sequence[Part], place: Places) -> tuple[Ints, Ints]:
    """(rows by part, where the rows of each part begin (parts + 1,))."""
    owner = (place >> _32).astype(np.int64)
    order = np.argsort(owner, kind="stable") if len(parts) > 1 else np.arange(len(place))
    return order, np.searchsorted(owner[order], np.arange(len(parts) + 1))


def _by_rank(parts: Sequence[Part], place: Places, units: int) -> Ints:
    """Rows by the ranks of their units. `place`: rising."""
    bounds = np.searchsorted(place, np.arange(len(parts) + 1, dtype=np.uint64) << _32)
    own = [place[bounds[i] : bounds[i + 1]].astype(np.uint32) for i in range(len(parts))]
    used = [_used(part.stream, at, units, np.zeros(len(part.vocabulary), np.bool_)) for part, at in zip(parts, own, strict=True)]
    texts = pa.chunked_array([part.vocabulary.filter(pa.array(mask)) for part, mask in zip(parts, used, strict=True)], pa.large_string())
    ranks = pl.Series(texts).rank("dense").to_numpy().astype(np.uint64)
    lost = np.uint64(max(0, int(ranks.max(initial=0)).bit_length() - _BITS + 1))  # of too many units the neighbours count as one
    keys, begin = np.zeros((-(-units // _UNITS_A_KEY), len(place)), np.uint64), 0
    for i, part in enumerate(parts):
        of_type = np.zeros(len(part.vocabulary), np.uint64)
        of_type[used[i]] = ranks[begin : begin + int(used[i].sum())] >> lost
        begin += int(used[i].sum())
        _write_keys(part.stream, own[i], units, of_type, keys[:, bounds[i] : bounds[i + 1]])
    found = np.argsort(keys[-1])
    for key in keys[-2::-1]:
        found = found[np.argsort(key[found], kind="stable")]
    return found


@njit(cache=True, nogil=True)
def _used(stream: NDArray[np.uint32], at: NDArray[np.uint32], units: int, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    for row in range(at.size):
        for i in range(units):
            used[stream[np.int64(at[row]) + i] >> STREAM_FLAGS] = True
    return used


@njit(cache=True, nogil=True)
def _write_keys(
    stream: NDArray[np.uint32], at: NDArray[np.uint32], units: int, ranks: NDArray[np.uint64], keys: NDArray[np.uint64]
) -> None:
    for row in range(at.size):
        for i in range(units):
            unit = stream[np.int64(at[row]) + i]
            unspaced = np.uint64(i > 0 and not unit & SPACED)
            key = keys[i // _UNITS_A_KEY, row] << np.uint64(_BITS)
            keys[i // _UNITS_A_KEY, row] = key | (unspaced << np.uint64(_BITS - 1)) | ranks[unit >> STREAM_FLAGS]
