"""Who has a text: how many documents, or groups of documents, counted in a second pass over what the parts keep of their texts.

Sums of parts say in how many documents an n-gram occurs, since no document is in two parts; an author may be in all of them, and pieces
of stretches are in none. So these rows are looked up once more, unit by unit. Of a row that is asked for documents the last one is kept,
for they come one after the other; for others, the first so many distinct owners. Either is exact, and no more of it for more text.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.events import STREAM_FLAGS
from dft_stats.build.hashing import Hashes, hash_texts, mix, place_of
from dft_stats.build.ngrams import ngrams, stretches
from dft_stats.build.parts import AnyPart
from dft_stats.build.places import STRETCH, Places, Read, texts_at
from dft_stats.build.scan import OPENS
from dft_stats.build.units import Units
from dft_stats.errors import CorpusError
from dft_stats.statistics import NGRAM_FREQUENCY, SURFACE, TOKEN_FREQUENCY

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
_ROW_BYTES = 72  # of memory, for each row beside its owners: its key, looked up in twice the room, and its number


def owners_of(wanted: Mapping[str, Hashes], parts: Sequence[AnyPart], most: int, memory: int) -> dict[str, Ints]:
    """How many owners each text has, counted up to `most`, by table.

    Args:
        wanted: distinct keys of texts, as rows have them, by name of the table, as parts have it ("ngram_frequency/2").
        parts: all of the corpus.
        most: where counting stops.
        memory: bytes, for the owners.

    Raises:
        CorpusError: these do not fit into `memory`.
    """
    _check_room(sum(map(len, wanted.values())), parts, most, memory)
    places = {name: _places(keys) for name, keys in wanted.items()}
    found = {name: _Met(len(keys), parts, most) for name, keys in wanted.items()}
    rows = {name: np.arange(len(keys) + 1) for name, keys in wanted.items()}  # each text is one
    longest = max((int(name.partition("/")[2] or 1) for name in wanted), default=1)
    for part, own in _owned(parts):
        units = _units(part)
        for name, hashes, counted in _texts(units, wanted.keys(), longest):
            found[name].note(_index(hashes, counted, *places[name]), units.flags, own, rows[name], rows[name])
    return {name: met.number for name, met in found.items()}


RowsOf = Callable[[pa.LargeStringArray, Hashes], tuple[Ints, Ints]]
"""Of stretches and their keys: where the rows of each begin (stretches + 1,), and the rows that it counts for."""


def owners_of_rows(rows_of: RowsOf, size: int, listed: Hashes, parts: Sequence[AnyPart], most: int, memory: int) -> Ints:
    """How many owners each of `size` rows has that stretches count for, counted up to `most`.

    Args:
        rows_of: a stretch counts for; asked for those of a part at a time.
        size: number of rows.
        listed: keys of stretches that do not count.
        parts: all of the corpus.
        most: where counting stops.
        memory: bytes, for the owners.

    Raises:
        CorpusError: these do not fit into `memory`.
    """
    _check_room(size, parts, most, memory)
    met, places = _Met(size, parts, most), _places(listed)
    for part, own in _owned(parts):
        units = _units(part)
        hashes, counted = stretches(units)
        counted &= _index(hashes, counted, *places) < 0
        at = np.flatnonzero(counted)
        keys, first = np.unique(mix(hashes[at]), return_index=True)
        place = Places(part, at[first].astype(np.uint32), np.arange(len(keys)))
        begins, rows = rows_of(texts_at([place], len(keys), STRETCH), keys)
        met.note(_index(hashes, counted, *_places(keys)), units.flags, own, begins, rows)
    return met.number


def _are_documents(parts: Sequence[AnyPart]) -> bool:
    """Whether documents are their own owners."""
    return parts[0].owners is None  # the first one is no lexicon


def _check_room(rows: int, parts: Sequence[AnyPart], most: int, memory: int) -> None:
    known = 1 if _are_documents(parts) else most
    if rows * (8 * known + _ROW_BYTES) > memory:
        raise CorpusError(
            f"of {rows:,} rows {known:,} owners each have to be known, which does not fit into {memory / 1e9:.1f} GB of memory; give more "
            "(--memory), for which nothing is counted again, or count shorter n-grams (--max-order)"
        )


class _Met:
    """Owners of rows, counted as they are met."""

    def __init__(self, size: int, parts: Sequence[AnyPart], most: int) -> None:
        self._most, self._documents = most, _are_documents(parts)
        self._seen = np.full((size, 1 if self._documents else most), -1, np.int64)
        self.number = np.zeros(size, np.int64)

    def note(self, text: Ints32, flags: NDArray[np.uint8], owners: Ints, begins: Ints, rows: Ints) -> None:
        """Take note of who has which rows.

        Args:
            text: (units,), that begins there, or -1.
            flags: (units,).
            owners: (documents,).
            begins: (texts + 1,), where the rows of each text begin in `rows`.
            rows: that texts count for.
        """
        _note(text, flags, owners, begins, rows, self._most, self._documents, self._seen, self.number)


def _owned(parts: Sequence[AnyPart]) -> Iterator[tuple[Read, Ints]]:
    """The texts of parts, and whose each of their documents is."""
    for i, part in enumerate(parts):
        if part.exposure.documents:
            read = Read(part.vocabulary, np.asarray(part.stream))
            documents = int(((read.stream & np.uint32(OPENS)) > 0).sum())
            yield read, (np.arange(documents) + (i << 32)) if part.owners is None else part.owners


def _units(part: Read) -> Units:
    """The units of a part, without their kinds."""
    vocabulary, stream = part
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


def _places(keys: Hashes) -> tuple[Hashes, Ints32]:
    """Open addressing: (key or 0, its index)."""
    capacity = 1 << max(int(2 * len(keys)).bit_length(), 4)
    slots, index = np.zeros(capacity, np.uint64), np.zeros(capacity, np.int32)
    _fill(keys, slots, index)
    return slots, index


@njit(cache=True, nogil=True)
def _fill(keys: Hashes, slots: Hashes, index: Ints32) -> None:
    for i in range(keys.size):
        place = place_of(slots, keys[i])
        slots[place], index[place] = keys[i], i


@njit(cache=True, nogil=True)
def _index(hashes: Hashes, counted: NDArray[np.bool_], slots: Hashes, index: Ints32) -> Ints32:
    """Which of the keys of `_places` each text has that is counted; -1: none."""
    found = np.full(hashes.size, -1, np.int32)
    for i in range(hashes.size):
        if counted[i]:
            place = place_of(slots, mix(hashes[i]))
            if slots[place]:
                found[i] = index[place]
    return found


@njit(cache=True, nogil=True)
def _note(
    text: Ints32,
    flags: NDArray[np.uint8],
    owners: Ints,
    begins: Ints,
    rows: Ints,
    most: int,
    are_documents: bool,
    seen: Ints,
    number: Ints,
) -> None:
    document = -1
    for i in range(text.size):
        document += flags[i] & OPENS != 0
        if text[i] >= 0:
            for j in range(begins[text[i]], begins[text[i] + 1]):
                row, owner = rows[j], owners[document]
                known = number[row]
                if known < most:
                    is_new = True
                    for k in range(min(known, 1) if are_documents else known):
                        is_new = is_new and seen[row, k] != owner
                    if is_new:
                        seen[row, 0 if are_documents else known] = owner
                        number[row] = known + 1
