"""The engine: batches of texts in, counts out. Bounded by memory, the same integers whatever the batches and the number of processes.

One batch is counted in memory with NumPy and Arrow and done. Several are spooled as Parquet, their unit ids made those of one common
vocabulary, and added up by DuckDB, which spills to disk beyond its memory. N-grams are spelt out last, when only what is kept is left,
and Polars sorts what was spelt.
"""

import multiprocessing
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dft_stats.build.events import SLOTS, Part, count_units, renamed, spelt
from dft_stats.build.units import read_units
from dft_stats.counts import COUNTS, Counts, Exposure, merge, of_table, schema, totals_schema
from dft_stats.statistics import COUNTED, NGRAM_FREQUENCY, SURFACE, TOKEN_FREQUENCY, Statistic
from dft_stats.text import RULE, Segmenter

PRUNED = (TOKEN_FREQUENCY.name, NGRAM_FREQUENCY.name, SURFACE.name)
"""Tables whose rare rows may be left out."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Which rows of the tables in `PRUNED` a profile keeps; the others stay in totals and spectrum."""

    min_documents: int = 1
    min_count: int = 1
    max_rows: Mapping[str, int] = field(default_factory=dict)  # table, or table/n
    max_order: int = 5


@dataclass(frozen=True, slots=True)
class Counted:
    """What a corpus has."""

    exposure: Exposure
    counts: Mapping[str, Counts]  # by name, of all in `COUNTED`


def count_corpus(
    batches: Iterable[list[str]],
    *,
    segmenter: Segmenter = RULE,
    typography: str = "fold",
    workers: int = 1,
    memory: str = "2GB",
    keep: Keep | None = None,
    progress: Callable[[int], None] | None = None,
) -> Counted:
    """Count a corpus: equal to `dft_stats.counts.count` of all its documents, pruned as `keep` says.

    Args:
        batches: lists of texts, each as large as memory allows: some megabytes.
        segmenter: finds units and sentences.
        typography: as in `dft_stats.text.normalise`.
        workers: processes that count; with more than one the segmenter must be picklable.
        memory: what DuckDB may use to merge, such as "2GB".
        keep: what to prune.
        progress: told the number of characters counted so far.
    """
    keep = keep or Keep()
    job = _Job(segmenter, typography, keep.max_order)
    with tempfile.TemporaryDirectory(prefix="dft-stats-") as folder:
        spool = _Spool(Path(folder), keep, memory, workers)
        characters = 0
        for size, part in _counted(job, batches, spool.folder, workers):
            spool.add(part)
            characters += size
            if progress:
                progress(characters)
        return spool.finish()


# --- counting batches -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    segmenter: Segmenter
    typography: str
    max_order: int

    def __call__(self, texts: Sequence[str]) -> Part:
        units = read_units(texts, self.segmenter, typography=self.typography)
        # The rule's units follow from the text; those of another segmenter may depend on what stands around them.
        return count_units(units, max_order=self.max_order, distinct_texts=self.segmenter.identity != RULE.identity)

    def to_disk(self, texts: Sequence[str], folder: Path, number: int) -> Part:
        """Count and write; what comes back is the part without its tables, cheap to send from process to process."""
        part = self(texts)
        _write(part, folder, number)
        return Part(part.exposure, part.vocabulary, None, {}, {})


def _counted(job: _Job, batches: Iterable[list[str]], folder: Path, workers: int) -> Iterator[tuple[int, Part]]:
    """(characters, part) of each batch, in order; with several processes never more than two batches a process in memory."""
    if workers == 1:
        for texts in batches:
            yield sum(map(len, texts)), job(texts)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: deque[tuple[int, Future[Part]]] = deque()
        for number, texts in enumerate(batches):
            waiting.append((sum(map(len, texts)), pool.submit(job.to_disk, texts, folder, number)))
            if len(waiting) >= 2 * workers:
                size, future = waiting.popleft()
                yield size, future.result()
        while waiting:
            size, future = waiting.popleft()
            yield size, future.result()


# --- adding batches up ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rows:
    """One table, an n-gram order being one: its rows, and what is true of all rows whether kept or not."""

    table: pa.Table  # keys as ids where they are ids
    count: int
    types: int
    spectrum: pa.Table  # (count, types) of the rows that were dropped


