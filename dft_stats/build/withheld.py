"""Rows in which a denied name can still be read are not told: the last look, at what is about to be written.

Masking finds names in texts; this finds what got past it, such as "DrusillaVankemper" or "V a n k e m p e r". Names of six letters or more
are looked for by these alone, whatever stands between them, so that a row whose words happen to join to one ("new man") goes as well.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from dft_stats.build.merge import PRUNED, Counted
from dft_stats.build.pooling import coarse_spectrum
from dft_stats.counts import prune
from dft_stats.denied import ROW, find, letters
from dft_stats.masking import EMAIL, NAME, URL
from dft_stats.spelling import SCHEMA, masked_character, opened
from dft_stats.statistics import SURFACE

_ROWS = 50_000  # looked at once
_OF_MASKS = {
    "".join(words[i:j])
    for words in (re.findall("[a-z]+", mask.lower()) for mask in (EMAIL, URL, NAME))
    for i in range(len(words))
    for j in range(i + 1, len(words) + 1)
}


def readable(rows: Sequence[str], names: tuple[str, ...]) -> dict[int, set[int]]:
    """In which rows names can be read, and which: by number. Names that masks are made of ("example") are not looked for."""
    asked = tuple(name for name in names if letters(name) not in _OF_MASKS)
    number = {letters(name): i for i, name in reversed(list(enumerate(names)))}
    found: dict[int, set[int]] = {}
    for first in range(0, len(rows) if asked else 0, _ROWS):
        some = ROW.join([*rows[first : first + _ROWS], ""])
        row, at = first, 0
        for begin, _, which in find(some, asked, is_loose=True):
            row, at = row + some.count(ROW, at, begin), begin
            found.setdefault(row, set()).add(number[letters(asked[which])])
    return found


def withheld(counted: Counted, names: tuple[str, ...], floor: int) -> tuple[Counted, Mapping[int, int]]:
    """Counts without such rows, and how many there were by name. Their mass stays in totals and spectrum, in `spelling` as placeholders."""
    if not names:
        return counted, {}
    counts, spelling, seen = dict(counted.counts), counted.spelling, dict[int, int]()
    moved: list[tuple[str, int]] = []
    for name in PRUNED:
        own = counts[name]
        rows = own.table[list(own.statistic.keys)[-1]].to_pylist()
        found = _noted(readable(rows, names), seen)
        if not found:
            continue
        if name == SURFACE.name:
            number = own.table["count"].to_pylist()
            moved += [(masked_character(opened(rows[i])), number[i]) for i in found]
        pruned = prune(own, pa.array([i not in found for i in range(len(rows))], pa.bool_()))
        counts[name] = coarse_spectrum(pruned, floor) if floor else pruned
    rows = spelling["spelling"].to_pylist()
    found = _noted(readable(rows, names), seen)
    if found or moved:
        kept = [(masked_character(row) if i in found else row, own) for i, (row, own) in enumerate(_pairs(spelling))]
        table = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in (*kept, *moved)], schema=SCHEMA)
        sums = table.group_by("spelling", use_threads=False).aggregate([("count", "sum")]).rename_columns(SCHEMA.names)
        spelling = sums.cast(SCHEMA).sort_by("spelling").combine_chunks()
    return replace(counted, counts=counts, spelling=spelling), seen


def _pairs(table: pa.Table) -> Iterator[tuple[str, int]]:
    return zip(table["spelling"].to_pylist(), table["count"].to_pylist(), strict=True)


def _noted(found: Mapping[int, set[int]], seen: dict[int, int]) -> set[int]:
    for names in found.values():
        for name in names:
            seen[name] = seen.get(name, 0) + 1
    return set(found)
