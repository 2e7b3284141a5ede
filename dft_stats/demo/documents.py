"""Real documents that every machine with Python has: the licences and the documentation of installed packages."""

import importlib.metadata
import re
from collections.abc import Callable, Iterable
from pathlib import Path

DOCUMENTS = (".md", ".rst", ".txt")
LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT")
MIN_CHARACTERS, MAX_CHARACTERS = 1_000, 300_000  # of a document
TOTAL_CHARACTERS = 600_000
PROSE = re.compile(r"[A-Z][^`<>{}|=*_\\/#\[\]$~^]{200,1500}[.]")


def licence_texts() -> list[str]:
    """Licence files of the installed packages, each text once, the shortest first, `TOTAL_CHARACTERS` at the most."""
    return _shortest(_texts(lambda name: name.upper().startswith(LICENCES)))


def documentation_texts() -> list[str]:
    """Descriptions of the installed packages, and the documentation that lies among their files, likewise."""
    described = [str(distribution.metadata.json.get("description", "")) for distribution in importlib.metadata.distributions()]
    files = _texts(lambda name: name.lower().endswith(DOCUMENTS) and not name.upper().startswith(LICENCES) and "test" not in name.lower())
    return _shortest(dict.fromkeys([*described, *files]))


def passages(texts: Iterable[str]) -> list[str]:
    """Paragraphs of running prose in them: no code, no markup, 200 characters at the least."""
    found = (match.group() for text in texts for part in text.split("\n\n") for match in [PROSE.fullmatch(" ".join(part.split()))] if match)
    return list(dict.fromkeys(found))


def _shortest(texts: dict[str, None]) -> list[str]:
    chosen, size = [], 0
    for text in sorted(texts, key=lambda text: (len(text), text)):
        size += len(text)
        if size > TOTAL_CHARACTERS:
            break
        if len(text) >= MIN_CHARACTERS:
            chosen.append(text)
    return chosen


def _texts(wanted: Callable[[str], bool]) -> dict[str, None]:
    found: dict[str, None] = {}
    for distribution in importlib.metadata.distributions():
        for file in distribution.files or ():
            if not wanted(file.name):
                continue
            path = Path(str(distribution.locate_file(file)))
            try:
                text = path.read_text(encoding="utf-8") if MIN_CHARACTERS <= path.stat().st_size <= MAX_CHARACTERS else ""
            except (OSError, UnicodeDecodeError):
                continue
            if text:
                found[text] = None
    return found
