"""Who has a text: how many documents, or groups of documents, counted in a second pass over what the parts keep of their texts.

Sums of parts say in how many documents an n-gram occurs, since no document is in two parts; an author may be in all of them. So the rows
that enough documents have are looked up once more, unit by unit, and of each the first so many distinct owners are kept: exact, and bounded
whatever the corpus.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.events import STREAM_FLAGS, Part, ngrams, stretches
from dft_stats.build.hashing import Hashes, hash_texts, mix, place_of
from dft_stats.build.scan import OPENS
from dft_stats.build.units import Units
from dft_stats.statistics import NGRAM_FREQUENCY, SURFACE, TOKEN_FREQUENCY

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Texts of one table, and the rows that each of them counts for."""

    keys: Hashes  # (texts,), distinct, see `keys_of`
    begins: Ints  # (texts + 1,), in `rows`
    rows: Ints
    size: int  # number of rows

    @classmethod
    def each(cls, keys: Hashes) -> "Wanted":
        """Every text is a row of its own."""
        return cls(keys, np.arange(len(keys) + 1), np.arange(len(keys)), len(keys))


def keys_of(texts: pa.LargeStringArray) -> Hashes:
    """The keys by which the rows of parts are known."""
    _, offsets, letters = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1] if len(texts) else np.zeros(1, np.int64)
    return np.asarray(mix(hash_texts(np.frombuffer(letters or b"", np.uint8), ends)[0]), np.uint64)


def owners_of(wanted: Mapping[str, Wanted], parts: Sequence[Part], most: int) -> dict[str, Ints]:
    """How many owners each row has, counted up to `most`, by table.

    Args:
        wanted: by name of the table, as parts have them ("ngram_frequency/2").
        parts: all of the corpus.
        most: where counting stops.
    """
    places = {name: _places(own.keys) for name, own in wanted.items()}
    seen = {name: np.zeros((own.size, most), np.int64) for name, own in wanted.items()}
    number = {name: np.zeros(own.size, np.int64) for name, own in wanted.items()}
    longest = max((int(name.partition("/")[2] or 1) for name in wanted), default=1)
    for i, part in enumerate(parts):
        units = _units(part)
        documents = int(((units.flags & OPENS) > 0).sum())
        owners = (np.arange(documents) + (i << 32)) if part.owners is None else part.owners
        for name, hashes, counted in _texts(units, wanted.keys(), longest):
            own = wanted[name]
            _note(hashes, counted, units.flags, owners, *places[name], own.begins, own.rows, seen[name], number[name])
    return number


def _units(part: Part) -> Units:
    """The units of a part, without their kinds."""
    _, offsets, letters = part.vocabulary.buffers()
    numbers, factors = hash_texts(np.frombuffer(letters or b"", np.uint8), np.frombuffer(offsets, np.int64)[: len(part.vocabulary) + 1])
    stream = np.asarray(part.stream)
    flags = (stream & np.uint32((1 << STREAM_FLAGS) - 1)).astype(np.uint8)
    return Units(0, part.vocabulary, numbers, factors, (stream >> np.uint32(STREAM_FLAGS)).astype(np.int32), np.zeros(0, np.int8), flags)


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
    begins: Ints,
    rows: Ints,
    seen: Ints,
    number: Ints,
) -> None:
    document = -1
    for i in range(hashes.size):
        document += flags[i] & OPENS != 0
        if not counted[i]:
            continue
        place = place_of(slots, mix(hashes[i]))
        if not slots[place]:
            continue
        own = index[place]
        for j in range(begins[own], begins[own + 1]):
            row = rows[j]
            known, size = False, number[row]
            if size == seen.shape[1]:
                continue
            for k in range(size):
                known |= seen[row, k] == owners[document]
            if not known:
                seen[row, size] = owners[document]
                number[row] = size + 1
