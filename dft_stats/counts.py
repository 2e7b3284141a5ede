"""Counts: the one state of every statistic. Tables of integers that merge exactly, in any order.

Each row has, beside its key, how often it occurs (`count`), in how many documents (`documents`), and for windows of 128 and 1,024 words
inside a document its second moments: `square_W`, the sum over windows of count squared, and `cross_W`, the sum of count times the words of
the window. From them follows the variance of the row's rate *between* windows, which is the noise that a comparison of texts has to beat.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats.statistics.definition import Key, Statistic
from dft_stats.text import WORD, Document

WINDOWS = (128, 1024)
MOMENTS = tuple(f"{moment}_{window}" for window in WINDOWS for moment in ("square", "cross"))
COUNTS = ("count", "documents", *MOMENTS)


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much text was counted: what a rate is a rate of."""

    documents: int = 0
    words: int = 0
    sentences: int = 0
    windows: Mapping[int, int] = None  # type: ignore[assignment]
    squares: Mapping[int, int] = None  # type: ignore[assignment]  # sum over windows of words squared

    def __post_init__(self) -> None:
        for name in ("windows", "squares"):
            given = getattr(self, name) or {}
            object.__setattr__(self, name, {window: int(given.get(window, 0)) for window in WINDOWS})

    def __add__(self, other: "Exposure") -> "Exposure":
        return Exposure(
            self.documents + other.documents,
            self.words + other.words,
            self.sentences + other.sentences,
            {w: self.windows[w] + other.windows[w] for w in WINDOWS},
            {w: self.squares[w] + other.squares[w] for w in WINDOWS},
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of one statistic.

    `table` holds the rows, sorted by key. `totals` holds per group (all key columns named in `Statistic.groups`) the sum of `count` and the
    number of types, rows that were pruned included. `spectrum` says how the pruned rows were distributed: per group and count, how many
    types had that count; so entropies and type counts stay exact after pruning.
    """

    statistic: Statistic
    table: pa.Table
    totals: pa.Table
    spectrum: pa.Table

    def total(self, *group: str | int) -> int:
        """Sum of `count` in a group, pruned rows included; 0 for a group that does not occur."""
        return int(pc.sum(self._group(self.totals, group)["count"]).as_py() or 0)

    def share_told(self, *group: str | int) -> float:
        """Share of `total` that the rows of a group have: all but what was pruned."""
        return float(pc.sum(self.column("count", *group)).as_py() or 0) / max(self.total(*group), 1)

    def types(self, *group: str | int) -> int:
        """Number of distinct keys in a group, pruned rows included."""
        return int(pc.sum(self._group(self.totals, group)["types"]).as_py() or 0)

    def rows(self, *group: str | int) -> pa.Table:
        """The rows of a group."""
        return self._group(self.table, group)

    def column(self, name: str, *group: str | int) -> pa.ChunkedArray:
        """One column of the rows of a group."""
        return self._group(self.table.select([*self.statistic.groups, name]), group)[name]

    def frequency_of_frequencies(self, *group: str | int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(count, how many types have it) of a group, pruned rows included, by count: for entropies and Zipf fits. Small for any corpus."""
        pruned = self._group(self.spectrum, group)
        kept, types = np.unique(self.column("count", *group).to_numpy(), return_counts=True)
        counts = np.concatenate([kept, pruned["count"].to_numpy()])
        distinct, place = np.unique(counts, return_inverse=True)
        added = np.zeros(len(distinct), np.int64)
        np.add.at(added, place, np.concatenate([types, pruned["types"].to_numpy()]))
        return distinct.astype(np.int64), added

    def _group(self, table: pa.Table, group: tuple[str | int, ...]) -> pa.Table:
        for column, value in zip(self.statistic.groups, group, strict=False):
            table = table.filter(pc.equal(table[column], pa.scalar(value, table.schema.field(column).type)))
        return table


def schema(statistic: Statistic) -> pa.Schema:
    """Columns of the table of a statistic."""
    keys = [pa.field(name, pa.type_for_alias(kind), nullable=False) for name, kind in statistic.keys.items()]
    return pa.schema([*keys, *(pa.field(name, pa.int64(), nullable=False) for name in COUNTS)])


def totals_schema(statistic: Statistic, columns: Iterable[str]) -> pa.Schema:
    """Columns of `totals` (count, types) and of `spectrum` (count, types), which differ in meaning only."""
    groups = [pa.field(name, pa.type_for_alias(statistic.keys[name]), nullable=False) for name in statistic.groups]
    return pa.schema([*groups, *(pa.field(name, pa.int64(), nullable=False) for name in columns)])


def exposure(documents: Iterable[Document]) -> Exposure:
    """How much text these documents are."""
    number, sentences, per_document = 0, 0, []
    for document in documents:
        number += 1
        sentences += sum(any(unit.kind == WORD for unit in sentence) for sentence in document)
        per_document.append(sum(unit.kind == WORD for sentence in document for unit in sentence))
    sizes = {w: [size for words in per_document for size in _window_sizes(words, w)] for w in WINDOWS}
    squares = {w: sum(size * size for size in sizes[w]) for w in WINDOWS}
    return Exposure(number, sum(per_document), sentences, {w: len(sizes[w]) for w in WINDOWS}, squares)


def _window_sizes(words: int, window: int) -> list[int]:
    return [min(window, words - begin) for begin in range(0, words, window)]


def count(statistic: Statistic, documents: Iterable[Document]) -> Counts:
    """Count the events of a statistic: the reference, for texts that fit in memory."""
    rows: dict[Key, list[int]] = defaultdict(lambda: [0] * len(COUNTS))
    for document in documents:
        words = sum(unit.kind == WORD for sentence in document for unit in sentence)
        events = list(statistic.events(document))
        for key, number in Counter(key for key, _ in events).items():
            rows[key][0] += number
            rows[key][1] += 1
        for i, window in enumerate(WINDOWS):
            for (key, index), number in Counter((key, position // window) for key, position in events).items():
                rows[key][2 + 2 * i] += number * number
                rows[key][3 + 2 * i] += number * max(0, min(window, words - index * window))
    return from_rows(statistic, rows)


def from_rows(statistic: Statistic, rows: Mapping[Key, Iterable[int]]) -> Counts:
    """Counts from a mapping of keys to the numbers of `COUNTS`."""
    records = [(*key, *rows[key]) for key in sorted(rows)]
    columns: list[tuple[str | int | bool, ...]] = list(zip(*records, strict=True)) or [()] * len(schema(statistic))
    return of_table(statistic, pa.table([list(column) for column in columns], schema=schema(statistic)))


def of_table(statistic: Statistic, table: pa.Table) -> Counts:
    """Counts of a complete table: totals are computed, nothing is pruned."""
    rows = table.select([*statistic.groups, "count"]).append_column("types", pa.repeat(pa.scalar(1, pa.int64()), len(table)))
    grouped = _sum(rows, statistic.groups, ("count", "types"))
    totals = grouped.cast(totals_schema(statistic, ("count", "types")))
    return Counts(statistic, table, totals, totals_schema(statistic, ("count", "types")).empty_table())


def merge(parts: Iterable[Counts]) -> Counts:
    """The counts of all parts together: a commutative monoid whose zero is the count of no document.

    After pruning `count` and `total` stay exact for rows that no part pruned; `types` becomes an upper bound.
    """
    found = list(parts)
    statistic = found[0].statistic
    keys = tuple(statistic.keys)
    table = _sum(pa.concat_tables([part.table for part in found]), keys, COUNTS).sort_by([(key, "ascending") for key in keys])
    spectrum = _sum(pa.concat_tables([part.spectrum for part in found]), (*statistic.groups, "count"), ("types",))
    spectrum = spectrum.sort_by([(key, "ascending") for key in (*statistic.groups, "count")])
    whole = of_table(statistic, table.cast(schema(statistic)))
    return _with_spectrum(whole, spectrum.cast(totals_schema(statistic, ("count", "types"))))


def prune(counts: Counts, keep: pa.Array) -> Counts:
    """Drop the rows where `keep` is false. Their mass stays in the totals, their frequencies in the spectrum."""
    groups = counts.statistic.groups
    dropped = counts.table.filter(pc.invert(keep)).select([*groups, "count"])
    one = pa.repeat(pa.scalar(1, pa.int64()), len(dropped))
    spectrum = pa.concat_tables([counts.spectrum, dropped.append_column("types", one).cast(counts.spectrum.schema)])
    spectrum = _sum(spectrum, (*groups, "count"), ("types",)).sort_by([(key, "ascending") for key in (*groups, "count")])
    return Counts(counts.statistic, counts.table.filter(keep), counts.totals, spectrum.cast(counts.spectrum.schema))


def _with_spectrum(counts: Counts, spectrum: pa.Table) -> Counts:
    if not len(spectrum):
        return counts
    groups = counts.statistic.groups
    mass = spectrum.set_column(spectrum.schema.get_field_index("count"), "count", pc.multiply(spectrum["count"], spectrum["types"]))
    totals = _sum(
        pa.concat_tables([counts.totals, mass.select(counts.totals.column_names).cast(counts.totals.schema)]), groups, ("count", "types")
    )
    return Counts(counts.statistic, counts.table, totals.cast(counts.totals.schema), spectrum)


def _sum(table: pa.Table, keys: tuple[str, ...], columns: tuple[str, ...], largest: tuple[str, ...] = ()) -> pa.Table:
    """Sums per key, or of some columns the largest, the key columns first; without keys one row, zero for an empty table."""
    if not keys:
        return pa.table({column: [pc.sum(table[column]).as_py() or 0] for column in columns})
    how = [(column, "max" if column in largest else "sum") for column in columns]
    found = table.group_by(list(keys), use_threads=False).aggregate(how)
    return found.select([*keys, *(f"{column}_{kind}" for column, kind in how)]).rename_columns([*keys, *columns])


def digits_masked(counts: Counts) -> Counts:
    """Counts of texts as if their digits had been masked (`dft_stats.masking`): rows that become one are added up.

    Their documents may be the same, so that of these the most are taken, a lower bound; and squares lack what falls into one window.
    """
    name, keys = counts.statistic.text_key, tuple(counts.statistic.keys)
    texts = pc.replace_substring_regex(counts.table[name], r"\p{N}", "0")
    if texts.equals(counts.table[name]):
        return counts
    table = counts.table.set_column(counts.table.column_names.index(name), counts.table.schema.field(name), texts)
    found = _sum(table, keys, COUNTS, largest=("documents",)).sort_by([(key, "ascending") for key in keys])
    return replace(counts, table=found.cast(schema(counts.statistic)))


def rate(counts: Counts, exposed: Exposure, table: pa.Table | None = None) -> NDArray[np.float64]:
    """Occurrences per word, one number a row."""
    rows = counts.table if table is None else table
    rates: NDArray[np.float64] = rows["count"].to_numpy() / max(exposed.words, 1)
    return rates


def rate_sd(counts: Counts, exposed: Exposure, window: int, table: pa.Table | None = None) -> NDArray[np.float64]:
    """Standard deviation of the rate (per word) of each row between windows of `window` words.

    The residuals count - rate * words, squared and summed over windows (the ratio estimator of cluster sampling, Cochran 1977, 6.3).
    """
    residual = _residual(counts, exposed, window, table)
    mean_square = exposed.squares[window] / max(exposed.windows[window], 1)
    sd: NDArray[np.float64] = np.sqrt(residual / max(exposed.windows[window] - 1, 1) / max(mean_square, 1))
    return sd


def design_effect(counts: Counts, exposed: Exposure, window: int, table: pa.Table | None = None) -> NDArray[np.float64]:
    """By how much the variance of the count of each row, over windows of `window` words, exceeds that of as many independent occurrences.

    1 where occurrences do not know of each other (Poisson), about as many as there are in a window where they all stand together, less than
    1 where they avoid each other (Kish 1965, 5.4; the variance of clusters as in `rate_sd`). 1 as well where there is one window, which has
    no variance; of a few windows the estimate is poor.
    """
    rows, windows = counts.table if table is None else table, exposed.windows[window]
    if windows < 2:
        return np.ones(len(rows))
    independent = np.maximum(rows["count"].to_numpy(), 1)
    effect: NDArray[np.float64] = _residual(counts, exposed, window, rows) * windows / (windows - 1) / independent
    return effect


def _residual(counts: Counts, exposed: Exposure, window: int, table: pa.Table | None) -> NDArray[np.float64]:
    """Of each row, (count - rate * words) squared and summed over windows."""
    rows = counts.table if table is None else table
    rates = rate(counts, exposed, rows)
    residual = rows[f"square_{window}"].to_numpy() - 2 * rates * rows[f"cross_{window}"].to_numpy() + rates**2 * exposed.squares[window]
    found: NDArray[np.float64] = np.maximum(residual, 0)
    return found
