"""The text model: how a text becomes sentences and units. The reference: slow, obvious, and what every fast path is tested against.

A *unit* is a word or a mark. A word is a run of letters, digits and combining marks, with `'`, `-`, `.` allowed between two of them and
`,`, `:` between two digits (after UAX #29, word boundaries, with the hyphen added): "don't", "well-known", "U.S", "3.14", "10:30". A mark
is a run of one and the same other character: "," or "..." or "—". What is neither word nor one of `MARK_CLASSES` is a symbol ("$", "%").

A sentence ends at a blank line, and after `.`, `!`, `?` and their kin where `_is_end` says so. The rules know abbreviations, initials,
decimals, citations and footnote markers; they are a fixed list, so the same text gives the same sentences everywhere.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
WORD, SYMBOL = -1, -2  # kinds of unit beside the index of a mark's class

# Kinds of character.
SPACE, NEWLINE, LETTER, UPPER, DIGIT, OTHER, EXTEND = range(7)
WORD_CHARACTERS = (LETTER, UPPER, DIGIT)
JOINERS = "'’-‐‑."  # between two letters or digits
DIGIT_JOINERS = ",:"  # between two digits

TERMINATORS = frozenset(".!?…。！？")
CLOSERS = frozenset("\"'”’)]»}")
OPENERS = frozenset("\"'“‘([«{—–-*")
TITLES = frozenset(
    "mr mrs ms mx dr prof rev hon st sr jr gen col capt lt sgt maj cmdr cpl pvt adm gov sen rep pres messrs mme mlle fr mt ft vs v viz"
    " eg ie e.g i.e cf al approx ca cir supp reg para cl esq op ibid cit seq stat dept univ assn ave blvd rd dist ct ed eds trans ex rel"
    " jan feb mar apr jun jul aug sept sep oct nov dec mon tue wed thu fri min max est bros mass cal fla tex ill ind ga wis minn".split()
)  # a period after these ends a sentence only before one of STARTERS, if they are not always bound to what follows
BOUND = frozenset(
    "mr mrs ms mx dr prof rev hon messrs mme mlle gen col capt lt sgt maj cmdr adm gov sen rep vs v viz cf e.g i.e eg ie".split()
)
BEFORE_NUMBER = frozenset(
    "no nos p pp art arts sec secs fig figs eq eqs ch chap vol vols pt pts par pars § cl rev stat rule reg id app tab ref refs".split()
)
COMPANY = frozenset("inc ltd co corp llc plc etc u.s u.k u.n d.c a.m p.m ph.d u.s.c u.s.a".split())
STARTERS = frozenset(
    "the a an this that these those it its he she they we i you his her their our my your in on at for from with by as if when while"
    " after before since although though but and or so yet however there here what who where why how not no yes one two some many most"
    " all each both another such it's he's she's they're we're i'm i've that's there's is are was were do does did can could would will"
    " should may might must has have had see under according because during despite moreover furthermore thus therefore".split()
)
CAPTIONS = frozenset("Figure Fig Table Section Article Chapter Appendix Exhibit".split())
SPEECH = frozenset(
    "said asked says asks cried replied called answered shouted yelled whispered howled exclaimed muttered added repeated inquired"
    " demanded screamed murmured began continued started went snapped returned remarked observed echoed laughed sighed".split()
)


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


def unwrap(text: str) -> str:
    """The text with soft line ends made spaces, of the same length.

    A lone newline is soft where the line that it ends is as long as a wrapped line, 40 to 100 characters, and no list item follows.
    CRLF and CR count as one newline.
    """
    text = text.replace("\r\n", " \n").replace("\r", "\n")
    if "\n" not in text:
        return text
    lines = text.split("\n")
    joined = [lines[0]]
    for line, following in pairwise(lines):
        soft = 40 <= len(line.strip()) <= 100 and following.strip() and not _LIST_ITEM.match(following)
        joined += [" " if soft else "\n", following]
    return "".join(joined)


_LIST_ITEM = re.compile(r"\s*(?:[-*•·—–]\s|\(?\w{1,3}[.)]\s)")

_QUOTES = {"'": "‘’‚‛′", '"': "“”„‟«»″"}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_BREAK = re.compile(r"[\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile(r" [^\S\n]+|[^\S\n ][^\S\n]*")  # every run of white space in a line but the single space
_FOLDS = [
    (re.compile(r"``|''"), '"'),
    (re.compile(r"[‐‑]"), "-"),
    (re.compile(r"(?<=\d)–(?=\d)"), "-"),
    (re.compile(r"[‒–―]|--+|(?<= )-(?= )"), "—"),
    (re.compile(r"(?:\.(?: ?\.)? ?)?…(?: ?[.…])*|\.(?: ?\.){2,}(?: ?[.…])*"), "..."),
]
NORMALISER = "dft-plain-1"
"""Name of what `normalise` does, kept in every manifest."""


def normalise(text: str, *, typography: str = "fold") -> str:
    """The text as it is counted: NFC, one space between words, one blank line between paragraphs, wrapped lines joined.

    `typography="fold"` makes quotes straight and dashes em dashes, so that the typesetter's habits do not pass for the writer's;
    `"keep"` leaves them. Idempotent.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    text = _BREAK.sub("\n", _CONTROL.sub(" ", text).replace("\r\n", "\n").replace("\r", "\n"))
    text = unwrap("\n".join(line.strip() for line in _SPACES.sub(" ", text).split("\n")))
    if typography == "fold":  # after joining lines, so that a dash or ellipsis at a line's end is seen whole
        for plain, fancy in _QUOTES.items() if not text.isascii() else ():
            for quote in fancy:
                text = text.replace(quote, plain)
        for pattern, plain in _FOLDS:
            text = pattern.sub(plain, text)
    elif typography != "keep":
        raise ValueError(f'typography is "fold" or "keep", not {typography!r}')
    return re.sub(r"\n+", "\n\n", text).strip()


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
    return _unit_kind(unit, any(character_kind(character) in WORD_CHARACTERS for character in unit))


