"""How each id of a tokenizer is read as words and marks.

A vocabulary is large, and what `_read` says is slow to say. Most tokens hold one run of ASCII letters (" Harbour", ".get", "ing,"), or are
letters of other alphabets and nothing else; of letters that spell no word that the rules know by name, their case and number say all. So
one token is read for all of its shape.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats import doubts, sentences
from dft_stats.compiled import TokenTable
from dft_stats.sentences import CAPTIONS, CLOSERS, OPENERS, STARTERS, TERMINATORS, rule_sentences, unit_flags
from dft_stats.text import (
    DIGIT,
    DIGIT_JOINERS,
    EXTEND,
    LETTER,
    UPPER,
    WORD,
    Unit,
    character_kind,
    normalise,
    units,
)

_ABBREVIATIONS = frozenset[str]().union(
    sentences.ALWAYS_BOUND,
    sentences.BOUND_IN_LOWER_CASE,
    sentences.BOUND_AS_TITLES,
    sentences.SHORT_IN_ANY_CASE,
    sentences.SHORT_AS_NAMES,
    sentences.BEFORE_NUMBER,
    sentences.LOOSE,
)
_TAILS = {LETTER: doubts.LETTER_TAIL, UPPER: doubts.UPPER_TAIL, DIGIT: doubts.DIGIT_TAIL}
_LEADS, _TRAILS = OPENERS - {"("}, CLOSERS | TERMINATORS  # a small word in parentheses goes on with nothing
_JOINERS = {
    ".": doubts.JOINS_AS_PERIOD,
    **dict.fromkeys(",:–", doubts.JOINS_DIGITS),  # "1990–1995" is folded to a hyphen
    **dict.fromkeys("'’-‐‑", doubts.JOINS),
}
_EMOJI = "\ufe0e\ufe0f\u200d"  # what extends symbols more often than letters
_TYPESET = re.compile(r"[\s\x00-\x1f\x7f`'.-]")  # ASCII that `normalise` may change
_ROMAN = "ivxlIVXL"
_CONSONANTS = re.compile("[A-Z][b-df-hj-np-tv-xz]{1,5}")  # "Mfg", "Hwy"

Ints = NDArray[np.int64]


def token_table(spelt: Sequence[str], specials: Sequence[int]) -> TokenTable:
    """How each id is read as words and marks: see `TokenTable` and `dft_stats.stream`.

    Args:
        spelt: what each id spells, from `surfaces`.
        specials: ids that are no text, from `special_ids`.
    """
    texts = pa.array(spelt, pa.string())
    special = np.zeros(len(spelt), bool)
    special[list(specials)] = True
    texts = pc.if_else(pa.array(special), "", texts)
    shapes, letters = _shapes(texts)
    shape, example = _first_of_each(shapes)
    read = [_read(text) if text else (_NOTHING, "") for text in texts.take(pa.array(example)).to_pylist()]
    number: dict[_Row, int] = {}  # of each row that differs: there are a few hundred
    row = np.array([number.setdefault(row, len(number)) for row, _ in read], np.int64)[shape]
    types: dict[str, Any] = {"glues": np.bool_, "trails": np.bool_} | dict.fromkeys(
        ("head", "tail", "joiner", "abbreviation", "numbering", "end"), np.int8
    )
    columns = zip(_Row._fields, zip(*number, strict=True), strict=True)
    fields: dict[str, Any] = {name: np.array(values, types.get(name, np.int16))[row] for name, values in columns}
    # The first word, too, is that of the example, with other letters.
    around = [
        word.partition(of_example) if of_example else (word, "", "")
        for (_, word), of_example in zip(read, letters.take(pa.array(example)).to_pylist(), strict=True)
    ]
    front, inside, back = (pa.array(part, pa.string()).take(pa.array(shape)) for part in zip(*around, strict=True))
    words = pc.binary_join_element_wise(front, pc.if_else(pc.equal(inside, ""), "", letters), back, "")
    word, first = _first_of_each(words)
    kinds = np.where(pc.equal(words, "").to_numpy(zero_copy_only=False), -1, first[word]).astype(np.int32)
    return TokenTable(**fields, pairs=_pairs(spelt, special), entropy_type=kinds, fold=_folds(spelt, special), special=special)


def _first_of_each(texts: pa.StringArray) -> tuple[Ints, Ints]:
    """(which of the different texts each is (texts,), where each of these stands first)."""
    which = texts.dictionary_encode().indices.to_numpy()
    first = np.full(int(which.max(initial=-1)) + 1, -1, np.int64)
    first[which[::-1]] = np.arange(len(which))[::-1]
    return which, first


class _Row(NamedTuple):
    words_before: int = 0
    words_after: int = 0
    glues: bool = False
    head: int = doubts.APART
    tail: int = doubts.NO_TAIL
    joiner: int = doubts.NO_JOINER
    abbreviation: int = doubts.NO_ABBREVIATION
    numbering: int = doubts.NO_NUMBERING
    first_mark: int = -1
    last_mark: int = -1
    end: int = 0
    trails: bool = False


_NOTHING = _Row()
_SHORT = 6  # characters, at the most, of what is called an abbreviation or a number by its shape

# "\u212a" and "\u0130" have ASCII letters in lower case.
_ONE_RUN = r"^(?P<before>[^A-Za-z\x{212a}\x{130}]*)(?P<letters>[A-Za-z]+)(?P<behind>[^A-Za-z\x{212a}\x{130}]*)$"
_CASES = np.array([ord("O" if chr(code).isupper() else "o") for code in range(128)], np.uint8)
_LISTED = pa.array(sorted({word.lower() for table in sentences.TABLES for word in table} | {"http", "https", "www"}), pa.string())


def _shapes(texts: pa.StringArray) -> tuple[pa.StringArray, pa.StringArray]:
    """All of each token that says how it is read; and the letters in it, in lower case, for which others might stand, "" if none may."""
    before, letters, behind = pc.extract_regex(texts, _ONE_RUN).flatten()
    words = pc.ascii_lower(letters)
    counts = pc.or_(pc.is_in(words, _LISTED), pc.match_substring_regex(letters, f"^(?:.|[{_ROMAN}]+|{_CONSONANTS.pattern})$"))
    has_run, offsets, data = letters.buffers()
    cases = pa.StringArray.from_buffers(len(letters), offsets, pa.py_buffer(_CASES[np.frombuffer(data or b"", np.uint8)]), has_run)
    for case in "oO":
        cases = pc.replace_substring_regex(cases, f"{case}{{{_SHORT + 1},}}", case * (_SHORT + 1))
    is_alike = pc.fill_null(pc.invert(counts), False)
    run, bare = _runs(texts)
    is_run = pc.and_(pc.greater(run, 0), pc.invert(pc.is_in(bare, _LISTED)))
    spaced = pc.if_else(pc.starts_with(texts, " "), " ", "")
    shapes = pc.if_else(is_alike, pc.binary_join_element_wise(before, cases, behind, "1", ""), pc.binary_join_element_wise(texts, "0", ""))
    shapes = pc.if_else(is_run, pc.binary_join_element_wise(spaced, pc.cast(run, pa.string()), "2", ""), shapes)
    return shapes, pc.if_else(is_run, bare, pc.if_else(is_alike, words, ""))


_ONE, _CASELESS, _SMALL = 1, 2, 3
"""Tokens that are one letter without case, several, or small letters that are not all of ASCII; with a space before them or without."""
_MIXED = 4


def _runs(texts: pa.StringArray) -> tuple[pa.Array, pa.StringArray]:
    """Which of these each token is, 0 for all others; and the token without a space before it. Letters are what Python says."""
    bare = pc.if_else(pc.starts_with(texts, " "), pc.utf8_slice_codeunits(texts, 1), texts)
    codes = np.frombuffer("".join(bare.to_pylist()).encode("utf-32-le"), np.uint32)
    cases = np.zeros(sys.maxunicode + 1, np.int8)
    cases[codes] = 1
    different = np.flatnonzero(cases)
    cases[different] = [_case(chr(code)) for code in different.tolist()]
    kinds = cases[codes]
    sizes = pc.utf8_length(bare).to_numpy()
    found, some = np.zeros(len(bare), np.int8), np.flatnonzero(sizes)
    if len(some):
        begins = (np.cumsum(sizes) - sizes)[some]
        least, most = np.minimum.reduceat(kinds, begins), np.maximum.reduceat(kinds, begins)
        found[some] = np.where((least == most) & (most < _MIXED), most, 0)
        found[(found == _CASELESS) & (sizes == 1)] = _ONE
        is_ascii = pc.string_is_ascii(bare).to_numpy(zero_copy_only=False)
        found[(found == _SMALL) & ((sizes == 1) | is_ascii)] = 0
    return pa.array(found), bare


@cache
def _case(character: str) -> int:
    if character_kind(character) != LETTER or not character.isalpha() or character.lower() != character:
        return _MIXED
    return _SMALL if character.islower() else _CASELESS


def _read(surface: str) -> tuple[_Row, str]:
    """How a token is read, and its first word in lower case."""
    if "\ufffd" in surface:  # bytes of a character: neither word nor mark
        return _Row(head=doubts.STAYS), ""
    core = surface
    while core and character_kind(core[0]) == EXTEND:
        core = core[1:]
    if not core:  # part of the letter before, or of the symbol
        return _Row(head=doubts.STAYS, tail=doubts.NO_TAIL if surface[-1] in _EMOJI else doubts.LETTER_TAIL), ""
    if core != surface and character_kind(core[0]) not in _TAILS:
        return _read(core)
    spaced = surface[0] == " "
    bare = surface[1:] if spaced else surface
    tail = _tail(surface)
    if bare.isalpha():  # the shorter way
        row = _word(spaced, _head_of_word(bare, spaced), tail)
        if bare.isascii() or len(bare) == 1:
            row = row._replace(abbreviation=_abbreviation(bare), numbering=_numbering(bare))
        return row, bare.lower()
    anchor = _anchor(surface)
    found = units(anchor + surface)
    glues = bool(anchor) and len(found[0].text) > 1
    if anchor and not glues:
        found = found[1:]
    marks = [i for i, unit in enumerate(found) if unit.kind >= 0]
    words = [i for i, unit in enumerate(found) if unit.kind == WORD]
    opens = not marks and surface.lstrip(" \t").startswith("\n")  # a word behind a line end stands behind the end of a sentence
    words_before = 0 if opens else sum(not marks or i < marks[0] for i in words)
    row = _Row(
        words_before,
        len(words) - words_before,
        glues and bool(words) and words[0] == 0,
        _head(surface),
        tail,
        _joiner(surface, found, marks),
        first_mark=found[marks[0]].kind if marks else -1,
        last_mark=found[marks[-1]].kind if len(marks) > 1 else -1,
        end=_end(surface, found),
        trails=surface[-1] == " ",
    )
    if not words:
        return row, ""
    first, last = found[words[0]].text, found[-1].text
    word = (first.removeprefix(anchor) if row.glues else first).lower()
    if not tail:
        return row, word
    last = last.removeprefix(anchor) if len(found) == 1 and row.glues else last
    return row._replace(abbreviation=_abbreviation(last), numbering=_numbering(last)), word


def _tail(surface: str) -> int:
    """By the last character that does not extend another."""
    kinds = (character_kind(character) for character in reversed(surface))
    return _TAILS.get(next((kind for kind in kinds if kind != EXTEND), EXTEND), doubts.NO_TAIL)


def _joiner(surface: str, found: Sequence[Unit], marks: Sequence[int]) -> int:
    if surface in _JOINERS or surface[-1] not in _JOINERS or "\n" in surface or len(marks) > 1 or len(found) < 2 or found[-1].kind < 0:
        return _JOINERS.get(surface, doubts.NO_JOINER)
    link = doubts.LINKS[_JOINERS[surface[-1]], _TAILS.get(character_kind(surface[-2]), doubts.NO_TAIL)]  # "pre-", "3,"
    return doubts.JOINED + int(link) if link else doubts.NO_JOINER


@cache
def _word(spaced: bool, head: int, tail: int) -> _Row:
    return _Row(1, 0, not spaced, head, tail)


def _anchor(surface: str) -> str:
    """What to imagine in front: nothing before a space, a digit before ",000", otherwise a capital, so that ".S" continues "U"."""
    if surface[0].isspace():
        return ""
    return "0" if surface[0] in DIGIT_JOINERS and surface[1:2].isdigit() else "A"


def _head(surface: str) -> int:
    """How the token begins: see `dft_stats.doubts`."""
    spaced = surface[0].isspace() and surface[0] != "\n"
    core = surface.lstrip(" \t") if spaced else surface
    if not core:
        return doubts.STAYS_APART
    kind = character_kind(core[0])
    if kind not in _TAILS:
        line = core.split("\n", 1)[0]
        if all(character in (_LEADS if spaced else _TRAILS) for character in line):
            return doubts.APART if "\n" in core else doubts.STAYS_APART if spaced else doubts.STAYS
        head = doubts.GLUED_MARK
    elif kind == DIGIT:
        head = doubts.GLUED_DIGIT
    else:
        return _head_of_word(core, spaced)
    return head + doubts.SPACED * spaced


def _head_of_word(core: str, spaced: bool) -> int:
    if character_kind(core[0]) == UPPER:
        word = core.replace("’", "'").partition("'")[0]
        head = doubts.GLUED_STARTER if word.lower() in STARTERS else doubts.GLUED_CAPITAL
    else:  # a word that is not all in lower case, or has no case, is no small word
        head = doubts.GLUED_LOWER if not spaced or (core[0].islower() and core == core.lower()) else doubts.GLUED_CAPITAL
    return head + doubts.SPACED * spaced


_flags = lru_cache(1 << 12)(unit_flags)  # slow, so that it is asked only of what it could say something of, and the same words come again


def _abbreviation(word: str) -> int:
    """What a word, or what stands of it in a token, says of a period behind it."""
    if not (len(word) == 1 or "." in word or word.lower() in _ABBREVIATIONS or _CONSONANTS.fullmatch(word) is not None):
        return doubts.NO_ABBREVIATION
    flags = _flags(word)
    if flags & sentences.BOUND:
        return doubts.BOUND
    if flags & sentences.SHORT:
        return doubts.SHORT
    return doubts.BEFORE_NUMBER if flags & (sentences.NUMBERED | sentences.ENDS_LOOSELY) else doubts.NO_ABBREVIATION


def _pairs(spelt: Sequence[str], special: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Abbreviations and captions of two tokens: first id, second id, abbreviation, numbering."""
    cuts = _cuts()
    halves = {half for cut in cuts for half in cut}
    ids: dict[str, list[int]] = {}
    for id in np.flatnonzero(~special).tolist():
        if (text := spelt[id]) in halves:
            ids.setdefault(text, []).append(id)
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for (begin, end), meaning in cuts.items():
        found |= {(first, second): meaning for first in ids.get(begin, ()) for second in ids.get(end, ())}
    return np.array([(*pair, *found[pair]) for pair in sorted(found)], np.int64).reshape(-1, 4)


