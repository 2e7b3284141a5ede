"""Texts as arrays of units and sentences: what `dft_stats.text` and `dft_stats.sentences` say of a character at a time, for a whole batch.

The rule segmenter has a compiled form; any other one is asked text by text and its answer put into the same arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, hash_texts
from dft_stats.build.scan import BROKEN, ENDS, OPENS, SPACED, scan
from dft_stats.build.shapes import flags_of
from dft_stats.build.threads import ALONE, Threads
from dft_stats.sentences import KIND_SHIFT, RULE, TERMINATOR, Segmenter, sentence_end
from dft_stats.text import WORD, normalise

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Units:
    """All units of a batch of documents, in order."""

    documents: int  # how many, empty ones too
    vocabulary: pa.LargeStringArray  # (types,), distinct, in no order
    numbers: Hashes  # (types,), as `hashing` has it
    factors: Hashes  # (types,)
    id: NDArray[np.int32]  # (units,), index into the vocabulary
    kind: NDArray[np.int8]  # (units,), as Unit.kind
    flags: Bytes  # (units,): SPACED, BROKEN, OPENS, ENDS


def read_units(texts: Sequence[str], segmenter: Segmenter, *, typography: str = "fold", threads: Threads = ALONE) -> Units:
    """Normalise and segment a batch of texts; by the rule in `threads`."""
    if segmenter.identity == RULE.identity:
        shares = [texts[begin:end] for begin, end in _shares(texts, threads)]
        return _joined(threads.each(lambda share: _read_by_rule(share, typography), shares), threads)
    return _read_by([normalise(text, typography=typography) for text in texts], segmenter)


def _units(documents: int, vocabulary: pa.LargeStringArray, ids: NDArray[np.int32], kind: NDArray[np.int8], flags: Bytes) -> Units:
    data, offsets = vocabulary.buffers()[2], np.frombuffer(vocabulary.buffers()[1], np.int64)[: len(vocabulary) + 1]
    numbers, factors = hash_texts(np.frombuffer(data or b"", np.uint8), offsets)
    return Units(documents, vocabulary, numbers, factors, ids, kind, flags)


# --- by rule ----------------------------------------------------------------------------------------------------------------------


_SHARES = 2  # of the texts for each thread: what else has been started takes its time as well


def _shares(texts: Sequence[str], threads: Threads) -> list[tuple[int, int]]:
    if threads.number == 1:
        return [(0, len(texts))]
    size = np.cumsum([0, *map(len, texts)])
    bounds = [int(np.searchsorted(size, begin)) for begin, _ in threads.cuts(int(size[-1]), _SHARES)]
    return list(pairwise([*bounds, len(texts)]))


def _joined(shares: Sequence[Units], threads: Threads) -> Units:
    """Units of all texts, as if they had been read at one go."""
    if len(shares) == 1:
        return shares[0]
    numbers = np.concatenate([share.numbers for share in shares])
    type_of = pa.array(numbers).dictionary_encode().indices.to_numpy()  # in the order in which they turn up
    first = np.unique(type_of, return_index=True)[1]
    of_share = [slice(*bounds) for bounds in pairwise(np.cumsum([0, *(len(share.numbers) for share in shares)]))]
    units_of = [slice(*bounds) for bounds in pairwise(np.cumsum([0, *(len(share.id) for share in shares)]))]
    ids = np.empty(units_of[-1].stop, np.int32)
    threads.each(lambda i: _look_up(type_of[of_share[i]], shares[i].id, ids[units_of[i]]), range(len(shares)))
    vocabulary = pa.concat_arrays([share.vocabulary for share in shares]).take(pa.array(first))
    factors = np.concatenate([share.factors for share in shares])[first]
    kind, flags = (np.concatenate([getattr(share, name) for share in shares]) for name in ("kind", "flags"))
    return Units(sum(share.documents for share in shares), vocabulary, numbers[first], factors, ids, kind, flags)


@njit(cache=True, nogil=True)
def _look_up(type_of: NDArray[np.int32], ids: NDArray[np.int32], found: NDArray[np.int32]) -> None:
    for i in range(ids.size):
        found[i] = type_of[ids[i]]


def _read_by_rule(texts: Sequence[str], typography: str) -> Units:
    ids, flags, vocabulary = scan(texts, typography=typography)
    of_type = flags_of(vocabulary)
    kinds = np.empty(len(ids), np.int8)
    _mark_ends(of_type, ids, flags, kinds)
    return _units(len(texts), vocabulary, ids, kinds, flags)


_sentence_end = njit(cache=True, nogil=True)(sentence_end)


@njit(cache=True, nogil=True)
def _mark_ends(of_type: NDArray[np.int32], ids: NDArray[np.int32], flags: Bytes, kinds: NDArray[np.int8]) -> None:
    """Set ENDS by the rules of `dft_stats.sentences`, document by document, and the kinds."""
    first, size, longest = 0, flags.size, 0
    for i in range(size):
        if flags[i] & OPENS:
            longest, first = max(longest, i - first), i
    longest, first = max(longest, size - first), 0
    own, spaces, breaks = np.empty(longest, np.int32), np.empty(longest, np.bool_), np.empty(longest, np.bool_)
    while first < size:
        length = 0
        while first + length < size and not (length and flags[first + length] & OPENS):
            i = first + length
            own[length] = of_type[ids[i]]
            spaces[length], breaks[length] = flags[i] & SPACED != 0, flags[i] & BROKEN != 0
            kinds[i] = (own[length] >> KIND_SHIFT) + WORD - 1
            length += 1
        for i in range(length):
            if i and breaks[i]:
                flags[first + i - 1] |= ENDS
            if own[i] & TERMINATOR:
                last = _sentence_end(own, spaces, breaks, i, length)
                if last >= 0:
                    flags[first + last] |= ENDS
        flags[first + length - 1] |= ENDS
        first += length


# --- by any other segmenter -------------------------------------------------------------------------------------------------------


def _read_by(texts: Sequence[str], segmenter: Segmenter) -> Units:
    ids: dict[str, int] = {}
    rows: list[tuple[int, int, int]] = []
    for text in texts:
        opens, behind = OPENS, 0
        for sentence in segmenter.sentences(text):
            for unit in sentence:
                if unit.start < behind or unit.end <= unit.start:
                    raise ValueError(
                        f"the segmenter {segmenter.name} gave units that overlap or are out of order; each begins behind the one before"
                    )
                behind = unit.end
                flag = opens | SPACED * bool(unit.space) | BROKEN * bool(unit.break_before)
                rows.append((ids.setdefault(text[unit.start : unit.end], len(ids)), unit.kind, flag))
                opens = 0
            if sentence:
                rows[-1] = (*rows[-1][:2], rows[-1][2] | ENDS)
    id, kind, flags = np.array(rows, np.int32).reshape(-1, 3).T
    return _units(len(texts), pa.array(list(ids), pa.large_string()), id.copy(), kind.astype(np.int8), flags.astype(np.uint8))
