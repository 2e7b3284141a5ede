"""Events added up by key, compiled: count, documents and the second moments of `dft_stats.counts`, by one sort.

An event has a key, 64 bits of which the upper ones are as good as random (`hashing.mix`), and a place: its small window and the unit at
which it happens. Events are put into parts by the upper bits of their keys, each part small enough for the cache is sorted there, and runs
of equal keys are added up. Sorting is stable, so that a run is in the order of the text.
"""

from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, mix
from dft_stats.build.radix import Ints, Pairs, part_bits, sort_parts
from dft_stats.build.threads import ALONE, Threads
from dft_stats.build.windows import DOCUMENT, IN_LARGE, LARGE_WORDS, WORDS, Windows
from dft_stats.counts import COUNTS, WINDOWS

Units32 = NDArray[np.uint32]
Units = Units32 | NDArray[np.uint64]  # of a part; of several, part << 32 | unit
Flags = NDArray[np.bool_]

_AT_ONCE = 1 << 24  # events that are sorted at once, about
_FEW = 1 << 10  # counts below are many, and counted without sorting
_32 = np.uint64(32)
_LOW = np.uint64((1 << 32) - 1)
_MOST = 1 << 32


@dataclass(frozen=True, slots=True)
class Rows:
    """What was counted, by key. Most n-grams occur once: of these the key, the place and the words of its two windows say all."""

    key: Hashes  # (rows,), rising
    unit: Units  # (rows,): first unit at which it happens
    counts: NDArray[np.int64] | NDArray[np.uint32]  # (rows, 6): `COUNTS`
    single_key: Hashes  # (singles,), rising, of what occurs once
    single_unit: Units  # (singles,)
    single_words: NDArray[np.uint16]  # (singles, 2): words of its small and of its large window
    left_out: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (counts, 2): count, and how many more rows have it

    @property
    def size(self) -> int:
        """How many rows there are, and singles."""
        return len(self.key) + len(self.single_key)

    @property
    def most(self) -> int:
        """No count is more."""
        return max(int(self.counts.max(initial=0)), max(WINDOWS))

    def between(self, first: np.uint64, last: np.uint64) -> "Rows":
        """Rows of these keys and of those between them."""
        own, once = within(self.key, first, last), within(self.single_key, first, last)
        return Rows(self.key[own], self.unit[own], self.counts[own], self.single_key[once], self.single_unit[once], self.single_words[once])

    @property
    def all_counts(self) -> Ints:
        """(rows + singles, 6)."""
        rows = len(self.key)
        found = np.ones((rows + len(self.single_key), len(COUNTS)), np.int64)
        found[:rows] = self.counts
        found[rows:, 3], found[rows:, 5] = self.single_words[:, 0], self.single_words[:, 1]
        return found


def within(keys: Hashes, first: np.uint64, last: np.uint64) -> slice:
    """Where keys, rising, from `first` to `last` lie."""
    return slice(int(np.searchsorted(keys, first)), int(np.searchsorted(keys, last, side="right")))