class _Spool:
    """The parts of a corpus: a single one stays in memory, as soon as there is a second all are on disk."""

    def __init__(self, folder: Path, keep: Keep, memory: str, threads: int) -> None:
        self.folder, self.keep, self.memory, self.threads = folder, keep, memory, threads
        self.only: Part | None = None
        self.exposure = Exposure()
        self.vocabularies: list[pa.StringArray] = []

    def add(self, part: Part) -> None:
        number, is_written = len(self.vocabularies), part.units is None
        if not number and not is_written:
            self.only = part
        else:
            if self.only is not None:
                _write(self.only, self.folder, 0)
                self.only = None
            if not is_written:
                _write(part, self.folder, number)
        self.exposure = self.exposure + part.exposure
        self.vocabularies.append(part.vocabulary)

    def finish(self) -> Counted:
        """All parts added up and pruned."""
        if not self.vocabularies:
            self.add(_Job(RULE, "fold", self.keep.max_order)([]))
        if self.only is not None:
            vocabulary, tables = self.only.vocabulary, _tables(self.only)
            rows = {name: self._in_memory(name, table) for name, table in tables.items()}
        else:
            vocabulary = pc.unique(pa.chunked_array(self.vocabularies))
            vocabulary = vocabulary.take(pc.sort_indices(vocabulary))
            rows = self._from_disk(vocabulary)
        limited = {name: self._limit(name, found) for name, found in rows.items()}
        return Counted(self.exposure, {statistic.name: _counts(statistic, limited, vocabulary) for statistic in COUNTED})

    def _thresholds(self, name: str) -> tuple[int, int]:
        return (self.keep.min_documents, self.keep.min_count) if name.partition("/")[0] in PRUNED else (1, 1)

    def _in_memory(self, name: str, table: pa.Table) -> _Rows:
        documents, count = self._thresholds(name)
        rows = _Rows(table, int(pc.sum(table["count"]).as_py() or 0), len(table), _no_spectrum())
        kept = pc.and_(pc.greater_equal(table["documents"], documents), pc.greater_equal(table["count"], count))
        return rows if pc.all(kept).as_py() is not False else _drop(rows, kept)

    def _from_disk(self, vocabulary: pa.StringArray) -> dict[str, _Rows]:
        names = sorted({path.name.partition(".")[0] for path in self.folder.glob("*.parquet")})
        for number, own in enumerate(self.vocabularies):
            ids = pc.index_in(own, value_set=vocabulary).to_numpy(zero_copy_only=False).astype(np.uint64)
            for name in names:
                _rename(_file(self.folder, name, number), ids)
        with duckdb.connect() as engine:
            engine.execute("SET memory_limit = ?", [self.memory])
            engine.execute("SET threads = ?", [self.threads])
            engine.execute("SET temp_directory = ?", [str(self.folder / "spill")])
            engine.execute("SET preserve_insertion_order = false")
            return {name.replace("-", "/"): self._add_up(engine, name) for name in names}

    def _add_up(self, engine: Any, name: str) -> _Rows:
        files = str(self.folder / f"{name}.*.parquet")
        keys = ", ".join(f'"{column}"' for column in pq.read_schema(_file(self.folder, name, 0)).names if column not in COUNTS)
        sums = ", ".join(f"sum({column})::BIGINT AS {column}" for column in COUNTS)
        engine.execute(f"CREATE TEMP TABLE rows AS SELECT {keys}, {sums} FROM read_parquet(?) GROUP BY {keys}", [files])
        for file in self.folder.glob(f"{name}.*.parquet"):
            file.unlink()
        kept = "documents >= ? AND count >= ?"
        limits = list(self._thresholds(name.replace("-", "/")))
        [(count, types)] = engine.execute("SELECT coalesce(sum(count), 0)::BIGINT, count(*) FROM rows").fetchall()
        dropped = f"SELECT count, count(*) AS types FROM rows WHERE NOT ({kept}) GROUP BY count ORDER BY count"
        spectrum = engine.sql(dropped, params=limits).to_arrow_table().cast(_no_spectrum().schema)
        table = engine.sql(f"SELECT {keys}, {', '.join(COUNTS)} FROM rows WHERE {kept} ORDER BY {keys}", params=limits).to_arrow_table()
        engine.execute("DROP TABLE rows")
        return _Rows(table, count, types, spectrum)

    def _limit(self, name: str, rows: _Rows) -> _Rows:
        """The most frequent rows, as many as `Keep.max_rows` allows; of equal counts the first."""
        most = self.keep.max_rows.get(name)
        if most is None or len(rows.table) <= most:
            return rows
        order = np.argsort(-rows.table["count"].to_numpy(), kind="stable")
        kept = np.zeros(len(order), bool)
        kept[order[:most]] = True
        return _drop(rows, pa.array(kept))


