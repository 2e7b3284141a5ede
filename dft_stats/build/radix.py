"""64-bit keys in order: put into parts by their upper bits, each part small enough for the cache, and every part sorted by two digits."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes

Ints = NDArray[np.int64]
Pairs = NDArray[np.uint64]  # (events, 2): a key, and what goes with it

_PART = 1 << 13  # events in a part, about
_MOST_BITS = 10  # of parts there are no more than the cache has lines for
_DIGIT = 11  # bits by which a part is sorted at a time
_64 = np.uint64(64)
_DIGITS = np.uint64((1 << _DIGIT) - 1)


def part_bits(events: int) -> int:
    """Number of upper bits of the key by which events are put into parts."""
    return int(np.clip(np.ceil(np.log2(max(events, 1) / _PART)), 0, _MOST_BITS))


def sorted_keys(keys: Hashes) -> Pairs:
    """Keys in order, each with where it stood."""
    low, high = (int(keys.min()), int(keys.max())) if len(keys) else (0, 0)
    shared = 64 - (low ^ high).bit_length()
    bits = min(part_bits(len(keys)), 64 - shared)
    begins, pairs = np.zeros((1 << bits) + 1, np.int64), np.empty((len(keys), 2), np.uint64)
    _scatter_keys(keys, np.uint64(min(64 - shared - bits, 63)), pairs, begins)
    sort_parts(pairs, begins, shared + bits)
    return pairs


@njit(cache=True, nogil=True)
def _scatter_keys(keys: Hashes, shift: np.uint64, pairs: Pairs, begins: Ints) -> None:
    last = np.uint64(begins.size - 2)
    for i in range(keys.size):
        begins[np.int64((keys[i] >> shift) & last) + 1] += 1
    for part in range(begins.size - 1):
        begins[part + 1] += begins[part]
    following = begins.copy()
    for i in range(keys.size):
        part = np.int64((keys[i] >> shift) & last)
        to = following[part]
        pairs[to, 0], pairs[to, 1] = keys[i], np.uint64(i)
        following[part] = to + 1


def sort_parts(pairs: Pairs, begins: Ints, bits: int) -> None:
    """Sort each part by key, stably, in place.

    Args:
        pairs: (events, 2), part after part.
        begins: (parts + 1,).
        bits: upper bits that all keys of a part share.
    """
    spare = max(int(np.diff(begins).max(initial=0)), 1)
    _sort(pairs, begins, min(bits, 64 - 2 * _DIGIT), np.empty((spare, 2), np.uint64))


@njit(cache=True, nogil=True)
def _sort(pairs: Pairs, begins: Ints, bits: int, spare: Pairs) -> None:
    """Sort each part, stably: two digits of a radix sort separate nearly all keys, insertion the rest."""
    number = np.zeros((1 << _DIGIT) + 1, np.int64)
    high, low = _64 - np.uint64(bits + _DIGIT), _64 - np.uint64(bits + 2 * _DIGIT)
    for part in range(begins.size - 1):
        first, behind = begins[part], begins[part + 1]
        if behind - first > 64:
            number[:] = 0
            for i in range(first, behind):
                number[np.int64((pairs[i, 0] >> low) & _DIGITS) + 1] += 1
            for digit in range(1 << _DIGIT):
                number[digit + 1] += number[digit]
            for i in range(first, behind):
                digit = np.int64((pairs[i, 0] >> low) & _DIGITS)
                to = number[digit]
                spare[to, 0], spare[to, 1] = pairs[i, 0], pairs[i, 1]
                number[digit] = to + 1
            number[:] = 0
            for i in range(behind - first):
                number[np.int64((spare[i, 0] >> high) & _DIGITS) + 1] += 1
            for digit in range(1 << _DIGIT):
                number[digit + 1] += number[digit]
            for i in range(behind - first):
                digit = np.int64((spare[i, 0] >> high) & _DIGITS)
                to = first + number[digit]
                pairs[to, 0], pairs[to, 1] = spare[i, 0], spare[i, 1]
                number[digit] += 1
        for i in range(first + 1, behind):
            if pairs[i - 1, 0] > pairs[i, 0]:
                key, place, j = pairs[i, 0], pairs[i, 1], i
                while j > first and pairs[j - 1, 0] > key:
                    pairs[j, 0], pairs[j, 1] = pairs[j - 1, 0], pairs[j - 1, 1]
                    j -= 1
                pairs[j, 0], pairs[j, 1] = key, place
