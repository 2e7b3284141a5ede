"""Where sentences end: the rule, as one function over flags of units, and segmenters, of which the rule is the default one.

A sentence ends at a blank line, and after `.`, `!`, `?` and their kin where `sentence_end` says so. The rules know abbreviations, initials,
enumerators, citations and footnote markers; they are a fixed list, so the same text gives the same sentences everywhere.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dft_stats.text import (
    DIGIT_JOINERS,
    JOINERS,
    MARK_CLASSES,
    WORD,
    WORD_CHARACTERS,
    Document,
    Unit,
    character_kind,
    normalise,
    unit_kind,
    units,
    unwrap,
)

TERMINATORS = frozenset(".!?…。！？")
CLOSERS = frozenset("\"'”’)]»}")
OPENERS = frozenset("\"'“‘([«{—–-*")

# Abbreviations, without the period behind them, in lower case. A period after one ends a sentence
# never:
ALWAYS_BOUND = frozenset("mr mrs ms mx dr drs messrs mme mlle vs viz cf approx e.g i.e p.s".split())
BOUND_IN_LOWER_CASE = frozenset("v eg ie ca".split())  # "IE", "V" are names
BOUND_AS_TITLES = frozenset("prof rev hon gen col capt lt sgt maj cmdr cpl pvt adm gov sen rep pres supt asst assoc dep msgr mt fr".split())
# before a word that is no starter, too:
SHORT_IN_ANY_CASE = frozenset(
    "inc ltd co corp llc llp lp plc bros esq jr sr st ft al seq cit dept div govt univ assn ave blvd rd hwy dist supp ext para"
    " ed eds trans vol intl natl ph.d 2d 3d".split()
)
SHORT_AS_NAMES = frozenset(
    "jan feb mar apr jun jul aug sept sep oct nov dec mon tue tues wed thu thur thurs fri ala ariz ark cal calif colo conn del"
    " fla ga ill ind kan ky la mass md mich minn miss mont neb nev okla ore tenn tex va vt wash wis wyo acad acct adj admin agric"
    " ann app appx arb att assur atl atty auth auto aux bankr bd bldg cas ch chem cir civ cl comm cong consol const constr cont"
    " crim ct cty def dev distrib econ educ elec empl eng enter envtl equip evid ex exch exec fed fid gen guar harv hist hosp"
    " hous ill indem indus ins inst inv jud lab lib liab litig mach maint mem merch metro mfg mfr mgmt mkt mortg mun mut op ord"
    " pac pers pharm prac proc prod prof prop pub pubs rec ref reg rel rels res rev rptr sav sch sci ser serv soc stat sur sys"
    " tech tel temp transp treas trib tr twp util".split()
)
# before a number:
BEFORE_NUMBER = frozenset(
    "no nos n nn p pp ln art arts sec secs fig figs eq eqs ch chs chap vol vols pt pts par pars para paras § cl cls rev stat r"
    " reg regs id app appx tab ref refs op ex exh ext supp ser sched amend tit bk c b d m fl div est ca approx".split()
)
# before a number or a letter:
BEFORE_LETTER = frozenset("Art Arts Sec Secs Fig Figs Ch Chap Vol Pt App Appx Ex Exs Exh Exhs Sched Tab Amend Tit Bk Attach".split())
# before what is in lower case, or a date or time zone:
LOOSE = frozenset("etc a.m p.m".split())
DATES = frozenset(
    "January February March April May June July August September October November December Jan Feb Mar Apr Jun Jul Aug Sep Sept"
    " Oct Nov Dec Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mon Tue Wed Thu Fri Sat Sun GMT UTC BST CET ET EST EDT"
    " CT CST CDT MT MST MDT PT PST PDT Eastern Central Pacific Mountain".split()
)

STARTERS = frozenset(
    "the a an this that these those it its he she they we i you his her their our my your in on at for from with by as if when"
    " while after before since although though but and or so yet however there here what who where why how not no yes one two"
    " some many most all each both another such is are was were do does did can could would will should may might must has have"
    " had see under according because during despite moreover furthermore thus therefore to of into upon within without between"
    " among against through over about until unless once whether whenever whatever which whose whom nor either neither every any"
    " few several much more other others none nothing nobody everyone everything everybody someone something somebody anyone"
    " anything let then now still even also only just perhaps maybe instead meanwhile later earlier today yesterday tomorrow soon"
    " finally again never always often indeed otherwise nevertheless nonetheless accordingly consequently hence rather besides"
    " additionally similarly likewise specifically notwithstanding plaintiff plaintiffs defendant defendants appellant appellants"
    " appellee appellees petitioner petitioners respondent respondents".split()
)
PRONOUNS = frozenset("i you he she it we they this that these those there the my your his her our their".split())  # begin one in lower case
HUMS = frozenset("mm mhm hm hmm shh psst pst pfft brr grr tsk zzz".split())  # no vowel, yet no abbreviations
CAPTIONS = frozenset(
    "Figure Fig FIGURE Table TABLE Section Sections Sec SECTION SEC Article Art ARTICLE Chapter Ch CHAPTER Appendix Exhibit"
    " Clause Part Schedule Rule Paragraph Item Title Annex § §§".split()
)
COMMENTS = frozenset(
    "citing quoting emphasis internal alteration alterations footnote footnotes citation citations omitted per en quotation"
    " quotations holding noting stating explaining finding discussing describing".split()
)  # a parenthesis that opens with one of these comments on the citation before it
LABELS = frozenset("Image Photo Photograph Photos Images Video Credit".split())  # before a colon, these open the credit line of a picture
SPEECH = frozenset(
    "said asked says asks say ask cried replied called answered shouted yelled whispered howled exclaimed muttered added"
    " repeated inquired demanded screamed murmured began started continued snapped returned remarked observed echoed laughed"
    " sighed told wondered thought".split()
)


(
    TERMINATOR, STOP, DOT, CLOSER, OPENER, LOWER, CAPITAL, DIGITS, NUMBER, NUMBERING, CAPTION, STARTER, PRONOUN, TEXT, SPEAKS, BOUND,
    NUMBERED, LETTERED, SHORT, INITIAL, ENDS_LOOSELY, DATE, COMMENT, FOOTNOTED, LABEL, PLAIN,
) = (1 << bit for bit in range(26))  # fmt: skip
"""What `unit_flags` says of a unit. `sentence_end` is asked of every unit with TERMINATOR."""
KIND_SHIFT = 27
"""Above the flags stands `kind - WORD + 1`; all of it fits 32 bits."""
REACH = 48
"""How many units from i on either side `sentence_end` may look at."""

_OF_WORD = 1
_COMMA, _SEMICOLON, _COLON, _DASH, _PARENTHESIS, _BRACKET, _QUOTE, _ELLIPSIS = (
    MARK_CLASSES.index(name) - WORD + 1 for name in ("comma", "semicolon", "colon", "dash", "parenthesis", "bracket", "quote", "ellipsis")
)
_NUMBERING = re.compile(r"[A-Z]?\d{1,3}(?:[.-]\d{1,3})*[A-Za-z]?|[A-Za-z]|[ivxl]{2,6}|[IVXL]{2,6}")  # "3.2", "1.92A", "iii"
_FOOTNOTED = re.compile(r"([A-Za-z][a-z]{2,})\.\d{1,3}")  # "law.12": the stop and the footnote's number are glued to the word
_CONSONANTS = re.compile(r"[BCDFGHJKLMNPQRSTVWXZ][bcdfghjklmnpqrstvwxz]{1,4}")  # "Mfg", "Hwy" have no vowel: they are abbreviations
_ABBREVIATIONS = BEFORE_NUMBER | SHORT_IN_ANY_CASE | SHORT_AS_NAMES | BOUND_AS_TITLES | ALWAYS_BOUND


def unit_flags(unit: str) -> int:
    """What the rules ask of a unit: a bit each, and its kind above `KIND_SHIFT`. Depends on the unit's text alone."""
    word, first, kind = unit.lower(), unit[0], unit_kind(unit)
    head, is_upper = re.split("['’]", word)[0], first.isupper()  # "he'd" begins a sentence as "he" does
    is_dotted = kind == WORD and "." in unit and not any(c.isdigit() for c in unit) and max(map(len, unit.split("."))) <= 2
    is_bound = word in ALWAYS_BOUND or unit in BOUND_IN_LOWER_CASE or (is_upper and word in BOUND_AS_TITLES)
    is_initial = len(unit) == 1 and kind == WORD and not first.isdigit() and unit != "I"
    is_short = is_initial or is_dotted or word in SHORT_IN_ANY_CASE or (is_upper and word in SHORT_AS_NAMES)
    is_short = (is_short or _CONSONANTS.fullmatch(unit) is not None) and word not in LOOSE and word not in HUMS
    glued = _FOOTNOTED.fullmatch(unit)
    is_footnoted = glued is not None and glued[1].lower() not in _ABBREVIATIONS
    is_abbreviated = is_bound or is_short or word in LOOSE or word in BEFORE_NUMBER
    answers = {
        TERMINATOR: first in TERMINATORS or is_footnoted or unit in LABELS,
        STOP: first in TERMINATORS,
        DOT: unit == ".",
        CLOSER: first in CLOSERS,
        OPENER: first in OPENERS,
        LOWER: first.islower() and word == unit and word != "http" and word != "https" and not word.startswith("www."),
        CAPITAL: is_upper,
        DIGITS: first.isdigit(),
        NUMBER: unit.isdecimal() and len(unit) <= 3,
        NUMBERING: _NUMBERING.fullmatch(unit) is not None,
        CAPTION: unit in CAPTIONS,
        STARTER: head in STARTERS,
        PRONOUN: head in PRONOUNS,
        TEXT: character_kind(first) in WORD_CHARACTERS or first in OPENERS,
        SPEAKS: unit in SPEECH,
        BOUND: is_bound,
        NUMBERED: word in BEFORE_NUMBER,
        LETTERED: unit in BEFORE_LETTER,
        SHORT: is_short,
        INITIAL: len(unit) == 1 and is_upper,
        ENDS_LOOSELY: word in LOOSE,
        DATE: unit in DATES,
        COMMENT: unit in COMMENTS,
        FOOTNOTED: is_footnoted,
        LABEL: unit in LABELS,
        PLAIN: unit.isalpha() and unit.islower() and len(unit) >= 4 and not is_abbreviated,
    }
    return sum(flag for flag, answer in answers.items() if answer) | (kind - WORD + 1) << KIND_SHIFT


