"""Characters to units: `dft_stats.text.units` as one pass over the code points of a batch, compiled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, feed
from dft_stats.text import DIGIT, DIGIT_JOINERS, EXTEND, JOINERS, LETTER, NEWLINE, OTHER, SPACE, UPPER, character_kind

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


_GROUP = 1 << 20  # characters that are looked at together: their codes stay in the cache


def scan(texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.uint8], pa.LargeStringArray]:
    """Units of documents: (type of each, flags of each, texts of the types in the order in which they turn up)."""
    size = sum(map(len, texts)) // 3 + 1024
    ids, flags = np.empty(size, np.int32), np.empty(size, np.uint8)
    table = _Table(1 << 14)
    units = known = letters = 0
    for group in _groups(texts):
        joined = "\n".join(group)
        codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
        if not joined.isascii():
            _learn(codes)
        lengths = np.fromiter(map(len, group), np.int64, len(group)) + 1
        openings = np.cumsum(lengths) - lengths
        if units + len(codes) > len(ids):
            ids, flags = (np.concatenate([array, np.empty(len(array) // 2 + len(codes), array.dtype)]) for array in (ids, flags))
        while (found := _scan(codes, _KINDS, _JOINS, openings, ids, flags, units, known, letters, *table.arrays))[0] == _FULL:
            table = table.grown(known)
        units, known, letters = found
    offsets = table.ends[: known + 1]
    return ids[:units], flags[:units], pa.LargeStringArray.from_buffers(known, pa.py_buffer(offsets), pa.py_buffer(table.letters))


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text) + 1
        if size >= _GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _learn(codes: NDArray[np.uint32]) -> None:
    fresh = codes[_KINDS[codes] == _UNKNOWN]
    for code in np.unique(fresh).tolist():
        _KINDS[code] = character_kind(chr(code))


@dataclass(slots=True)
class _Table:
    """Types by the numbers of their texts: open addressing. A type is one more than its index where 0 says that a slot is free."""

    capacity: int  # a power of 2, four times the types that fit
    slots: Hashes = field(init=False)
    owners: NDArray[np.int32] = field(init=False)
    ends: NDArray[np.int64] = field(init=False)  # (types + 1,): of their letters
    letters: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.slots, self.owners = np.zeros(self.capacity, np.uint64), np.zeros(self.capacity, np.int32)
        self.ends, self.letters = np.zeros(self.capacity // 4 + 1, np.int64), np.empty(8 * self.capacity, np.uint8)

    @property
    def arrays(self) -> tuple[Hashes, NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]:
        """As the kernel takes them."""
        return self.slots, self.owners, self.ends, self.letters

    def grown(self, known: int) -> "_Table":
        """Four times as large, with the first `known` types."""
        made = _Table(4 * self.capacity)
        made.ends[: known + 1] = self.ends[: known + 1]
        made.letters[: self.ends[known]] = self.letters[: self.ends[known]]
        chosen = (self.owners > 0) & (self.owners <= known)
        _enter(self.slots[chosen], self.owners[chosen], made.slots, made.owners)
        return made


@njit(cache=True)
def _enter(numbers: Hashes, types: NDArray[np.int32], slots: Hashes, owners: NDArray[np.int32]) -> None:
    for i in range(numbers.size):
        place = np.int64((numbers[i] ^ (numbers[i] >> np.uint64(32))) & np.uint64(slots.size - 1))
        while owners[place]:
            place = (place + 1) & (slots.size - 1)
        slots[place], owners[place] = numbers[i], types[i]


_FULL = -1


@njit(cache=True)
def _scan(
    codes: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    joins: NDArray[np.uint8],
    openings: NDArray[np.int64],
    ids: NDArray[np.int32],
    flags: NDArray[np.uint8],
    found: int,
    types: int,
    used: int,
    slots: Hashes,
    owners: NDArray[np.int32],
    ends: NDArray[np.int64],
    letters: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """Go on behind `found` units, `types` types and `used` letters; returns these three, or `_FULL` if the table is."""
    size, capacity = codes.size, slots.size
    document, opening = -1, openings[0]
    begin = 0
    number = np.uint64(0)
    is_open = in_word = False
    flag = BROKEN
    before, base_before = np.uint8(NEWLINE), np.uint32(0)
    for i in range(size + 1):
        code, kind, word = np.uint32(0), np.uint8(NEWLINE), False
        base = code
        if i < size:
            code = codes[i]
            base, kind = code, kinds[code]
            if kind == EXTEND:  # a combining mark takes over kind and base of the character before, or stands alone behind white space
                kind = np.uint8(OTHER)
                if before != SPACE and before != NEWLINE:
                    kind, base = before, base_before
            if LETTER <= kind <= DIGIT:
                word = True
            elif joins[code] and LETTER <= before <= DIGIT and i + 1 < size:
                after = kinds[codes[i + 1]]
                if LETTER <= after <= DIGIT:
                    if joins[code] == _DIGIT_JOINER:
                        word = before == DIGIT and after == DIGIT
                    elif joins[code] == _PERIOD:  # "end.Next" lacks a space
                        word = not (before == LETTER and after == UPPER)
                    else:
                        word = True
        blank = kind in (SPACE, NEWLINE)
        if is_open and (blank or word != in_word or (not word and base != base_before)):
            place = np.int64((number ^ (number >> np.uint64(32))) & np.uint64(capacity - 1))
            while owners[place] and slots[place] != number:
                place = (place + 1) & (capacity - 1)
            if not owners[place]:
                if types + 1 >= ends.size or used + 4 * (i - begin) > letters.size:
                    return _FULL, 0, 0
                for j in range(begin, i):
                    used = _spell(letters, used, codes[j])
                types += 1
                slots[place], owners[place], ends[types] = number, types, used
            ids[found], flags[found] = owners[place] - 1, flag
            found += 1
            is_open, flag = False, 0
        if blank:
            flag = BROKEN if kind == NEWLINE or flag & BROKEN else SPACED
        else:
            if not is_open:
                is_open, in_word, number, begin = True, word, np.uint64(0), i
                if i >= opening:
                    flag |= OPENS
                    while i >= opening:
                        document += 1
                        opening = openings[document + 1] if document + 1 < openings.size else size + 1
            number = feed(number, code)
        before, base_before = kind, base
    return found, types, used


@njit(cache=True)
def _spell(letters: NDArray[np.uint8], at: int, code: int) -> int:
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
