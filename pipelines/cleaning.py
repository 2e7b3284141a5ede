"""What a recipe may do to the text of a source before it is counted. Each step takes and gives one document."""

import html
import re
from collections.abc import Callable

MAX_DIGITS = 0.2
_SENTENCE_END = re.compile(r"[.!?:;][\"')\]]*$")


def unescape(text: str) -> str:
    """`&amp;` and its kin are characters."""
    return html.unescape(text)


def without_figures(text: str) -> str:
    """Drop paragraphs that are rows of a table: a fifth of the characters are digits, or four words and no end of a sentence."""
    return "\n\n".join(paragraph for paragraph in text.split("\n\n") if not _is_figures(paragraph))


def _is_figures(paragraph: str) -> bool:
    digits = sum(character.isdigit() for character in paragraph)
    return digits > MAX_DIGITS * len(paragraph) or (digits > 0 and len(paragraph.split()) <= 4 and not _SENTENCE_END.search(paragraph))


STEPS: dict[str, Callable[[str], str]] = {"unescape": unescape, "without_figures": without_figures}
