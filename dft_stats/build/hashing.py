"""Texts by 64-bit number: a polynomial in their UTF-8 bytes, so that the number of a longer text follows from those of its parts.

While a corpus is counted, a unit, an n-gram and a stretch are known by this number alone: it needs no dictionary that all parts of a corpus
would have to share. Of N different texts about N**2 / 2**65 pairs share a number: 3e-4 pairs for a hundred million texts.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SPREAD = np.uint64(0xD6E8FEB86659FD93)
_GATHER = np.uint64(pow(0xD6E8FEB86659FD93, -1, 1 << 64))
_32 = np.uint64(32)
_ONE = np.uint64(1)


def are_among(keys: Hashes, others: Hashes) -> NDArray[np.bool_]:
    """Which keys are among others, which rise."""
    place = np.searchsorted(others, keys)
    found = np.zeros(len(keys), bool)
    inside = place < len(others)
    found[inside] = others[place[inside]] == keys[inside]
    return found


@njit(cache=True, inline="always")
def feed_byte(number: np.uint64, byte: int) -> np.uint64:
    """The number of a text with a byte more."""
    return number * _BASE + np.uint64(byte) + _ONE


@njit(cache=True, inline="always")
def feed(number: np.uint64, code: int) -> np.uint64:
    """The number of a text with a character more."""
    if code < 0x80:
        return feed_byte(number, code)
    if code < 0x800:
        number = feed_byte(number, 0xC0 | (code >> 6))
    else:
        if code < 0x10000:
            number = feed_byte(number, 0xE0 | (code >> 12))
        else:
            number = feed_byte(feed_byte(number, 0xF0 | (code >> 18)), 0x80 | ((code >> 12) & 63))
        number = feed_byte(number, 0x80 | ((code >> 6) & 63))
    return feed_byte(number, 0x80 | (code & 63))


@njit(cache=True, inline="always")
def mix(number: np.uint64) -> np.uint64:
    """One to one, and every bit depends on all: the upper ones sort texts into equal parts."""
    number = (number ^ (number >> _32)) * _SPREAD
    number = (number ^ (number >> _32)) * _SPREAD
    return number ^ (number >> _32)


@njit(cache=True, nogil=True)
def place_of(slots: Hashes, number: np.uint64) -> int:
    """Where a number stands in a table with open addressing, or the free place where it belongs; 0 is free, the size a power of 2."""
    place = np.int64(number & np.uint64(slots.size - 1))
    while slots[place] and slots[place] != number:
        place = (place + 1) & (slots.size - 1)
    return place  # type: ignore[return-value]


def unmix(mixed: Hashes) -> Hashes:
    """The inverse of `mix`."""
    number = (mixed ^ (mixed >> _32)) * _GATHER
    number = (number ^ (number >> _32)) * _GATHER
    return number ^ (number >> _32)


@njit(cache=True, nogil=True)
def hash_texts(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[Hashes, Hashes]:
    """(number, factor) of texts that lie one after another: number(ab) = number(a) * factor(b) + number(b).

    Args:
        data: UTF-8.
        offsets: (texts + 1,).
    """
    numbers = np.zeros(offsets.size - 1, np.uint64)
    factors = np.ones(offsets.size - 1, np.uint64)
    for i in range(offsets.size - 1):
        number, factor = np.uint64(0), _ONE
        for j in range(offsets[i], offsets[i + 1]):
            number = feed_byte(number, data[j])
            factor *= _BASE
        numbers[i], factors[i] = number, factor
    return numbers, factors
