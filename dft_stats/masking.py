"""What no table should tell, replaced in the text before anything is counted: addresses, digits, and names that the user denies.

The text is normalised first, so that an address that a fancy dash or a line end would hide is seen; what comes out is normalised too. A
mask has the shape of what it replaces, so that sentences end where they did and a tokenizer cuts alike: a digit is a digit, an address is
one of the domain that is reserved for examples (RFC 2606), a name is a capitalised word.

What this cannot see: numbers in words, names that nobody listed, handles, addresses spelt out ("john at example dot com"), and more that
`docs/privacy.md` lists. The floor on documents stands behind it.
"""

import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dft_stats.addresses import emails, urls
from dft_stats.denied import canonical, find
from dft_stats.text import normalise

EMAIL, URL, DIGIT, NAME = "name@example.com", "https://example.com", "0", "Anonym"
MASKING = "dft-mask-3"
"""Name of what `mask` does; parts that were masked otherwise are not taken for these."""
KINDS = ("emails", "urls", "digits", "names")
"""What is counted of what was replaced. Beside it, as "names/3", how often each denied name was found, if it was."""


@dataclass(frozen=True, slots=True)
class Masks:
    """What is replaced beside addresses and digits, see `dft_stats.denied`; the order of the names does not matter."""

    names: tuple[str, ...] = ()  # canonical

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(sorted(set(map(canonical, self.names)) - {""})))

    def apply(self, texts: Sequence[str], *, typography: str = "fold") -> tuple[list[str], dict[str, int]]:
        """Texts, normalised and masked, and how much was replaced, by `KINDS`."""
        return self.apply_to_normalised([normalise(text, typography=typography) for text in texts])

    def apply_to_normalised(self, texts: Sequence[str]) -> tuple[list[str], dict[str, int]]:
        """The same of texts that are normalised."""
        total = dict.fromkeys(KINDS, 0)
        found = []
        for text in texts:
            masked, number = mask(text, self.names)
            found.append(masked)
            for kind, more in number.items():
                total[kind] = total.get(kind, 0) + more
        return found, total

    def unseen(self, given: Iterable[str], masked: Mapping[str, int]) -> list[str]:
        """Which names, as they were given, no text had. `masked` is what was replaced in all of them."""
        seen = {name for number, name in enumerate(self.names) if masked.get(f"names/{number}")}
        seen |= {name.replace(" ", "") for name in seen}  # what differs in spaces only is counted as one
        return [name for name in given if name.strip() and not {canonical(name), canonical(name).replace(" ", "")} & seen]


def mask(text: str, names: tuple[str, ...] = ()) -> tuple[str, dict[str, int]]:
    """A normalised text without addresses, denied names and digits; and how many there were of each, of digits every one.

    All are looked for in the text as it is, so that no mask hides another: an address that a name runs into goes with it.
    """
    number = dict.fromkeys(KINDS, 0)
    masked = text
    for character in _numerals(text):  # one by one, since `str.translate` is slow where a text is not ASCII
        number["digits"] += text.count(character)
        masked = masked.replace(character, DIGIT)
    found = [(begin, end, EMAIL) for begin, end in emails(text)] + [(begin, end, URL) for begin, end in urls(masked)]
    for begin, end, which in find(text, names) if names else ():
        found.append((begin, end, NAME))
        number["names"] += 1
        number[f"names/{which}"] = number.get(f"names/{which}", 0) + 1
    if found:
        spans = _apart(found)
        for kind, shown in (("emails", EMAIL), ("urls", URL)):
            number[kind] = sum(own == shown for _, _, own in spans)
        edges = [0, *(edge for begin, end, _ in spans for edge in (begin, end)), len(text)]
        kept = [masked[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True)]
        masked = "".join(piece for pair in zip(kept, [*(own for _, _, own in spans), ""], strict=True) for piece in pair)
    if not masked.isascii() and masked != text:  # a combining mark may stand behind another letter now
        masked = unicodedata.normalize("NFC", masked)
    return masked, number


def _apart(found: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Spans in order. What overlaps is one: an address if there is one in it, of several the first."""
    spans: list[tuple[int, int, str]] = []
    for begin, end, kind in sorted(found, key=lambda span: (span[0], -span[1])):
        if spans and begin < spans[-1][1]:
            first, behind, known = spans.pop()
            spans.append((first, max(end, behind), kind if known == NAME else known))
        else:
            spans.append((begin, end, kind))
    return spans


def _numerals(text: str) -> list[str]:
    """The numerals that a text has."""
    codes = np.frombuffer(b"" if text.isascii() else text.encode("utf-32-le", "surrogatepass"), np.uint32)
    others = map(chr, set(codes[codes > 127].tolist()))
    return [digit for digit in string.digits if digit in text] + [character for character in others if _is_numeral(character)]


@lru_cache(1 << 12)
def _is_numeral(character: str) -> bool:
    """A digit of any script, ⅞, Ⅻ."""
    return unicodedata.category(character)[0] == "N"
