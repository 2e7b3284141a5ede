"""Who has a text: how many documents, or groups of documents, counted in a second pass over what the parts keep of their texts.

Sums of parts say in how many documents an n-gram occurs, since no document is in two parts; an author may be in all of them. So the rows
that enough documents have are looked up once more, unit by unit, and of each the first so many distinct owners are kept: exact, and bounded
whatever the corpus.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.events import STREAM_FLAGS
from dft_stats.build.hashing import Hashes, hash_texts, mix, place_of
from dft_stats.build.ngrams import ngrams, stretches
from dft_stats.build.parts import AnyPart
from dft_stats.build.scan import OPENS
from dft_stats.build.units import Units
from dft_stats.statistics import NGRAM_FREQUENCY, SURFACE, TOKEN_FREQUENCY

Ints = NDArray[np.int64]


def keys_of(texts: pa.LargeStringArray) -> Hashes:
    """The keys by which the rows of parts are known."""
    _, offsets, letters = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1] if len(texts) else np.zeros(1, np.int64)
    return np.asarray(mix(hash_texts(np.frombuffer(letters or b"", np.uint8), ends)[0]), np.uint64)


def owners_of(wanted: Mapping[str, Hashes], parts: Sequence[AnyPart], most: int) -> dict[str, Ints]:
    """How many owners each text has, counted up to `most`, by table. Arguments as of `first_owners`."""
    return {name: number for name, (_, number) in first_owners(wanted, parts, most).items()}


def first_owners(wanted: Mapping[str, Hashes], parts: Sequence[AnyPart], most: int) -> dict[str, tuple[Ints, Ints]]:
    """The first owners of each text (texts, most), and how many of them there are (texts,), by table.

    Args:
        wanted: distinct keys of texts, see `keys_of`, by name of the table, as parts have them ("ngram_frequency/2").
        parts: all of the corpus.
        most: where counting stops.
    """
    places = {name: _places(keys) for name, keys in wanted.items()}
    found = {name: (np.zeros((len(keys), most), np.int64), np.zeros(len(keys), np.int64)) for name, keys in wanted.items()}
    longest = max((int(name.partition("/")[2] or 1) for name in wanted), default=1)
    for i, part in enumerate(parts):
        if not part.exposure.documents:
            continue
        units = _units(part)
        documents = int(((units.flags & OPENS) > 0).sum())
        owners = (np.arange(documents) + (i << 32)) if part.owners is None else part.owners
        for name, hashes, counted in _texts(units, wanted.keys(), longest):
            _note(hashes, counted, units.flags, owners, *places[name], *found[name])
    return found


def owners_of_rows(first: tuple[Ints, Ints], begins: Ints, rows: Ints, size: int) -> Ints:
    """How many owners each of `size` rows has that several texts count for, counted up to as many as are known of a text.

    Args:
        first: of the texts, from `first_owners`.
        begins: (texts + 1,), where the rows of each text begin in `rows`.
        rows: that it counts for.
        size: number of rows.
    """
    seen, number = np.zeros((size, first[0].shape[1]), np.int64), np.zeros(size, np.int64)
    _share(*first, begins, rows, seen, number)
    return number


def _units(part: AnyPart) -> Units:
    """The units of a part, without their kinds."""
    vocabulary, stream = part.vocabulary, np.asarray(part.stream)
    _, offsets, letters = vocabulary.buffers()
    numbers, factors = hash_texts(np.frombuffer(letters or b"", np.uint8), np.frombuffer(offsets, np.int64)[: len(vocabulary) + 1])
    flags = (stream & np.uint32((1 << STREAM_FLAGS) - 1)).astype(np.uint8)
    return Units(0, vocabulary, numbers, factors, (stream >> np.uint32(STREAM_FLAGS)).astype(np.int32), np.zeros(0, np.int8), flags)


def _texts(units: Units, names: Collection[str], longest: int) -> Iterator[tuple[str, Hashes, NDArray[np.bool_]]]:
    for n, hashes, counted, _ in ngrams(units, longest):
        name = TOKEN_FREQUENCY.name if n == 1 else f"{NGRAM_FREQUENCY.name}/{n}"
        if name in names:
            yield name, hashes, counted
    if SURFACE.name in names:
        yield SURFACE.name, *stretches(units)


def _places(keys: Hashes) -> tuple[Hashes, NDArray[np.int32]]:
    """Open addressing: (key or 0, its index)."""
    capacity = 1 << max(int(2 * len(keys)).bit_length(), 4)
    slots, index = np.zeros(capacity, np.uint64), np.zeros(capacity, np.int32)
    _fill(keys, slots, index)
    return slots, index


@njit(cache=True, nogil=True)
def _fill(keys: Hashes, slots: Hashes, index: NDArray[np.int32]) -> None:
    for i in range(keys.size):
        place = place_of(slots, keys[i])
        slots[place], index[place] = keys[i], i


@njit(cache=True, nogil=True)
def _note(
    hashes: Hashes,
    counted: NDArray[np.bool_],
    flags: NDArray[np.uint8],
    owners: Ints,
    slots: Hashes,
    index: NDArray[np.int32],
    seen: Ints,
    number: Ints,
) -> None:
    document = -1
    for i in range(hashes.size):
        document += flags[i] & OPENS != 0
        if counted[i]:
            place = place_of(slots, mix(hashes[i]))
            if slots[place]:
                _meet(owners[document], seen, number, index[place])


@njit(cache=True, nogil=True)
def _share(first: Ints, known: Ints, begins: Ints, rows: Ints, seen: Ints, number: Ints) -> None:
    for text in range(known.size):
        for j in range(begins[text], begins[text + 1]):
            for k in range(known[text]):
                _meet(first[text, k], seen, number, rows[j])


@njit(cache=True, nogil=True)
def _meet(owner: int, seen: Ints, number: Ints, row: int) -> None:
    """Take note of an owner of a row, unless there are as many as there is room for."""
    size = number[row]
    if size < seen.shape[1]:
        for k in range(size):
            if seen[row, k] == owner:
                return
        seen[row, size] = owner
        number[row] = size + 1
