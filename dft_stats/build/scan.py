"""Characters to units: `dft_stats.text.units` as one pass over the normalised code points of a batch, compiled."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, feed
from dft_stats.build.normalise import groups, normalised
from dft_stats.text import DIGIT, DIGIT_JOINERS, EXTEND, JOINERS, LETTER, NEWLINE, SPACE, UPPER, character_kind

SPACED, BROKEN, OPENS, ENDS = 1, 2, 4, 8
"""Flags of a unit in its place: a space, or a break, stands before it; it opens a document; it ends a sentence."""

_UNKNOWN = 255
_KINDS = np.full(0x110000, _UNKNOWN, np.uint8)  # filled as characters turn up
_KINDS[:256] = [character_kind(chr(code)) for code in range(256)]
_JOINER, _PERIOD, _DIGIT_JOINER = 1, 2, 3
_JOINS = np.zeros(0x110000, np.uint8)
_JOINS[[ord(c) for c in JOINERS]] = _JOINER
_JOINS[ord(".")] = _PERIOD
_JOINS[[ord(c) for c in DIGIT_JOINERS]] = _DIGIT_JOINER


def scan(texts: Sequence[str], *, typography: str = "fold") -> tuple[NDArray[np.int32], NDArray[np.uint8], pa.LargeStringArray]:
    """Units of documents, normalised: (type of each, flags of each, texts of the types in the order in which they turn up)."""
    size = sum(map(len, texts)) // 3 + 1024
    ids, flags = np.empty(size, np.int32), np.empty(size, np.uint8)
    table = _Table(1 << 14)
    units = known = letters = 0
    for group in groups(texts):
        codes, begins = normalised(group, typography=typography)
        if units + len(codes) > len(ids):
            ids, flags = (np.concatenate([array, np.empty(len(array) // 2 + len(codes), array.dtype)]) for array in (ids, flags))
        if not _are_known(codes, _KINDS):
            _learn(codes)
        while (found := _scan(codes, begins, _KINDS, _JOINS, ids, flags, units, known, letters, *table.arrays))[0] == _FULL:
            table = table.four_times(known)
        units, known, letters = found
    offsets = table.ends[: known + 1]
    return ids[:units], flags[:units], pa.LargeStringArray.from_buffers(known, pa.py_buffer(offsets), pa.py_buffer(table.letters))


@njit(cache=True, nogil=True)
def _are_known(codes: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> bool:
    largest = np.uint8(0)
    for code in codes:
        largest = max(largest, kinds[code])
    return largest != _UNKNOWN


def _learn(codes: NDArray[np.uint32]) -> None:
    fresh = codes[_KINDS[codes] == _UNKNOWN]
    for code in set(fresh.tolist()):
        _KINDS[code] = character_kind(chr(code))


@dataclass(slots=True)
class _Table:
    """Types by the numbers of their texts: open addressing. A type is one more than its index where 0 says that a slot is free."""

    capacity: int  # a power of 2, four times the types that fit
    slots: Hashes = field(init=False)  # (capacity, 2): number and type, looked up together
    ends: NDArray[np.int64] = field(init=False)  # (types + 1,): of their letters
    letters: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.slots = np.zeros((self.capacity, 2), np.uint64)
        self.ends, self.letters = np.zeros(self.capacity // 4 + 1, np.int64), np.empty(8 * self.capacity, np.uint8)

    @property
    def arrays(self) -> tuple[Hashes, NDArray[np.int64], NDArray[np.uint8]]:
        """As the kernel takes them."""
        return self.slots, self.ends, self.letters

    def four_times(self, known: int) -> "_Table":
        """So many times as large, with the first `known` types."""
        made = _Table(4 * self.capacity)
        made.ends[: known + 1] = self.ends[: known + 1]
        made.letters[: self.ends[known]] = self.letters[: self.ends[known]]
        _enter(self.slots, known, made.slots)
        return made


@njit(cache=True, nogil=True)
def _enter(slots: Hashes, known: int, larger: Hashes) -> None:
    for i in range(len(slots)):
        number, type_ = slots[i, 0], np.int64(slots[i, 1])
        if 0 < type_ <= known:
            place = np.int64((number ^ (number >> np.uint64(32))) & np.uint64(len(larger) - 1))
            while larger[place, 1]:
                place = (place + 1) & (len(larger) - 1)
            larger[place, 0], larger[place, 1] = number, type_


_FULL = -1


@njit(cache=True, nogil=True)
def _scan(
    codes: NDArray[np.uint32],
    begins: NDArray[np.int64],
    kinds: NDArray[np.uint8],
    joins: NDArray[np.uint8],
    ids: NDArray[np.int32],
    flags: NDArray[np.uint8],
    found: int,
    types: int,
    used: int,
    slots: Hashes,
    ends: NDArray[np.int64],
    letters: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """Go on behind `found` units, `types` types and `used` letters; returns these three.

    Or `_FULL` if the table is.
    """
    capacity = len(slots)
    for document in range(begins.size - 1):
        i, behind = begins[document], begins[document + 1]
        flag = BROKEN | OPENS
        while i < behind:
            code = codes[i]
            kind = kinds[code]
            if kind in (SPACE, NEWLINE):
                if kind == NEWLINE:
                    flag |= BROKEN
                elif flag & BROKEN == 0:
                    flag |= SPACED
                i += 1
                continue
            begin, number = i, np.uint64(0)
            if LETTER <= kind <= DIGIT:
                before = kind
                while True:
                    number = feed(number, code)
                    i += 1
                    if i == behind:
                        break
                    code = codes[i]
                    kind = kinds[code]
                    if LETTER <= kind <= DIGIT:
                        before = kind
                    elif kind == EXTEND:  # a combining mark takes over the kind of the character before
                        continue
                    else:
                        if not joins[code] or i + 1 == behind:
                            break
                        after = kinds[codes[i + 1]]
                        if not LETTER <= after <= DIGIT:
                            break
                        if joins[code] == _DIGIT_JOINER and not (before == DIGIT and after == DIGIT):
                            break
                        if joins[code] == _PERIOD and before == LETTER and after == UPPER:  # "end.Next" lacks a space
                            break
            else:
                base = code
                while code == base or kind == EXTEND:
                    number = feed(number, code)
                    i += 1
                    if i == behind:
                        break
                    code = codes[i]
                    kind = kinds[code]
            place = np.int64((number ^ (number >> np.uint64(32))) & np.uint64(capacity - 1))
            while slots[place, 1] and slots[place, 0] != number:
                place = (place + 1) & (capacity - 1)
            if not slots[place, 1]:
                if types + 1 >= ends.size or used + 4 * (i - begin) > letters.size:
                    return _FULL, 0, 0
                for j in range(begin, i):
                    used = write_utf8(letters, used, codes[j])
                types += 1
                slots[place, 0], slots[place, 1], ends[types] = number, types, used
            ids[found], flags[found] = np.int64(slots[place, 1]) - 1, flag
            found += 1
            flag = 0
    return found, types, used


@njit(cache=True, nogil=True)
def write_utf8(letters: NDArray[np.uint8], at: int, code: int) -> int:
    """Write a character as UTF-8; returns where the next one goes."""
    if code < 0x80:
        letters[at] = code
        return at + 1
    if code < 0x800:
        letters[at] = 0xC0 | (code >> 6)
    else:
        if code < 0x10000:
            letters[at] = 0xE0 | (code >> 12)
        else:
            letters[at] = 0xF0 | (code >> 18)
            letters[at + 1] = 0x80 | ((code >> 12) & 63)
            at += 1
        letters[at + 1] = 0x80 | ((code >> 6) & 63)
        at += 1
    letters[at + 1] = 0x80 | (code & 63)
    return at + 2
