"""What commands print. Profiles and Hubs are written by strangers: what a terminal would obey is printed as the escape that names it."""

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

_OBEYED = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Categories of control characters, of those that turn the direction of a text or are not seen, and of breaks of lines.

Characters that are not assigned (Cn) are none: which those are depends on the version of Python, and a profile should not.
"""


def obeyed(text: str, *, but: str = "") -> str:
    """The characters of a text that a terminal would obey or not show, each once; all but those of `but`."""
    if text.isascii() and text.isprintable():
        return ""
    return "".join(sorted({char for char in text if char not in but and unicodedata.category(char) in _OBEYED}))


def safe(text: str) -> str:
    r"""A text in one line, as it may be printed: ESC is \x1b, a bidi override \u202e, a line feed \n."""
    wrong = obeyed(text)
    return text.translate({ord(char): repr(char)[1:-1] for char in wrong}) if wrong else text


def say(*lines: str, file: TextIO | None = None) -> None:
    """Print lines, on stdout if no file is given. A line feed ends a line; nothing else of them is obeyed."""
    for line in "\n".join(lines).split("\n"):
        print(safe(line), file=file or sys.stdout, flush=True)


def print_json(value: Any) -> int:
    """Print JSON on stdout; return the status of a command that went well."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1)
    print(text.translate({ord(char): json.dumps(char)[1:-1] for char in obeyed(text, but="\n")}))  # the same JSON
    return 0


def texts_of(value: Any) -> Iterable[str]:
    """Every text in a JSON value, keys too, however deep."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            todo += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            todo += item
