"""Texts as arrays of units and sentences: what `dft_stats.text` says one character at a time, for a whole batch at once.

Only the rule segmenter has a vectorised form; any other one is asked text by text and its answer put into the same arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats.text import (
    BEFORE_NUMBER,
    BOUND,
    CAPTIONS,
    CLOSERS,
    COMPANY,
    DIGIT,
    DIGIT_JOINERS,
    EXTEND,
    JOINERS,
    LETTER,
    NEWLINE,
    OPENERS,
    OTHER,
    RULE,
    SPACE,
    SPEECH,
    STARTERS,
    TERMINATORS,
    TITLES,
    UPPER,
    WORD,
    WORD_CHARACTERS,
    Segmenter,
    character_kind,
    normalise,
    unit_kind,
)

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Units:
    """All units of a batch of documents, in order. Arrays (units,) unless said otherwise."""

    documents: int  # how many, empty ones too
    text: bytes  # the documents, normalised, a newline between two of them
    start: Ints  # byte offsets
    end: Ints
    document: Ints  # index
    vocabulary: pa.StringArray  # (types,), sorted
    id: Ints  # index into the vocabulary
    kind: Ints  # as Unit.kind
    space: Bools  # as Unit.space
    break_before: Bools
    sentence: Ints  # index, over all documents


def read_units(texts: Sequence[str], segmenter: Segmenter, *, typography: str = "fold") -> Units:
    """Normalise and segment a batch of texts."""
    plain = [normalise(text, typography=typography) for text in texts]
    return _read_by_rule(plain) if segmenter is RULE or segmenter.identity == RULE.identity else _read_by(plain, segmenter)


def substrings(text: bytes, start: Ints, end: Ints) -> tuple[pa.StringArray, Ints]:
    """Distinct substrings, sorted, and for each pair of byte offsets the index of its own. Offsets rise and do not overlap."""
    if not len(start):
        return pa.array([], pa.string()), np.zeros(0, np.int64)
    edges = np.empty(2 * len(start), np.int64)  # one array of offsets covers the substrings and what lies between them: no copy
    edges[0::2], edges[1::2] = start, end
    pieces = pa.LargeStringArray.from_buffers(len(edges) - 1, pa.py_buffer(edges), pa.py_buffer(text))
    encoded = pieces.dictionary_encode()
    found = encoded.indices.to_numpy()[0::2]
    used = np.zeros(len(encoded.dictionary), bool)
    used[found] = True
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    order = order[used[order]]
    rank = np.zeros(len(used), np.int64)
    rank[order] = np.arange(len(order))
    return encoded.dictionary.take(pa.array(order)).cast(pa.string()), rank[found]


# --- characters and units ---------------------------------------------------------------------------------------------------------

_UNKNOWN = 255
_KINDS = np.full(0x110000, _UNKNOWN, np.uint8)  # filled as characters turn up
_JOINER, _PERIOD, _DIGIT_JOINER = 1, 2, 3
_JOINS = np.zeros(0x110000, np.uint8)
_JOINS[[ord(c) for c in JOINERS]] = _JOINER
_JOINS[ord(".")] = _PERIOD
_JOINS[[ord(c) for c in DIGIT_JOINERS]] = _DIGIT_JOINER


def _kinds(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    kinds = _KINDS[codes]
    if (kinds == _UNKNOWN).any():
        for code in np.unique(codes[kinds == _UNKNOWN]).tolist():
            _KINDS[code] = character_kind(chr(code))
        kinds = _KINDS[codes]
    return kinds


def _scan(joined: str) -> tuple[NDArray[np.uint32], Ints, Ints, Bools, Bools]:
    """Code points; start and end of each unit in characters; whether a space, and whether a break stands before it."""
    codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    kinds, bases = _kinds(codes), codes
    extending = np.flatnonzero(kinds == EXTEND)
    if len(extending):  # a combining mark takes over kind and base of the character before, or stands alone behind white space
        first = np.concatenate([[True], np.diff(extending) != 1])
        before = extending[first][np.cumsum(first) - 1] - 1
        alone = (before < 0) | (kinds[before] == SPACE) | (kinds[before] == NEWLINE)
        kinds, bases = kinds.copy(), codes.copy()
        kinds[extending] = np.where(alone, OTHER, kinds[before])
        bases[extending] = codes[np.where(alone, before + 1, before)]
    in_word = (kinds >= LETTER) & (kinds <= DIGIT)
    joins = _JOINS[codes]
    between = np.flatnonzero(joins[1:-1]) + 1
    between = between[in_word[between - 1] & in_word[between + 1]]
    left, right, join = kinds[between - 1], kinds[between + 1], joins[between]
    sentence_end = (join == _PERIOD) & (left == LETTER) & (right == UPPER)  # "end.Next"
    digits = (join != _DIGIT_JOINER) | ((left == DIGIT) & (right == DIGIT))
    in_word[between[digits & ~sentence_end]] = True

    visible = (kinds != SPACE) & (kinds != NEWLINE)
    begins = visible.copy()
    begins[1:] &= ~visible[:-1] | (in_word[1:] != in_word[:-1]) | (~in_word[1:] & (bases[1:] != bases[:-1]))
    ends = visible.copy()
    ends[:-1] &= ~visible[1:] | begins[1:]
    start, end = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    newlines = np.cumsum(kinds == NEWLINE, dtype=np.int32)
    break_before = np.ones(len(start), bool)
    break_before[1:] = newlines[start[1:]] != newlines[end[:-1] - 1]
    space = np.zeros(len(start), bool)
    space[1:] = (start[1:] != end[:-1]) & ~break_before[1:]
    return codes, start, end, space, break_before


def _byte_offsets(joined: str, codes: NDArray[np.uint32]) -> Ints | None:
    """Offset in UTF-8 of each character and of the end; None if it is that of the character."""
    if joined.isascii():
        return None
    width = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    return np.concatenate([[0], np.cumsum(width)])


def _opening_offsets(texts: Sequence[str]) -> Ints:
    """Where each text begins in their join by newlines, in characters."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    return np.cumsum(lengths) - lengths


