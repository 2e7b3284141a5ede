"""`dft_stats.text.normalise` as passes over the code points of many texts, compiled.

Texts that may not be in NFC, or have lone surrogates, are few; `text.normalise` itself does these.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dft_stats.text import LONGEST_LINE, QUOTES, SHORTEST_LINE, normalise

Codes = NDArray[np.uint32]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

# What a character is, as bits of a table that is filled as characters turn up.
_SEEN, _BLANK, _BREAK, _HARD, _WORD, _DIGIT, _BULLET, _FOLDED = (1 << bit for bit in range(8))
_WHITE = _BLANK | _BREAK
_TRAITS = np.zeros(0x110000, np.uint8)
_STRAIGHT = np.arange(0x110000, dtype=np.uint32)  # quotes, hyphens and dashes as they are counted
for _plain, _fancy in (*QUOTES.items(), ("-", "‐‑"), ("—", "–‒―")):
    _STRAIGHT[[ord(character) for character in _fancy]] = ord(_plain)
_SPACE, _NEWLINE, _RETURN, _QUOTE, _TWO_QUOTES, _TICK, _HYPHEN, _DASH, _EN_DASH, _PERIOD, _ELLIPSIS = map(ord, " \n\r'\"`-—–.…")
_OPENS, _CLOSES = map(ord, "()")


def normalised(texts: Sequence[str], *, typography: str = "fold") -> tuple[Codes, Ints]:
    """Code points of normalised texts, and where each begins (texts + 1,): equal to `normalise` of each."""
    codes, begins = _codes(texts)
    hard = np.zeros(len(texts), np.bool_)
    if not _look(codes, begins, _TRAITS, hard):
        _learn(codes)
        _look(codes, begins, _TRAITS, hard)
    if hard.any():
        codes, begins = _codes([normalise(text, typography=typography) if hard[i] else text for i, text in enumerate(texts)])
    out, ends = np.empty(3 * len(codes) // 2 + 16, np.uint32), np.zeros(len(texts) + 1, np.int64)
    longest = max(int(np.diff(begins).max(initial=0)), 1)
    spare, breaks = np.empty(longest, np.uint32), np.empty(longest, np.int64)
    _normalise(codes, begins, hard, typography == "fold", _TRAITS, _STRAIGHT, spare, breaks, out, ends)
    return out[: ends[-1]], ends


def normalised_texts(texts: Sequence[str], *, typography: str = "fold") -> list[str]:
    """`normalise` of each."""
    found: list[str] = []
    for group in groups(texts):
        codes, ends = normalised(group, typography=typography)
        letters = codes.tobytes().decode("utf-32-le")
        found += [letters[begin:end] for begin, end in pairwise(ends.tolist())]
    return found


_GROUP = 1 << 15  # characters that are looked at together: their codes stay in the cache


def groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """All texts, in groups of so many characters."""
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= _GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _codes(texts: Sequence[str]) -> tuple[Codes, Ints]:
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    return codes, np.cumsum([0, *map(len, texts)])


def _learn(codes: Codes) -> None:
    for code in {*range(128), *codes[_TRAITS[codes] == 0].tolist()}:
        _TRAITS[code] = _traits(chr(code))


def _traits(character: str) -> int:
    found = _SEEN
    category = unicodedata.category(character)
    if character in "\n\r\x0b\x0c\x85\u2028\u2029":
        found |= _BREAK
    elif character.isspace() or category == "Cc":
        found |= _BLANK
    # NFC may change a text only where one of these is in it: a mark, the second part of a syllable of Hangul, what is not NFC by itself.
    if category[0] == "M" or category == "Cs" or "\u1100" <= character <= "\u11ff" or not unicodedata.is_normalized("NFC", character):
        found |= _HARD
    if character.isalnum() or character == "_":
        found |= _WORD
    if character.isdecimal():
        found |= _DIGIT
    if character in "-*•·—–":
        found |= _BULLET
    if character in "'`-.…" or _STRAIGHT[ord(character)] != ord(character):
        found |= _FOLDED
    return found


@njit(cache=True, nogil=True)
def _look(codes: Codes, begins: Ints, traits: Bytes, hard: NDArray[np.bool_]) -> bool:
    """Whether all characters are known, and if so, of each text whether there is one in it that NFC may change."""
    for text in range(hard.size):
        any_of, all_of = np.uint8(0), np.uint8(255)
        for i in range(begins[text], begins[text + 1]):
            any_of |= traits[codes[i]]
            all_of &= traits[codes[i]]
        if all_of & _SEEN == 0:
            return False
        hard[text] = any_of & _HARD != 0
    return True


@njit(cache=True, nogil=True)
def _normalise(
    codes: Codes,
    begins: Ints,
    is_done: NDArray[np.bool_],
    folds: bool,
    traits: Bytes,
    straight: Codes,
    spare: Codes,
    breaks: Ints,
    out: Codes,
    ends: Ints,
) -> None:
    """Normalise the texts that are not yet into `out`, one behind the other; `ends[i + 1]` is where text i ends.

    `spare`, `breaks`: to work in, for one text.
    """
    to = 0
    for text in range(is_done.size):
        if is_done[text]:
            for i in range(begins[text], begins[text + 1]):
                out[to] = codes[i]
                to += 1
        else:
            size, found = _white_space(codes, begins[text], begins[text + 1], traits, spare, breaks)
            _unwrap(spare, size, breaks[:found], traits)
            to = _fold(spare, size, folds, traits, straight, out, to)
        ends[text + 1] = to


@njit(cache=True, nogil=True)
def _white_space(codes: Codes, begin: int, end: int, traits: Bytes, out: Codes, breaks: Ints) -> tuple[int, int]:
    """One space for each run of blanks, none at the ends of lines; every break a newline. Returns (size, how many `breaks` there are).

    Blanks are no branch of their own: there are many, and where they stand cannot be foretold.
    """
    to, found, after_white = 0, 0, True
    for i in range(begin, end):
        code = codes[i]
        trait = traits[code]
        if trait & _BREAK:
            to -= to > 0 and out[to - 1] == _SPACE
            after_white = True
            if code != _RETURN or i + 1 == end or codes[i + 1] != _NEWLINE:
                out[to], breaks[found] = _NEWLINE, to
                to, found = to + 1, found + 1
        else:
            is_blank = trait & _BLANK != 0
            out[to] = _SPACE if is_blank else code
            to += not (is_blank and after_white)
            after_white = is_blank
    return to - (to > 0 and out[to - 1] == _SPACE), found


@njit(cache=True, nogil=True)
def _unwrap(codes: Codes, size: int, breaks: Ints, traits: Bytes) -> None:
    """Soft newlines become spaces, as `dft_stats.text.unwrap` has it; no line has white space at its ends."""
    line = 0
    for i in breaks:
        length, line = i - line, i + 1
        goes_on = SHORTEST_LINE <= length <= LONGEST_LINE and line < size and codes[line] != _NEWLINE
        if goes_on and not _is_list_item(codes, line, size, traits):
            codes[i] = _SPACE


@njit(cache=True, nogil=True)
def _is_list_item(codes: Codes, i: int, size: int, traits: Bytes) -> bool:
    if traits[codes[i]] & _BULLET and i + 1 < size and codes[i + 1] == _SPACE:
        return True
    first = i + 1 if codes[i] == _OPENS else i
    j = first
    while j < size and j < first + 4 and traits[codes[j]] & _WORD:
        j += 1
    return 0 < j - first < 4 and j + 1 < size and (codes[j] == _PERIOD or codes[j] == _CLOSES) and codes[j + 1] == _SPACE


@njit(cache=True, nogil=True)
def _fold(codes: Codes, size: int, folds: bool, traits: Bytes, straight: Codes, out: Codes, to: int) -> int:
    """Typography as `dft_stats.text.normalise` folds it, and a blank line for each run of newlines."""
    first, i = to, 0
    special = _BREAK | _FOLDED if folds else _BREAK
    while i < size:
        code = codes[i]
        if traits[code] & special == 0:
            out[to] = code
            to += 1
            i += 1
            continue
        if code == _NEWLINE:
            while i < size and codes[i] == _NEWLINE:
                i += 1
            if to > first and i < size:
                out[to] = out[to + 1] = _NEWLINE
                to += 2
            continue
        plain = straight[code]
        if plain in (_QUOTE, _TICK):
            if i + 1 < size and straight[codes[i + 1]] == plain:
                plain = np.uint32(_TWO_QUOTES)
                i += 1
        elif code == _EN_DASH and 0 < i < size - 1 and traits[codes[i - 1]] & traits[codes[i + 1]] & _DIGIT:
            plain = np.uint32(_HYPHEN)
        elif plain == _HYPHEN:
            last = i
            while last + 1 < size and straight[codes[last + 1]] == _HYPHEN:
                last += 1
            is_between = to > first and out[to - 1] == _SPACE and last + 1 < size and codes[last + 1] == _SPACE
            if last > i or is_between:
                plain = np.uint32(_DASH)
            i = last
        elif code in (_PERIOD, _ELLIPSIS):
            last, dots, ellipses = i, 1, code == _ELLIPSIS
            while True:
                following = last + 1
                if following < size and codes[following] == _SPACE:
                    following += 1
                if following >= size or (codes[following] != _PERIOD and codes[following] != _ELLIPSIS):
                    break
                dots, ellipses, last = dots + 1, ellipses or codes[following] == _ELLIPSIS, following
            if dots > 2 or ellipses:
                out[to] = out[to + 1] = _PERIOD
                to += 2
                plain, i = np.uint32(_PERIOD), last
        out[to] = plain
        to += 1
        i += 1
    return to
