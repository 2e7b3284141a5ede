"""Tables of numbers that no one has alone: rows of too few owners are put together with their neighbours until there are enough.

A sentence of 212 words, followed by one of 3, is as good as a fingerprint. So a row that fewer than `floor` documents (or groups) have
goes into a coarser cell with others like it, and is told as the mean of that cell as soon as `floor` owners are in it. What is left in the
end goes to the nearest row that is told, or, where nothing of its kind is, to the spectrum. So the totals stay, and nearly all of the mass
stays near where it was. The second moments of a cell are the sums of those of its rows: squares a little too low, cross products exact.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dft_stats.build.database import database
from dft_stats.counts import COUNTS, Counts, of_table, prune, schema, totals_schema
from dft_stats.statistics import ENTROPY, PUNCTUATION_RHYTHM, SENTENCE_LENGTH, Statistic

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

COORDINATES: Mapping[str, tuple[str, ...]] = {
    SENTENCE_LENGTH.name: ("length", "next_length"),
    PUNCTUATION_RHYTHM.name: ("gap",),
    ENTROPY.name: ("types", "centibits"),
}
"""Key columns in which rows have neighbours; the others say of what kind a row is."""
_FINEST, _LEVELS = 128, 9  # cells an octave of the first level; each following one has half as many, the last a single cell


@contextmanager
def owner_rows(tables: Sequence[pa.Table], files: Sequence[str], memory: int, *, is_shared: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the view `owned`: keys and `owner` of all parts.

    Args:
        tables: of parts in memory.
        files: of parts on disk.
        memory: bytes.
        is_shared: an owner may be in several parts; if not, equal numbers in different parts are different owners.
    """
    with database(memory, Path(files[0]).parent if files else None) as engine:
        if files:
            listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
            part = "0" if is_shared else "hash(filename)"
            engine.execute(f"CREATE VIEW owned AS SELECT *, {part} AS part FROM read_parquet([{listed}], filename = true)")
        else:
            engine.register("given", pa.concat_tables(tables))
            engine.execute("CREATE VIEW owned AS SELECT *, 0 AS part FROM given")
        yield engine


def owners_of_rows(statistic: Statistic, table: pa.Table, engine: duckdb.DuckDBPyConnection) -> Ints:
    """How many owners each row of a table has."""
    return _owners(engine, statistic, table, np.arange(len(table)), len(table))


def pooled(counts: Counts, engine: duckdb.DuckDBPyConnection, floor: int, *, is_counted: bool) -> Counts:
    """Counts of a statistic of numbers, of which every row has `floor` owners.

    Args:
        counts: of the whole corpus.
        engine: from `owner_rows`, of the same corpus.
        floor: owners.
        is_counted: owners are documents, so that the column `documents` says how many a row has.
    """
    statistic, table = counts.statistic, counts.table
    have = table["documents"].to_numpy() if is_counted else owners_of_rows(statistic, table, engine)
    told, rest = table.filter(pa.array(have >= floor)), table.filter(pa.array(have < floor))
    cells = []
    for level in range(_LEVELS):
        if not len(rest):
            break
        cell, number = _cells(statistic, rest, level)
        owners = _owners(engine, statistic, rest, cell, number)
        cells.append(_means(statistic, rest, cell, owners, floor))
        rest = rest.filter(pa.array(owners[cell] < floor))
    told = _added(statistic, pa.concat_tables([told, *cells]))
    told, lost = _to_nearest(statistic, told, rest)
    whole = of_table(statistic, pa.concat_tables([told, lost]).sort_by([(key, "ascending") for key in statistic.keys]).combine_chunks())
    if not len(lost):
        return whole
    of_lost = _is_lost(statistic, whole.table, lost)
    return prune(whole, pa.array(~of_lost))


def coarse_spectrum(counts: Counts, floor: int) -> Counts:
    """The spectrum of pruned rows with counts that fewer than `floor` rows share put together: the same rows and mass, at their mean.

    If these are fewer than `floor` themselves, the highest counts that more rows share go with them.
    """
    groups, rows = counts.statistic.groups, counts.spectrum.to_pylist()
    found: dict[tuple[Any, ...], dict[int, int]] = {}
    for row in rows:
        found.setdefault(tuple(row[group] for group in groups), {})[row["count"]] = row["types"]
    out = []
    for group, types_of in sorted(found.items()):
        kept = {count: types for count, types in types_of.items() if types >= floor}
        rare = {count: types for count, types in types_of.items() if count not in kept}
        while rare and kept and sum(rare.values()) < floor:
            largest = max(kept)
            rare[largest] = kept.pop(largest)
        types, mass = sum(rare.values()), sum(count * number for count, number in rare.items())
        if types:
            mean, more = divmod(mass, types)
            for count, number in ((mean, types - more), (mean + 1, more)):
                if number:
                    kept[count] = kept.get(count, 0) + number
        out += [[*group, count, types] for count, types in sorted(kept.items())]
    columns = totals_schema(counts.statistic, ("count", "types"))
    spectrum = pa.Table.from_pylist([dict(zip(columns.names, row, strict=True)) for row in out], schema=columns)
    return Counts(counts.statistic, counts.table, counts.totals, spectrum)


