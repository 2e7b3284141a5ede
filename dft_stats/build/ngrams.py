"""The numbers of n-grams and of stretches, from those of their units: see `hashing`."""

from collections.abc import Iterator, Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, feed_byte, hash_texts
from dft_stats.build.scan import BROKEN, ENDS, OPENS, SPACED
from dft_stats.build.threads import ALONE, Threads
from dft_stats.build.units import Units


def ngrams(
    units: Units, max_order: int, single: NDArray[np.bool_] | None = None, threads: Threads = ALONE
) -> Iterator[tuple[int, Hashes, NDArray[np.bool_], int]]:
    """(n, number of the n-gram that begins with each unit, whether there is one that may occur twice, how many cannot), for n = 1 and up.

    Args:
        units: of a batch.
        max_order: the last n.
        single: (units,), set where the n-gram of the n before is known to occur once; if None, all may occur twice. Of longer n-grams it
            then says what follows from shorter ones.
        threads: each takes a stretch of the units.

    The arrays are used again.
    """
    hashes, counted = units.numbers[units.id], np.ones(len(units.id), np.bool_)
    yield 1, hashes, counted, 0
    repeats = counted if single is None else np.empty_like(counted)
    is_single, numbers, cuts = np.empty(0, np.bool_) if single is None else single, _spaced(units), threads.cuts(len(units.id))
    for n in range(2, max_order + 1):
        edges = [single is not None and end < len(single) and bool(single[end]) for _, end in cuts]  # before another thread changes it

        def lengthen(i: int, n: int = n, edges: Sequence[bool] = edges) -> int:
            once: int = _lengthen(n, *cuts[i], edges[i], units.id, units.flags, numbers, hashes, counted, is_single, repeats)
            return once

        yield n, hashes, repeats, sum(threads.each(lengthen, range(len(cuts))))


def stretches(units: Units, hashes: Hashes | None = None, counted: NDArray[np.bool_] | None = None) -> tuple[Hashes, NDArray[np.bool_]]:
    """(number of the stretch that begins with each unit, whether one does), in arrays that are given or in new ones."""
    hashes = np.empty(len(units.id), np.uint64) if hashes is None else hashes
    counted = np.empty(len(units.id), np.bool_) if counted is None else counted
    _stretches(units.id, units.flags, _spaced(units), hashes, counted)
    return hashes, counted


def _spaced(units: Units) -> Hashes:
    """(types, 2, 2): number and factor of each type, as it is and with a space before it; they are looked up together."""
    (space,), (factor,) = hash_texts(np.frombuffer(b" ", np.uint8), np.array([0, 1]))
    found = np.empty((len(units.numbers), 2, 2), np.uint64)
    found[:, 0, 0], found[:, 0, 1] = units.numbers, units.factors
    found[:, 1, 0], found[:, 1, 1] = units.factors * space + units.numbers, units.factors * factor
    return found


@njit(cache=True, nogil=True)
def _lengthen(
    n: int,
    begin: int,
    end: int,
    edge: bool,
    ids: NDArray[np.int32],
    flags: NDArray[np.uint8],
    numbers: Hashes,
    hashes: Hashes,
    counted: NDArray[np.bool_],
    single: NDArray[np.bool_],
    repeats: NDArray[np.bool_],
) -> int:
    """Numbers of the n-grams that begin with units `begin` to `end`, from those of the (n - 1)-grams; none where a sentence ends before n.

    `edge`: whether the (n - 1)-gram that begins behind them is known to occur once. If `single` has a size, `repeats` is set where an
    n-gram may occur twice, and their numbers alone are written. Returns how many cannot.
    """
    once = 0
    for i in range(begin, end):
        last = i + n - 1
        if counted[i] and (last >= ids.size or flags[last - 1] & ENDS):
            counted[i] = False
        is_asked = counted[i]
        if single.size:
            if is_asked and (single[i] or (edge if i + 1 == end else single[i + 1])):
                single[i], is_asked = True, False
                once += 1
            repeats[i] = is_asked
        if is_asked:
            own = numbers[ids[last], flags[last] & SPACED]
            hashes[i] = hashes[i] * own[1] + own[0]
    return once


@njit(cache=True, nogil=True)
def _stretches(ids: NDArray[np.int32], flags: NDArray[np.uint8], numbers: Hashes, hashes: Hashes, counted: NDArray[np.bool_]) -> None:
    """Numbers of the stretches without white space, at their first units: see `dft_stats.statistics.surface`."""
    first, number = 0, np.uint64(0)
    for i in range(ids.size):
        if i == 0 or flags[i] & (SPACED | BROKEN | OPENS):
            if i:
                hashes[first] = feed_byte(feed_byte(number, 10), 10) if flags[i] & BROKEN and not flags[i] & OPENS else number
            first, number, counted[i] = i, numbers[ids[i], flags[i] & SPACED, 0], True
        else:
            own = numbers[ids[i], 0]
            number, counted[i] = number * own[1] + own[0], False
    if ids.size:
        hashes[first] = number
