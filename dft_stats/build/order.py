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

from dft_stats.build.events import STREAM_FLAGS
from dft_stats.build.places import Places, Readable, texts_at
from dft_stats.build.radix import Ints
from dft_stats.build.scan import SPACED

Numbers = NDArray[np.uint64]  # of places: part << 32 | unit of its stream

_32 = np.uint64(32)


def spelt(parts: Sequence[Readable], place: Numbers, units: int, to: Ints | None = None) -> pa.LargeStringArray:
    """Texts that begin at places.

    Args:
        parts: where they lie.
        place: (rows,); those that rise are read from end to end, others here and there.
        units: of each text, as `texts_at` takes them.
        to: (rows,): which text each place becomes; their order is that of the places if None.
    """
    order, bounds = _by_part(parts, place)
    whose = order if to is None else to[order]
    bounded = zip(parts, map(slice, bounds[:-1], bounds[1:]), strict=True)
    own = [Places(part, place[order[rows]].astype(np.uint32), whose[rows]) for part, rows in bounded if rows.stop > rows.start]
    return texts_at(own, len(place), units)


def sorted_by_text(parts: Sequence[Readable], place: Numbers, units: int) -> tuple[pa.LargeStringArray, Ints]:
    """(texts, rising; row of each). Arguments as of `spelt`."""
    order = _order(place, int(place.max(initial=0)).bit_length())
    place = place[order]
    to = np.arange(len(place))
    if units > 1:
        ranked = _by_rank(parts, place, units)
        order, to[ranked] = order[ranked], np.arange(len(place))
    texts = spelt(parts, place, units, to)
    exact = pl.Series(texts).arg_sort().to_numpy()
    if np.array_equal(exact, np.arange(len(exact))):
        return texts, order
    return texts.take(pa.array(exact)), order[exact]


def _order(values: NDArray[np.uint64], bits: int) -> Ints:
    """Stable `np.argsort` of numbers of so many bits: where there is room for it each carries its index, for sorting numbers is faster."""
    index_bits = len(values).bit_length()
    if bits + index_bits > 64:
        return np.argsort(values, kind="stable")
    packed = (values << np.uint64(index_bits)) | np.arange(len(values), dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64((1 << index_bits) - 1)).astype(np.int64)


def _by_part(parts: Sequence[Readable], place: Numbers) -> tuple[Ints, Ints]:
    """(rows by part, where the rows of each part begin (parts + 1,))."""
    owner = (place >> _32).astype(np.int64)
    order = np.argsort(owner, kind="stable") if len(parts) > 1 else np.arange(len(place))
    return order, np.searchsorted(owner[order], np.arange(len(parts) + 1))


def _by_rank(parts: Sequence[Readable], place: Numbers, units: int) -> Ints:
    """Rows by the ranks of their units. `place`: rising."""
    bounds = np.searchsorted(place, np.arange(len(parts) + 1, dtype=np.uint64) << _32)
    own = {i: place[bounds[i] : bounds[i + 1]].astype(np.uint32) for i in np.flatnonzero(np.diff(bounds)).tolist()}
    used, texts = {}, []
    for i, at in own.items():  # one part in memory at a time
        vocabulary = parts[i].vocabulary
        is_used = _used(parts[i].stream, at, units, np.zeros(len(vocabulary), np.bool_))
        used[i] = np.flatnonzero(is_used).astype(np.uint32), len(vocabulary)
        texts.append(vocabulary.filter(pa.array(is_used)))
    ranks = pl.Series(pa.chunked_array(texts, pa.large_string())).rank("dense").to_numpy().astype(np.uint64)
    bits = int(ranks.max(initial=0)).bit_length() + 1  # of a unit: its rank, above whether no space stands before it
    units_a_key = max(1, (64 - len(place).bit_length()) // bits)
    keys, begin = np.zeros((-(-units // units_a_key), len(place)), np.uint64), 0
    for i, at in own.items():
        types, size = used[i]
        of_type = np.zeros(size, np.uint64)
        of_type[types] = ranks[begin : begin + len(types)]
        begin += len(types)
        _write_keys(parts[i].stream, at, units, of_type, units_a_key, bits, keys[:, bounds[i] : bounds[i + 1]])
    found = _order(keys[-1], units_a_key * bits)
    for key in keys[-2::-1]:
        found = found[_order(key[found], units_a_key * bits)]
    return found


@njit(cache=True, nogil=True)
def _used(stream: NDArray[np.uint32], at: NDArray[np.uint32], units: int, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    for row in range(at.size):
        for i in range(units):
            used[stream[np.int64(at[row]) + i] >> STREAM_FLAGS] = True
    return used


@njit(cache=True, nogil=True)
def _write_keys(
    stream: NDArray[np.uint32],
    at: NDArray[np.uint32],
    units: int,
    ranks: NDArray[np.uint64],
    units_a_key: int,
    bits: int,
    keys: NDArray[np.uint64],
) -> None:
    for row in range(at.size):
        for i in range(units):
            unit = stream[np.int64(at[row]) + i]
            unspaced = np.uint64(i > 0 and not unit & SPACED)
            key = keys[i // units_a_key, row] << np.uint64(bits)
            keys[i // units_a_key, row] = key | (unspaced << np.uint64(bits - 1)) | ranks[unit >> STREAM_FLAGS]