def _read_by_rule(texts: Sequence[str]) -> Units:
    joined = "\n".join(texts)
    codes, start, end, space, break_before = _scan(joined)
    document = np.searchsorted(_opening_offsets(texts), start, side="right") - 1
    offsets = _byte_offsets(joined, codes)
    if offsets is not None:
        start, end = offsets[start], offsets[end]
    text = joined.encode()
    vocabulary, ids = substrings(text, start, end)
    flags = _flags(vocabulary.to_pylist())
    ends = _sentence_ends(flags[ids], space, break_before, document)
    sentence: Ints = np.cumsum(ends) - ends
    kind = (flags[ids] >> _KIND_SHIFT) + WORD - 1
    return Units(len(texts), text, start, end, document, vocabulary, ids, kind, space, break_before, sentence)


def _read_by(texts: Sequence[str], segmenter: Segmenter) -> Units:
    joined = "\n".join(texts)
    rows: list[tuple[int, int, int, int, bool, bool, int]] = []
    number = 0
    for index, (text, opening) in enumerate(zip(texts, _opening_offsets(texts).tolist(), strict=True)):
        for sentence in segmenter.sentences(text):
            rows += [(u.start + opening, u.end + opening, index, u.kind, u.space, u.break_before, number) for u in sentence]
            number += 1
    columns = np.array(rows, np.int64).reshape(-1, 7).T
    start, end, document, kind, space, break_before, found = columns
    offsets = _byte_offsets(joined, np.frombuffer(joined.encode("utf-32-le"), np.uint32))
    if offsets is not None:
        start, end = offsets[start], offsets[end]
    if (np.diff(np.stack([start, end], 1).ravel()) < 0).any():
        raise ValueError(f"the segmenter {segmenter.name} gave units that overlap or are out of order; each begins behind the one before")
    vocabulary, ids = substrings(joined.encode(), start, end)
    return Units(len(texts), joined.encode(), start, end, document, vocabulary, ids, kind, space > 0, break_before > 0, found)


# --- sentences by rule ------------------------------------------------------------------------------------------------------------

(
    _TERMINATOR, _CLOSER, _OPENER, _LOWER, _DECIMAL, _SPEECH, _DOT, _LEFT, _RIGHT, _NUMBERING, _CAPTION, _WORD, _BOUND, _NUMBERED, _DIGITS,
    _SHORT, _STARTER, _TEXT,
) = (1 << i for i in range(18))  # fmt: skip
_KIND_SHIFT = 18  # above the flags: kind of the unit, less the smallest kind
_KNOWN: dict[str, int] = {}
_MOST_KNOWN = 1 << 20


