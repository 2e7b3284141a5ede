"""The text model: how a text becomes sentences and units. The reference: slow, obvious, and what every fast path is tested against.

A *unit* is a word or a mark. A word is a run of letters, digits and combining marks, with `'`, `-`, `.` allowed between two of them and
`,`, `:` between two digits (after UAX #29, word boundaries, with the hyphen added): "don't", "well-known", "U.S", "3.14", "10:30". A mark
is a run of one and the same other character: "," or "..." or "—". What is neither word nor one of `MARK_CLASSES` is a symbol ("$", "%").

Where sentences end is for `dft_stats.sentences` to say.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

MARK_CLASSES = (
    "comma",
    "semicolon",
    "colon",
    "dash",
    "quote",
    "parenthesis",
    "bracket",
    "period",
    "question",
    "exclamation",
    "ellipsis",
    "slash",
)  # fmt: skip
_CLASS_CHARACTERS = {
    "comma": ",、，",
    "semicolon": ";；",
    "colon": ":：",
    "dash": "-‐‑‒–—―",
    "quote": "\"'`“”„‟«»‹›‘’‚‛",
    "parenthesis": "()",
    "bracket": "[]{}",
    "period": ".。",
    "question": "?？",
    "exclamation": "!！",
    "ellipsis": "…",
    "slash": "/",
}
MARK_CLASS = {character: MARK_CLASSES.index(name) for name, characters in _CLASS_CHARACTERS.items() for character in characters}
PROSE_MARKS = ("comma", "semicolon", "colon", "dash", "quote", "parenthesis", "period", "question", "exclamation", "ellipsis")
"""Classes whose rates are features of a document."""
WORD, SYMBOL = -1, -2  # kinds of unit beside the index of a mark's class

# Kinds of character.
SPACE, NEWLINE, LETTER, UPPER, DIGIT, OTHER, EXTEND = range(7)
WORD_CHARACTERS = (LETTER, UPPER, DIGIT)
JOINERS = "'’-‐‑."  # between two letters or digits
DIGIT_JOINERS = ",:"  # between two digits


class Unit(NamedTuple):
    """A word, mark or symbol of a text."""

    text: str
    start: int  # character offsets
    end: int
    kind: int  # WORD, SYMBOL, or the index of the mark's class in MARK_CLASSES
    space: bool  # white space, but no break, stands before it
    break_before: bool  # a line or paragraph begins here


Sentence = Sequence[Unit]
Document = Sequence[Sentence]


# --- characters -------------------------------------------------------------------------------------------------------------------


@lru_cache(1 << 15)
def character_kind(character: str) -> int:
    """The kind of one character, by its Unicode properties."""
    if character in "\n\x0b\x0c\x85\u2028\u2029":
        return NEWLINE
    category = unicodedata.category(character)
    if character.isspace() or category == "Cc":
        return SPACE
    if category[0] == "M" or category == "Cf":
        return EXTEND
    if character.isdecimal():
        return DIGIT
    if character.isalnum():
        return UPPER if character.isupper() else LETTER
    return OTHER


SHORTEST_LINE, LONGEST_LINE = 40, 100  # characters of a wrapped line


def unwrap(text: str) -> str:
    """The text with soft line ends made spaces, of the same length.

    A lone newline is soft where the line that it ends is as long as a wrapped line and no list item follows.
    CRLF and CR count as one newline.
    """
    text = text.replace("\r\n", " \n").replace("\r", "\n")
    if "\n" not in text:
        return text
    lines = text.split("\n")
    joined = [lines[0]]
    for line, following in pairwise(lines):
        soft = SHORTEST_LINE <= len(line.strip()) <= LONGEST_LINE and following.strip() and not _LIST_ITEM.match(following)
        joined += [" " if soft else "\n", following]
    return "".join(joined)


_LIST_ITEM = re.compile(r"\s*(?:[-*•·—–]\s|\(?\w{1,3}[.)]\s)")

QUOTES = {"'": "‘’‚‛′", '"': "“”„‟«»″"}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_BREAK = re.compile(r"[\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile(r" [^\S\n]+|[^\S\n ][^\S\n]*")  # every run of white space in a line but the single space
_RANGE = re.compile(r"(?<=\d)–(?=\d)")
_DASHES = re.compile(r"--+")
_DOTS = re.compile(r"\.(?: ?\.)? ?…(?: ?[.…])*|…(?: ?[.…])*|\.(?: ?\.){2,}(?: ?[.…])*")
_NEWLINES = re.compile(r"\n+")
NORMALISER = "dft-plain-1"
"""Name of what `normalise` does, kept in every manifest."""


def normalise(text: str, *, typography: str = "fold") -> str:
    """The text as it is counted: NFC, one space between words, one blank line between paragraphs, wrapped lines joined.

    `typography="fold"` makes quotes straight and dashes em dashes, so that the typesetter's habits do not pass for the writer's;
    `"keep"` leaves them. Idempotent.
    """
    if typography not in ("fold", "keep"):
        raise ValueError(f'typography is "fold" or "keep", not {typography!r}')
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # lone surrogates
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if not unicodedata.is_normalized("NFC", text):
            text = unicodedata.normalize("NFC", text)
    # What follows costs little where there is nothing to do: most texts are clean, and corpora are large.
    if not text.replace("\n", "").isprintable():
        text = _BREAK.sub("\n", _CONTROL.sub(" ", text).replace("\r\n", "\n").replace("\r", "\n"))
        text = _SPACES.sub(" ", text)
    elif "  " in text:
        text = _SPACES.sub(" ", text)
    text = text.replace(" \n", "\n").replace("\n ", "\n").strip(" ")
    is_wrapped = text.count("\n") != 2 * text.count("\n\n") or "\n\n\n" in text
    if is_wrapped:
        text = unwrap(text)
    if typography == "fold":  # after joining lines, so that a dash or ellipsis at a line's end is seen whole
        text = _fold(text)
    if is_wrapped:
        text = _NEWLINES.sub("\n\n", text)
    return text.strip()


def _fold(text: str) -> str:
    """Quotes straight, dashes between words em dashes, ellipses three periods."""
    if not text.isascii():
        for plain, fancy in QUOTES.items():
            for quote in fancy:
                text = text.replace(quote, plain)
    text = text.replace("``", '"').replace("''", '"')
    if not text.isascii():
        text = text.replace("‐", "-").replace("‑", "-")
        text = _RANGE.sub("-", text) if "–" in text else text
        text = text.replace("–", "—").replace("‒", "—").replace("―", "—")
    if "--" in text:
        text = _DASHES.sub("—", text)
    text = text.replace(" - ", " — ").replace(" - ", " — ")  # twice: " - - " shares a space
    if "…" in text or ".." in text or ". ." in text:
        text = _DOTS.sub("...", text)
    return text


# --- units ------------------------------------------------------------------------------------------------------------------------


def character_classes(text: str) -> tuple[list[int], list[str]]:
    """Kind and base of every character: an extending character (combining mark, joiner) takes over those of the one before."""
    kinds: list[int] = []
    bases: list[str] = []
    for character in text:
        kind = character_kind(character)
        if kind == EXTEND and kinds and kinds[-1] not in (SPACE, NEWLINE):
            kind, character = kinds[-1], bases[-1]
        elif kind == EXTEND:
            kind = OTHER
        kinds.append(kind)
        bases.append(character)
    return kinds, bases


def units(text: str) -> list[Unit]:
    """Words, marks and symbols of a text, in order. Every newline is a break; `unwrap` first if lines are wrapped."""
    kinds, bases = character_classes(text)
    size = len(text)

    def in_word(i: int) -> bool:
        if kinds[i] in WORD_CHARACTERS:
            return True
        if i == 0 or i + 1 == size or kinds[i - 1] not in WORD_CHARACTERS or kinds[i + 1] not in WORD_CHARACTERS:
            return False
        if text[i] in DIGIT_JOINERS:
            return kinds[i - 1] == kinds[i + 1] == DIGIT
        if text[i] == ".":  # "end.Next" lacks a space
            return not (kinds[i - 1] == LETTER and kinds[i + 1] == UPPER)
        return text[i] in JOINERS

    words = [in_word(i) for i in range(size)]
    found: list[Unit] = []
    i, space, line = 0, False, True
    while i < size:
        if kinds[i] in (SPACE, NEWLINE):
            space, line = True, line or kinds[i] == NEWLINE
            i += 1
            continue
        end = i + 1
        if words[i]:
            while end < size and words[end]:
                end += 1
        else:
            while end < size and not words[end] and bases[end] == bases[i]:
                end += 1
        found.append(Unit(text[i:end], i, end, _unit_kind(text[i:end], words[i]), space and not line, line))
        i, space, line = end, False, False
    return found


def _unit_kind(unit: str, is_word: bool) -> int:
    if is_word:
        return WORD
    if unit.startswith("..") or unit.startswith("…"):
        return MARK_CLASSES.index("ellipsis")
    return MARK_CLASS.get(unit[0], SYMBOL)


def unit_kind(unit: str) -> int:
    """Kind of a unit given as text: WORD, SYMBOL or the index of its mark's class."""
    plain = unit.isascii() and unit.isalnum()  # nearly all are, and this is soon said
    return _unit_kind(unit, plain or any(character_kind(character) in WORD_CHARACTERS for character in unit))
