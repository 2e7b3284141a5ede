"""What is done to the text of a document before it is counted: steps that a recipe names, and paragraphs known as boilerplate."""

import hashlib
import html
import re
from collections.abc import Callable, Container

MAX_DIGITS = 0.2
BOILERPLATE_WORDS = 8
"""A shorter paragraph may stand in many documents by right: "Yes," he said."""
LEAST_COMMON = 0.1
_COMMONEST = frozenset(("the", "of", "and", "to", "in", "a"))
_FRAME_BEGIN = re.compile(r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG EBOOK.*$", re.MULTILINE)
_FRAME_END = re.compile(r"^\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG EBOOK.*$", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?:;][\"')\]]*$")
_DIGITS = re.compile(r"\d+")


def unescape(text: str) -> str:
    """`&amp;` and its kin are characters."""
    return html.unescape(text)


def without_figures(text: str) -> str:
    """Drop paragraphs that are rows of a table: a fifth of the characters are digits, or four words and no end of a sentence."""
    return "\n\n".join(paragraph for paragraph in text.split("\n\n") if not _is_figures(paragraph))


def _is_figures(paragraph: str) -> bool:
    digits = sum(character.isdigit() for character in paragraph)
    return digits > MAX_DIGITS * len(paragraph) or (digits > 0 and len(paragraph.split()) <= 4 and not _SENTENCE_END.search(paragraph))


def english(text: str) -> str:
    """Nothing, unless a tenth of the words are the six commonest of English: no other language has so many of them."""
    words = text.lower().split()
    return text if sum(word in _COMMONEST for word in words) >= LEAST_COMMON * len(words) else ""


def without_gutenberg_frame(text: str) -> str:
    """Drop what Project Gutenberg puts before and behind a book, where its markers stand."""
    begin, end = _FRAME_BEGIN.search(text), _FRAME_END.search(text)
    return text[begin.end() if begin else 0 : end.start() if end else len(text)].strip()


STEPS: dict[str, Callable[[str], str]] = {
    "unescape": unescape,
    "without_figures": without_figures,
    "english": english,
    "without_gutenberg_frame": without_gutenberg_frame,
}


def paragraph_key(paragraph: str) -> int | None:
    """The number of a paragraph, of 64 bits: equal for those that differ in case, white space and digits only; None for a short one."""
    words = paragraph.lower().split()
    if len(words) < BOILERPLATE_WORDS:
        return None
    return int.from_bytes(
        hashlib.blake2b(_DIGITS.sub("0", " ".join(words)).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def without_paragraphs(text: str, keys: Container[int]) -> str:
    """The text without the paragraphs of these keys."""
    if not keys:
        return text
    return "\n\n".join(paragraph for paragraph in text.split("\n\n") if paragraph_key(paragraph) not in keys)
