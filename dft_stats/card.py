"""The parts of a card that are the registry's: its YAML head, which the Hub reads, and where the text of its owner begins."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dft_stats.tables import table_path

END = "<!-- dft-stats: generated up to here; what stands below is yours and stays when a version is published -->"
_LICENCES = "cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-3.0 cc-by-sa-3.0 odc-by odbl mit apache-2.0 pddl".split()
"""Identifiers of the Hub that a licence may begin with."""


def head(facts: Mapping[str, Any], tables: Iterable[str]) -> list[str]:
    """The YAML head: one configuration a table, so that the Hub's viewer and `datasets.load_dataset` show each.

    Args:
        facts: the manifest; `licence_id` is an identifier of the Hub, else it is read off `licence`.
        tables: their names; the first is the default.
    """
    licence = str(facts.get("licence_id") or _licence(str(facts.get("licence", ""))))
    lines = ["---", "language: en", f"license: {licence}"]
    lines += [f"pretty_name: {_quoted(facts)}", "tags: [dft-stats, corpus-statistics]", "configs:"]
    for number, name in enumerate(tables):
        default = "default: true, " if number == 0 else ""
        lines += [f"- {{config_name: {name}, {default}data_files: [{{split: train, path: {table_path(name)}}}]}}"]
    return [*lines, "---"]


def generated(card: bytes) -> bytes:
    """The part of a card that is generated; all of it, if it has no mark where its owner's text begins."""
    before, mark, _ = card.partition(END.encode())
    return before + mark + b"\n" if mark else card


def own_text(card: bytes) -> bytes:
    """The part that its owner wrote."""
    return card.partition(END.encode())[2].removeprefix(b"\n")


def without_head(card: bytes) -> bytes:
    """A card without its YAML head."""
    return re.sub(rb"\A---\n.*?\n---\n", b"", card, flags=re.DOTALL)


def _licence(text: str) -> str:
    first = text.strip().lower().split(" ")[0].rstrip(".,;")
    return first if first in _LICENCES else "other"


def _quoted(facts: Mapping[str, Any]) -> str:
    text = re.sub(r"\s+", " ", f"{facts['name']}: {facts.get('title') or 'reference statistics'}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
