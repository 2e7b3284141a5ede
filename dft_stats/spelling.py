"""How the text is spelt that the table `surface` does not hold: the table `spelling`, texts with a count and nothing more.

`surface` has the columns of every statistic, and three quarters of its bytes are second moments, which say nothing about a stretch that few
documents have. So it keeps the stretches of many documents, and `spelling` takes what is left, whole or in parts, so that every character
of the corpus stands in one of the two. A row of `spelling` begins with

    a space         where a space stands before it,
    a blank line    where it begins a paragraph or a document,
    anything else   where it continues what stands before it without white space;

and it ends with a blank line where a paragraph ends. A stretch that fewer than `floor` documents have is cut into parts: runs of letters
with the marks before them, digits by threes, runs of marks. A run of letters that no stretch or word of `floor` documents has, upper and
lower case alike, is cut further, into the fewest pieces that lie inside such words. So no row tells more than `floor` documents say, but
for single characters and groups of three digits, and the sum over all rows still is the text.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from math import log2

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats.counts import Counts
from dft_stats.statistics.surface import PARAGRAPH

SCHEMA = pa.schema([pa.field("spelling", pa.string(), nullable=False), pa.field("count", pa.int64(), nullable=False)])
LONGEST = 14  # characters of a piece of a word: longer ones are rare and make the search slow
REMEMBERED = 1 << 17  # words whose pieces are remembered
COST = 40.0  # bits of a piece: more than any frequency outweighs
DIGITS = 3  # digits of a group, counted from the left: tokenizers that group digits group them so

_PART = re.compile(r"((?:[^\w\s]|_)*)((?:[^\W\d_][\u0300-\u036f]*)+|\d+|(?<=.)$)")


def spell(surface: Counts, tokens: Counts, kept: NDArray[np.bool_], floor: int) -> pa.Table:
    """The table `spelling` of a profile, sorted.

    Args:
        surface: of the whole corpus, nothing pruned.
        tokens: `token_frequency` of the whole corpus, nothing pruned.
        kept: (rows of `surface`,), the rows that the table `surface` of the profile holds.
        floor: documents that a text has to occur in to be told whole; 1 tells all.
    """
    common: list[str] = []
    for table, key in ((surface.table, "surface"), (tokens.table, "unit")) if floor > 1 else ():
        common += table.filter(pc.greater_equal(table["documents"], floor))[key].to_pylist()
    spelling = Spelling(common, is_whole=floor <= 1)
    rest = surface.table.filter(pa.array(~kept))
    for text, count, documents in zip(*(rest[column].to_pylist() for column in ("surface", "count", "documents")), strict=True):
        spelling.add(text, count, is_told=documents >= floor)
    return spelling.table()


class Spelling:
    """Collects the rows of the table, stretch by stretch."""

    def __init__(self, common: Iterable[str], *, is_whole: bool = False) -> None:
        """`common`: the stretches and units that enough documents have; not needed where all are told whole."""
        self._known = None if is_whole else Known(common)
        self._counted: Counter[str] = Counter()

    def add(self, stretch: str, count: int, *, is_told: bool) -> None:
        """Count a stretch of the table `surface`, whole if enough documents have it."""
        if is_told or self._known is None:
            self._counted[opened(stretch)] += count
        else:
            for part in self._known.parts(stretch):
                self._counted[part] += count

    def __len__(self) -> int:
        """Rows so far."""
        return len(self._counted)

    def table(self) -> pa.Table:
        """All rows, sorted."""
        found = pa.table([list(self._counted), list(self._counted.values())], schema=SCHEMA)
        return found.sort_by("spelling")


def opened(stretch: str) -> str:
    """A stretch of the table `surface` as a row of `spelling`."""
    return stretch if stretch[0] == " " else PARAGRAPH + stretch


def lowered(text: str) -> str:
    """Lower case character by character, so that the text keeps its length and a piece of it does not depend on what stands around it."""
    return text.lower() if text.isascii() else "".join(low if len(low := character.lower()) == 1 else character for character in text)


def runs(text: str) -> Iterator[tuple[str, str]]:
    """Marks, and the letters or digits behind them ("" at the end): what a stretch without white space consists of.

    A character that is none of these (a combining mark that stands alone) counts as a mark.
    """
    end = 0
    for found in _PART.finditer(text):
        if found.end() > end or found.group():
            yield text[end : found.start()] + found.group(1), found.group(2)
            end = found.end()
    if end < len(text):
        yield text[end:], ""


class Known:
    """What enough documents have: words and marks, and by it a way to cut what they have not."""

    def __init__(self, common: Iterable[str]) -> None:
        """Stretches of the table `surface` and units of `token_frequency`."""
        self.marks: set[str] = set()
        self.words: set[str] = set()
        for text in common:
            for marks, word in runs(text.strip()):
                self.marks.add(marks)
                self.words.add(lowered(word))
        self._cuts: dict[str, list[str]] = {}
        self.pieces: Counter[str] = Counter()
        for word in self.words:
            if word and not word[0].isdecimal():
                size = len(word)
                self.pieces.update({word[i:j] for i in range(size) for j in range(i + 2, min(i + LONGEST, size) + 1)})

    def parts(self, stretch: str) -> list[str]:
        """A stretch of the table `surface` as rows of `spelling`; joined, they are its text."""
        row = opened(stretch)
        body = row.strip()
        begin, close = row[: row.index(body)], PARAGRAPH * row.endswith(PARAGRAPH)
        found: list[str] = []
        for marks, word in runs(body):
            pieces = self._pieces(word)
            if marks in self.marks:
                pieces[0] = marks + pieces[0]
            else:
                pieces = [*marks, *(piece for piece in pieces if piece)]
            found += pieces
        return [begin * (i == 0) + part + close * (i + 1 == len(found)) for i, part in enumerate(found)]

    def _pieces(self, word: str) -> list[str]:
        if not word or (lowered(word) in self.words and not word[0].isdecimal()):
            return [word]
        found = self._cuts.get(word)
        if found is None:
            if len(self._cuts) >= REMEMBERED:
                self._cuts.clear()
            is_number = word[0].isdecimal()
            found = [word[i : i + DIGITS] for i in range(0, len(word), DIGITS)] if is_number else self._cut(word)
            self._cuts[word] = found
        return found.copy()

    def _cut(self, word: str) -> list[str]:
        """The fewest pieces; of as many, those that most words have."""
        lower, size = lowered(word), len(word)
        best: list[tuple[float, int]] = [(0.0, 0)]
        for end in range(1, size + 1):
            options = [(best[end - 1][0] + COST, end - 1)]
            for begin in range(max(0, end - LONGEST), end - 1):
                words = self.pieces.get(lower[begin:end])
                if words:
                    options.append((best[begin][0] + COST - log2(words + 1), begin))
            best.append(min(options))
        cuts = [size]
        while cuts[-1]:
            cuts.append(best[cuts[-1]][1])
        cuts.reverse()
        return [word[begin:end] for begin, end in pairwise(cuts)]


PLACEHOLDER = "x"
"""In place of a character that too few documents have, in a profile that is to be published."""


def in_told_parts(row: str, told: Collection[str]) -> list[str]:
    """A row as the fewest rows that may be told, and single characters where there are none; of as many, the last is the longest.

    The first of them opens and the last closes as the row did.
    """
    begin, body, close = _parted(row)
    size = len(body)
    best: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, size + 1):
        shut = close if end == size else ""
        options = [(best[end - 1][0] + 1, end - 1)]
        for i in range(max(0, end - LONGEST), end - 1):
            if best[i][0] < options[0][0] and (begin * (i == 0) + body[i:end] + shut) in told:
                options.append((best[i][0] + 1, i))
        best.append(min(options))
    cuts = [size]
    while cuts[-1]:
        cuts.append(best[cuts[-1]][1])
    cuts.reverse()
    return [begin * (i == 0) + body[i:j] + close * (j == size) for i, j in pairwise(cuts)]


def masked_character(row: str) -> str:
    """A row as the placeholder, opened and closed as it was."""
    begin, _, close = _parted(row)
    return begin + PLACEHOLDER + close


def _parted(row: str) -> tuple[str, str, str]:
    body = row.strip(" \n")
    begin = row[: row.index(body)]
    return begin, body, row[len(begin) + len(body) :]
