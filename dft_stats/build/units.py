"""Texts as arrays of units and sentences: what `dft_stats.text` and `dft_stats.sentences` say of a character at a time, for a whole batch.

The rule segmenter has a compiled form; any other one is asked text by text and its answer put into the same arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes, hash_texts
from dft_stats.build.scan import BROKEN, ENDS, OPENS, SPACED, scan
from dft_stats.sentences import KIND_SHIFT, RULE, TABLES, TERMINATOR, Segmenter, sentence_end, unit_flags
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


def read_units(texts: Sequence[str], segmenter: Segmenter, *, typography: str = "fold") -> Units:
    """Normalise and segment a batch of texts."""
    plain = [normalise(text, typography=typography) for text in texts]
    return _read_by_rule(plain) if segmenter.identity == RULE.identity else _read_by(plain, segmenter)


def _units(documents: int, vocabulary: pa.LargeStringArray, ids: NDArray[np.int32], kind: NDArray[np.int8], flags: Bytes) -> Units:
    data, offsets = vocabulary.buffers()[2], np.frombuffer(vocabulary.buffers()[1], np.int64)[: len(vocabulary) + 1]
    numbers, factors = hash_texts(np.frombuffer(data or b"", np.uint8), offsets)
    return Units(documents, vocabulary, numbers, factors, ids, kind, flags)


# --- by rule ----------------------------------------------------------------------------------------------------------------------


def _read_by_rule(texts: Sequence[str]) -> Units:
    ids, flags, vocabulary = scan(texts)
    of_type = np.fromiter(map(_flags, vocabulary.to_pylist()), np.int32, len(vocabulary))
    _mark_ends(of_type[ids], (flags & SPACED) > 0, (flags & BROKEN) > 0, flags)
    kinds = ((of_type >> KIND_SHIFT) + WORD - 1).astype(np.int8)
    return _units(len(texts), vocabulary, ids, kinds[ids], flags)


_KNOWN: dict[str, int] = {}
_MOST_KNOWN = 1 << 20
_LISTED = frozenset(word.lower() for table in TABLES for word in table)
_NUMERAL, _VOWELS = frozenset("ivxl"), frozenset("aeiou")
_LOWER, _CAPITAL = unit_flags("zoomed"), unit_flags("Zoomed")


def _flags(unit: str) -> int:
    """`unit_flags`, remembered from batch to batch. Of words of letters that no table has, the first letter says all."""
    found = _KNOWN.get(unit)
    if found is None:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        word = unit.lower()
        is_common = unit.isascii() and unit.isalpha() and len(unit) >= 4 and word not in _LISTED
        if is_common and not _NUMERAL.issuperset(word) and not _VOWELS.isdisjoint(word) and (unit == word or unit[0] != word[0]):
            found = _LOWER if unit == word else _CAPITAL
        else:
            found = unit_flags(unit)
        _KNOWN[unit] = found
    return found


_sentence_end = njit(cache=True)(sentence_end)


@njit(cache=True)
def _mark_ends(of_unit: NDArray[np.int32], space: NDArray[np.bool_], broken: NDArray[np.bool_], flags: Bytes) -> None:
    """Set ENDS by the rules of `dft_stats.sentences`, document by document."""
    first, size = 0, flags.size
    while first < size:
        behind = first + 1
        while behind < size and not flags[behind] & OPENS:
            behind += 1
        length = behind - first
        own, spaces, breaks = of_unit[first:behind], space[first:behind], broken[first:behind]
        for i in range(length):
            if i and breaks[i]:
                flags[first + i - 1] |= ENDS
            if own[i] & TERMINATOR:
                last = _sentence_end(own, spaces, breaks, i, length)
                if last >= 0:
                    flags[first + last] |= ENDS
        flags[behind - 1] |= ENDS
        first = behind


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
