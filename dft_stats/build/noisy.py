"""A profile of differentially private tables: what was released, and what follows from it. Nothing else of the corpus is read.

What the tables of a profile have and the mechanism does not give is derived: the mass below the thresholds is one rare cell of each table,
what it is spelt like is a placeholder; second moments are those of words that fall independently (Poisson), windows those of owners of
equal length, and `documents` is no more than the count. There is no floor, and there are no features of documents.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from dft_stats.build.clamping import TOTALS, bounds, owned_texts, sums
from dft_stats.build.epsilon import Released, release
from dft_stats.build.merge import Counted
from dft_stats.counts import WINDOWS, Counts, Exposure, schema, totals_schema
from dft_stats.errors import CorpusError
from dft_stats.masking import Masks
from dft_stats.sentences import Segmenter
from dft_stats.spelling import PLACEHOLDER, SCHEMA
from dft_stats.statistics import COUNTED, NGRAM_FREQUENCY, PUNCTUATION_RHYTHM, SENTENCE_LENGTH, SURFACE, Statistic

LONGEST = 3
"""Units of an n-gram: of the longer ones hardly any passes its threshold, and each order takes from the budget."""


def noisy(
    texts: Iterable[str], masks: Masks, segmenter: Segmenter, *, typography: str, max_order: int, epsilon: float, delta: float
) -> tuple[Counted, Mapping[str, Any]]:
    """What may be told of texts, and the accounting of it. Holds the beginning of every owner's texts in memory, some 3 KB each."""
    order = min(max_order, LONGEST)
    masked: dict[str, int] = {}  # for the user, not for the profile
    own, is_cut = owned_texts(texts, masks, typography=typography, masked=masked)
    if not any(own):
        raise CorpusError(f"{len(own)} documents were read and not one word found in them; is this the text column?")
    found = sums(own, is_cut, segmenter, typography=typography, max_order=order)
    released = release(found, len(own), bounds(order), epsilon, delta)
    return replace(counted(released, order), masked=masked), released.accounting


def counted(released: Released, max_order: int) -> Counted:
    """Tables as a profile has them."""
    totals = {key[0]: max(number, 0) for key, number in released.tables[TOTALS].items()}
    lengths = _positive(released.tables[f"{SENTENCE_LENGTH.name}/words"])
    exposure = _exposure(released.documents, totals.get("words", 0), sum(lengths.values()))
    counts = {}
    for statistic in COUNTED:
        groups: dict[tuple[Any, ...], tuple[dict[Any, int], int]] = {}
        if statistic is NGRAM_FREQUENCY:
            for n in range(2, max_order + 1):
                rows = {(n, *key): number for key, number in _positive(released.tables[f"{statistic.name}/{n}"]).items()}
                groups[(n,)] = rows, totals.get(f"{statistic.name}/{n}", 0)
        elif statistic.name in released.tables and not statistic.groups:
            groups[()] = _positive(released.tables[statistic.name]), totals.get(statistic.name, 0)
        else:
            for name, table in released.tables.items():
                for key, number in _positive(table).items() if name.partition("/")[0] == statistic.name else ():
                    groups.setdefault((key[0],), ({}, 0))[0][key] = number
        if statistic is PUNCTUATION_RHYTHM:  # every mark ends a gap
            most = max((sum(rows.values()) for rows, _ in groups.values()), default=0)
            groups = {(series,): (groups.get((series,), ({}, 0))[0], most) for series in ("gaps", "marks")}
        counts[statistic.name] = _counts(statistic, groups, exposure)
    surface = counts[SURFACE.name]
    rest = surface.total() - sum(surface.table["count"].to_pylist())
    spelling = pa.Table.from_pylist([{"spelling": " " + PLACEHOLDER, "count": rest}] if rest else [], schema=SCHEMA)
    return Counted(exposure, counts, spelling)


def _positive(table: Mapping[Any, int]) -> dict[Any, int]:
    return {key: number for key, number in table.items() if number > 0}


def _exposure(documents: int, words: int, sentences: int) -> Exposure:
    """As if all owners had given as many words."""
    each = max(1, round(words / documents))
    sizes = {w: [min(w, each - begin) for begin in range(0, each, w)] for w in WINDOWS}
    windows, squares = (
        {w: documents * len(own) for w, own in sizes.items()},
        {w: documents * sum(s * s for s in own) for w, own in sizes.items()},
    )
    return Exposure(documents, max(words, 1), sentences, windows, squares)


def _counts(statistic: Statistic, groups: Mapping[tuple[Any, ...], tuple[Mapping[Any, int], int]], exposure: Exposure) -> Counts:
    rows, totals, spectrum = [], [], []
    for group, (table, total) in sorted(groups.items()):
        kept = sum(table.values())
        rest = max(total - kept, 0)
        for key, number in table.items():
            rate = number / exposure.words
            moments = [
                value for w in WINDOWS for value in (round(number + rate**2 * exposure.squares[w]), round(rate * exposure.squares[w]))
            ]
            rows.append((*key, number, min(number, exposure.documents), *moments))
        if kept + rest:
            totals.append((*group, kept + rest, len(table) + (rest > 0)))
        if rest:
            spectrum.append((*group, rest, 1))
    if not statistic.groups and not totals:
        totals.append((0, 0))
    columns = schema(statistic), totals_schema(statistic, ("count", "types"))
    table = _table(rows, columns[0]).sort_by([(key, "ascending") for key in statistic.keys]).combine_chunks()
    return Counts(statistic, table, _table(totals, columns[1]), _table(spectrum, columns[1]))


def _table(rows: list[tuple[Any, ...]], columns: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(columns.names, row, strict=True)) for row in rows], schema=columns)
