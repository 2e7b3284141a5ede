"""Units counted, batch by batch: the definitions in `dft_stats.statistics` as arrays of integers.

An event is a key and the unit at which it happens; units know their windows and their document. `tally` adds events up by key with all
the columns of `dft_stats.counts`. N-grams stay rows of unit ids until the very end: only what is kept is ever spelt out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats.build.units import Ints, Units, substrings
from dft_stats.counts import COUNTS, WINDOWS, Exposure, schema
from dft_stats.statistics import SURFACE
from dft_stats.statistics.entropy import BITS, ENTROPY, WINDOW_WORDS, scaled_c_log_c
from dft_stats.statistics.punctuation_rhythm import NO_GAP, OPENING, PUNCTUATION_RHYTHM
from dft_stats.statistics.sentence_length import NO_NEXT, SENTENCE_LENGTH
from dft_stats.statistics.surface import PARAGRAPH
from dft_stats.text import MARK_CLASSES, WORD

Keys = NDArray[np.uint64]
SLOTS = ("a", "b", "c")
"""Columns of an n-gram: two units each, 32 bits a unit, twice its id plus one if a space stands before it."""
NO_UNIT = np.uint64((1 << 32) - 1)
"""Second half of the last column where n is odd."""


@dataclass(frozen=True, slots=True)
class Part:
    """The counts of a batch. Tables have the columns of `COUNTS` beside their keys."""

    exposure: Exposure
    vocabulary: pa.StringArray  # sorted
    units: pa.Table | None  # unit: index into the vocabulary; None where the tables were written to disk
    ngrams: Mapping[int, pa.Table]  # n -> SLOTS
    whole: Mapping[str, pa.Table]  # name -> a table with the keys that it has in the profile


@dataclass(frozen=True, slots=True)
class _Places:
    """Where units stand, for `tally`."""

    document: Ints  # (units,)
    window: Mapping[int, Ints]  # length -> (units,): number of the window, over all documents
    words: Mapping[int, Ints]  # length -> (windows,)
    position: Ints  # (units,): words of the document before the unit
    document_words: Ints  # (documents,)


def count_units(units: Units, *, max_order: int = 5, distinct_texts: bool = False) -> Part:
    """Count everything in a batch.

    Args:
        units: from `read_units`.
        max_order: longest n-grams.
        distinct_texts: two sequences of units may spell the same text, so n-grams have to be told apart by their text.
    """
    places = _places(units)
    keys, at = units.id.astype(np.uint64), np.arange(len(units.id))
    found, columns, _ = tally(keys, at, places)
    whole = {
        SENTENCE_LENGTH.name: _sentence_length(units, places),
        PUNCTUATION_RHYTHM.name: _punctuation_rhythm(units, places),
        ENTROPY.name: _entropy(units, places),
        SURFACE.name: _surface(units, places),
    }
    return Part(
        _exposure(units, places),
        units.vocabulary,
        pa.table({"unit": found, **columns}),
        _ngrams(units, places, max_order, distinct_texts),
        whole,
    )


def tally(key: Keys, at: Ints, places: _Places) -> tuple[Keys, dict[str, Ints], Ints]:
    """Add up events by key.

    Args:
        key: (events,). Events of one key are in the order of the text.
        at: (events,): unit at which each happens.
        places: of the units.

    Returns:
        Distinct keys, sorted; the columns of `COUNTS`; and for each event the index of its key.
    """
    if not len(key):
        return key, {name: np.zeros(0, np.int64) for name in COUNTS}, np.zeros(0, np.int64)
    order, ordered = _stable_order(key)
    at = at[order]
    new_key = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = np.flatnonzero(new_key)
    index = np.empty(len(key), np.int64)
    index[order] = np.cumsum(new_key) - 1

    def runs(of: Ints) -> tuple[Ints, Ints]:
        """First event of each run of equal key and equal `of`, and for each key its first run."""
        begins = new_key.copy()
        begins[1:] |= of[1:] != of[:-1]
        start = np.flatnonzero(begins)
        return start, np.searchsorted(start, first)

    columns = {"count": np.diff(first, append=len(key))}
    start, by_key = runs(places.document[at])
    columns["documents"] = np.diff(by_key, append=len(start))
    for window in WINDOWS:
        number = places.window[window][at]
        start, by_key = runs(number)
        counts = np.diff(start, append=len(key))
        columns[f"square_{window}"] = np.add.reduceat(counts * counts, by_key)
        columns[f"cross_{window}"] = np.add.reduceat(counts * places.words[window][number[start]], by_key)
    return ordered[first], {name: columns[name] for name in COUNTS}, index


def _stable_order(key: Keys) -> tuple[Ints, Keys]:
    """Indices that sort the keys, equal ones in their order, and the sorted keys."""
    bits = len(key).bit_length()
    if int(key.max()).bit_length() + bits <= 64:  # key and index in one number: one sort of integers, several times faster
        packed = (key << np.uint64(bits)) | np.arange(len(key), dtype=np.uint64)
        packed.sort()
        return (packed & np.uint64((1 << bits) - 1)).astype(np.int64), packed >> np.uint64(bits)
    order = np.argsort(key, kind="stable")
    return order, key[order]


def _places(units: Units) -> _Places:
    is_word = units.kind == WORD
    before = np.cumsum(is_word) - is_word
    words = np.bincount(units.document, is_word, units.documents).astype(np.int64)
    position = before - (np.cumsum(words) - words)[units.document]
    window, sizes = {}, {}
    for length in WINDOWS:
        number = words // length + 1  # one too many where the last is full: a mark can stand behind it
        base = np.cumsum(number) - number
        window[length] = base[units.document] + position // length
        owner = np.repeat(np.arange(units.documents), number)
        sizes[length] = np.minimum(length, words[owner] - (np.arange(len(owner)) - base[owner]) * length)
    return _Places(units.document, window, sizes, position, words)


def _exposure(units: Units, places: _Places) -> Exposure:
    is_word = units.kind == WORD
    sentences = np.unique(units.sentence[is_word])
    return Exposure(
        units.documents,
        int(is_word.sum()),
        len(sentences),
        {window: int((places.words[window] > 0).sum()) for window in WINDOWS},
        {window: int((places.words[window] ** 2).sum()) for window in WINDOWS},
    )


def _ngrams(units: Units, places: _Places, max_order: int, distinct_texts: bool) -> dict[int, pa.Table]:
    size, slot = len(units.id), (2 * units.id + units.space).astype(np.uint64)
    radix = np.uint64(2 * max(len(units.vocabulary), 1))
    at, rank = np.arange(size), units.id
    found = {}
    for n in range(2, max_order + 1):
        stays = at + n - 1 < size
        stays[stays] = units.sentence[at[stays]] == units.sentence[at[stays] + n - 1]
        at, rank = at[stays], rank[stays]
        key = rank.astype(np.uint64) * radix + slot[at + n - 1]
        if distinct_texts:
            key = _by_text(units, at, n)
        _, columns, rank = tally(key, at, places)
        first = np.zeros(len(columns["count"]), np.int64)
        first[rank[::-1]] = at[::-1]
        found[n] = pa.table({**_pack(units, slot, first, n), **columns})
    return found


def _pack(units: Units, slot: Keys, first: Ints, n: int) -> dict[str, Keys]:
    parts = [(2 * units.id[first]).astype(np.uint64), *(slot[first + i] for i in range(1, n))]
    if n % 2:
        parts.append(np.full(len(first), NO_UNIT))
    return {name: (parts[2 * i] << np.uint64(32)) | parts[2 * i + 1] for i, name in enumerate(SLOTS[: len(parts) // 2])}


def renamed(slots: Keys, ids: Keys) -> Keys:
    """Slots with each unit id i made ids[i]."""
    spaced = np.append(np.stack([2 * ids, 2 * ids + 1], 1).ravel(), NO_UNIT)
    high, low = slots >> np.uint64(32), slots & NO_UNIT
    found: Keys = (spaced[high] << np.uint64(32)) | spaced[np.minimum(low, len(spaced) - 1)]
    return found


def spelt(ngrams: pa.Table, vocabulary: pa.StringArray, n: int) -> pa.Array:
    """The texts of n-grams."""
    spaced = pc.binary_join_element_wise(" ", vocabulary, "")
    columns = []
    for i in range(n):
        slots = ngrams[SLOTS[i // 2]].to_numpy()
        unit = (slots & NO_UNIT) if i % 2 else (slots >> np.uint64(32))
        index = pa.array((unit >> np.uint64(1)).astype(np.int64))
        columns.append(pc.if_else(pa.array((unit & np.uint64(1)) > 0), spaced.take(index), vocabulary.take(index)))
    return pc.binary_join_element_wise(*columns, "")


def _by_text(units: Units, at: Ints, n: int) -> Keys:
    texts = [units.text[begin:end] for begin, end in zip(units.start[at].tolist(), units.end[at + n - 1].tolist(), strict=True)]
    spaced = pa.array(texts, pa.binary()).dictionary_encode()
    keys: Keys = spaced.indices.to_numpy(zero_copy_only=False).astype(np.uint64)
    return keys


def _sentence_length(units: Units, places: _Places) -> pa.Table:
    sentences = int(units.sentence[-1]) + 1 if len(units.sentence) else 0
    first = np.searchsorted(units.sentence, np.arange(sentences))
    words = np.bincount(units.sentence, units.kind == WORD, sentences).astype(np.int64)
    size = np.bincount(units.sentence, minlength=sentences)
    chosen = np.flatnonzero(words)
    first, words, size = first[chosen], words[chosen], size[chosen]
    pair = np.flatnonzero(units.document[first[1:]] == units.document[first[:-1]]) if len(first) else np.zeros(0, np.int64)
    none = np.full(len(first), NO_NEXT)
    series = np.repeat(np.arange(3), [len(pair), len(first), len(first)])
    keys = [series, np.concatenate([words[pair], size, words]), np.concatenate([words[pair + 1], none, none])]
    columns, counts = _tally_columns(keys, np.concatenate([first[pair], first, first]), places)
    names = pa.array(["pairs", "units", "words"]).take(pa.array(columns[0]))
    table = {"series": names, "length": columns[1], "next_length": columns[2]}
    return pa.table({**table, **counts}).cast(schema(SENTENCE_LENGTH))


def _punctuation_rhythm(units: Units, places: _Places) -> pa.Table:
    at = np.flatnonzero(units.kind >= 0)
    mark, position, document = units.kind[at], places.position[at], units.document[at]
    previous, gap = np.full(len(at), len(MARK_CLASSES)), position.copy()
    follows = np.flatnonzero(document[1:] == document[:-1]) + 1
    previous[follows], gap[follows] = mark[follows - 1], position[follows] - position[follows - 1]
    none = np.full(len(at), len(MARK_CLASSES) + 1), np.full(len(at), NO_GAP)
    keys = [
        np.repeat([0, 1], len(at)),
        np.concatenate([previous, none[0]]),
        np.concatenate([gap, none[1]]),
        np.concatenate([mark, mark]),
    ]
    columns, counts = _tally_columns(keys, np.concatenate([at, at]), places)
    names = pa.array([*MARK_CLASSES, OPENING, ""])
    table = {
        "series": pa.array(["gaps", "marks"]).take(pa.array(columns[0])),
        "previous": names.take(pa.array(columns[1])),
        "gap": columns[2],
        "mark": names.take(pa.array(columns[3])),
    }
    return pa.table({**table, **counts}).cast(schema(PUNCTUATION_RHYTHM))


def _entropy(units: Units, places: _Places) -> pa.Table:
    at = np.flatnonzero(units.kind == WORD)
    lowered = pc.dictionary_encode(pa.array([unit.lower() for unit in units.vocabulary.to_pylist()], pa.string()))
    kinds = lowered.indices.to_numpy(zero_copy_only=False).astype(np.int64)[units.id[at]]
    radix, position, document = max(len(lowered.dictionary), 1), places.position[at], units.document[at]
    rows: list[list[Ints]] = []
    begins = []
    for window in WINDOW_WORDS:
        full = position // window * window + window <= places.document_words[document]
        number = np.cumsum(position[full] % window == 0) - 1
        key = np.sort(number * radix + kinds[full])
        start = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else key
        count, owner = np.diff(start, append=len(key)), key[start] // radix
        by_window = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]])) if len(owner) else owner
        c_log_c = np.array([0, *map(scaled_c_log_c, range(1, window + 1))])
        surplus = np.add.reduceat(c_log_c[count], by_window) if len(owner) else owner
        centibits = 100 * (scaled_c_log_c(window) - surplus) // (window * BITS)
        rows.append([np.full(len(by_window), window), np.diff(by_window, append=len(owner)), centibits])
        begins.append(at[full][position[full] % window == 0])
    columns, counts = _tally_columns([np.concatenate(column) for column in zip(*rows, strict=True)], np.concatenate(begins), places)
    return pa.table({**dict(zip(ENTROPY.keys, columns, strict=True)), **counts}).cast(schema(ENTROPY))


def _surface(units: Units, places: _Places) -> pa.Table:
    size = len(units.id)
    begins = np.flatnonzero(units.space | units.break_before | (np.diff(units.document, prepend=-1) != 0))
    last = np.append(begins[1:], size)[: len(begins)] - 1
    following = np.minimum(last + 1, max(size - 1, 0))
    same = (last + 1 < size) & (units.document[following] == units.document[last])
    broken = same & units.break_before[following]
    texts, index = substrings(units.text, units.start[begins], units.end[last])
    key = 4 * index + 2 * units.space[begins] + broken
    found, counts, _ = tally(key.astype(np.uint64), begins, places)
    spelt = texts.take(pa.array((found // np.uint64(4)).astype(np.int64)))
    leading = pa.array(["", " "]).take(pa.array((found // np.uint64(2) % np.uint64(2)).astype(np.int64)))
    trailing = pa.array(["", PARAGRAPH]).take(pa.array((found % np.uint64(2)).astype(np.int64)))
    table = pa.table({"surface": pc.binary_join_element_wise(leading, spelt, trailing, ""), **counts})
    return table.cast(schema(SURFACE)).sort_by("surface")


def _tally_columns(keys: list[Ints], at: Ints, places: _Places) -> tuple[list[Ints], dict[str, Ints]]:
    """`tally` by several columns, packed into one number; every column is at least -1."""
    sizes = [int(column.max()) + 2 if len(column) else 1 for column in keys]
    packed = np.zeros(len(at), np.uint64)
    for column, size in zip(keys, sizes, strict=True):
        packed = packed * np.uint64(size) + (column + 1).astype(np.uint64)
    found, counts, _ = tally(packed, at, places)
    columns = []
    for size in reversed(sizes):
        columns.append((found % np.uint64(size)).astype(np.int64) - 1)
        found = found // np.uint64(size)
    return columns[::-1], counts