def sentence_end(flags: Sequence[int], space: Sequence[bool], break_before: Sequence[bool], i: int, size: int) -> int:
    """Index of the last unit of the sentence that the terminator `i` ends, or -1 if it ends none.

    Plain Python for the reference, and compiled as it stands by the fast path: integers, indexing and loops alone.

    Args:
        flags: (units,), `unit_flags` of the units of one document.
        space: (units,), as `Unit.space`.
        break_before: (units,), as `Unit.break_before`.
        i: a unit with TERMINATOR.
        size: number of units.
    """
    if flags[i] & LABEL:  # "A crowd in Rome Image: Reuters"
        labels = i > 0 and i + 1 < size and space[i] and not space[i + 1] and flags[i + 1] >> KIND_SHIFT == _COLON
        labels = labels and flags[i - 1] >> KIND_SHIFT == _OF_WORD and not (flags[i - 1] & STARTER and flags[i - 1] & LOWER)
        return i - 1 if labels else -1

    # Of a run of stops the last one decides: "?!", ". . ."
    runs_on = i + 1 < size and not break_before[i + 1] and flags[i + 1] & STOP and flags[i] & STOP
    if runs_on and (not space[i + 1] or flags[i] & DOT == flags[i + 1] & DOT):
        return -1

    # What belongs to the sentence behind its stop: quotes and brackets, footnote markers, emoticons.
    last = i
    while last + 1 < size and last < i + 8 and not space[last + 1] and not break_before[last + 1] and flags[last + 1] & CLOSER:
        last += 1
    glued = i > 0 and not space[i] and not break_before[i]
    is_numbered = last + 1 < size and not space[last + 1] and not break_before[last + 1] and flags[last + 1] & NUMBER
    if is_numbered and (last > i or (glued and flags[i - 1] & CLOSER)):  # 'the law."3', "1991).1"
        last += 1
        if last + 1 < size and not space[last + 1] and not break_before[last + 1] and flags[last + 1] & CLOSER:
            last += 1
    while last + 3 < size and last < i + 12 and flags[last + 1] & OPENER and flags[last + 1] >> KIND_SHIFT == _BRACKET:
        close = last + 2  # "[12]", "[citation needed]"
        while close + 1 < size and close < last + 6 and flags[close] >> KIND_SHIFT != _BRACKET and not break_before[close + 1]:
            close += 1
        is_closed = close + 1 == size or space[close + 1] or break_before[close + 1] or flags[close + 1] & (OPENER | STOP) != 0
        is_closed = is_closed and flags[close] & CLOSER != 0 and flags[close] >> KIND_SHIFT == _BRACKET and close > last + 2
        is_closed = is_closed and not break_before[last + 1] and not break_before[last + 2]
        if not is_closed or not flags[last + 2] & (DIGITS | LOWER | STOP):
            break
        if close + 1 < size and flags[close + 1] & STOP and not space[close + 1] and not break_before[close + 1]:
            return -1  # "So it was. [1]."
        last = close
    if last + 2 < size and space[last + 1] and (flags[last + 1] >> KIND_SHIFT == _COLON or flags[last + 1] >> KIND_SHIFT == _SEMICOLON):
        mouth = last + 2  # ":)", ";-)"
        if flags[mouth] >> KIND_SHIFT == _DASH and mouth + 1 < size:
            mouth += 1
        is_face = flags[mouth] >> KIND_SHIFT == _PARENTHESIS or flags[mouth] & INITIAL
        is_apart = space[last + 2] or space[mouth] or break_before[last + 2] or break_before[mouth]
        if is_face and not is_apart and (mouth + 1 == size or space[mouth + 1] or break_before[mouth + 1]):
            last = mouth

    if last + 1 == size or break_before[last + 1]:
        return last
    if not space[last + 1]:  # "end.Next" lacks a space
        lacks = last == i and flags[i] & DOT and glued and flags[last + 1] & CAPITAL and flags[last + 1] >> KIND_SHIFT == _OF_WORD
        return last if lacks and flags[i - 1] & (PLAIN | CLOSER) else -1

    # What follows.
    if flags[last + 1] >> KIND_SHIFT == _COMMA or flags[last + 1] >> KIND_SHIFT == _SEMICOLON:
        return -1
    opening = last + 1
    first = opening
    while first + 1 < size and first < opening + 3 and flags[first] & OPENER and not break_before[first + 1]:
        first += 1
    bracket = opening if flags[opening] & OPENER and flags[opening] >> KIND_SHIFT == _PARENTHESIS else -1
    if bracket < 0 and first > opening and flags[first - 1] >> KIND_SHIFT == _PARENTHESIS:  # "Powers. — (1) The"
        bracket = first - 1
    is_enumerated = False
    if 0 <= bracket < size - 1:
        inner = flags[bracket + 1]
        if inner & COMMENT:
            return -1
        close = bracket + 1
        while close + 1 < size and close < bracket + 16 and flags[close] >> KIND_SHIFT != _PARENTHESIS:
            close += 1
        if close + 1 < size and flags[close] >> KIND_SHIFT == _PARENTHESIS and not break_before[close + 1]:
            after = flags[close + 1]
            is_enumerator = close == bracket + 2 and inner & NUMBERING != 0
            is_enumerated = is_enumerator and after & (CAPITAL | OPENER) != 0
            if not is_enumerator and (after & LOWER or after >> KIND_SHIFT == _COMMA or after >> KIND_SHIFT == _SEMICOLON):
                return -1  # "Viva! (1965), and"
    if flags[opening] >> KIND_SHIFT == _DASH:  # "We will win." — Ann Smith
        name = opening + 1
        while name < size and name < opening + 6 and not break_before[name] and flags[name] & CAPITAL:
            name += 1
        if name > opening + 1 and (name == size or break_before[name]):
            return -1

    is_dot = flags[i] & DOT and glued
    is_plain = is_dot and last == i and flags[i - 1] & PLAIN
    if flags[first] & LOWER:
        if bracket >= 0:
            if is_dot and last == i and not is_enumerated and flags[i - 1] & (BOUND | SHORT | NUMBERED | ENDS_LOOSELY):
                return -1
        elif not (is_plain and first == opening and flags[first] & PRONOUN):  # "it is late. i must go"
            return -1
    quotes = flags[last] >> KIND_SHIFT == _QUOTE and not flags[i] & DOT and first == opening and flags[first] & CAPITAL
    if quotes and (flags[first] & INITIAL or not flags[first] & STARTER):  # "Why?" Tom asked
        verb = first + 1
        if verb + 1 < size and flags[verb] & DOT:  # Mr. Jones asked
            verb += 1
        if verb + 1 < size and flags[verb] & CAPITAL:
            verb += 1
        if verb < size and flags[verb] & SPEAKS:
            return -1
    in_parenthesis = is_dot and last > i and flags[i + 1] >> KIND_SHIFT == _PARENTHESIS
    if in_parenthesis and flags[i - 1] & (SHORT | BOUND) and not flags[first] & STARTER:  # "(Roe Jr.) Smith"
        return -1

    if is_dot and last == i:
        previous, head = flags[i - 1], i - 1
        if previous & NUMBERING:  # "1. The", "Section 3.2. Term", "Art. IV. Powers"
            if head > 1 and flags[head - 1] & DOT and flags[head - 2] & CAPTION:
                head -= 2
            elif head > 0 and flags[head - 1] & CAPTION:
                head -= 1
            opens = break_before[head]
            if not opens and head > 1:
                before = flags[head - 1]
                opens = before & STOP != 0 and not flags[head - 2] & (BOUND | NUMBERED | DATE | ENDS_LOOSELY)
                opens = opens and (not flags[head - 2] & SHORT or (flags[head - 2] & INITIAL != 0 and previous & DIGITS != 0))
                opens = opens or before >> KIND_SHIFT == _COLON or before >> KIND_SHIFT == _SEMICOLON
                opens = opens or (before & CLOSER != 0 and flags[head - 2] & STOP != 0)
            if opens:
                return -1
        if previous & BOUND:
            return -1
        if previous & NUMBERED and flags[first] & DIGITS:
            return -1
        if previous & LETTERED and flags[first] & NUMBERING:
            return -1
        if previous >> KIND_SHIFT == _OF_WORD:
            dated = first == opening and flags[first] & DIGITS and first + 1 < size and flags[first + 1] & CLOSER
            if dated and flags[first + 1] >> KIND_SHIFT == _PARENTHESIS:  # "(Tex. 1999)", "(d. 1990)"
                return -1
            numbers = previous & INITIAL and flags[first] & DIGITS and flags[first] & NUMBERING and first + 2 < size
            if numbers and flags[first + 1] & DOT and not space[first + 1] and space[first + 2] and flags[first + 2] & CAPITAL:
                is_enumerated = True  # "as Exhibit A. 4. Terms"
            if previous & SHORT and not is_enumerated:
                if not flags[first] & STARTER or (bracket >= 0 and flags[first] & LOWER):
                    return -1
                dots = first + 2 < size and flags[first + 1] & DOT and not space[first + 1]  # "E. A. Poe", "Pub. L. No. 99"
                if dots and (flags[first] & INITIAL or (flags[first] & NUMBERED and flags[first + 2] & DIGITS)):
                    return -1
            if previous & ENDS_LOOSELY and (flags[first] & DATE or not flags[first] & (CAPITAL | OPENER)):
                return -1
            if not flags[first] & TEXT and not is_plain:  # "U.S.C. § 5"
                return -1
    is_noted = flags[opening] & NUMBER and opening + 1 < size and space[opening + 1]
    if is_noted and flags[opening + 1] & CAPITAL and flags[opening + 1] & STARTER:  # "for a fee. 8 Yet some"
        return opening
    return last


