"""`dft_stats.spelling.Spelling`, compiled: the same rows of the same stretches."""

from collections.abc import Iterator
from math import log2

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import feed_byte, place_of
from dft_stats.build.numbered_texts import (
    NEWLINE,
    SEED,
    SPACE,
    Arrays,
    Bytes,
    Codes,
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
from dft_stats.spelling import COST, DIGITS, LONGEST, SCHEMA, lowered

_MARK, _LETTER, _DIGIT, _COMBINING, _UNKNOWN = range(5)
_CLASSES = np.full(0x110000, _UNKNOWN, np.uint8)  # filled as characters turn up
_LOWER = np.arange(0x110000, dtype=np.uint32)


class Spelling:
    """Collects the rows of the table, many stretches at a time."""

    def __init__(self, *, is_whole: bool = False) -> None:
        """`is_whole`: no stretch is cut."""
        self._is_whole = is_whole
        self._words, self._marks, self._pieces, self._rows = Table(), Table(), Table(), CountedTexts()

    def know(self, texts: pa.LargeStringArray) -> None:
        """Take note of stretches and units that enough documents have."""
        for data, ends in _learnt(texts):
            self._words.reserve(len(data) + len(ends))
            self._marks.reserve(len(data) + len(ends))
            self._pieces.reserve(LONGEST * len(data))
            _know(data, ends, _CLASSES, _LOWER, self._words.arrays, self._marks.arrays, self._pieces.arrays)

    def add(self, stretches: pa.LargeStringArray, count: Ints, is_told: NDArray[np.bool_]) -> None:
        """Count stretches of the table `surface`, whole if enough documents have them.

        Args:
            stretches: (rows,).
            count: (rows,).
            is_told: (rows,).
        """
        for _ in self._count(stretches, count, is_told, is_recorded=False):
            pass

    def rows_of(self, stretches: pa.LargeStringArray, is_told: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Where the rows of each stretch, which was added before, begin (stretches + 1,), and the rows. Arguments as of `add`."""
        begins, rows = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
        for ends, own in self._count(stretches, np.zeros(len(stretches), np.int64), is_told, is_recorded=True):
            begins.append(begins[-1][-1] + ends)
            rows.append(own.astype(np.int64))
        return np.concatenate(begins), np.concatenate(rows)

    def _count(
        self, stretches: pa.LargeStringArray, count: Ints, is_told: NDArray[np.bool_], *, is_recorded: bool
    ) -> Iterator[tuple[Ints, NDArray[np.int32]]]:
        """Count some stretches after the other; gives where the rows of each end, and the rows."""
        whole = np.ones_like(is_told) if self._is_whole else is_told
        begin = 0
        for data, ends in _learnt(stretches):
            size, most = len(ends) - 1, len(data) + 2 * len(ends)  # bytes of all rows together, and so of their parts
            own = slice(begin, begin + size)
            self._rows.reserve(most)
            tables = self._words.arrays, self._marks.arrays, self._pieces.arrays, *self._rows.arrays
            record = (np.zeros(size + 1, np.int64), np.zeros(most, np.int32)) if is_recorded else _NO_RECORD
            _add(data, ends, count[own], whole[own], _CLASSES, _LOWER, *tables, *record)
            yield record[0][1:], record[1][: record[0][-1]]
            begin = own.stop

    def __len__(self) -> int:
        """Rows so far."""
        return len(self._rows)

    @property
    def bytes(self) -> int:
        """Of memory, for what is known."""
        return sum(table.bytes for table in (self._words, self._marks, self._pieces))

    def table(self) -> pa.Table:
        """All rows, sorted."""
        return sorted_table(*self.rows())

    def rows(self) -> tuple[pa.LargeStringArray, Ints]:
        """(text, count) of all rows, in the order in which they turned up."""
        rows = self._rows.table
        count, taken = np.empty(len(self), np.int64), rows.slots != 0
        count[rows.notes[taken]] = rows.counts[taken]
        return self._rows.texts(), count


_NO_RECORD = np.zeros(1, np.int64), np.zeros(0, np.int32)


def sorted_table(texts: pa.Array, count: Ints) -> pa.Table:
    """Rows of the table `spelling`."""
    found = pl.DataFrame({"spelling": pl.Series(texts), "count": count}).sort("spelling")
    return found.to_arrow().cast(SCHEMA).combine_chunks()


def _learnt(texts: pa.LargeStringArray) -> Iterator[tuple[Bytes, Ints]]:
    """As `chunks`; their characters are known."""
    for data, ends in chunks(texts):
        _learn(data)
        yield data, ends


def _learn(data: Bytes) -> None:
    if len(data) and (data.max() >= 128 or _CLASSES[ord("a")] == _UNKNOWN):
        codes = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), np.uint32)
        for code in {*range(128), *codes[_CLASSES[codes] == _UNKNOWN].tolist()}:
            character = chr(code)
            if _CLASSES[code] == _UNKNOWN:
                _LOWER[code] = ord(lowered(character))  # first: what has a class is known
                if character.isdecimal():
                    _CLASSES[code] = _DIGIT
                elif character.isalnum():
                    _CLASSES[code] = _LETTER
                else:
                    _CLASSES[code] = _COMBINING if "\u0300" <= character <= "\u036f" else _MARK


# --- kernels ----------------------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _lower_number(codes: Codes, begin: int, end: int, lower: Codes) -> np.uint64:
    number = SEED
    for i in range(begin, end):
        number = feed_byte(number, lower[codes[i]])
    return np.uint64(finish(number))


@njit(cache=True, nogil=True)
def _run(codes: Codes, classes: Bytes, begin: int, end: int) -> tuple[int, int]:
    """Where the word of a run begins, and where it ends: see `dft_stats.spelling.runs`."""
    i = begin
    while i < end and (classes[codes[i]] == _MARK or classes[codes[i]] == _COMBINING):
        i += 1
    word = i
    if i < end and classes[codes[i]] == _DIGIT:
        while i < end and classes[codes[i]] == _DIGIT:
            i += 1
    elif i < end:
        while i < end and (classes[codes[i]] == _LETTER or classes[codes[i]] == _COMBINING):
            i += 1
    return word, i


@njit(cache=True, nogil=True)
def _know(data: Bytes, ends: Ints, classes: Bytes, lower: Codes, words: Arrays, marks: Arrays, pieces: Arrays) -> None:
    codes = np.empty(data.size, np.uint32)
    for row in range(ends.size - 1):
        i, end = strip(codes, 0, decode(data, ends[row], ends[row + 1], codes, 0))
        while i < end:
            word, behind = _run(codes, classes, i, end)
            number = number_of(codes, i, word)
            place = place_of(marks[0], number)
            if not marks[0][place]:
                marks[0][place] = number
                marks[3][0] += 1
            number = _lower_number(codes, word, behind, lower)
            place = place_of(words[0], number)
            if not words[0][place]:
                words[0][place] = number
                words[3][0] += 1
                if word < behind and classes[codes[word]] != _DIGIT:
                    _know_pieces(codes, word, behind, lower, np.int32(words[3][0]), pieces)
            i = behind


@njit(cache=True, nogil=True)
def _know_pieces(codes: Codes, begin: int, end: int, lower: Codes, word: np.int32, pieces: Arrays) -> None:
    slots, counts, notes, used = pieces
    for i in range(begin, end - 1):
        number = feed_byte(SEED, lower[codes[i]])
        for j in range(i + 1, min(i + LONGEST, end)):
            number = feed_byte(number, lower[codes[j]])
            key = finish(number)
            place = place_of(slots, key)
            if not slots[place]:
                slots[place] = key
                used[0] += 1
            if notes[place] != word:  # a word counts once
                notes[place] = word
                counts[place] += 1


@njit(cache=True, nogil=True)
def _add(
    data: Bytes,
    ends: Ints,
    count: Ints,
    whole: NDArray[np.bool_],
    classes: Bytes,
    lower: Codes,
    words: Arrays,
    marks: Arrays,
    pieces: Arrays,
    rows: Arrays,
    letters: Bytes,
    row_ends: Ints,
    record_begins: Ints,
    record: NDArray[np.int32],
) -> None:
    longest = noted = 0
    for row in range(ends.size - 1):
        longest = max(longest, ends[row + 1] - ends[row])
    codes = np.empty(longest + 2, np.uint32)
    best, back = np.empty(longest + 1, np.float64), np.empty(longest + 1, np.int64)
    cuts = np.empty(longest + 3, np.int64)
    codes[0] = codes[1] = NEWLINE
    for row in range(ends.size - 1):
        first = 2 if data[ends[row]] == SPACE else 0
        size = decode(data, ends[row], ends[row + 1], codes, 2)
        if whole[row]:
            own = count_text(codes, first, size, count[row], rows, letters, row_ends)
            if record.size:
                record[noted] = own
                noted += 1
                record_begins[row + 1] = noted
            continue
        i, end = strip(codes, first, size)
        found = 0
        while i < end:
            word, behind = _run(codes, classes, i, end)
            is_known = marks[0][place_of(marks[0], number_of(codes, i, word))] != 0
            for j in range(i, word):
                if j == i or not is_known:
                    cuts[found] = j
                    found += 1
            number = found
            if word < behind and classes[codes[word]] == _DIGIT:
                for j in range(word, behind, DIGITS):
                    cuts[found] = j
                    found += 1
            elif word < behind:
                if words[0][place_of(words[0], _lower_number(codes, word, behind, lower))]:
                    cuts[found] = word
                    found += 1
                else:
                    found = _cut(codes, word, behind, lower, pieces, best, back, cuts, found)
            if is_known and i < word and word < behind:  # the marks stand before the first piece
                for j in range(number, found - 1):
                    cuts[j] = cuts[j + 1]
                found -= 1
            i = behind
        cuts[found] = size
        if found:
            cuts[0] = first
        for j in range(found):
            own = count_text(codes, cuts[j], cuts[j + 1], count[row], rows, letters, row_ends)
            if record.size:
                record[noted] = own
                noted += 1
        if record.size:
            record_begins[row + 1] = noted


@njit(cache=True, nogil=True)
def _cut(
    codes: Codes, begin: int, end: int, lower: Codes, pieces: Arrays, best: NDArray[np.float64], back: Ints, cuts: Ints, found: int
) -> int:
    """Where the pieces of `Known._cut` begin goes to `cuts`, behind the `found` that are there; returns how many then are."""
    slots, counts = pieces[0], pieces[1]
    size = end - begin
    best[0] = 0.0
    best[1 : size + 1] = np.inf
    # From each begin forwards, so that the number of a piece follows from that of the one before; of equal sums the first begin stays.
    for i in range(size):
        number = feed_byte(SEED, lower[codes[begin + i]])
        for j in range(i + 1, min(i + LONGEST, size)):
            number = feed_byte(number, lower[codes[begin + j]])
            place = place_of(slots, finish(number))
            if not slots[place]:
                break  # nor is a longer piece known: of a known one its beginning is
            cost = best[i] + COST - log2(counts[place] + 1)
            if cost < best[j + 1]:
                best[j + 1], back[j + 1] = cost, i
        if best[i] + COST < best[i + 1]:
            best[i + 1], back[i + 1] = best[i] + COST, i
    number_of_pieces, i = 0, size
    while i:
        i = back[i]
        number_of_pieces += 1
    at, i = found + number_of_pieces, size
    while i:
        i = back[i]
        at -= 1
        cuts[at] = begin + i
    return found + number_of_pieces
