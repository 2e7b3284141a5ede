"""What no table should tell, replaced in the text before anything is counted: addresses, digits, and names that the user denies.

The text is normalised first, so that an address that a fancy dash or a line end would hide is seen; what comes out is normalised too. A
mask has the shape of what it replaces, so that sentences end where they did and a tokenizer cuts alike: a digit is a digit, an address is
one of the domain that is reserved for examples (RFC 2606), a name is a capitalised word.

What this cannot see: numbers in words, names that nobody listed, handles, addresses spelt out ("john at example dot com"). The floor on
documents stands behind it.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from dft_stats.text import normalise

EMAIL, URL, DIGIT, NAME = "name@example.com", "https://example.com", "0", "Anonym"
MASKING = "dft-mask-1"
"""Name of what `mask` does; parts that were masked otherwise are not taken for these."""
KINDS = ("emails", "urls", "digits", "names")
"""What is counted of what was replaced."""

_INSIDE = r"[^\s<>\"“”«»]"  # an address
_EMAIL = re.compile(r"[^\s@<>()\[\]{},;:\"“”«»]+@[\w@.-]*\w[\u0300-\u036f]*")
_ENDINGS = "com|org|net|edu|gov|mil|info|biz|io|ai|co|tv|uk|de|fr|eu|ca|au|nl|se|ch|es|ru|cn|jp|br"  # none that is an English word
_LAST = r"[^\s<>\"“”«».,;:!?')\]}—]"  # marks at its end are the sentence's
_URL = re.compile(
    rf"(?:[a-z][a-z0-9+.-]*://|\bwww\.){_INSIDE}*{_LAST}"
    rf"|(?<![\w@.-])(?:[a-z0-9](?:[\w-]*[^\W_])?\.)+(?:{_ENDINGS})(?![\w-])(?:[/?#:]{_INSIDE}*{_LAST})?",
    re.IGNORECASE,
)
_ALIKE = {"'": "['’‘]", "’": "['’‘]", "-": "[-‐‑]"}


@dataclass(frozen=True, slots=True)
class Masks:
    """What is replaced beside addresses and digits; case does not matter, nor the order of the names."""

    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = {" ".join(_without_digits(normalise(name, typography="keep"))[0].lower().split()) for name in self.names}
        object.__setattr__(self, "names", tuple(sorted(known - {""})))

    def apply(self, texts: Sequence[str], *, typography: str = "fold") -> tuple[list[str], dict[str, int]]:
        """Texts, normalised and masked, and how much was replaced, by `KINDS`."""
        total = dict.fromkeys(KINDS, 0)
        found = []
        for text in texts:
            masked, number = mask(normalise(text, typography=typography), self.names)
            found.append(masked)
            for kind, more in number.items():
                total[kind] += more
        return found, total


def mask(text: str, names: tuple[str, ...] = ()) -> tuple[str, dict[str, int]]:
    """A normalised text without addresses, denied names and digits; and how many there were of each, of digits every one."""
    number = dict.fromkeys(KINDS, 0)
    masked, number["digits"] = _without_digits(text)
    if "@" in masked:
        masked, number["emails"] = _EMAIL.subn(EMAIL, masked)
    if "." in masked or "://" in masked:
        masked, number["urls"] = _URL.subn(URL, masked)
    if names:
        masked, number["names"] = _denied(names).subn(NAME, masked)
    if not masked.isascii() and masked != text:  # a combining mark may stand behind another letter now
        masked = unicodedata.normalize("NFC", masked)
    return masked, number


def _without_digits(text: str) -> tuple[str, int]:
    digits = [character for character in set(text) if character.isdigit()]
    return text.translate({ord(character): DIGIT for character in digits}), sum(map(text.count, digits))


@lru_cache(maxsize=4)
def _denied(names: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the names, as words of their own: a tree of characters, since of thousands of names few begin alike."""
    tree: dict[str, dict] = {}  # type: ignore[type-arg]
    for name in names:
        node = tree
        for character in name:
            node = node.setdefault(character, {})
        node[""] = {}
    return re.compile(rf"(?<!\w){_alternatives(tree)}(?!\w)", re.IGNORECASE)


def _alternatives(node: dict[str, dict]) -> str:  # type: ignore[type-arg]
    found = []
    for character, rest in node.items():
        spelt = _ALIKE.get(character, re.escape(character))
        while len(rest) == 1 and "" not in rest:  # no branch: no need to nest
            ((character, rest),) = rest.items()
            spelt += _ALIKE.get(character, re.escape(character))
        if character:
            found.append(spelt + ("" if rest.keys() == {""} else _alternatives(rest)))
    return f"(?:{'|'.join(found)}){'?' if '' in node else ''}"
