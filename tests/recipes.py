"""The recipes of docs/trainers.md, so that a test of a trainer runs what is told there."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "trainers.md"
TEMPERATURE = 0.8
"""At which the model is to write, as told there."""


def recipe(file: str) -> str:
    """The block whose first line names this file in a comment."""
    (found,) = re.findall(rf"^```\w+\n(# {re.escape(file)}\n.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)