@cache
def _cuts() -> Mapping[tuple[str, str], tuple[int, int]]:
    """Abbreviations and captions in two halves, with a space in front and without, and what they say: abbreviation, numbering."""
    found = dict[tuple[str, str], tuple[int, int]]()
    for word in CAPTIONS.union(*({word, word.capitalize(), word.upper()} for word in _ABBREVIATIONS)):
        if any(meaning := (_abbreviation(word), _numbering(word))):
            found |= {(space + word[:cut], word[cut:]): meaning for cut in range(1, len(word)) for space in ("", " ")}
    return found


def _numbering(word: str) -> int:
    if word in CAPTIONS:
        return doubts.CAPTION
    likely = (len(word) == 1 and word.isascii()) or (len(word) <= _SHORT and any(map(str.isdigit, word))) or not word.strip(_ROMAN)
    return doubts.NUMBER if likely and _flags(word) & sentences.NUMBERING else doubts.NO_NUMBERING


def _end(surface: str, found: Sequence[Unit]) -> int:
    if "\n" in surface:
        return 3
    for i, unit in enumerate(found):
        if unit.text[0] in TERMINATORS and all(after.text[0] in _TRAILS for after in found[i + 1 :]):
            excused = unit.text == "." and i > 0 and found[i - 1].kind == WORD and _abbreviation(found[i - 1].text) >= doubts.SHORT
            return 1 if surface == "." else 0 if excused else 2
    return 3 if _ends_inside(surface, found) else 0


