"""Parts added up, pruned and spelt out: the counts of a corpus.

Rows are known by 64-bit keys and sorted by them in every part. So the sum is made for one range of keys after the other, over all parts at
once, each range as small as the memory demands: every row is read once, however many parts there are. Tables of numbers are small and
added up by DuckDB, which spills to disk.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from dft_stats.build.database import database
from dft_stats.build.events import owned
from dft_stats.build.guarded_spelling import guarded
from dft_stats.build.hashing import Hashes, are_among
from dft_stats.build.order import sorted_by_text, spelt
from dft_stats.build.owners import owners_of
from dft_stats.build.parts import AnyPart, number_files
from dft_stats.build.places import STRETCH, units_of
from dft_stats.build.pooling import coarse_spectrum, owner_rows, pooled
from dft_stats.build.radix import Ints
from dft_stats.build.spelling import Spelling
from dft_stats.build.sums import Numbers, Source, added
from dft_stats.build.threads import threads
from dft_stats.counts import COUNTS, Counts, Exposure, of_table, schema, totals_schema
from dft_stats.errors import CorpusError
from dft_stats.spelling import SCHEMA
from dft_stats.statistics import COUNTED, NGRAM_FREQUENCY, SURFACE, TOKEN_FREQUENCY, Statistic

PRUNED = (TOKEN_FREQUENCY.name, NGRAM_FREQUENCY.name, SURFACE.name)
"""Tables whose rare rows may be left out."""

_KEPT_BYTES = 250  # of memory, for each row that is kept
_LOW = 1 << 10  # counts below are many, and added up without sorting


@dataclass(frozen=True, slots=True)
class Keep:
    """Which rows of the tables in `PRUNED` and of tokens a profile keeps; the others stay in totals and spectrum."""

    min_documents: int = 1
    min_count: int = 1
    max_rows: Mapping[str, int] = field(default_factory=dict)  # table, or table/n; not of `surface`
    surface_documents: int = 1  # documents, at least, of a row of `surface` beside `min_documents`: others go to `spelling`
    spelling_documents: int = 1  # documents that a text has to occur in to be told whole in `spelling`
    floor: int = 0  # owners (documents or groups of them) that every row of every table has to have; 0 asks nobody
    forget: int | None = None  # bytes of text after which n-grams that occurred once are forgotten; None: nothing is
    refused: Mapping[str, Hashes] = field(default_factory=dict)  # by table, sorted: keys of rows that documents enough have, owners not

    def __post_init__(self) -> None:
        if SURFACE.name in self.max_rows:
            raise ValueError("rows of surface are not limited by number, but by documents: what the table lacks goes to spelling")

    def keeps(self, name: str, counts: Numbers) -> NDArray[np.bool_]:
        """Which rows of a table are kept, before they are limited by number."""
        least = max(self.min_documents, self.surface_documents) if name == SURFACE.name else self.min_documents
        return (counts[:, 1] >= least) & (counts[:, 0] >= self.min_count)

    @property
    def drops_singles(self) -> bool:
        """Whether what occurs once is left out."""
        return self.min_documents > 1 or self.min_count > 1


@dataclass(frozen=True, slots=True)
class Counted:
    """What a corpus has."""

    exposure: Exposure
    counts: Mapping[str, Counts]  # by name, of all in `COUNTED`, and in `TOKEN_STATISTICS` if tokens were counted
    spelling: pa.Table  # of what pruning took from `surface`, see `dft_stats.spelling`
    reading: Mapping[str, int] = field(default_factory=dict)  # what the reader of tokens saw, see `dft_stats.token_counts`
    masked: Mapping[str, int] = field(default_factory=dict)  # what was replaced, see `dft_stats.masking`
    undercount: int = 0  # occurrences, and documents, by which a row of an n-gram may be too low


@dataclass(frozen=True, slots=True)
class _Found:
    """One table, an n-gram order being one."""

    text: pa.LargeStringArray  # (kept,), rising
    counts: Ints  # (6, kept)
    total: int  # of all rows, kept or not
    types: int
    spectrum: Mapping[int, int]  # count -> number of rows that were not kept


def add_up(
    parts: Sequence[AnyPart], sources: Sequence[Source], folders: Sequence[Path], keep: Keep, memory: int, *, workers: int = 1
) -> Counted:
    """The counts of all parts together: equal to those of one part with all the documents.

    Args:
        parts: one at least.
        sources: their rows of texts.
        folders: where they lie on disk; empty for parts in memory.
        keep: what to prune.
        memory: bytes, for rows that are being added up and for those that are kept.
        workers: tables that are added up at a time.

    Raises:
        CorpusError: what is to be kept does not fit into `memory`.
    """
    exposure = sum((part.exposure for part in parts), Exposure())
    masked = Counter[str]()
    for part in parts:
        masked.update(part.masked)
    room, own = _Room(memory), memory // workers
    if keep.floor and parts[0].owners is not None:
        keep = replace(keep, refused=_refused(parts, sources, keep, memory))
    with threads(workers) as hands:
        spelling = hands.start(_spelling, parts, sources, keep, own, memory)
        found = {name: hands.start(_find, name, parts, sources, keep, own, room) for name in sources[0].texts}
        numbers = {}
        for statistic in COUNTED:
            if statistic.name not in PRUNED:
                tables = [part.numbers[statistic.name] for part in parts] if not folders else []
                whose = [part.numbers[owned(statistic.name)] for part in parts] if keep.floor and not folders else []
                files = [number_files(folders, name) for name in (statistic.name, owned(statistic.name))]
                shared = parts[0].owners is not None
                numbers[statistic.name] = hands.start(_numbers, statistic, (tables, whose), files, own, keep.floor, shared)
        counts = {}
        for statistic in COUNTED:
            if statistic.name in PRUNED:
                own_rows = {name: rows() for name, rows in found.items() if name.partition("/")[0] == statistic.name}
                counts[statistic.name] = _counts(statistic, own_rows)
            else:
                counts[statistic.name] = numbers[statistic.name]()
        if keep.floor:
            counts = {name: coarse_spectrum(found, keep.floor) for name, found in counts.items()}
        return Counted(exposure, counts, spelling(), masked=dict(masked))


class _Room:
    """Memory for rows that are kept, shared by all tables."""

    def __init__(self, memory: int) -> None:
        self.memory, self._rows, self._lock = memory, 0, Lock()

    def take(self, name: str, rows: int) -> None:
        """Room for more rows of a table, or an error."""
        with self._lock:
            self._rows += rows
            if self._rows * _KEPT_BYTES > self.memory:
                raise CorpusError(
                    f"{name}: {self._rows:,} rows and more are to be kept, of this table and others, which does not fit into "
                    f"{self.memory / 1e9:.1f} GB of memory; keep only those of more documents (--min-documents), or give more memory "
                    "(--memory). What is counted is not lost"
                )


# --- rows of text -----------------------------------------------------------------------------------------------------------------


def _find(name: str, parts: Sequence[AnyPart], sources: Sequence[Source], keep: Keep, memory: int, room: _Room) -> _Found:
    """One table, sorted by text."""
    chosen: list[tuple[NDArray[np.uint64], Numbers]] = []
    spectrum: dict[int, int] = {}
    total = types = singles = 0
    for count, number in (pair for source in sources for pair in source.texts[name].left_out.tolist()):
        spectrum[count] = spectrum.get(count, 0) + number
        total, types = total + count * number, types + number
    for key, places, counts, dropped in added(name, sources, memory, drops_singles=keep.drops_singles and name != SURFACE.name):
        singles += dropped
        total, types = total + int(counts[:, 0].sum()), types + len(counts)
        keeps = keep.keeps(name, counts) & ~_is_refused(name, key, counts, keep)
        if len(sources) > 1 or not keeps.all():  # of several sources these are views, which keep what they are of
            _note(spectrum, counts[~keeps, 0])
            places, counts = places[keeps], counts[keeps]
        chosen.append((places, counts))
        room.take(name, len(places))
    if singles:
        spectrum[1] = spectrum.get(1, 0) + singles
        total, types = total + singles, types + singles
    place, kept = np.concatenate([p for p, _ in chosen]), np.concatenate([c for _, c in chosen])
    units = units_of(name)
    most = keep.max_rows.get(name)
    if most is not None and len(kept) > most:
        best = _most_frequent(parts, place, kept[:, 0], units, most)
        _note(spectrum, kept[~best, 0])
        place, kept = place[best], kept[best]
    text, order = sorted_by_text(parts, place, units)
    return _Found(text, _columns(kept, order), total, types, spectrum)


@njit(cache=True, nogil=True)
def _columns(counts: Numbers, order: Ints) -> Ints:
    """(6, rows): rows in an order, column by column."""
    found = np.empty((len(COUNTS), order.size), np.int64)
    for i in range(order.size):
        for column in range(len(COUNTS)):
            found[column, i] = counts[order[i], column]
    return found


def _spelling(parts: Sequence[AnyPart], sources: Sequence[Source], keep: Keep, own: int, memory: int) -> pa.Table:
    """What the table `surface` lacks. Read range by range, twice: first for what enough documents have, then for the rest.

    Args:
        parts: all of the corpus.
        sources: their rows.
        keep: what to prune.
        own: bytes, for rows that are being added up.
        memory: bytes, for what is kept.
    """
    floor = keep.spelling_documents
    if max(keep.min_documents, keep.surface_documents, keep.min_count) == 1:
        return SCHEMA.empty_table()
    spelling = Spelling(is_whole=floor <= 1)
    for name in (SURFACE.name, TOKEN_FREQUENCY.name) if floor > 1 else ():
        for key, places, counts, _ in added(name, sources, own, drops_singles=True):
            known = (counts[:, 1] >= floor) & ~_is_refused(name, key, counts, keep)
            spelling.know(spelt(parts, np.sort(places[known]), units_of(name)))
            _check_room(spelling, memory)
    listed, whole = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]  # keys of stretches that `surface` has; of others, not cut
    for key, places, counts, _ in added(SURFACE.name, sources, own, drops_singles=False):
        refused = _is_refused(SURFACE.name, key, counts, keep)
        is_listed, is_told = keep.keeps(SURFACE.name, counts) & ~refused, (counts[:, 1] >= floor) & ~refused
        rest = np.flatnonzero(~is_listed)
        rest = rest[np.argsort(places[rest])]
        spelling.add(spelt(parts, places[rest], STRETCH), counts[rest, 0].astype(np.int64), is_told[rest])
        _check_room(spelling, memory)
        if keep.floor:
            listed.append(key[is_listed])
            whole.append(key[is_told & ~is_listed])
    if not keep.floor:
        return spelling.table()
    return guarded(spelling, np.concatenate(listed), np.concatenate(whole), parts, keep.floor, memory)


def _check_room(spelling: Spelling, memory: int) -> None:
    if spelling.bytes + len(spelling) * _KEPT_BYTES > memory:
        raise CorpusError(
            f"spelling: more than {len(spelling):,} rows are to be kept, and {spelling.bytes / 1e9:.1f} GB of words, which does not fit "
            f"into {memory / 1e9:.1f} GB of memory; tell whole only what more documents have (--spelling-documents), or give more memory "
            "(--memory). What is counted is not lost"
        )


def _refused(parts: Sequence[AnyPart], sources: Sequence[Source], keep: Keep, memory: int) -> dict[str, Hashes]:
    """Keys of rows that `keep.floor` documents have, but fewer owners."""
    wanted = {}
    for name in sources[0].texts:
        rows = added(name, sources, memory, drops_singles=keep.floor > 1)
        wanted[name] = np.concatenate([np.zeros(0, np.uint64), *(key[counts[:, 1] >= keep.floor] for key, _, counts, _ in rows)])
    return {name: np.sort(wanted[name][number < keep.floor]) for name, number in owners_of(wanted, parts, keep.floor, memory).items()}


def _is_refused(name: str, key: Hashes, counts: Numbers, keep: Keep) -> NDArray[np.bool_]:
    refused, keys = np.zeros(len(counts), bool), keep.refused.get(name)
    if keys is not None and len(keys):
        asked = np.flatnonzero(counts[:, 1] >= keep.floor)
        refused[asked] = are_among(key[asked], keys)
    return refused


def _note(spectrum: dict[int, int], counts: Numbers) -> None:
    low = counts < _LOW
    number = np.bincount(counts[low], minlength=1)
    found = np.flatnonzero(number)
    high, number_high = np.unique(counts[~low], return_counts=True)
    for count, types in zip([*found.tolist(), *high.tolist()], [*number[found].tolist(), *number_high.tolist()], strict=True):
        spectrum[count] = spectrum.get(count, 0) + types


def _most_frequent(parts: Sequence[AnyPart], place: NDArray[np.uint64], count: Ints, units: int, most: int) -> NDArray[np.bool_]:
    """The rows with the highest counts; of equal counts those whose texts come first."""
    if not most:
        return np.zeros(len(count), bool)
    least = np.partition(count, len(count) - most)[len(count) - most]
    best: NDArray[np.bool_] = count > least
    ties = np.flatnonzero(count == least)
    texts = pl.Series(spelt(parts, place[ties], units))
    best[ties[texts.arg_sort().to_numpy()[: most - int(best.sum())]]] = True
    return best


def _counts(statistic: Statistic, found: Mapping[str, _Found]) -> Counts:
    """One statistic as the core knows it: its groups one after the other, with totals and spectrum."""
    columns, totals, spectrum = totals_schema(statistic, ("count", "types")), [], []
    tables = []
    for name, rows in found.items():
        group = [int(name.partition("/")[2])] if "/" in name else []
        keys = [pa.repeat(pa.scalar(n, pa.int8()), len(rows.text)) for n in group]
        numbers = [pa.array(column) for column in rows.counts]
        tables.append(pa.table([*keys, rows.text.cast(pa.string()), *numbers], schema=schema(statistic)))
        totals += [[*group, rows.total, rows.types]] if rows.types or not group else []
        spectrum += [[*group, *row] for row in sorted(rows.spectrum.items())]
    parts = [_table(columns, rows) for rows in (totals, spectrum)]
    return Counts(statistic, pa.concat_tables(tables).combine_chunks(), *parts)


def _table(columns: pa.Schema, rows: Sequence[Sequence[int]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(columns.names, row, strict=True)) for row in rows], schema=columns)


# --- tables of numbers ------------------------------------------------------------------------------------------------------------


def _numbers(
    statistic: Statistic, given: Sequence[Sequence[pa.Table]], files: Sequence[Sequence[str]], memory: int, floor: int, is_shared: bool
) -> Counts:
    """A statistic of numbers, from tables or files of its rows and of who has them, asked only if there is a floor."""
    counts = _numbers_of_all(statistic, given[0], files[0], memory)
    if not floor:
        return counts
    with owner_rows(given[1], files[1], memory, is_shared=is_shared) as engine:
        return pooled(counts, engine, floor, is_counted=not is_shared)


def _numbers_of_all(statistic: Statistic, tables: Sequence[pa.Table], files: Sequence[str], memory: int) -> Counts:
    keys = ", ".join(f'"{key}"' for key in statistic.keys)
    sums = ", ".join(f"sum({column})::BIGINT AS {column}" for column in COUNTS)
    with database(memory, Path(files[0]).parent if files else None) as engine:
        if files:
            source: Any = "read_parquet(?)"
            query = engine.sql(f"SELECT {keys}, {sums} FROM {source} GROUP BY {keys} ORDER BY {keys}", params=[list(files)])
        else:
            rows = pa.concat_tables(tables)
            engine.register("rows", rows)
            query = engine.sql(f"SELECT {keys}, {sums} FROM rows GROUP BY {keys} ORDER BY {keys}")
        return of_table(statistic, query.to_arrow_table().cast(schema(statistic)).combine_chunks())
