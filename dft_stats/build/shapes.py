"""`unit_flags` of a vocabulary: most units are of a shape that says all, and shapes are few; compiled.

Of words of letters that no table has, the first letter says all; of "well-known", "Ann's" and "1,000" the shape does.
"""

import re
from functools import cache

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, feed_byte, hash_texts, mix, place_of
from dft_stats.sentences import TABLES, unit_flags

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

_ASK, _JOINED = -1, -2  # instead of flags: ask of the unit itself; of its shape
_O, _CAPITAL_O, _APOSTROPHE, _PERIOD = map(ord, "oO'.")
_SHAPE = {code: "o" if code >= 97 else "O" if code >= 65 else "0" for code in range(128) if chr(code).isalnum()}
_CLASS = np.array([ord(_SHAPE.get(code, chr(code))) for code in range(256)], np.uint8)  # what a byte is in a shape
_LOWER = np.array([ord(chr(code).lower()) if code < 128 else code for code in range(256)], np.uint8)
_NUMERAL, _VOWEL = (np.array([chr(code) in letters for code in range(256)]) for letters in ("ivxl", "aeiou"))
_LONG = 4  # characters alike are as good as more of them
_PLAIN = np.array(list(map(unit_flags, ("zoo", "Zoo", "zoomed", "Zoomed"))), np.int32)  # words of letters
_MORE = re.compile(r"(.)\1{3,}")


@cache
def _listed() -> Hashes:
    """Numbers of the words that the rules know by name, lower-cased: open addressing, 0 is free."""
    words = [word.encode() for word in {"http", "https", *(word.lower() for table in TABLES for word in table if word.isascii())}]
    numbers, _ = hash_texts(np.frombuffer(b"".join(words), np.uint8), np.cumsum([0, *map(len, words)]))
    slots = np.zeros(1 << (4 * len(words)).bit_length(), np.uint64)
    for number in mix(numbers):
        slots[place_of(slots, number)] = number
    return slots


_KNOWN: dict[str, int] = {}
_MOST_KNOWN = 1 << 20


def flags_of(vocabulary: pa.LargeStringArray) -> NDArray[np.int32]:
    """`unit_flags` of each unit."""
    _, offsets, data = vocabulary.buffers()
    starts = np.frombuffer(offsets, np.int64)[vocabulary.offset : vocabulary.offset + len(vocabulary) + 1]
    found, shapes = np.empty(len(vocabulary), np.int32), np.empty(len(vocabulary), np.uint64)
    _look(np.frombuffer(data or b"", np.uint8), starts, _CLASS, _LOWER, _NUMERAL, _VOWEL, _listed(), _PLAIN, found, shapes)
    joined = np.flatnonzero(found == _JOINED)
    _, first, shape = np.unique(shapes[joined], return_index=True, return_inverse=True)
    of_shape = [_known(_MORE.sub(r"\1\1\1\1", unit.translate(_SHAPE))) for unit in vocabulary.take(pa.array(joined[first])).to_pylist()]
    found[joined] = np.array(of_shape, np.int32)[shape]
    asked = np.flatnonzero(found == _ASK)
    found[asked] = [_known(unit) for unit in vocabulary.take(pa.array(asked)).to_pylist()]
    return found


def _known(unit: str) -> int:
    """`unit_flags`, remembered from batch to batch."""
    found = _KNOWN.get(unit)
    if found is None:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[unit] = found = unit_flags(unit)
    return found


@njit(cache=True, nogil=True)
def _look(
    letters: Bytes,
    starts: Ints,
    class_of: Bytes,
    lower: Bytes,
    numeral: NDArray[np.bool_],
    vowel: NDArray[np.bool_],
    listed: Hashes,
    plain: NDArray[np.int32],
    found: NDArray[np.int32],
    shapes: Hashes,
) -> None:
    """Flags of words of letters, `_JOINED` where `shapes` has the number of a shape that says all, `_ASK` of the rest."""
    for unit in range(found.size):
        begin, end = starts[unit], starts[unit + 1]
        word = head = shape = np.uint64(0)
        all_letters, any_letter, any_period, is_ascii, all_numeral, any_vowel, rest_is_small = True, False, False, True, True, False, True
        in_head, run, before = True, 0, np.uint8(0)
        for i in range(begin, end):
            byte = letters[i]
            kind = class_of[byte]
            is_letter = kind in (_O, _CAPITAL_O)
            is_ascii &= byte < 128
            any_letter |= is_letter
            all_letters &= is_letter
            any_period |= byte == _PERIOD
            all_numeral &= numeral[lower[byte]]
            any_vowel |= vowel[lower[byte]]
            rest_is_small &= i == begin or kind == _O
            in_head &= byte != _APOSTROPHE
            word = feed_byte(word, lower[byte])
            head = word if in_head else head
            run = run + 1 if kind == before else 1
            before = kind
            shape = feed_byte(shape, kind) if run <= _LONG else shape
        found[unit] = _ASK
        if not is_ascii or listed[place_of(listed, mix(word))]:
            continue
        if all_letters:
            is_capital, size = class_of[letters[begin]] == _CAPITAL_O, end - begin
            if size > 1 and not all_numeral and (any_vowel or not is_capital or not rest_is_small) and (is_capital or rest_is_small):
                found[unit] = plain[2 * (size >= _LONG) + is_capital]
        elif end - begin >= 3 and not listed[place_of(listed, mix(head))] and not (any_period and any_letter):
            found[unit], shapes[unit] = _JOINED, mix(shape)
