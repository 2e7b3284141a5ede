"""Events added up by key, compiled: count, documents and the second moments of `dft_stats.counts`, by one sort.

An event has a key, 64 bits of which the upper ones are as good as random (`hashing.mix`), and a place: its small window and the unit at
which it happens. Events are put into parts by the upper bits of their keys, each part small enough for the cache is sorted there, and runs
of equal keys are added up. Sorting is stable, so that a run is in the order of the text.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, mix
from dft_stats.build.windows import Windows
from dft_stats.counts import COUNTS

Ints = NDArray[np.int64]
Units32 = NDArray[np.uint32]
Flags = NDArray[np.bool_]
Pairs = NDArray[np.uint64]  # (events, 2): key, and small window << 32 | unit

_PART = 1 << 13  # events in a part, about
_DIGIT = 11  # bits by which a part is sorted at a time
_32 = np.uint64(32)
_64 = np.uint64(64)
_LOW = np.uint64((1 << 32) - 1)
_DIGITS = np.uint64((1 << _DIGIT) - 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """What was counted, by key. Most n-grams occur once: of these the key, the place and the words of its two windows say all."""

    key: Hashes  # (rows,), rising
    unit: Units32  # (rows,): first unit at which it happens
    counts: Ints  # (rows, 6): `COUNTS`
    single_key: Hashes  # (singles,), rising, of what occurs once
    single_unit: Units32  # (singles,)
    single_words: NDArray[np.uint16]  # (singles, 2): words of its small and of its large window
    left_out: int = 0  # how many more occur once

    @property
    def all_counts(self) -> Ints:
        """(rows + singles, 6)."""
        rows = len(self.key)
        found = np.ones((rows + len(self.single_key), len(COUNTS)), np.int64)
        found[:rows] = self.counts
        found[rows:, 3], found[rows:, 5] = self.single_words[:, 0], self.single_words[:, 1]
        return found


class Buffers:
    """Memory that tallies of one batch share: fresh pages cost more than what is done in them."""

    def __init__(self, events: int) -> None:
        self.pairs = np.empty((events, 2), np.uint64)


def tally(
    hashes: Hashes,
    counted: Flags | None,
    at: NDArray[np.int32] | None,
    windows: Windows,
    buffers: Buffers,
    *,
    single: Flags | None = None,
    keep_singles: bool = True,
) -> Rows:
    """Add up events by key.

    Args:
        hashes: (events,), in the order of the text; `mix` of them becomes the key.
        counted: (events,): which of them are events; all if None.
        at: (events,): unit at which each happens, rising; None: event i happens at unit i.
        windows: of the units.
        buffers: for as many events at least.
        single: (units,), set where the key of the event occurs once; None if of no interest.
        keep_singles: False: of keys that occur once only their number is returned.
    """
    chosen, places = _ALL if counted is None else counted, _EACH if at is None else at
    events = len(hashes) if counted is None else int(np.count_nonzero(counted))
    bits = _bits(events)
    begins = np.zeros((1 << bits) + 1, np.int64)
    pairs = buffers.pairs[:events]
    _scatter(hashes, chosen, places, windows.of_unit, bits, pairs, begins)
    repeated = sort_parts(pairs, begins, bits)
    key, unit, counts = np.empty(repeated, np.uint64), np.empty(repeated, np.uint32), np.empty((repeated, len(COUNTS)), np.int64)
    tables = windows.large, windows.document, windows.small_words, windows.large_words
    singles = _add_up(pairs, *tables, key, unit, counts)
    if single is not None:
        _mark(pairs[:singles], single)
    kept = singles if keep_singles else 0
    single_key, single_unit, words = np.empty(kept, np.uint64), np.empty(kept, np.uint32), np.empty((kept, 2), np.uint16)
    _split(pairs[:kept], *tables, single_key, single_unit, words)
    return Rows(key, unit, counts, single_key, single_unit, words, singles - kept)


_ALL, _EACH = np.empty(0, np.bool_), np.empty(0, np.int32)


def _bits(events: int) -> int:
    """Number of upper bits of the key by which events are put into parts."""
    return int(np.clip(np.ceil(np.log2(max(events, 1) / _PART)), 0, 12))


def sorted_keys(keys: Hashes) -> Pairs:
    """Keys in order, each with where it stood."""
    low, high = (int(keys.min()), int(keys.max())) if len(keys) else (0, 0)
    shared = 64 - (low ^ high).bit_length()
    bits = min(_bits(len(keys)), 64 - shared)
    begins, pairs = np.zeros((1 << bits) + 1, np.int64), np.empty((len(keys), 2), np.uint64)
    _scatter_keys(keys, shared, bits, pairs, begins)
    sort_parts(pairs, begins, shared + bits)
    return pairs


@njit(cache=True)
def _scatter_keys(keys: Hashes, shared: int, bits: int, pairs: Pairs, begins: Ints) -> None:
    shift, mask = np.uint64(64 - shared - bits), np.uint64((1 << bits) - 1)
    for i in range(keys.size):
        begins[(np.int64((keys[i] >> shift) & mask) if bits else 0) + 1] += 1
    for part in range(begins.size - 1):
        begins[part + 1] += begins[part]
    following = begins.copy()
    for i in range(keys.size):
        part = np.int64((keys[i] >> shift) & mask) if bits else 0
        to = following[part]
        pairs[to, 0], pairs[to, 1] = keys[i], np.uint64(i)
        following[part] = to + 1


def sort_parts(pairs: Pairs, begins: Ints, bits: int) -> int:
    """Sort each part by key, stably, in place; return how many keys occur more than once.

    Args:
        pairs: (events, 2), part after part.
        begins: (parts + 1,).
        bits: upper bits that all keys of a part share.
    """
    spare = max(int(np.diff(begins).max(initial=0)), 1)
    return int(_sort(pairs, begins, min(bits, 64 - 2 * _DIGIT), np.empty((spare, 2), np.uint64)))


@njit(cache=True)
def _scatter(
    hashes: Hashes, counted: Flags, at: NDArray[np.int32], window: NDArray[np.int32], bits: int, pairs: Pairs, begins: Ints
) -> None:
    """Keys and places by the upper `bits` bits of the key; `begins` says where each part begins."""
    shift = np.uint64(64 - bits)
    for i in range(hashes.size):
        if not counted.size or counted[i]:
            begins[(np.int64(mix(hashes[i]) >> shift) if bits else 0) + 1] += 1
    for part in range(begins.size - 1):
        begins[part + 1] += begins[part]
    following = begins.copy()
    for i in range(hashes.size):
        if not counted.size or counted[i]:
            mixed = mix(hashes[i])
            part = np.int64(mixed >> shift) if bits else 0
            unit = np.int64(at[i]) if at.size else i
            to = following[part]
            pairs[to, 0] = mixed
            pairs[to, 1] = (np.uint64(window[unit]) << _32) | np.uint64(unit)
            following[part] = to + 1


@njit(cache=True)
def _sort(pairs: Pairs, begins: Ints, bits: int, spare: Pairs) -> int:
    """Sort each part, stably; return how many keys occur more than once.

    Two digits of a radix sort separate nearly all keys, insertion the rest.
    """
    number = np.zeros((1 << _DIGIT) + 1, np.int64)
    high, low = _64 - np.uint64(bits + _DIGIT), _64 - np.uint64(bits + 2 * _DIGIT)
    repeated = 0
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
        for i in range(first + 1, behind):
            repeated += pairs[i, 0] == pairs[i - 1, 0] and (i == first + 1 or pairs[i - 2, 0] != pairs[i, 0])
    return repeated


@njit(cache=True)
def _add_up(
    pairs: Pairs,
    large: NDArray[np.int32],
    document: NDArray[np.int32],
    small_words: NDArray[np.int32],
    large_words: NDArray[np.int32],
    out_key: Hashes,
    out_unit: Units32,
    out: Ints,
) -> int:
    """Rows of keys that occur more than once go to `out_*`; the others move to the front of `pairs`. Returns their number."""
    events = len(pairs)
    i = rows = singles = 0
    while i < events:
        own = pairs[i, 0]
        if i + 1 == events or pairs[i + 1, 0] != own:
            pairs[singles, 0], pairs[singles, 1] = own, pairs[i, 1]
            singles += 1
            i += 1
            continue
        window = np.int64(pairs[i, 1] >> _32)
        wide, text = large[window], document[window]
        count, documents, in_window, in_wide = 0, 1, 0, 0
        square = cross = wide_square = wide_cross = 0
        out_key[rows], out_unit[rows] = own, np.uint32(pairs[i, 1] & _LOW)
        while i < events and pairs[i, 0] == own:
            here = np.int64(pairs[i, 1] >> _32)
            if here != window:
                square += in_window * in_window
                cross += in_window * small_words[window]
                if large[here] != wide:
                    wide_square += in_wide * in_wide
                    wide_cross += in_wide * large_words[wide]
                    documents += document[here] != text
                    wide, text, in_wide = large[here], document[here], 0
                window, in_window = here, 0
            in_window += 1
            in_wide += 1
            count += 1
            i += 1
        out[rows, 0], out[rows, 1] = count, documents
        out[rows, 2], out[rows, 3] = square + in_window * in_window, cross + in_window * small_words[window]
        out[rows, 4], out[rows, 5] = wide_square + in_wide * in_wide, wide_cross + in_wide * large_words[wide]
        rows += 1
    return singles


@njit(cache=True)
def _mark(pairs: Pairs, single: Flags) -> None:
    for i in range(len(pairs)):
        single[np.int64(pairs[i, 1] & _LOW)] = True


@njit(cache=True)
def _split(
    pairs: Pairs,
    large: NDArray[np.int32],
    document: NDArray[np.int32],
    small_words: NDArray[np.int32],
    large_words: NDArray[np.int32],
    key: Hashes,
    unit: Units32,
    words: NDArray[np.uint16],
) -> None:
    for i in range(len(pairs)):
        window = np.int64(pairs[i, 1] >> _32)
        key[i], unit[i] = pairs[i, 0], np.uint32(pairs[i, 1] & _LOW)
        words[i, 0], words[i, 1] = small_words[window], large_words[large[window]]