# --- sentences --------------------------------------------------------------------------------------------------------------------


def _is_abbreviated(previous: str, following: str) -> bool:
    """Whether a period between these two words belongs to an abbreviation, so that no sentence ends there."""
    word = previous.lower()
    if word in BOUND:
        return True
    if following[:1].isdigit() and word in BEFORE_NUMBER:
        return True
    is_initial = len(previous) == 1 and previous.isupper() and previous != "I"
    is_dotted = "." in previous and not any(c.isdigit() for c in previous) and max(map(len, previous.split("."))) <= 2
    if is_initial or is_dotted or word in TITLES or word in COMPANY:
        return following.lower() not in STARTERS
    return False


def _is_end(found: Sequence[Unit], i: int) -> int | None:
    """Index of the last unit of the sentence that the terminator `found[i]` ends, or None if it ends none."""
    last = i
    while last + 1 < len(found) and _glued(found[last + 1]) and found[last + 1].text[0] in TERMINATORS | CLOSERS:
        last += 1
    while (  # a footnote marker [12] belongs to the sentence that it closes
        last + 3 < len(found) and found[last + 1].text == "[" and found[last + 2].text.isdecimal() and found[last + 3].text == "]"
    ):
        last += 3
    if last + 1 == len(found) or found[last + 1].break_before:
        return last
    if _glued(found[last + 1]):
        return None
    following = found[last + 1].text
    if following[0] in OPENERS and last + 2 < len(found):
        following = found[last + 2].text
    if following[:1].islower():
        return None
    if found[last].text[0] in CLOSERS and last + 2 < len(found) and found[last + 2].text in SPEECH:  # "Why?" Tom asked
        return None
    if last == i and found[i].text == "." and i > 0 and _glued(found[i]):
        previous = found[i - 1]
        if previous.break_before and (len(previous.text) == 1 or not previous.text.strip("0123456789.")):  # "1. The", "2.1. The"
            return None
        if i > 1 and found[i - 2].break_before and found[i - 2].text in CAPTIONS and previous.text.isdecimal():  # "Figure 2. The"
            return None
        if previous.kind == WORD and (_is_abbreviated(previous.text, following) or not _is_text(following)):
            return None
    return last


def _glued(unit: Unit) -> bool:
    return not unit.space and not unit.break_before


def _is_text(unit: str) -> bool:
    """Words and opening marks can begin a sentence after a word and a period; a bare symbol ("U.S.C. § 5") cannot."""
    return character_kind(unit[0]) in WORD_CHARACTERS or unit[0] in OPENERS


def rule_sentences(text: str) -> list[list[Unit]]:
    """Sentences of a text by the rules of this module. Expects no wrapped lines."""
    found = units(text)
    ends = {i - 1 for i, unit in enumerate(found) if unit.break_before and i}
    for i, unit in enumerate(found):
        if unit.text[0] in TERMINATORS:
            last = _is_end(found, i)
            if last is not None:
                ends.add(last)
    sentences, begin = [], 0
    for end in sorted(ends | ({len(found) - 1} if found else set())):
        sentences.append(found[begin : end + 1])
        begin = end + 1
    return sentences


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A way to find sentences and units, with its identity: profiles of different segmenters do not compare."""

    name: str
    version: str
    rule_sha256: str
    sentences: Callable[[str], list[list[Unit]]]

    @property
    def identity(self) -> dict[str, str]:
        """Name, version and hash of the rules, as a manifest has them."""
        return {"name": self.name, "version": self.version, "rule_sha256": self.rule_sha256}


_TABLES = (
    TERMINATORS,
    CLOSERS,
    OPENERS,
    TITLES,
    BOUND,
    BEFORE_NUMBER,
    COMPANY,
    STARTERS,
    CAPTIONS,
    SPEECH,
    set(JOINERS),
    set(DIGIT_JOINERS),
)
RULE_VERSION = "1"  # raise it with every change of `_is_end`, `units` or `unwrap`; tests/test_text.py pins what a version does
_RULE_SHA256 = hashlib.sha256(repr((RULE_VERSION, [sorted(table) for table in _TABLES])).encode()).hexdigest()
RULE = Segmenter("rule", RULE_VERSION, _RULE_SHA256, rule_sentences)
"""The default segmenter."""


def sentence_spans(text: str, segmenter: Segmenter | None = None) -> list[tuple[int, int]]:
    """Character offsets (start, end) of the sentences of a raw text, without the white space around them.

    Args:
        text: any text, as it is; offsets refer to it.
        segmenter: `RULE` if None; `dft_stats.build.spacy_segmenter()` for spaCy.
    """
    sentences = (segmenter or RULE).sentences(unwrap(text))
    return [(sentence[0].start, sentence[-1].end) for sentence in sentences if sentence]


def documents(texts: Iterable[str], segmenter: Segmenter | None = None, *, typography: str = "fold") -> list[Document]:
    """Texts normalised and segmented, ready for the definitions in `dft_stats.statistics`."""
    sentences = (segmenter or RULE).sentences
    return [sentences(normalise(text, typography=typography)) for text in texts]
