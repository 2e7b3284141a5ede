"""The definitions in `dft_stats.statistics` as events for `tally`: from the units of a batch to its part of a profile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, feed_byte, hash_texts, unmix
from dft_stats.build.scan import BROKEN, ENDS, OPENS, SPACED
from dft_stats.build.tally import Buffers, Rows, tally
from dft_stats.build.units import Units
from dft_stats.build.windows import Windows, exposure, read_windows
from dft_stats.counts import COUNTS, Exposure, schema
from dft_stats.statistics import NGRAM_FREQUENCY, SURFACE, TOKEN_FREQUENCY, Statistic
from dft_stats.statistics.entropy import BITS, ENTROPY, WINDOW_WORDS, scaled_c_log_c
from dft_stats.statistics.punctuation_rhythm import NO_GAP, OPENING, PUNCTUATION_RHYTHM
from dft_stats.statistics.sentence_length import NO_NEXT, SENTENCE_LENGTH
from dft_stats.text import MARK_CLASSES, WORD

Integers = NDArray[np.int64]
Columns = list[Integers]


@dataclass(frozen=True, slots=True)
class Part:
    """The counts of a batch. Texts are places in the stream of its units until they are needed (`spelling`)."""

    exposure: Exposure
    vocabulary: pa.LargeStringArray  # (types,)
    stream: NDArray[np.uint32]  # (units,): type, and below it the flags SPACED, BROKEN, OPENS
    texts: Mapping[str, Rows]  # "token_frequency", "ngram_frequency/N", "surface"
    numbers: Mapping[str, pa.Table]  # the other statistics: rows as the profile has them


STREAM_FLAGS = 3  # bits of the stream below the type


def count_units(units: Units, *, max_order: int = 5) -> Part:
    """Count everything in a batch, n-grams up to `max_order` units."""
    windows, buffers = read_windows(units), Buffers(len(units.id))
    numbers = {
        SENTENCE_LENGTH.name: _sentence_length(units, windows),
        PUNCTUATION_RHYTHM.name: _punctuation_rhythm(units, windows),
        ENTROPY.name: _entropy(units, windows),
    }
    return Part(
        exposure(units, windows),
        units.vocabulary,
        (units.id.astype(np.uint32) << np.uint32(STREAM_FLAGS)) | (units.flags & np.uint8(SPACED | BROKEN | OPENS)).astype(np.uint32),
        _texts(units, windows, buffers, max_order),
        numbers,
    )


# --- texts ------------------------------------------------------------------------------------------------------------------------


def _texts(units: Units, windows: Windows, buffers: Buffers, max_order: int) -> dict[str, Rows]:
    found = {}
    for n, hashes, counted in ngrams(units, max_order):
        name = TOKEN_FREQUENCY.name if n == 1 else f"{NGRAM_FREQUENCY.name}/{n}"
        found[name] = tally(hashes, counted, None, windows, buffers)
    hashes, counted = np.empty(len(units.id), np.uint64), np.empty(len(units.id), np.bool_)
    _stretches(units.id, units.flags, units.numbers, units.factors, _spaced(units)[0], hashes, counted)
    found[SURFACE.name] = tally(hashes, counted, None, windows, buffers)
    return found


def ngrams(units: Units, max_order: int) -> Iterator[tuple[int, Hashes, NDArray[np.bool_]]]:
    """(n, number of the n-gram that begins with each unit, whether there is one), for n = 1 and up. The arrays are used again."""
    hashes, counted = units.numbers[units.id], np.ones(len(units.id), np.bool_)
    yield 1, hashes, counted
    spaced, spaced_factors = _spaced(units)
    for n in range(2, max_order + 1):
        _lengthen(n, units.id, units.flags, units.numbers, units.factors, spaced, spaced_factors, hashes, counted)
        yield n, hashes, counted


def _spaced(units: Units) -> tuple[Hashes, Hashes]:
    """(number, factor) of each type with a space before it."""
    (space,), (factor,) = hash_texts(np.frombuffer(b" ", np.uint8), np.array([0, 1]))
    return units.factors * space + units.numbers, units.factors * factor


@njit(cache=True)
def _lengthen(
    n: int,
    ids: NDArray[np.int32],
    flags: NDArray[np.uint8],
    numbers: Hashes,
    factors: Hashes,
    spaced: Hashes,
    spaced_factors: Hashes,
    hashes: Hashes,
    counted: NDArray[np.bool_],
) -> None:
    """Numbers of the n-grams that begin with each unit, from those of the (n - 1)-grams; not counted where a sentence ends before n."""
    for i in range(ids.size):
        if counted[i]:
            last = i + n - 1
            if last >= ids.size or flags[last - 1] & ENDS:
                counted[i] = False
            elif flags[last] & SPACED:
                hashes[i] = hashes[i] * spaced_factors[ids[last]] + spaced[ids[last]]
            else:
                hashes[i] = hashes[i] * factors[ids[last]] + numbers[ids[last]]


@njit(cache=True)
def _stretches(
    ids: NDArray[np.int32],
    flags: NDArray[np.uint8],
    numbers: Hashes,
    factors: Hashes,
    spaced: Hashes,
    hashes: Hashes,
    counted: NDArray[np.bool_],
) -> None:
    """Numbers of the stretches without white space, at their first units: see `dft_stats.statistics.surface`."""
    i = 0
    while i < ids.size:
        first = i
        hashes[first] = spaced[ids[i]] if flags[i] & SPACED else numbers[ids[i]]
        counted[first] = True
        i += 1
        while i < ids.size and not flags[i] & (SPACED | BROKEN | OPENS):
            hashes[first] = hashes[first] * factors[ids[i]] + numbers[ids[i]]
            counted[i] = False
            i += 1
        if i < ids.size and flags[i] & BROKEN and not flags[i] & OPENS:
            hashes[first] = feed_byte(feed_byte(hashes[first], 10), 10)


# --- numbers ----------------------------------------------------------------------------------------------------------------------


def _rows(statistic: Statistic, keys: Columns, at: NDArray[np.int32], windows: Windows, names: Mapping[str, pa.Array]) -> pa.Table:
    """Rows of events that are given column by column, each value -1 or more; `names` spells columns of numbers."""
    sizes = [int(column.max(initial=0)) + 2 for column in keys]
    packed = np.zeros(len(at), np.uint64)
    for column, size in zip(keys, sizes, strict=True):
        packed = packed * np.uint64(size) + (column + 1).astype(np.uint64)
    order = np.argsort(at, kind="stable")  # places of a key have to be in the order of the text
    rows = tally(packed[order], np.ones(len(at), np.bool_), at[order], windows, Buffers(len(at)))
    found = unmix(np.concatenate([rows.key, rows.single_key]))
    columns = []
    for size in reversed(sizes):
        columns.append((found % np.uint64(size)).astype(np.int64) - 1)
        found //= np.uint64(size)
    spelt = [names[name].take(pa.array(c)) if name in names else c for name, c in zip(statistic.keys, reversed(columns), strict=True)]
    table = pa.table(dict(zip(statistic.keys, spelt, strict=True)) | dict(zip(COUNTS, rows.all_counts.T, strict=True)))
    return table.cast(schema(statistic))


def sentence_lengths(units: Units) -> tuple[Integers, Integers, Integers]:
    """(first unit, words, units) of each sentence that has a word."""
    ends = np.flatnonzero(units.flags & ENDS)
    first = np.concatenate([[0], ends + 1])[: len(ends)]
    words_before = np.concatenate([[0], np.cumsum(units.kind == WORD, dtype=np.int32)]).astype(np.int64)
    words, size = words_before[ends + 1] - words_before[first], ends + 1 - first
    chosen = words > 0
    return first[chosen], words[chosen], size[chosen]


def _sentence_length(units: Units, windows: Windows) -> pa.Table:
    first, words, size = sentence_lengths(units)
    document = windows.document[windows.of_unit[first]]
    pair = np.flatnonzero(document[1:] == document[:-1])
    none = np.full(len(first), NO_NEXT)
    keys = [
        np.repeat(np.arange(3), [len(pair), len(first), len(first)]),
        np.concatenate([words[pair], size, words]),
        np.concatenate([words[pair + 1], none, none]),
    ]
    at = np.concatenate([first[pair], first, first]).astype(np.int32)
    return _rows(SENTENCE_LENGTH, keys, at, windows, {"series": pa.array(["pairs", "units", "words"])})


def marks(units: Units, windows: Windows) -> tuple[Integers, Integers, Integers, Integers]:
    """(unit, class of the mark before, words since, class) of each mark; `len(MARK_CLASSES)` is the opening of a document."""
    at = np.flatnonzero(units.kind >= 0)
    mark, document = units.kind[at].astype(np.int64), windows.document[windows.of_unit[at]]
    words_before = np.concatenate([[0], np.cumsum(units.kind == WORD, dtype=np.int32)]).astype(np.int64)
    opens = np.flatnonzero(units.flags & OPENS)
    previous, gap = np.full(len(at), len(MARK_CLASSES)), words_before[at] - words_before[opens][document]
    follows = np.flatnonzero(document[1:] == document[:-1]) + 1
    previous[follows], gap[follows] = mark[follows - 1], words_before[at[follows]] - words_before[at[follows - 1]]
    return at, previous, gap, mark


def _punctuation_rhythm(units: Units, windows: Windows) -> pa.Table:
    at, previous, gap, mark = marks(units, windows)
    keys = [
        np.repeat([0, 1], len(at)),
        np.concatenate([previous, np.full(len(at), len(MARK_CLASSES) + 1)]),
        np.concatenate([gap, np.full(len(at), NO_GAP)]),
        np.concatenate([mark, mark]),
    ]
    spelt = pa.array([*MARK_CLASSES, OPENING, ""])
    names = {"series": pa.array(["gaps", "marks"]), "previous": spelt, "mark": spelt}
    return _rows(PUNCTUATION_RHYTHM, keys, np.concatenate([at, at]).astype(np.int32), windows, names)


def entropies(units: Units, windows: Windows) -> dict[int, tuple[Integers, Integers, Integers]]:
    """By words of a window: (first unit, types, entropy in centibits) of each full window."""
    at = np.flatnonzero(units.kind == WORD)
    lowered = pa.array([text.lower() for text in units.vocabulary.to_pylist()], pa.large_string()).dictionary_encode()
    kinds = lowered.indices.to_numpy(zero_copy_only=False).astype(np.int32)[units.id[at]]
    document = windows.document[windows.of_unit[at]]
    begins = np.concatenate([[0], np.flatnonzero(document[1:] != document[:-1]) + 1, [len(at)]])
    found = {}
    for window in WINDOW_WORDS:
        c_log_c = np.array([0, *map(scaled_c_log_c, range(1, window + 1))], np.int64)
        first, types, surplus = _surplus(kinds, begins, window, c_log_c, np.zeros(len(lowered.dictionary), np.int32))
        found[window] = at[first], types, 100 * (scaled_c_log_c(window) - surplus) // (window * BITS)
    return found


def _entropy(units: Units, windows: Windows) -> pa.Table:
    found = entropies(units, windows)
    keys = [
        np.repeat(list(found), [len(first) for first, *_ in found.values()]),
        np.concatenate([types for _, types, _ in found.values()]),
        np.concatenate([centibits for *_, centibits in found.values()]),
    ]
    at = np.concatenate([first for first, *_ in found.values()]).astype(np.int32)
    return _rows(ENTROPY, keys, at, windows, {})


@njit(cache=True)
def _surplus(
    kinds: NDArray[np.int32], begins: NDArray[np.int64], window: int, c_log_c: NDArray[np.int64], number: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of each full window inside a document: its first word, its number of types, and the sum of c log c. `number`: zeros by kind."""
    most = kinds.size // window
    first, types, surplus = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    found = 0
    for document in range(begins.size - 1):
        for begin in range(begins[document], begins[document + 1] - window + 1, window):
            for i in range(begin, begin + window):
                number[kinds[i]] += 1
            different = total = 0
            for i in range(begin, begin + window):
                count = number[kinds[i]]
                if count:
                    different += 1
                    total += c_log_c[count]
                    number[kinds[i]] = 0
            first[found], types[found], surplus[found] = begin, different, total
            found += 1
    return first[:found], types[:found], surplus[:found]