class Buffers:
    """Memory that batches of a process share, one after the other: fresh pages cost as much as what is done in them.

    What `take` gave is overwritten behind the next `reset`.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self.release()

    def release(self) -> None:
        """Give the memory back."""
        self._room, self._taken, self._pairs = np.empty(0, np.uint8), 0, np.empty((0, 2), np.uint64)

    def reset(self, size: int) -> None:
        """Begin a batch, with room for so many bytes of rows. Pages that are never touched cost nothing."""
        if len(self._room) < size:
            self._room = np.empty(size + size // 4, np.uint8)
        self._taken = 0

    def pairs(self, number: int) -> Pairs:
        """Pairs for so many events, until the next call."""
        if len(self._pairs) < number:
            self._pairs = np.empty((number + number // 8, 2), np.uint64)
        return self._pairs[:number]

    def take(self, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """An array, from the shared room as long as there is some."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with self._lock:
            begin = -(-self._taken // 64) * 64
            if begin + size > len(self._room):
                return np.empty(shape, dtype)
            self._taken = begin + size
        return self._room[begin : begin + size].view(dtype).reshape(shape)


def tally(
    hashes: Hashes,
    counted: Flags,
    windows: Windows,
    buffers: Buffers,
    *,
    at: NDArray[np.int32] | None = None,
    single: Flags | None = None,
    least: tuple[int, int] = (1, 1),
    dtype: type[np.generic] = np.uint32,
    threads: Threads = ALONE,
) -> Rows:
    """Add up events by key.

    Args:
        hashes: (events,), in the order of the text; `mix` of them becomes the key.
        counted: (events,): which of them are events.
        windows: of the units.
        buffers: to work in, and for the rows.
        at: (events,): unit at which each happens, rising; None: event i happens at unit i.
        single: (units,), set where the key of the event occurs once; None if of no interest.
        least: (documents, count) of a row that is returned; of the others only it is counted how many there are.
        dtype: of the counts; where they do not fit, they are int64.
        threads: each puts a stretch of the events into parts, and then adds up a stretch of the parts.
    """
    cuts = threads.cuts(len(hashes))
    bits = part_bits(int(np.count_nonzero(counted)))
    digit = np.uint64(min(64 - bits, 63)), np.uint64((1 << bits) - 1)
    sizes = np.zeros((len(cuts), 1 << bits), np.int64)
    threads.each(lambda i: _measure(hashes, counted, *cuts[i], *digit, sizes[i]), range(len(cuts)))
    begins = np.concatenate([[0], np.cumsum(sizes.sum(0))])
    following = begins[:-1] + np.cumsum(sizes, 0) - sizes  # (cuts, parts): in each part what is of a cut stands behind that of those before
    stretches = _stretches_of_parts(begins, _AT_ONCE)
    pairs = buffers.pairs(int(max(begins[behind] - begins[first] for first, behind in stretches)))
    pieces = list[_Piece]()
    for first, behind in stretches:
        own, to = begins[first : behind + 1] - begins[first], following[:, first:behind] - begins[first]

        def put(i: int, to: Ints = to, first: int = first) -> None:
            _scatter(hashes, counted, *cuts[i], _EACH if at is None else at, windows.of_unit, *digit, first, pairs, to[i])

        def add_up(parts: tuple[int, int], own: Ints = own) -> _Piece | None:
            bounds = own[parts[0] : parts[1] + 1]
            found = pairs[bounds[0] : bounds[-1]]
            sort_parts(found, bounds - bounds[0], bits)
            return _piece(found, windows, buffers, single, least, dtype)

        threads.each(put, range(len(cuts)))
        for piece in threads.each(add_up, _stretches_of_parts(own, int(own[-1]) // threads.number + 1)):
            if piece is None:
                return tally(hashes, counted, windows, buffers, at=at, single=single, least=least, dtype=np.int64, threads=threads)
            pieces.append(piece)
    spectrum = _spectrum(np.sum([piece.few for piece in pieces], 0), np.concatenate([piece.many for piece in pieces]))
    if len(pieces) == 1:
        return Rows(*pieces[0][:6], spectrum)
    key, unit, counts, single_key, single_unit, words = (np.concatenate(arrays) for arrays in zip(*(p[:6] for p in pieces), strict=True))
    return Rows(key, unit, counts, single_key, single_unit, words, spectrum)


class _Piece(NamedTuple):
    """Rows of some parts: the first six arrays are those of `Rows`."""

    key: Hashes
    unit: Units32
    counts: NDArray[Any]
    single_key: Hashes
    single_unit: Units32
    single_words: NDArray[np.uint16]
    few: Ints  # of what is left out: how many rows by count
    many: Ints  # and the counts that are too large for that


def _piece(
    found: Pairs, windows: Windows, buffers: Buffers, single: Flags | None, least: tuple[int, int], dtype: type[np.generic]
) -> _Piece | None:
    """Rows of sorted pairs; None if they do not fit into `dtype`."""
    most = _repeated(found) if max(least) == 1 else len(found) // max(least)  # rows; what is not needed is never touched
    key, unit = buffers.take((most,), np.uint64), buffers.take((most,), np.uint32)
    counts, many = buffers.take((most, len(COUNTS)), dtype), np.empty(len(found) // _FEW, np.int64)
    few = np.zeros(_FEW, np.int64)
    rows, singles, left_out, fits = _add_up(found, windows.facts, *least, key, unit, counts, few, many)
    if not fits:
        return None
    if single is not None:
        _mark(found[:singles], single)
    if max(least) > 1:
        few[1] += singles
        singles = 0
    single_key, single_unit = buffers.take((singles,), np.uint64), buffers.take((singles,), np.uint32)
    words = buffers.take((singles, 2), np.uint16)
    _split(found[:singles], windows.facts, single_key, single_unit, words)
    return _Piece(key[:rows], unit[:rows], counts[:rows], single_key, single_unit, words, few, many[:left_out])


def _spectrum(few: Ints, many: Ints) -> Ints:
    """(counts, 2): count, and how many rows have it."""
    high, number = np.unique(many, return_counts=True)
    low = np.flatnonzero(few)
    return np.concatenate([np.column_stack([low, few[low]]), np.column_stack([high, number])])


def tally_types(types: NDArray[np.int32], at: NDArray[np.int32] | None, number: int, windows: Windows) -> tuple[Ints, Ints, Ints]:
    """Add up events that are of few types: (type, first unit, counts (rows, 6)) of those that occur, by type.

    Args:
        types: (events,), below `number`.
        at: (events,): unit at which each happens, rising; None: event i happens at unit i.
        number: of types.
        windows: of the units.
    """
    state = np.zeros((number, _STATE), np.int64)
    _add_up_types(types, _EACH if at is None else at, windows.of_unit, windows.facts, state)
    found = np.flatnonzero(state[:, 0])
    return found, state[found, len(COUNTS)], state[found, : len(COUNTS)]


_EACH = np.empty(0, np.int32)


def _stretches_of_parts(begins: Ints, most: int) -> list[tuple[int, int]]:
    """(first, behind) of stretches of parts, of `most` events or of one part each."""
    stretches, first, parts = [], 0, len(begins) - 1
    while first < parts:
        behind = max(first + 1, int(np.searchsorted(begins, begins[first] + most, side="right")) - 1)
        stretches.append((first, min(behind, parts)))
        first = behind
    return stretches


@njit(cache=True, nogil=True)
def _measure(hashes: Hashes, counted: Flags, begin: int, end: int, shift: np.uint64, last: np.uint64, sizes: Ints) -> None:
    """How many events from `begin` to `end` each part has. `shift`, `last`: bits of the key that say the part."""
    for i in range(begin, end):
        sizes[np.int64((mix(hashes[i]) >> shift) & last)] += counted[i]


@njit(cache=True, nogil=True)
def _scatter(
    hashes: Hashes,
    counted: Flags,
    begin: int,
    end: int,
    at: NDArray[np.int32],
    window: NDArray[np.int32],
    shift: np.uint64,
    last: np.uint64,
    first: int,
    pairs: Pairs,
    following: Ints,
) -> None:
    """Keys and places of events of the parts from `first` on, each to where `following` says of its part. Others: see `_measure`."""
    for i in range(begin, end):
        if counted[i]:
            key = mix(hashes[i])
            part = np.int64((key >> shift) & last) - first
            if 0 <= part < following.size:
                to = following[part]
                unit = np.int64(at[i]) if at.size else i
                pairs[to, 0] = key
                pairs[to, 1] = (np.uint64(window[unit]) << _32) | np.uint64(unit)
                following[part] = to + 1


_STATE = 10  # COUNTS; first unit; last window; events in it, and in the large one that it belongs to


@njit(cache=True, nogil=True)
def _add_up_types(
    types: NDArray[np.int32],
    at: NDArray[np.int32],
    of_unit: NDArray[np.int32],
    facts: NDArray[np.int32],
    state: Ints,
) -> None:
    for i in range(types.size):
        unit = np.int64(at[i]) if at.size else i
        own, window = state[types[i]], np.int64(of_unit[unit])
        if own[0] == 0:
            own[6], own[7], own[1] = unit, window, 1
        elif own[7] != window:
            before = own[7]
            own[2] += own[8] * own[8]
            own[3] += own[8] * facts[before, WORDS]
            if facts[before, IN_LARGE] != facts[window, IN_LARGE]:
                own[4] += own[9] * own[9]
                own[5] += own[9] * facts[before, LARGE_WORDS]
                own[1] += facts[before, DOCUMENT] != facts[window, DOCUMENT]
                own[9] = 0
            own[7], own[8] = window, 0
        own[0] += 1
        own[8] += 1
        own[9] += 1
    for type_ in range(state.shape[0]):
        own = state[type_]
        if own[0]:
            own[2] += own[8] * own[8]
            own[3] += own[8] * facts[own[7], WORDS]
            own[4] += own[9] * own[9]
            own[5] += own[9] * facts[own[7], LARGE_WORDS]


@njit(cache=True, nogil=True)
def _repeated(pairs: Pairs) -> int:
    """How many keys occur more than once."""
    found = 0
    for i in range(1, len(pairs)):
        found += pairs[i, 0] == pairs[i - 1, 0] and (i == 1 or pairs[i - 2, 0] != pairs[i, 0])
    return found


@njit(cache=True, nogil=True)
def _add_up(
    pairs: Pairs,
    facts: NDArray[np.int32],
    least_documents: int,
    least_count: int,
    out_key: Hashes,
    out_unit: Units32,
    out: Ints,
    few: Ints,
    many: Ints,
) -> tuple[int, int, int, bool]:
    """Rows of keys that occur more than once go to `out_*`; the others move to the front of `pairs`.

    A row of less than the least is counted in `few` by its count, or its count is written to `many`. Returns the numbers of rows, of keys
    that occur once, and of counts in `many`, and whether all moments fit into `out`.
    """
    events, fits = len(pairs), True
    least = max(least_documents, least_count)
    i = rows = singles = left_out = 0
    while i < events:
        own, behind = pairs[i, 0], i + 1
        while behind < events and pairs[behind, 0] == own:
            behind += 1
        if behind == i + 1:
            pairs[singles, 0], pairs[singles, 1] = own, pairs[i, 1]
            singles += 1
            i = behind
            continue
        if behind - i < least:  # no look at its places
            if behind - i < few.size:
                few[behind - i] += 1
            else:
                many[left_out] = behind - i
                left_out += 1
            i = behind
            continue
        window = np.int64(pairs[i, 1] >> _32)
        wide, text, small_words, large_words = (
            facts[window, IN_LARGE],
            facts[window, DOCUMENT],
            facts[window, WORDS],
            facts[window, LARGE_WORDS],
        )
        count, documents, in_window, in_wide = behind - i, 1, 0, 0
        square = cross = wide_square = wide_cross = 0
        out_key[rows], out_unit[rows] = own, np.uint32(pairs[i, 1] & _LOW)
        for event in range(i, behind):
            here = np.int64(pairs[event, 1] >> _32)
            if here != window:
                square += in_window * in_window
                cross += in_window * small_words
                if facts[here, IN_LARGE] != wide:
                    wide_square += in_wide * in_wide
                    wide_cross += in_wide * large_words
                    documents += facts[here, DOCUMENT] != text
                    wide, text, large_words, in_wide = facts[here, IN_LARGE], facts[here, DOCUMENT], facts[here, LARGE_WORDS], 0
                window, small_words, in_window = here, facts[here, WORDS], 0
            in_window += 1
            in_wide += 1
        i = behind
        if documents < least_documents:
            if count < few.size:
                few[count] += 1
            else:
                many[left_out] = count
                left_out += 1
            continue
        out[rows, 0], out[rows, 1] = count, documents
        out[rows, 2], out[rows, 3] = square + in_window * in_window, cross + in_window * small_words
        wide_square, wide_cross = wide_square + in_wide * in_wide, wide_cross + in_wide * large_words
        out[rows, 4], out[rows, 5] = wide_square, wide_cross
        fits &= max(wide_square, wide_cross) < _MOST or out.itemsize == 8
        rows += 1
    return rows, singles, left_out, fits


@njit(cache=True, nogil=True)
def _mark(pairs: Pairs, single: Flags) -> None:
    for i in range(len(pairs)):
        single[np.int64(pairs[i, 1] & _LOW)] = True


@njit(cache=True, nogil=True)
def _split(
    pairs: Pairs,
    facts: NDArray[np.int32],
    key: Hashes,
    unit: Units32,
    words: NDArray[np.uint16],
) -> None:
    for i in range(len(pairs)):
        window = np.int64(pairs[i, 1] >> _32)
        key[i], unit[i] = pairs[i, 0], np.uint32(pairs[i, 1] & _LOW)
        words[i, 0], words[i, 1] = facts[window, WORDS], facts[window, LARGE_WORDS]
