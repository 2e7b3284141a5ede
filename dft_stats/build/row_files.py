"""Rows of texts in files of a third of their size, read one range of keys after the other.

Keys rise, so that they are written as differences; a place is a part and a unit; of most rows the counts are small. These are what the
encodings of Parquet are for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
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

_GROUP = 1 << 15  # rows that are read together
_32 = np.uint64(32)


def write_rows(path: Path, ranges: Iterable[tuple[Hashes, NDArray[np.uint64], NDArray[Any]]], *, most: int) -> list[int]:
    """Write the rows of one table; return the first key of each run of rows that `StoredRows` reads together.

    Args:
        path: of the file.
        ranges: (key, place, counts) of rows, range of keys by range, and rising in it.
        most: no count is more.
    """
    kind = np.dtype(np.uint32 if most < 1 << 32 else np.int64)
    places = {"key": pa.uint64(), "part": pa.uint32(), "unit": pa.uint32()}
    names = pa.schema({**places, **dict.fromkeys(COUNTS, pa.from_numpy_dtype(kind))})
    encoded = {"key": "DELTA_BINARY_PACKED", **dict.fromkeys(("unit", *COUNTS), "BYTE_STREAM_SPLIT")}
    how: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["part"], "column_encoding": encoded}
    first: list[int] = []
    with pq.ParquetWriter(path, names, write_statistics=False, **how) as file:
        for key, place, counts in ranges:
            columns = [key, (place >> _32).astype(np.uint32), place.astype(np.uint32), *counts.astype(kind).T.copy()]
            if len(key):
                file.write_table(pa.table(columns, schema=names), row_group_size=_GROUP)
                first += key[::_GROUP].tolist()
    return first


@dataclass(frozen=True)
class StoredRows:
    """A table of rows that `write_rows` wrote."""

    path: Path
    first: Hashes  # key of each row group
    forgotten: int  # how many more rows there are, of what occurs once
    most: int  # no count is more

    @cached_property
    def _file(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.path)

    @property
    def left_out(self) -> Ints:
        """As of `Rows`."""
        return np.array([[1, self.forgotten]] if self.forgotten else [], np.int64)

    @property
    def size(self) -> int:
        """How many rows there are."""
        return int(self._file.metadata.num_rows)

    def between(self, first: np.uint64, last: np.uint64) -> Rows:
        """Rows of these keys and of those between them; no singles are kept apart."""
        begin, behind = np.searchsorted(self.first, [first, last], side="right")
        table = self._file.read_row_groups(list(range(max(0, begin - 1), behind)), use_threads=False)
        asked = within(table["key"].to_numpy(), first, last)
        own = {name: table[name].to_numpy()[asked] for name in table.column_names}
        place = (own["part"].astype(np.uint64) << _32) | own["unit"]
        counts = np.column_stack([own[name] for name in COUNTS])
        none = np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty((0, len(WINDOWS)), np.uint16)
        return Rows(own["key"], place, counts, *none)