# --- cells ------------------------------------------------------------------------------------------------------------------------


def _kinds(statistic: Statistic) -> list[str]:
    return [key for key in statistic.keys if key not in COORDINATES[statistic.name]]


def _scaled(statistic: Statistic, table: pa.Table) -> Floats:
    """Coordinates in octaves, (rows, coordinates); what has none (-1) lies at 0."""
    columns = [table[name].to_numpy() for name in COORDINATES[statistic.name]]
    return np.stack([np.log2(np.maximum(column, 0) + 1.0) for column in columns], 1) if columns else np.zeros((len(table), 0))


def _cells(statistic: Statistic, table: pa.Table, level: int) -> tuple[Ints, int]:
    """The cell of each row, and how many there are."""
    per_octave = 0 if level + 1 == _LEVELS else _FINEST / 2**level
    where = np.floor(_scaled(statistic, table) * per_octave).astype(np.int64)
    kinds = [pc.rank(table[name].combine_chunks(), tiebreaker="dense").to_numpy().astype(np.int64) for name in _kinds(statistic)]
    _, cell = np.unique(np.column_stack([*kinds, where]), axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    return cell, int(cell.max()) + 1


def _owners(engine: duckdb.DuckDBPyConnection, statistic: Statistic, table: pa.Table, cell: Ints, number: int) -> Ints:
    """How many owners each cell of rows has."""
    keys = ", ".join(f'"{key}"' for key in statistic.keys)
    engine.register("asked", table.select(list(statistic.keys)).append_column("cell", pa.array(cell)))
    rows = engine.sql(
        f"SELECT cell, count(*) AS owners FROM (SELECT DISTINCT cell, owner, part FROM owned JOIN asked USING ({keys})) GROUP BY cell"
    ).to_arrow_table()
    engine.unregister("asked")
    found = np.zeros(number, np.int64)
    found[rows["cell"].to_numpy()] = rows["owners"].to_numpy()
    return found


def _means(statistic: Statistic, table: pa.Table, cell: Ints, owners: Ints, floor: int) -> pa.Table:
    """One row for each cell that has enough owners: the mean of its coordinates, the sums of its counts, owners as documents."""
    taken = np.flatnonzero(owners[cell] >= floor)
    told, at = np.unique(cell[taken], return_inverse=True)
    rows, at = table.take(pa.array(taken)), at.reshape(-1)
    number = int(at.max(initial=-1)) + 1
    first = np.zeros(number, np.int64)
    first[at[::-1]] = np.arange(len(at))[::-1]
    weight = rows["count"].to_numpy().astype(np.float64)
    columns: dict[str, Any] = {name: rows[name].take(pa.array(first)) for name in _kinds(statistic)}
    for name in COORDINATES[statistic.name]:
        total = np.bincount(at, weight * rows[name].to_numpy(), number) / np.maximum(np.bincount(at, weight, number), 1)
        columns[name] = np.rint(total).astype(np.int64)
    for name in COUNTS:
        columns[name] = np.zeros(number, np.int64)
        np.add.at(columns[name], at, rows[name].to_numpy())
    columns["documents"] = owners[told]
    return pa.table({name: columns[name] for name in schema(statistic).names}).cast(schema(statistic))


def _added(statistic: Statistic, table: pa.Table) -> pa.Table:
    """Rows of one key as one."""
    sums = [(name, "max" if name == "documents" else "sum") for name in COUNTS]
    found = table.group_by(list(statistic.keys), use_threads=False).aggregate(sums)
    return (
        found.select([*statistic.keys, *(f"{name}_{how}" for name, how in sums)])
        .rename_columns(schema(statistic).names)
        .cast(schema(statistic))
    )


def _to_nearest(statistic: Statistic, told: pa.Table, rest: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows added to the nearest of their kind that is told; and those that there is none for."""
    if not len(rest):
        return told, rest
    kinds = _kinds(statistic)
    ours, theirs = (list(zip(*(table[name].to_pylist() for name in kinds), strict=True)) for table in (told, rest))
    at, where = np.full(len(rest), -1), (_scaled(statistic, told), _scaled(statistic, rest))
    for kind in set(theirs):
        own = np.flatnonzero([k == kind for k in ours])
        for i in np.flatnonzero([k == kind for k in theirs]) if len(own) else ():
            at[i] = own[np.abs(where[0][own] - where[1][i]).sum(1).argmin()]
    keys = told.select(list(statistic.keys)).take(pa.array(np.maximum(at, 0))) if len(told) else rest.select(list(statistic.keys))
    moved = pa.table({name: (keys if name in statistic.keys else rest)[name] for name in schema(statistic).names}).cast(schema(statistic))
    found = pa.array(at >= 0)
    return _added(statistic, pa.concat_tables([told, moved.filter(found)])), rest.filter(pc.invert(found))


def _is_lost(statistic: Statistic, table: pa.Table, lost: pa.Table) -> NDArray[np.bool_]:
    """Which rows of a table are of a kind that is lost: no row of these kinds is told."""
    kinds = _kinds(statistic)
    gone = set(zip(*(lost[name].to_pylist() for name in kinds), strict=True))
    return np.array([row in gone for row in zip(*(table[name].to_pylist() for name in kinds), strict=True)], bool)
