"""What a statistic is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from dft_stats.text import Document

Key = tuple[str | int | bool, ...]
Event = tuple[Key, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One statistic: its table, and its definition as events."""

    name: str  # also the name of the Parquet file and of the loss term
    keys: Mapping[str, str]  # key column -> Arrow type
    groups: tuple[str, ...]  # key columns within which counts share a total ("n" of n-grams)
    kind: Literal["categorical", "ordinal"]  # decides how two tables are compared
    unit: str
    scope: Literal["sentence", "window", "document"]  # counting never looks past it; merging is exact there
    source: str
    events: Callable[[Document], Iterator[Event]]

    @property
    def text_key(self) -> str:
        """Of a categorical statistic: the key column that is no group, in which the texts stand that are counted."""
        (name,) = [name for name in self.keys if name not in self.groups]
        return name


def words_before(document: Document) -> list[list[int]]:
    """For each unit of each sentence, how many words of the document stand before it."""
    position, table = 0, []
    for sentence in document:
        row = []
        for unit in sentence:
            row.append(position)
            position += unit.kind == -1
        table.append(row)
    return table
