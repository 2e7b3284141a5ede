"""`dft_stats.spelling.in_told_parts`, compiled: the same parts of the same rows."""

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import feed_byte, place_of
from dft_stats.build.numbered_texts import (
    SEED,
    Arrays,
    Bytes,
    CountedTexts,
    Ints,
    Table,
    chunks,
    count_text,
    decode,
    finish,
    number_of,
    strip,
)
from dft_stats.spelling import LONGEST


def in_told_parts(rows: pa.LargeStringArray, is_told: NDArray[np.bool_]) -> tuple[pa.LargeStringArray, Ints, Ints]:
    """Rows that may not be told, as the fewest that may be and single characters; what may be told stays whole.

    Returns:
        The distinct parts, as they turn up; where those of each row begin (rows + 1,); and the parts, row by row.
    """
    told, parts = Table(), CountedTexts()
    begins, found = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
    first = 0
    for data, ends in chunks(rows):
        told.reserve(len(ends))
        _enter(data, ends, is_told[first : first + len(ends) - 1], told.arrays)
        first += len(ends) - 1
    first = 0
    for data, ends in chunks(rows):
        size = len(ends) - 1
        parts.reserve(len(data) + size)
        own_begins, own = np.zeros(size + 1, np.int64), np.empty(len(data) + size, np.int64)
        _part(data, ends, is_told[first : first + size], told.arrays, *parts.arrays, own_begins, own)
        begins.append(begins[-1][-1] + own_begins[1:])
        found.append(own[: own_begins[-1]].copy())  # there was room for much more
        first += size
    return parts.texts(), np.concatenate(begins), np.concatenate(found)


@njit(cache=True, nogil=True)
def _enter(data: Bytes, ends: Ints, is_told: NDArray[np.bool_], told: Arrays) -> None:
    codes = np.empty(data.size, np.uint32)
    for row in range(is_told.size):
        if is_told[row]:
            number = number_of(codes, 0, decode(data, ends[row], ends[row + 1], codes, 0))
            place = place_of(told[0], number)
            if not told[0][place]:
                told[0][place] = number
                told[3][0] += 1


@njit(cache=True, nogil=True)
def _part(
    data: Bytes,
    ends: Ints,
    is_told: NDArray[np.bool_],
    told: Arrays,
    parts: Arrays,
    letters: Bytes,
    part_ends: Ints,
    begins: Ints,
    found: Ints,
) -> None:
    codes = np.empty(data.size, np.uint32)
    fewest, back, cuts = np.empty(data.size + 1, np.int64), np.empty(data.size + 1, np.int64), np.empty(data.size + 1, np.int64)
    noted = 0
    for row in range(is_told.size):
        size = decode(data, ends[row], ends[row + 1], codes, 0)
        if is_told[row]:
            found[noted] = count_text(codes, 0, size, 1, parts, letters, part_ends)
            noted += 1
            begins[row + 1] = noted
            continue
        body, behind = strip(codes, 0, size)  # white space goes with the first and the last part
        length = behind - body
        fewest[0] = 0
        fewest[1 : length + 1] = length + 1
        for i in range(length):  # of as many parts, the first begin stays
            number = SEED
            for j in range(0 if i == 0 else body + i, body + i):
                number = feed_byte(number, codes[j])
            for end in range(i + 1, min(i + LONGEST, length) + 1):
                number = feed_byte(number, codes[body + end - 1])
                if fewest[i] + 1 >= fewest[end]:
                    continue
                whole = number
                for j in range(behind, size if end == length else behind):
                    whole = feed_byte(whole, codes[j])
                if end == i + 1 or told[0][place_of(told[0], finish(whole))]:
                    fewest[end], back[end] = fewest[i] + 1, i
        pieces, at = fewest[length], length
        for piece in range(pieces - 1, -1, -1):
            cuts[piece] = at
            at = back[at]
        begin = 0
        for piece in range(pieces):
            end = size if piece + 1 == pieces else body + cuts[piece]
            found[noted] = count_text(codes, begin, end, 1, parts, letters, part_ends)
            noted += 1
            begin = end
        begins[row + 1] = noted