def _flags(vocabulary: Sequence[str]) -> Ints:
    """What the rules of `dft_stats.text` ask of a unit, a bit each, and its kind."""
    if len(_KNOWN) > _MOST_KNOWN:
        _KNOWN.clear()
    for unit in vocabulary:
        if unit not in _KNOWN:
            _KNOWN[unit] = _flags_of(unit)
    return np.fromiter((_KNOWN[unit] for unit in vocabulary), np.int64, len(vocabulary))


def _flags_of(unit: str) -> int:
    word, first, kind = unit.lower(), unit[0], unit_kind(unit)
    is_initial = len(unit) == 1 and unit.isupper() and unit != "I"
    is_dotted = "." in unit and not any(c.isdigit() for c in unit) and max(map(len, unit.split("."))) <= 2
    answers = {
        _TERMINATOR: first in TERMINATORS,
        _CLOSER: first in CLOSERS,
        _OPENER: first in OPENERS,
        _LOWER: first.islower(),
        _DECIMAL: unit.isdecimal(),
        _SPEECH: unit in SPEECH,
        _DOT: unit == ".",
        _LEFT: unit == "[",
        _RIGHT: unit == "]",
        _NUMBERING: len(unit) == 1 or not unit.strip("0123456789."),
        _CAPTION: unit in CAPTIONS,
        _WORD: kind == WORD,
        _BOUND: word in BOUND,
        _NUMBERED: word in BEFORE_NUMBER,
        _DIGITS: first.isdigit(),
        _SHORT: is_initial or is_dotted or word in TITLES or word in COMPANY,
        _STARTER: word in STARTERS,
        _TEXT: character_kind(first) in WORD_CHARACTERS or first in OPENERS,
    }
    return sum(flag for flag, answer in answers.items() if answer) | (kind - WORD + 1) << _KIND_SHIFT


def _sentence_ends(flags: Ints, space: Bools, break_before: Bools, document: Ints) -> Bools:
    """Whether a sentence ends with this unit, (units,): `_is_end` of `dft_stats.text` for all terminators at once."""
    size = len(flags)
    ends = np.zeros(size, bool)
    if not size:
        return ends
    ends[:-1] = break_before[1:]
    ends[-1] = True
    glued = ~(space | break_before)

    def has(at: Ints, flag: int) -> Bools:
        found: Bools = (flags[np.minimum(at, size - 1)] & flag) > 0
        return found

    def reaches(at: Ints, ahead: int) -> Bools:
        """Whether the document goes on for so many units."""
        inside = at + ahead < size
        found: Bools = inside & (document[np.minimum(at + ahead, size - 1)] == document[at])
        return found

    mark = np.flatnonzero(flags & _TERMINATOR)
    goes_on = glued & ((flags & (_TERMINATOR | _CLOSER)) > 0)
    stop = np.flatnonzero(~goes_on)
    place = np.searchsorted(stop, mark, side="right")
    last = np.where(place < len(stop), stop[np.minimum(place, len(stop) - 1)], size) - 1
    while True:  # footnote markers
        more = reaches(last, 3) & has(last + 1, _LEFT) & has(last + 2, _DECIMAL) & has(last + 3, _RIGHT)
        if not more.any():
            break
        last = np.where(more, last + 3, last)

    following = np.minimum(last + 1, size - 1)
    closes = ~reaches(last, 1) | break_before[following]
    opened = has(following, _OPENER) & reaches(last, 2)
    after = np.where(opened, np.minimum(last + 2, size - 1), following)
    refused = glued[following] | has(after, _LOWER)
    refused |= has(last, _CLOSER) & reaches(last, 2) & has(last + 2, _SPEECH)

    previous, caption = np.maximum(mark - 1, 0), np.maximum(mark - 2, 0)
    period = (last == mark) & has(mark, _DOT) & (mark > 0) & glued[mark]
    numbering = break_before[previous] & has(previous, _NUMBERING)
    captioned = (mark > 1) & (document[caption] == document[mark]) & break_before[caption] & has(caption, _CAPTION)
    captioned &= has(previous, _DECIMAL)
    abbreviated = has(previous, _BOUND) | (has(after, _DIGITS) & has(previous, _NUMBERED)) | (has(previous, _SHORT) & ~has(after, _STARTER))
    refused |= period & (numbering | captioned | (has(previous, _WORD) & (abbreviated | ~has(after, _TEXT))))
    ends[last[closes | ~refused]] = True
    return ends
