"""Rows in a file are the rows in memory, whatever range of keys is asked for."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dft_stats.build.row_files import StoredRows, write_rows
from dft_stats.build.tally import Rows

KEYS = st.integers(0, (1 << 64) - 1)


def rows_of(keys: Sequence[int], most: int) -> Rows:
    key = np.array(sorted(keys), np.uint64)
    place = (np.arange(len(key), dtype=np.uint64) * np.uint64(7919)) ^ (key << np.uint64(20))
    counts = (np.arange(6 * len(key), dtype=np.int64).reshape(-1, 6) * 104_729) % (most + 1)
    return Rows(key, place, counts, key[:0], place[:0], np.empty((0, 2), np.uint16))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    keys=st.sets(KEYS | st.integers(0, 40), max_size=60),
    asked=st.lists(st.tuples(KEYS | st.integers(0, 40), KEYS | st.integers(0, 40)).map(sorted), min_size=1),
    pieces=st.integers(1, 4),
    most=st.sampled_from([3, (1 << 32) - 1, 1 << 40]),
)
def test_any_range_of_keys(
    keys: set[int], asked: list[tuple[int, int]], pieces: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dft_stats.build.row_files._GROUP", 7)
    rows = rows_of(list(keys), most)
    ends = np.linspace(0, rows.size, pieces + 1).astype(int)
    ranges = [(rows.key[a:b], rows.unit[a:b], rows.counts[a:b]) for a, b in pairwise(ends)]
    path = tmp_path / "rows.parquet"
    stored = StoredRows(path, np.array(write_rows(path, ranges, most=most), np.uint64), 0, most)
    assert stored.size == rows.size
    for first, last in [*asked, (0, (1 << 64) - 1)]:
        expected, found = (table.between(np.uint64(first), np.uint64(last)) for table in (rows, stored))
        assert found.key.tolist() == expected.key.tolist() == [key for key in sorted(keys) if first <= key <= last]
        assert found.unit.tolist() == expected.unit.tolist()
        assert found.counts.tolist() == expected.counts.tolist()
        assert found.single_key.size == 0
