"""Where a text has a name that is denied, however it is typed.

Names are compared by their words alone: runs of letters and digits, without case and accents, every digit alike. Between two words of a
name stands whatever is neither letter nor digit, as it pleases the text: a space, a line or paragraph break, the > of a quoted message, a
hyphen or dash, an apostrophe of any kind, `&amp;`. Inside a word may stand what is not seen (soft hyphens, joiners, combining marks) and a
hyphen at the end of a line.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from dft_stats.text import normalise

_SOFT = "\0"  # what may stand inside a word or between two; normalised texts have none
_APOSTROPHES = "ʹʻʼʽˈ׳ꞌ"  # letters by their Unicode category
_FILLERS = "\u115f\u1160\u3164\uffa0"  # letters that are not seen
_LETTER, _NO_LETTER = r"[^\W_]", r"[\W_]"
_ENTITY = r"&(?:amp;)*(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[A-Za-z]{2,31}\d{0,2});"
_COMPOSITE = re.compile(rf"{_ENTITY}|(?<={_LETTER})[-‐‑\u00ad]\s[\s>]*(?={_LETTER})|.", re.DOTALL)
_IS_COMPOSITE = re.compile(rf"{_ENTITY}|{_LETTER}[-‐‑\u00ad]\s[\s>]*{_LETTER}")
_NEAR = ("&", "- ", "-\n")  # one of these is in every composite of ASCII
LOOSE_LETTERS = 6
"""Names of so many letters and digits are found by these alone, wherever the spaces are, if a search is loose: of shorter ones ("Asa") too
many ordinary words ("as a") can be put together."""
ROW = "\x01"
"""Ends a row where many are searched at once; normalised texts have none."""


class _Folds(dict[int, str]):
    """Characters as they are compared, looked up once each. None becomes nothing, so that only what becomes several shifts the rest."""

    def __missing__(self, code: int) -> str:
        found = self[code] = _folded(chr(code))
        return found


def _folded(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Nd":
        return "0"
    if kind == "No" or kind[0] in "SPZ":  # "™" is no letters behind a name, nor "²" a digit
        return " "
    found = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).upper().casefold())
    seen = [c for c in found if unicodedata.category(c)[0] != "M" and unicodedata.category(c) != "Cf" and c not in _FILLERS]
    return "".join(c if c.isalnum() and c not in _APOSTROPHES else " " for c in seen) or _SOFT


_FOLDS = _Folds({ord(ROW): ROW, ord(_SOFT): _SOFT})


def canonical(name: str) -> str:
    """The words of a name as they are compared, one space between them; "" if it has none."""
    return " ".join(re.findall(rf"{_LETTER}+", _compared(normalise(name, typography="keep"))[0].replace(_SOFT, "")))


def letters(name: str) -> str:
    """A canonical name without its spaces."""
    return name.replace(" ", "")


def find(text: str, names: tuple[str, ...], *, is_loose: bool = False) -> Iterator[tuple[int, int, int]]:
    """(begin, end, which of the names) of denied names in a normalised text; the longest of those that begin at one place.

    Args:
        text: normalised; or rows, each ended by `ROW`.
        names: canonical.
        is_loose: of `LOOSE_LETTERS` or more, find the letters and digits whatever stands between them.
    """
    compared, pieces = _compared(text)
    is_soft = _SOFT in compared
    places: tuple[list[int], list[int]] | None = None
    number = _numbers(names)
    for match in _pattern(names, is_soft, is_loose).finditer(compared):
        begin, end = match.span()
        if pieces is not None:
            places = places or _places(pieces)
            begin, end = places[0][begin], places[1][end - 1]
        yield begin, end, number["".join(re.findall(rf"{_LETTER}", re.sub(r"\d", "0", match.group())))]


def _compared(text: str) -> tuple[str, Sequence[str] | None]:
    """A text as it is compared; and what became of which piece of it, if not each character became one."""
    if (not text.isascii() or any(near in text for near in _NEAR)) and _IS_COMPOSITE.search(text):
        pieces = _COMPOSITE.findall(text)
        return "".join(map(_of_piece, pieces)), pieces
    if text.isascii():
        return text.lower(), None
    compared = text.translate(_FOLDS)
    return compared, None if len(compared) == len(text) else text


def _of_piece(piece: str) -> str:
    if len(piece) == 1:
        return _FOLDS[ord(piece)]
    if piece[0] != "&":
        return _SOFT  # a hyphen at the end of a line
    plain = piece
    while (less := html.unescape(plain)) != plain:
        plain = less
    return plain.translate(_FOLDS)


def _places(pieces: Sequence[str]) -> tuple[list[int], list[int]]:
    """Where the piece of each compared character begins and ends."""
    begins, ends, at = [], [], 0
    for piece in pieces:
        size = len(_of_piece(piece))
        begins += [at] * size
        at += len(piece)
        ends += [at] * size
    return begins, ends


# --- patterns ---------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _numbers(names: tuple[str, ...]) -> dict[str, int]:
    return {letters(name): number for number, name in reversed(list(enumerate(names)))}


@lru_cache(maxsize=16)
def _pattern(names: tuple[str, ...], is_soft: bool, is_loose: bool) -> re.Pattern[str]:
    """Any of the names, as words of their own: a tree of characters, since of thousands of names few begin alike."""
    soft, gap = f"{_SOFT}*" if is_soft else "", rf"(?:(?!{ROW}){_NO_LETTER})"
    strict, loose = dict[str, dict](), dict[str, dict]()  # type: ignore[type-arg]
    for name in names:
        if is_loose and len(letters(name)) >= LOOSE_LETTERS:
            _grow(loose, letters(name))
        else:
            _grow(strict, name)
    trees = [_alternatives(tree, between, f"{gap}+") for tree, between in ((loose, f"{gap}*"), (strict, soft)) if tree]
    return re.compile(rf"(?<!{_LETTER})(?:{'|'.join(trees)}){soft}(?!{_LETTER})")


def _grow(tree: dict[str, dict], name: str) -> None:  # type: ignore[type-arg]
    for character in name:
        tree = tree.setdefault(character, {})
    tree[""] = {}


def _alternatives(node: dict[str, dict], between: str, gap: str) -> str:  # type: ignore[type-arg]
    """What may follow in a tree; `between` stands in front of all but the first letters of a word."""

    def spelt(character: str, *, is_first: bool) -> str:
        return gap if character == " " else ("" if is_first else between) + ("[0-9]" if character == "0" else re.escape(character))

    def branches(node: dict[str, dict], last: str) -> str:  # type: ignore[type-arg]
        found = []
        for character, rest in node.items():
            if not character:
                continue
            text, before = spelt(character, is_first=last in ("", " ")), character
            while len(rest) == 1 and "" not in rest:  # no branch: no need to nest
                ((character, rest),) = rest.items()
                text += spelt(character, is_first=before == " ")
                before = character
            found.append(text + ("" if rest.keys() == {""} else branches(rest, before)))
        return f"(?:{'|'.join(found)}){'?' if '' in node else ''}"

    return branches(node, "")
