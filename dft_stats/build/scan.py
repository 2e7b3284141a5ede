"""Characters to units: `dft_stats.text.units` as one pass over the code points of a batch, compiled."""

import numpy as np
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


def scan(text: str, openings: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]:
    """Units of a text of several documents.

    Args:
        text: documents, with a newline at least between two of them.
        openings: (documents,), where each begins, in characters.

    Returns:
        Type of each unit, numbered as they turn up, (units,); flags of each unit, (units,); and where in the UTF-8 of the text the first
        unit of each type begins and ends, in bytes, (types, 2).
    """
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    if not text.isascii():
        _learn(codes)
    size, types = len(codes) // 3 + 1024, 1 << max(12, (len(codes) // 256).bit_length())
    while True:
        ids, flags = np.empty(size, np.int32), np.empty(size, np.uint8)
        numbers, spans = np.empty(types, np.uint64), np.empty((types, 2), np.int64)
        slots, owners = np.zeros(4 * types, np.uint64), np.zeros(4 * types, np.int32)
        found, known = _scan(codes, _KINDS, _JOINS, openings, ids, flags, numbers, spans, slots, owners)
        if found >= 0 and known >= 0:
            return ids[:found], flags[:found], spans[:known].copy()
        size = len(codes) + 1 if found < 0 else size  # the arrays were too small
        types = 8 * types if known < 0 else types


def _learn(codes: NDArray[np.uint32]) -> None:
    fresh = codes[_KINDS[codes] == _UNKNOWN]
    for code in np.unique(fresh).tolist():
        _KINDS[code] = character_kind(chr(code))


@njit(cache=True)
def _scan(
    codes: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    joins: NDArray[np.uint8],
    openings: NDArray[np.int64],
    ids: NDArray[np.int32],
    flags: NDArray[np.uint8],
    numbers: Hashes,
    spans: NDArray[np.int64],
    slots: Hashes,
    owners: NDArray[np.int32],
) -> tuple[int, int]:
    """Fill `ids`, `flags`, `spans`; (units, types), -1 for what did not fit. `slots` and `owners` are a table of types by their number."""
    size, capacity, most = codes.size, slots.size, numbers.size
    found = types = byte = begin = 0
    document, opening = -1, openings[0] if openings.size else size + 1
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
            if found == ids.size:
                return -1, 0
            place = np.int64((number ^ (number >> np.uint64(32))) & np.uint64(capacity - 1))
            while owners[place] and slots[place] != number:
                place = (place + 1) & (capacity - 1)
            if not owners[place]:
                if types == most:
                    return 0, -1
                spans[types, 0], spans[types, 1] = begin, byte
                types += 1
                slots[place], owners[place] = number, types
            ids[found], flags[found] = owners[place] - 1, flag
            found += 1
            is_open, flag = False, 0
        if blank:
            flag = BROKEN if kind == NEWLINE or flag & BROKEN else SPACED
        else:
            if not is_open:
                is_open, in_word, number, begin = True, word, np.uint64(0), byte
                if i >= opening:
                    flag |= OPENS
                    while i >= opening:
                        document += 1
                        opening = openings[document + 1] if document + 1 < openings.size else size + 1
            number = feed(number, code)
        before, base_before = kind, base
        byte += 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)
    return found, types
