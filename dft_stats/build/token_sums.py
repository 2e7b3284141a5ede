"""Tokens of all parts added up and pruned, in a database that spills to disk: of pairs there may be many more than are kept."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dft_stats.build.database import database
from dft_stats.build.events import owned
from dft_stats.build.merge import Counted, Keep
from dft_stats.build.parts import AnyPart, number_files
from dft_stats.build.pooling import coarse_spectrum, owner_rows, owners_of_rows
from dft_stats.build.tokens import READING_TABLE
from dft_stats.counts import COUNTS, Counts, prune, schema, totals_schema
from dft_stats.errors import CorpusError
from dft_stats.statistics import TOKEN_STATISTICS, Statistic

_KEPT_BYTES = 150  # of memory, for each row that is kept


def with_tokens(counted: Counted, parts: Sequence[AnyPart], folders: Sequence[Path], keep: Keep, memory: int) -> Counted:
    """What was counted, and the tokens of all parts.

    Args:
        counted: everything else.
        parts: one at least, each with tokens.
        folders: where they lie on disk; empty for parts in memory.
        keep: what to prune.
        memory: bytes, for rows that are kept.

    Raises:
        CorpusError: what is to be kept does not fit into `memory`.
    """
    counts, room = dict(counted.counts), memory
    for statistic in TOKEN_STATISTICS:
        with _sums(statistic, parts, folders, memory) as sums:
            counts[statistic.name] = _pruned(statistic, sums, keep, room)
        if keep.floor:
            counts[statistic.name] = coarse_spectrum(_guarded(counts[statistic.name], parts, folders, keep.floor, memory), keep.floor)
        room -= len(counts[statistic.name].table) * _KEPT_BYTES
    return replace(counted, counts=counts, reading=_reading(parts, folders))


@contextmanager
def _sums(statistic: Statistic, parts: Sequence[AnyPart], folders: Sequence[Path], memory: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the table `sums`: the rows of all parts added up by key, in no order."""
    keys = ", ".join(f'"{key}"' for key in statistic.keys)
    columns = ", ".join(f"sum({column})::BIGINT AS {column}" for column in COUNTS)
    with database(memory, folders[0] if folders else None) as engine:
        if folders:
            files = number_files(folders, statistic.name)
            engine.execute(f"CREATE TEMP TABLE sums AS SELECT {keys}, {columns} FROM read_parquet(?) GROUP BY {keys}", [files])
        else:
            engine.register("given", pa.concat_tables([part.numbers[statistic.name] for part in parts]))
            engine.execute(f"CREATE TEMP TABLE sums AS SELECT {keys}, {columns} FROM given GROUP BY {keys}")
        yield engine


def _pruned(statistic: Statistic, sums: duckdb.DuckDBPyConnection, keep: Keep, room: int) -> Counts:
    """Rows as `keep` says; of equal counts those of lower ids."""
    limit = keep.max_rows.get(statistic.name)
    order = ", ".join(f'"{key}"' for key in statistic.keys)
    sums.execute(
        f"CREATE TEMP TABLE kept AS SELECT * FROM sums WHERE documents >= {keep.min_documents} AND count >= {keep.min_count}"
        + (f" ORDER BY count DESC, {order} LIMIT {limit}" if limit is not None else "")
    )
    ((number,),) = sums.sql("SELECT count(*) FROM kept").fetchall()
    if number * _KEPT_BYTES > room:
        raise CorpusError(
            f"{statistic.name}: {number:,} rows are to be kept, which does not fit into {room / 1e9:.1f} GB of memory; "
            "keep only those of more documents (--min-documents), or give more memory (--memory). What is counted is not lost"
        )
    totals = sums.sql("SELECT coalesce(sum(count), 0)::BIGINT AS count, count(*) AS types FROM sums")
    spectrum = sums.sql(
        "SELECT count, sum(types)::BIGINT AS types FROM (SELECT count, 1 AS types FROM sums UNION ALL SELECT count, -1 FROM kept) "
        "GROUP BY count HAVING sum(types) > 0 ORDER BY count"
    )
    columns = totals_schema(statistic, ("count", "types"))
    table = sums.sql(f"SELECT * FROM kept ORDER BY {order}").to_arrow_table().cast(schema(statistic)).combine_chunks()
    return Counts(statistic, table, *(found.to_arrow_table().cast(columns) for found in (totals, spectrum)))


def _guarded(counts: Counts, parts: Sequence[AnyPart], folders: Sequence[Path], floor: int, memory: int) -> Counts:
    """Rows that enough groups have; documents were asked before."""
    if parts[0].owners is None:
        return counts
    name = owned(counts.statistic.name)
    tables = [] if folders else [part.numbers[name] for part in parts]
    with owner_rows(tables, number_files(folders, name), memory, is_shared=True) as engine:
        return prune(counts, pa.array(owners_of_rows(counts.statistic, counts.table, engine) >= floor))


def _reading(parts: Sequence[AnyPart], folders: Sequence[Path]) -> dict[str, int]:
    """What the reader of tokens saw in all parts."""
    tables = [pq.read_table(file) for file in number_files(folders, READING_TABLE)] or [part.numbers[READING_TABLE] for part in parts]
    total: Counter[str] = Counter()
    for table in tables:
        total.update(dict(zip(table["event"].to_pylist(), table["count"].to_pylist(), strict=True)))
    return dict(total)
