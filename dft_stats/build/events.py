"""The definitions in `dft_stats.statistics` as events for `tally`: from the units of a batch to its part of a profile."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import mix, unmix
from dft_stats.build.ngrams import ngrams, stretches
from dft_stats.build.scan import BROKEN, ENDS, OPENS, SPACED
from dft_stats.build.tally import Buffers, Rows, tally, tally_types
from dft_stats.build.threads import ALONE, Threads
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
    """The counts of a batch. Texts are places in the stream of its units until they are needed (`places`)."""

    exposure: Exposure
    vocabulary: pa.LargeStringArray  # (types,)
    stream: NDArray[np.uint32]  # (units,): type, and below it the flags SPACED, BROKEN, OPENS, ENDS
    texts: Mapping[str, Rows]  # "token_frequency", "ngram_frequency/N", "surface"
    numbers: Mapping[str, pa.Table]  # the other statistics: rows as the profile has them; and who has them (`owned`)
    owners: NDArray[np.int64] | None = None  # (documents with a unit,), whose each is; None: of nobody else's
    masked: Mapping[str, int] = field(default_factory=dict)  # what was replaced in the texts, see `dft_stats.masking`


STREAM_FLAGS = 4  # bits of the stream below the type


def owned(name: str) -> str:
    """Table of a part that says who has the rows of a statistic of numbers: its keys, and `owner`, each pair once."""
    return f"owned-{name}"


def count_units(
    units: Units,
    *,
    max_order: int = 5,
    least: tuple[int, int] = (1, 1),
    buffers: Buffers | None = None,
    with_owners: bool = False,
    owners: NDArray[np.int64] | None = None,
    threads: Threads = ALONE,
) -> Part:
    """Count everything in a batch.

    Args:
        units: of the batch.
        max_order: longest n-grams.
        least: (documents, count) of n-grams that are kept; of the others only how many there are. For a batch that nothing is added to.
        buffers: to work in. The rows of the part lie there until they are used again.
        with_owners: say who has which rows of numbers, too.
        owners: (documents with a unit,), whose each is; None: each document is its own.
        threads: to count with.
    """
    windows, buffers = read_windows(units), buffers or Buffers()
    buffers.reset(_BYTES_A_UNIT * len(units.id))
    numbers = [threads.start(_numbers, *own, units, windows, owners, with_owners=with_owners) for own in _NUMBERS]
    stream = threads.start(_stream, units.id, units.flags)
    texts = _texts(units, windows, buffers, max_order, least, threads)
    tables = {name: table for own in numbers for name, table in own().items()}
    return Part(exposure(units, windows), units.vocabulary, stream(), texts, tables, owners)


@njit(cache=True, nogil=True)
def _stream(ids: NDArray[np.int32], flags: NDArray[np.uint8]) -> NDArray[np.uint32]:
    stream = np.empty(ids.size, np.uint32)
    for i in range(ids.size):
        stream[i] = (np.uint32(ids[i]) << STREAM_FLAGS) | np.uint32(flags[i] & (SPACED | BROKEN | OPENS | ENDS))
    return stream


# --- texts ------------------------------------------------------------------------------------------------------------------------


_BYTES_A_UNIT = 7 * 32  # of rows: a key that occurs twice takes 60 bytes, one that occurs once 16


def _texts(
    units: Units, windows: Windows, buffers: Buffers, max_order: int, least: tuple[int, int], threads: Threads = ALONE
) -> dict[str, Rows]:
    single = np.zeros(len(units.id), np.bool_)
    found = {TOKEN_FREQUENCY.name: _types(units, windows, single)}
    drops = max(least) > 1  # then an n-gram is not looked at where the (n - 1)-gram that it begins or ends with occurs once
    for n, hashes, counted, once in ngrams(units, max_order, single if drops else None, threads):
        if n > 1:
            rows = tally(hashes, counted, windows, buffers, single=single if drops else None, least=least, threads=threads)
            more = [[1, once]] if once else rows.left_out[:0]
            found[f"{NGRAM_FREQUENCY.name}/{n}"] = replace(rows, left_out=np.concatenate([rows.left_out, more]))
    found[SURFACE.name] = tally(*stretches(units, hashes, counted), windows, buffers, threads=threads)
    return found


def _types(units: Units, windows: Windows, single: NDArray[np.bool_]) -> Rows:
    """Rows of the types; `single` is set where one occurs once."""
    types, unit, counts = tally_types(units.id, None, len(units.numbers), windows)
    keys = mix(units.numbers[types])
    order = np.argsort(keys)
    is_single = counts[order, 0] == 1
    single[unit[counts[:, 0] == 1]] = True
    many, once = order[~is_single], order[is_single]
    words = counts[once][:, [3, 5]].astype(np.uint16)
    return Rows(keys[many], unit[many].astype(np.uint32), counts[many], keys[once], unit[once].astype(np.uint32), words)


# --- numbers ----------------------------------------------------------------------------------------------------------------------


_MOST_TYPES = 1 << 17


Blocks = Sequence[tuple[Columns, NDArray[np.int32]]]
_Events = tuple[Blocks, Mapping[str, pa.Array]]


def number_blocks(units: Units, windows: Windows) -> Iterator[tuple[Statistic, Blocks, Mapping[str, pa.Array]]]:
    """The statistics of numbers, with their events as `rows_of` takes them."""
    for statistic, events in _NUMBERS:
        yield statistic, *events(units, windows)


def _numbers(
    statistic: Statistic,
    events: Callable[[Units, Windows], _Events],
    units: Units,
    windows: Windows,
    owners: NDArray[np.int64] | None,
    *,
    with_owners: bool,
) -> dict[str, pa.Table]:
    blocks, names = events(units, windows)
    found = {statistic.name: rows_of(statistic, blocks, windows, names)}
    if with_owners:
        found[owned(statistic.name)] = owners_of_rows(statistic, blocks, windows, names, owners)
    return found


def owners_of_rows(
    statistic: Statistic, blocks: Blocks, windows: Windows, names: Mapping[str, pa.Array], owners: NDArray[np.int64] | None
) -> pa.Table:
    """Who has each row: keys and `owner`, the number of the document if `owners` is None. Blocks as in `rows_of`, each pair once."""
    columns = [np.concatenate(column) for column in zip(*(keys for keys, _ in blocks), strict=True)]
    document = windows.document[windows.of_unit[np.concatenate([at for _, at in blocks])]].astype(np.int64)
    columns.append(document)
    sizes = [int(column.max(initial=0)) + 2 for column in columns]
    packed = np.zeros(len(document), np.uint64)
    for column, size in zip(columns, sizes, strict=True):
        packed = packed * np.uint64(size) + (column + 1).astype(np.uint64)
    packed.sort()  # `np.unique` of so many numbers takes forty times as long
    packed = packed[np.flatnonzero(np.diff(packed, prepend=~packed[:1]))]
    unpacked = []
    for size in reversed(sizes):
        unpacked.append((packed % np.uint64(size)).astype(np.int64) - 1)
        packed //= np.uint64(size)
    found, *keys = unpacked
    spelt = [names[name].take(pa.array(c)) if name in names else c for name, c in zip(statistic.keys, reversed(keys), strict=True)]
    kinds = schema(statistic)
    fields = [*(kinds.field(name) for name in statistic.keys), pa.field("owner", pa.int64(), nullable=False)]
    return pa.table([*spelt, found if owners is None else owners[found]], names=[f.name for f in fields]).cast(pa.schema(fields))


def rows_of(statistic: Statistic, blocks: Blocks, windows: Windows, names: Mapping[str, pa.Array]) -> pa.Table:
    """Rows of events that are given column by column, each value -1 or more; `names` spells columns of numbers.

    A block is (columns, unit at which each event happens, rising). No key is in two blocks.
    """
    sizes = [max(int(column.max(initial=0)) for column in columns) + 2 for columns in zip(*(keys for keys, _ in blocks), strict=True)]
    most = int(np.prod([float(size) for size in sizes]))
    found, counts = [], []
    for keys, at in blocks:
        packed = np.zeros(len(at), np.uint64)
        for column, size in zip(keys, sizes, strict=True):
            packed *= np.uint64(size)
            packed += (column + 1).astype(np.uint64)
        if most <= _MOST_TYPES:
            number, _, added = tally_types(packed.astype(np.int32), at, most, windows)
            found.append(number.astype(np.uint64))
            counts.append(added)
        else:
            rows = tally(packed, np.ones(len(at), np.bool_), windows, Buffers(), at=at)
            found.append(unmix(np.concatenate([rows.key, rows.single_key])))
            counts.append(rows.all_counts)
    number = np.concatenate(found)
    columns = []
    for size in reversed(sizes):
        columns.append((number % np.uint64(size)).astype(np.int64) - 1)
        number //= np.uint64(size)
    spelt = [names[name].take(pa.array(c)) if name in names else c for name, c in zip(statistic.keys, reversed(columns), strict=True)]
    table = pa.table(dict(zip(statistic.keys, spelt, strict=True)) | dict(zip(COUNTS, np.concatenate(counts).T, strict=True)))
    return table.cast(schema(statistic))


def sentence_lengths(units: Units, windows: Windows) -> tuple[Integers, Integers, Integers]:
    """(first unit, words, units) of each sentence that has a word."""
    ends = np.flatnonzero(units.flags & ENDS)
    first = np.concatenate([[0], ends + 1])[: len(ends)]
    words, size = (windows.words_before[ends + 1] - windows.words_before[first]).astype(np.int64), ends + 1 - first
    chosen = words > 0
    return first[chosen], words[chosen], size[chosen]


def _repeated(value: int, like: NDArray[Any]) -> Integers:
    """A column of one value, that takes no memory."""
    return np.broadcast_to(np.int64(value), like.shape)


def _sentence_length(units: Units, windows: Windows) -> _Events:
    first, words, size = sentence_lengths(units, windows)
    document = windows.document[windows.of_unit[first]]
    pair = np.flatnonzero(document[1:] == document[:-1])
    at = first.astype(np.int32)
    none = _repeated(NO_NEXT, at)
    blocks = [
        ([_repeated(0, pair), words[pair], words[pair + 1]], at[pair]),
        ([_repeated(1, at), size, none], at),
        ([_repeated(2, at), words, none], at),
    ]
    return blocks, {"series": pa.array(["pairs", "units", "words"])}


def marks(units: Units, windows: Windows) -> tuple[Integers, Integers, Integers, Integers]:
    """(unit, class of the mark before, words since, class) of each mark; `len(MARK_CLASSES)` is the opening of a document."""
    number = int(np.count_nonzero(units.kind >= 0))
    at, previous, gap, mark = (np.empty(number, np.int64) for _ in range(4))
    _marks(units.kind, units.flags, windows.words_before, len(MARK_CLASSES), at, previous, gap, mark)
    return at, previous, gap, mark


@njit(cache=True, nogil=True)
def _marks(
    kind: NDArray[np.int8],
    flags: NDArray[np.uint8],
    words_before: NDArray[np.int32],
    opening: int,
    at: Integers,
    previous: Integers,
    gap: Integers,
    mark: Integers,
) -> None:
    found, before, since = 0, opening, 0
    for i in range(kind.size):
        if flags[i] & OPENS:
            before, since = opening, words_before[i]
        if kind[i] >= 0:
            at[found], previous[found], gap[found], mark[found] = i, before, words_before[i] - since, kind[i]
            before, since, found = kind[i], words_before[i], found + 1


def _punctuation_rhythm(units: Units, windows: Windows) -> _Events:
    at, previous, gap, mark = marks(units, windows)
    places = at.astype(np.int32)
    nothing, no_gap = _repeated(len(MARK_CLASSES) + 1, at), _repeated(NO_GAP, at)
    blocks = [([_repeated(0, at), previous, gap, mark], places), ([_repeated(1, at), nothing, no_gap, mark], places)]
    spelt = pa.array([*MARK_CLASSES, OPENING, ""])
    return blocks, {"series": pa.array(["gaps", "marks"]), "previous": spelt, "mark": spelt}


def entropies(units: Units, windows: Windows) -> dict[int, tuple[Integers, Integers, Integers]]:
    """By words of a window: (first unit, types, entropy in centibits) of each full window."""
    lowered = _lowered(units.vocabulary).dictionary_encode()
    kind_of = lowered.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    steps = np.diff([0, *map(scaled_c_log_c, range(1, max(WINDOW_WORDS) + 1))])
    seen = np.zeros((len(lowered.dictionary), len(WINDOW_WORDS)), np.int64)
    rows, number = _surplus(units.id, units.kind, units.flags, kind_of, np.array(WINDOW_WORDS), steps, seen)
    found = {}
    for window, of_size, size in zip(WINDOW_WORDS, rows, number, strict=True):
        first, types, surplus = of_size[:, :size]
        found[window] = first, types, 100 * (scaled_c_log_c(window) - surplus) // (window * BITS)
    return found


def _lowered(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """`str.lower` of each."""
    rest = pc.invert(pc.string_is_ascii(texts))
    spelt = pa.array([text.lower() for text in texts.filter(rest).to_pylist()], pa.large_string())
    return pc.replace_with_mask(pc.ascii_lower(texts), rest, spelt)


def _entropy(units: Units, windows: Windows) -> _Events:
    blocks = [
        ([_repeated(window, first), types, centibits], first.astype(np.int32))
        for window, (first, types, centibits) in entropies(units, windows).items()
    ]
    return blocks, {}


@njit(cache=True, nogil=True)
def _surplus(
    ids: NDArray[np.int32],
    kind: NDArray[np.int8],
    flags: NDArray[np.uint8],
    kind_of: NDArray[np.int32],
    windows: Integers,
    steps: Integers,
    seen: Integers,
) -> tuple[Integers, Integers]:
    """(sizes, 3, most): first unit, types, and sum of c log c of each full window inside a document; (sizes,): how many there are.

    Args:
        ids: (units,).
        kind: (units,).
        flags: (units,).
        kind_of: (types,): lower-cased type.
        windows: (sizes,), words.
        steps: (largest window,): by how much c log c grows if a type occurs once more than so many times.
        seen: zeros (lower-cased types, sizes): becomes the window in which each was seen last, times one more than the largest, plus how
            often it was; so no window has to be wiped.
    """
    sizes, base = windows.size, steps.size + 1
    found = np.empty((sizes, 3, ids.size // windows.min() + 1), np.int64)
    number, words, begin = np.zeros(sizes, np.int64), np.zeros(sizes, np.int64), np.zeros(sizes, np.int64)
    different, total, serial = np.zeros(sizes, np.int64), np.zeros(sizes, np.int64), np.full(sizes, base)
    for i in range(ids.size):
        if flags[i] & OPENS:
            words[:], different[:], total[:] = 0, 0, 0
            serial += base
        if kind[i] != WORD:
            continue
        own = seen[kind_of[ids[i]]]
        for w in range(sizes):
            if words[w] == 0:
                begin[w] = i
            before = max(own[w] - serial[w], 0)
            own[w] = serial[w] + before + 1
            different[w] += before == 0
            total[w] += steps[before]
            words[w] += 1
            if words[w] == windows[w]:
                found[w, 0, number[w]], found[w, 1, number[w]], found[w, 2, number[w]] = begin[w], different[w], total[w]
                number[w] += 1
                words[w] = different[w] = total[w] = 0
                serial[w] += base
    return found, number


_NUMBERS = ((SENTENCE_LENGTH, _sentence_length), (PUNCTUATION_RHYTHM, _punctuation_rhythm), (ENTROPY, _entropy))
"""How the events of each statistic of numbers are found."""
