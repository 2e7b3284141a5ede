"""Rows of texts in files of a third of their size, read one range of keys after the other.

Keys rise, so that they are written as differences; a place is a part and a unit; of most rows the counts are small. These are what the
encodings of Parquet are for. What a file says of its own columns takes much more memory than disk, and is read whole: so a table is many
files, of which a range of keys asks for a few.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dft_stats.build.hashing import Hashes
from dft_stats.build.radix import Ints
from dft_stats.build.tally import Rows, within
from dft_stats.counts import COUNTS, WINDOWS

_GROUP = 1 << 14  # rows that are read together
_32 = np.uint64(32)


def write_rows(path: Path, ranges: Iterable[tuple[Hashes, NDArray[np.uint64], NDArray[Any]]], *, most: int) -> tuple[list[list[int]], int]:
    """Write the rows of one table, a file a range; return how `StoredRows` finds them, and how many there are.

    Args:
        path: of the files, each of which adds its number.
        ranges: (key, place, counts) of rows, range of keys by range, and rising in it.
        most: no count is more.
    """
    names, kind = _schema(most), _kind(most)
    encoded = {"key": "DELTA_BINARY_PACKED", **dict.fromkeys(("unit", *COUNTS), "BYTE_STREAM_SPLIT")}
    how: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["part"], "column_encoding": encoded}
    first, size = list[list[int]](), 0
    for key, place, counts in ranges:
        if len(key):
            columns = [key, (place >> _32).astype(np.uint32), place.astype(np.uint32), *counts.astype(kind).T.copy()]
            table = pa.table(columns, schema=names)
            pq.write_table(table, _file(path, len(first)), row_group_size=_GROUP, write_statistics=False, **how)
            first.append(key[::_GROUP].tolist())
            size += len(key)
    return first, size


@dataclass(frozen=True)
class StoredRows:
    """A table of rows that `write_rows` wrote."""

    path: Path
    first: Sequence[Hashes]  # of each file: the first key of each run of rows that are read together
    size: int  # how many rows there are
    forgotten: int  # how many more, of what occurs once
    most: int  # no count is more

    @property
    def left_out(self) -> Ints:
        """As of `Rows`."""
        return np.array([[1, self.forgotten]] if self.forgotten else [], np.int64)

    def between(self, first: np.uint64, last: np.uint64) -> Rows:
        """Rows of these keys and of those between them; no singles are kept apart."""
        files = _runs(np.array([keys[0] for keys in self.first], np.uint64), first, last)
        read = [self._read(number, _runs(self.first[number], first, last)) for number in files]
        table = pa.concat_tables([_schema(self.most).empty_table(), *read])
        asked = within(table["key"].to_numpy(), first, last)
        own = {name: table[name].to_numpy()[asked] for name in table.column_names}
        place = (own["part"].astype(np.uint64) << _32) | own["unit"]
        counts = np.column_stack([own[name] for name in COUNTS])
        none = np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty((0, len(WINDOWS)), np.uint16)
        return Rows(own["key"], place, counts, *none)

    def _read(self, number: int, runs: range) -> pa.Table:
        with pq.ParquetFile(_file(self.path, number)) as file:
            return file.read_row_groups(list(runs), use_threads=False)


def _runs(begins: Hashes, first: np.uint64, last: np.uint64) -> range:
    """Which runs of rows, whose first keys are `begins`, may have keys from `first` to `last`."""
    begin, behind = np.searchsorted(begins, [first, last], side="right")
    return range(max(0, int(begin) - 1), int(behind))


def _file(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}-{number}.parquet")


def _kind(most: int) -> np.dtype[Any]:
    return np.dtype(np.uint32 if most < 1 << 32 else np.int64)


def _schema(most: int) -> pa.Schema:
    places = {"key": pa.uint64(), "part": pa.uint32(), "unit": pa.uint32()}
    return pa.schema({**places, **dict.fromkeys(COUNTS, pa.from_numpy_dtype(_kind(most)))})