def _ends_inside(surface: str, found: Sequence[Unit]) -> bool:
    """Of a token that joins words (". The"): the rule of texts, behind a word if it needs one, says whether a sentence ends in it."""
    if " " not in surface[1:] or not any(unit.text[0] in TERMINATORS for unit in found):
        return False
    return len(rule_sentences(surface if surface[0] == " " else "zoomed" + surface)) > 1


def _folds(spelt: Sequence[str], special: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The id with plain typography, where the vocabulary has it as one token; otherwise the id itself."""
    ids = np.flatnonzero(~special).tolist()
    first = {spelt[id]: id for id in reversed(ids)}
    fold = np.arange(len(spelt), dtype=np.int32)
    for id in ids:
        text = spelt[id]
        if not text or text.isalnum() or (text[0] == " " and text[1:].isalnum()):
            continue
        plain = text.isascii() and not _TYPESET.search(text, int(text[0] == " "))
        fold[id] = first[text] if plain else first.get(_plain(text), first[text])
    return fold


def _plain(surface: str) -> str:
    """The surface as `normalise` would leave it inside a text; a lone newline is a paragraph break."""
    core = surface.strip()
    if not core:
        return "\n\n" if "\n" in surface else surface
    lead = " " if surface[0] == " " else surface[: len(surface) - len(surface.lstrip())]
    tail = surface[len(surface.rstrip()) :]
    if surface == " -":
        return " —"
    return lead + normalise(core) + ("\n\n" if "\n" in tail else tail)
