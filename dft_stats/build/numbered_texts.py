"""Texts counted by number: the number of a text is that of `hashing`, here of its code points."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, feed_byte, mix, place_of
from dft_stats.build.scan import write_utf8

_CHUNK = 1 << 15  # bytes that are looked at together
SEED = np.uint64(1)
SPACE, NEWLINE = 32, 10

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Codes = NDArray[np.uint32]
Arrays = tuple[Hashes, Ints, NDArray[np.int32], Ints]  # slots, counts, notes, used: of a `Table`


class Table:
    """Numbers of texts, each with a count and a note: open addressing; the number 0 is a free slot."""

    def __init__(self, capacity: int = 1 << 12) -> None:
        self.slots = np.zeros(capacity, np.uint64)  # a power of 2
        self.counts = np.zeros(capacity, np.int64)
        self.notes = np.zeros(capacity, np.int32)
        self.used = np.zeros(1, np.int64)

    def reserve(self, more: int) -> None:
        """Make room for so many."""
        capacity = len(self.slots)
        while capacity < 2 * (self.used[0] + more):
            capacity *= 2
        if capacity > len(self.slots):
            larger = Table(capacity)
            _move(self.arrays, larger.arrays)
            self.slots, self.counts, self.notes = larger.slots, larger.counts, larger.notes

    @property
    def bytes(self) -> int:
        """Of memory."""
        return self.slots.nbytes + self.counts.nbytes + self.notes.nbytes

    @property
    def arrays(self) -> Arrays:
        """As the kernels take them."""
        return self.slots, self.counts, self.notes, self.used


class CountedTexts:
    """Texts with their counts, each once, in the order in which they turn up."""

    def __init__(self) -> None:
        self.table = Table()
        self._letters, self._ends = np.empty(1 << 16, np.uint8), np.zeros(1 << 12, np.int64)

    def __len__(self) -> int:
        """How many there are."""
        return int(self.table.used[0])

    def reserve(self, more: int) -> None:
        """Make room for so many texts, which together have so many bytes."""
        self.table.reserve(more)
        self._ends = _with_room(self._ends, len(self) + more + 1)
        self._letters = _with_room(self._letters, int(self._ends[len(self)]) + more)

    @property
    def arrays(self) -> tuple[Arrays, Bytes, Ints]:
        """As `count_text` takes them."""
        return self.table.arrays, self._letters, self._ends

    def texts(self) -> pa.LargeStringArray:
        """All of them."""
        return pa.LargeStringArray.from_buffers(len(self), pa.py_buffer(self._ends), pa.py_buffer(self._letters))


def _with_room(values: NDArray[Any], size: int) -> NDArray[Any]:
    """The values, with zeros behind them until there are so many at least."""
    return values if size <= len(values) else np.concatenate([values, np.zeros(max(size, 2 * len(values)) - len(values), values.dtype)])


def chunks(texts: pa.LargeStringArray) -> Iterator[tuple[Bytes, Ints]]:
    """(UTF-8, where each text begins in it and the last one ends) of the texts, some at a time."""
    _, offsets, letters = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1] if len(texts) else np.zeros(1, np.int64)
    data = np.frombuffer(letters or b"", np.uint8)
    first = 0
    while first < len(texts):
        last = max(int(np.searchsorted(ends, ends[first] + _CHUNK, side="right")) - 1, first + 1)
        yield data[ends[first] : ends[last]], ends[first : last + 1] - ends[first]
        first = last


# --- kernels ----------------------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _move(table: Arrays, larger: Arrays) -> None:
    slots, counts, notes, _ = table
    new_slots, new_counts, new_notes, _ = larger
    for i in range(slots.size):
        if slots[i]:
            place = place_of(new_slots, slots[i])
            new_slots[place], new_counts[place], new_notes[place] = slots[i], counts[i], notes[i]


@njit(cache=True, nogil=True)
def decode(data: Bytes, begin: int, behind: int, codes: Codes, at: int) -> int:
    """UTF-8 to code points; returns where they end."""
    i = begin
    while i < behind:
        first = np.uint32(data[i])
        if first < 0x80:
            code, size = first, 1
        elif first < 0xE0:
            code, size = first & np.uint32(31), 2
        elif first < 0xF0:
            code, size = first & np.uint32(15), 3
        else:
            code, size = first & np.uint32(7), 4
        for j in range(1, size):
            code = (code << np.uint32(6)) | (np.uint32(data[i + j]) & np.uint32(63))
        codes[at] = code
        at += 1
        i += size
    return at


@njit(cache=True, nogil=True)
def strip(codes: Codes, begin: int, end: int) -> tuple[int, int]:
    """A text without spaces and newlines at its ends."""
    while begin < end and (codes[begin] == SPACE or codes[begin] == NEWLINE):
        begin += 1
    while begin < end and (codes[end - 1] == SPACE or codes[end - 1] == NEWLINE):
        end -= 1
    return begin, end


@njit(cache=True, nogil=True)
def finish(number: np.uint64) -> np.uint64:
    """A number that is fed, as it is kept: mixed, and not 0."""
    mixed = np.uint64(mix(number))
    return mixed if mixed else SEED


@njit(cache=True, nogil=True)
def number_of(codes: Codes, begin: int, end: int) -> np.uint64:
    """The number of a text."""
    number = SEED
    for i in range(begin, end):
        number = feed_byte(number, codes[i])
    return np.uint64(finish(number))


@njit(cache=True, nogil=True)
def count_text(codes: Codes, begin: int, end: int, count: int, rows: Arrays, letters: Bytes, row_ends: Ints) -> int:
    """Add to the row of a text; returns its number."""
    slots, counts, notes, used = rows
    number = number_of(codes, begin, end)
    place = place_of(slots, number)
    if not slots[place]:
        row = used[0]
        slots[place], notes[place] = number, row
        at = row_ends[row]
        for i in range(begin, end):
            at = write_utf8(letters, at, codes[i])
        row_ends[row + 1] = at
        used[0] = row + 1
    counts[place] += count
    return int(notes[place])
