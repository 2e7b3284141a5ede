"""A tokenizer seen from the text: what each id spells, and how it is read."""

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dft_stats import doubts, sentences
from dft_stats.compiled import TokenTable
from dft_stats.errors import CompiledProfileError
from dft_stats.sentences import CAPTIONS, CLOSERS, OPENERS, STARTERS, TERMINATORS, rule_sentences, unit_flags
from dft_stats.text import (
    DIGIT,
    DIGIT_JOINERS,
    LETTER,
    UPPER,
    WORD,
    Unit,
    character_kind,
    normalise,
    units,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MARKER = re.compile(r"<.*>|\[.*\]", re.DOTALL)
_BATCH = 20_000
_ABBREVIATIONS = frozenset[str]().union(
    sentences.ALWAYS_BOUND,
    sentences.BOUND_IN_LOWER_CASE,
    sentences.BOUND_AS_TITLES,
    sentences.SHORT_IN_ANY_CASE,
    sentences.SHORT_AS_NAMES,
    sentences.BEFORE_NUMBER,
    sentences.LOOSE,
)
_LONGEST = 1 + max(map(len, _ABBREVIATIONS | CAPTIONS))
_TAILS = {LETTER: doubts.LETTER_TAIL, UPPER: doubts.UPPER_TAIL, DIGIT: doubts.DIGIT_TAIL}
_LEADS, _TRAILS = OPENERS - {"("}, CLOSERS | TERMINATORS  # a small word in parentheses goes on with nothing
_JOINERS = {
    ".": doubts.JOINS_AS_PERIOD,
    **dict.fromkeys(",:–", doubts.JOINS_DIGITS),  # "1990–1995" is folded to a hyphen
    **dict.fromkeys("'’-‐‑", doubts.JOINS),
}
_TYPESET = re.compile(r"[\s\x00-\x1f\x7f`'.-]")  # ASCII that `normalise` may change
_ROMAN = "ivxlIVXL"
_CONSONANTS = re.compile("[A-Z][b-df-hj-np-tv-xz]{1,5}")  # "Mfg", "Hwy"


def resolve(tokenizer: "Tokenizer | str | Path | Any") -> "Tokenizer":
    """A private copy of the tokenizer, without truncation and padding.

    Args:
        tokenizer: a `tokenizers.Tokenizer`, a fast tokenizer of transformers, or the path of a `tokenizer.json` or of its folder.

    Raises:
        CompiledProfileError: it is none of these, or the file cannot be read.
    """
    from tokenizers import Tokenizer

    if isinstance(tokenizer, str | Path):
        path = Path(tokenizer)
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.is_file():
            raise CompiledProfileError(f"{path} is no file; give the path of a tokenizer.json, or a tokenizer object")
        try:
            found = Tokenizer.from_file(str(path))
        except Exception as error:
            raise CompiledProfileError(f"{path} is no tokenizer.json that the installed `tokenizers` reads: {error}") from error
    else:
        given = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(given, Tokenizer):
            raise CompiledProfileError(
                f"cannot compile for a {type(tokenizer).__name__}; give a tokenizers.Tokenizer, a *fast* tokenizer of transformers, "
                "or the path of a tokenizer.json"
            )
        # A copy in any case: what is written down of one that was trained (scores of Unigram) is the same only once it was read again.
        found = Tokenizer.from_str(given.to_str())
    found.no_truncation()
    found.no_padding()
    return found


def fingerprint(tokenizer: "Tokenizer") -> str:
    """Hash of everything that the tokenizer does."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def encoding_fingerprint(tokenizer: "Tokenizer") -> str:
    """Hash of what decides into which ids a text is encoded, special tokens left out.

    How a library writes down the rest (templates, decoder, offsets) differs between the ways of loading one and the same tokenizer.
    """
    parts = json.loads(tokenizer.to_str())
    encoding = {name: _without_offsets(parts[name]) for name in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
    return hashlib.sha256(json.dumps(encoding, sort_keys=True).encode()).hexdigest()


def _without_offsets(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _without_offsets(value) for name, value in part.items() if name != "trim_offsets"}
    if isinstance(part, list) and part and isinstance(part[0], dict):
        return [_without_offsets(value) for value in part]
    return part


def vocabulary_size(tokenizer: "Tokenizer") -> int:
    """One more than the largest id, added tokens included."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def special_ids(tokenizer: "Tokenizer") -> list[int]:
    """Ids that are no text: flagged as special, or added and spelt like a marker (`<think>`, `[INST]`)."""
    added = tokenizer.get_added_tokens_decoder()
    return sorted(id for id, token in added.items() if token.special or _MARKER.fullmatch(token.content))


def surfaces(tokenizer: "Tokenizer") -> list[str]:
    """What each id spells in the middle of a text, leading space included. Bytes of a split character come out as U+FFFD."""
    (anchor,) = tokenizer.encode("a", add_special_tokens=False).ids[-1:]
    known = set(tokenizer.get_vocab(with_added_tokens=True).values())
    size = max(known) + 1
    alone = tokenizer.decode([anchor], skip_special_tokens=False)
    found: list[str] = []
    for begin in range(0, size, _BATCH):
        rows = [[anchor, id] if id in known else [anchor] for id in range(begin, min(begin + _BATCH, size))]
        found += [text.removeprefix(alone) for text in tokenizer.decode_batch(rows, skip_special_tokens=False)]
    return found


def token_table(spelt: Sequence[str], specials: Sequence[int]) -> TokenTable:
    """How each id is read as words and marks: see `TokenTable` and `dft_stats.stream`.

    Args:
        spelt: what each id spells, from `surfaces`.
        specials: ids that are no text, from `special_ids`.
    """
    special = np.zeros(len(spelt), bool)
    special[list(specials)] = True
    number: dict[_Row, int] = {_NOTHING: 0}  # of each row that differs: there are a few hundred
    first: dict[str, int] = {}
    own, kinds = np.zeros(len(spelt), np.int64), np.full(len(spelt), -1, np.int32)
    for id, text in enumerate(spelt):
        if text and not special[id]:
            row, word = _read(text)
            own[id] = number.setdefault(row, len(number))
            kinds[id] = first.setdefault(word, id) if word else -1
    types: dict[str, Any] = {"glues": np.bool_, "trails": np.bool_} | dict.fromkeys(
        ("head", "tail", "joiner", "abbreviation", "numbering", "end"), np.int8
    )
    columns = zip(_Row._fields, zip(*number, strict=True), strict=True)
    fields: dict[str, Any] = {name: np.array(values, types.get(name, np.int16))[own] for name, values in columns}
    return TokenTable(**fields, pairs=_pairs(spelt, special), entropy_type=kinds, fold=_folds(spelt, special), special=special)


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
_SHORT = 6  # letters, at the most, of what is called an abbreviation or a number by its shape


def _read(surface: str) -> tuple[_Row, str]:
    """How a token is read, and its first word in lower case."""
    if "\ufffd" in surface:  # bytes of a character: neither word nor mark
        return _Row(head=doubts.STAYS), ""
    spaced = surface[0] == " "
    bare = surface[1:] if spaced else surface
    tail = _TAILS.get(character_kind(surface[-1]), doubts.NO_TAIL)
    if bare.isalpha():  # three of four tokens: letters, with a space or without
        word = bare.lower()
        row = _word(spaced, _head(surface), tail)
        if word in _ABBREVIATIONS or bare in CAPTIONS or (len(bare) <= _SHORT and _is_likely(bare)):
            row = row._replace(abbreviation=_abbreviation(bare), numbering=_numbering(bare))
        return row, word
    anchor = _anchor(surface)
    found = units(anchor + surface)
    glues = bool(anchor) and len(found[0].text) > 1
    if anchor and not glues:
        found = found[1:]
    marks = [i for i, unit in enumerate(found) if unit.kind >= 0]
    words = [i for i, unit in enumerate(found) if unit.kind == WORD]
    words_before = sum(not marks or i < marks[0] for i in words)
    row = _Row(
        words_before,
        len(words) - words_before,
        glues and bool(words) and words[0] == 0,
        _head(surface),
        tail,
        _JOINERS.get(surface, doubts.NO_JOINER),
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
    elif kind == UPPER:
        word = core.replace("’", "'").partition("'")[0]
        head = doubts.GLUED_STARTER if word.lower() in STARTERS else doubts.GLUED_CAPITAL
    else:  # a word that is not all in lower case, or has no case, is no small word
        head = doubts.GLUED_LOWER if not spaced or (core[0].islower() and core == core.lower()) else doubts.GLUED_CAPITAL
    return head + doubts.SPACED * spaced


def _is_likely(word: str) -> bool:
    """Whether letters alone, in no list, may be an abbreviation or a number by their shape."""
    return len(word) == 1 or not word.strip(_ROMAN) or _CONSONANTS.fullmatch(word) is not None


def _abbreviation(word: str) -> int:
    """What a word, or what stands of it in a token, says of a period behind it."""
    # `unit_flags` is slow, and few words are such as it could call abbreviations.
    if not (len(word) == 1 or "." in word or word.lower() in _ABBREVIATIONS or _CONSONANTS.fullmatch(word) is not None):
        return doubts.NO_ABBREVIATION
    flags = unit_flags(word)
    if flags & sentences.BOUND:
        return doubts.BOUND
    if flags & sentences.SHORT:
        return doubts.SHORT
    return doubts.BEFORE_NUMBER if flags & (sentences.NUMBERED | sentences.ENDS_LOOSELY) else doubts.NO_ABBREVIATION


def _pairs(spelt: Sequence[str], special: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Abbreviations and captions of two tokens: first id, second id, abbreviation, numbering."""
    ids: dict[str, list[int]] = {}
    for id, text in enumerate(spelt):
        if len(text) <= _LONGEST and not special[id]:
            ids.setdefault(text, []).append(id)
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for word in CAPTIONS.union(*({word, word.capitalize(), word.upper()} for word in _ABBREVIATIONS)):
        meaning = _abbreviation(word), _numbering(word)
        for cut in range(1, len(word)) if any(meaning) else ():
            firsts = (*ids.get(" " + word[:cut], ()), *ids.get(word[:cut], ()))
            found |= {(first, second): meaning for first in firsts for second in ids.get(word[cut:], ())}
    return np.array([(*pair, *found[pair]) for pair in sorted(found)], np.int64).reshape(-1, 4)


def _numbering(word: str) -> int:
    if word in CAPTIONS:
        return doubts.CAPTION
    likely = len(word) == 1 or (len(word) <= _SHORT and any(map(str.isdigit, word))) or not word.strip(_ROMAN)
    return doubts.NUMBER if likely and unit_flags(word) & sentences.NUMBERING else doubts.NO_NUMBERING


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
    first: dict[str, int] = {}
    for id, text in enumerate(spelt):
        if not special[id]:
            first.setdefault(text, id)
    fold = np.arange(len(spelt), dtype=np.int32)
    for id, text in enumerate(spelt):
        if special[id] or not text or (text[1:] if text[0] == " " else text).isalnum():
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