def _file(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name.replace('/', '-')}.{number}.parquet"


def _tables(part: Part) -> dict[str, pa.Table]:
    ngrams = {f"{NGRAM_FREQUENCY.name}/{n}": table for n, table in part.ngrams.items()}
    return {TOKEN_FREQUENCY.name: part.units, **ngrams, **part.whole}


def _write(part: Part, folder: Path, number: int) -> None:
    for name, table in _tables(part).items():
        _write_table(table, _file(folder, name, number))


def _write_table(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="lz4", use_dictionary=False, write_statistics=False)


def _rename(path: Path, ids: np.ndarray[Any, np.dtype[np.uint64]]) -> None:
    """Rewrite a part: each unit id i becomes ids[i]."""
    schema_ = pq.read_schema(path)
    columns = [column for column in ("unit", *SLOTS) if column in schema_.names and pa.types.is_uint64(schema_.field(column).type)]
    if not columns:
        return
    table = pq.read_table(path)
    for column in columns:
        old = table[column].to_numpy()
        new = ids[old] if column == "unit" else renamed(old, ids)
        table = table.set_column(table.schema.get_field_index(column), column, pa.array(new))
    _write_table(table, path)


def _no_spectrum() -> pa.Table:
    return pa.schema([("count", pa.int64()), ("types", pa.int64())]).empty_table()


def _drop(rows: _Rows, kept: pa.Array) -> _Rows:
    dropped = rows.table.filter(pc.invert(kept))["count"]
    one = pa.repeat(pa.scalar(1, pa.int64()), len(dropped))
    whole = pa.concat_tables([rows.spectrum, pa.table({"count": dropped, "types": one})])
    spectrum = whole.group_by("count").aggregate([("types", "sum")]).rename_columns(["count", "types"]).sort_by("count")
    return _Rows(rows.table.filter(kept), rows.count, rows.types, spectrum)


def _counts(statistic: Statistic, rows: Mapping[str, _Rows], vocabulary: pa.StringArray) -> Counts:
    """One statistic as the core knows it: keys spelt out and sorted, totals and spectrum by group."""
    if statistic.name not in PRUNED:
        return _sorted(of_table(statistic, rows[statistic.name].table.cast(schema(statistic))))
    if statistic.name == NGRAM_FREQUENCY.name:
        orders = {int(name.partition("/")[2]): found for name, found in rows.items() if name.startswith(f"{statistic.name}/")}
        tables = [
            pa.table(
                [pa.repeat(pa.scalar(n, pa.int8()), len(r.table)), spelt(r.table, vocabulary, n), *(r.table[c] for c in COUNTS)],
                schema=schema(statistic),
            )
            for n, r in orders.items()
        ]
        groups = [[n] for n in orders]
        found = list(orders.values())
    else:
        own = rows[statistic.name].table
        key = own["surface"] if statistic.name == SURFACE.name else vocabulary.take(own["unit"].combine_chunks().cast(pa.int64()))
        tables = [pa.table([key, *(own[c] for c in COUNTS)], schema=schema(statistic))]
        groups, found = [[]], [rows[statistic.name]]
    columns = totals_schema(statistic, ("count", "types"))
    totals = [[*group, r.count, r.types] for group, r in zip(groups, found, strict=True) if r.types or not group]
    spectrum = [[*group, *row.values()] for group, r in zip(groups, found, strict=True) for row in r.spectrum.to_pylist()]
    whole = Counts(
        statistic,
        pa.concat_tables(tables),
        *(
            pa.Table.from_pylist([dict(zip(columns.names, row, strict=True)) for row in part], schema=columns)
            for part in (totals, spectrum)
        ),
    )
    return _sorted(whole)


def _sorted(counts: Counts) -> Counts:
    keys, columns = list(counts.statistic.keys), schema(counts.statistic)
    rows = pl.from_arrow(counts.table)
    assert isinstance(rows, pl.DataFrame)
    rows = rows.sort(keys)
    found = Counts(counts.statistic, rows.to_arrow().cast(columns).combine_chunks(), counts.totals, counts.spectrum)
    # Different units of another segmenter may spell the same text.
    repeated = pl.all_horizontal(pl.col(key) == pl.col(key).shift() for key in keys)
    return merge([found]) if rows.select(repeated.any()).item() else found
