"""Real documents that every machine with Python has: the licences and the documentation of installed packages."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

DOCUMENTS = (".md", ".rst", ".txt")
LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT")
MIN_CHARACTERS, MAX_CHARACTERS = 1_000, 300_000


def licence_texts() -> list[str]:
    """Licence files of the installed packages, each text once."""
    return _texts(lambda name: name.upper().startswith(LICENCES))


def documentation_texts() -> list[str]:
    """Descriptions of the installed packages, and the documentation that lies among their files, each text once."""
    described = [str(distribution.metadata.json.get("description") or "") for distribution in importlib.metadata.distributions()]
    files = _texts(lambda name: name.lower().endswith(DOCUMENTS) and not name.upper().startswith(LICENCES) and "test" not in name.lower())
    return list(dict.fromkeys(text for text in [*described, *files] if len(text) >= MIN_CHARACTERS))


def _texts(wanted: Callable[[str], bool]) -> list[str]:
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
    return list(found)