def rule_sentences(text: str) -> list[list[Unit]]:
    """Sentences of a text by the rules of this module. Expects no wrapped lines."""
    found = units(text)
    size = len(found)
    known = {unit: unit_flags(unit) for unit in {unit.text for unit in found}}
    flags, space, breaks = [known[unit.text] for unit in found], [unit.space for unit in found], [unit.break_before for unit in found]
    ends = {i - 1 for i in range(1, size) if breaks[i]} | {size - 1}
    ends |= {sentence_end(flags, space, breaks, i, size) for i in range(size) if flags[i] & TERMINATOR} - {-1}
    sentences, begin = [], 0
    for end in sorted(ends) if size else ():
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


TABLES = (
    TERMINATORS, CLOSERS, OPENERS, ALWAYS_BOUND, BOUND_IN_LOWER_CASE, BOUND_AS_TITLES, SHORT_IN_ANY_CASE, SHORT_AS_NAMES, BEFORE_NUMBER,
    BEFORE_LETTER, LOOSE, DATES, STARTERS, PRONOUNS, HUMS, CAPTIONS, COMMENTS, LABELS, SPEECH, set(JOINERS), set(DIGIT_JOINERS),
)  # fmt: skip
"""All words and characters that the rules know by name."""
RULE_VERSION = "2"  # raise it with every change of `sentence_end`, `unit_flags`, `units` or `unwrap`; tests/test_text.py pins what it does
_RULE_SHA256 = hashlib.sha256(repr((RULE_VERSION, [sorted(table) for table in TABLES])).encode()).hexdigest()
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
