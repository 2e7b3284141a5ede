"""Rows in a file are the rows in memory, whatever range of keys is asked for."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

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


def stored_rows(path: Path, ranges: Sequence[tuple[Any, Any, Any]], most: int) -> StoredRows:
    first, size = write_rows(path, ranges, most=most)
    return StoredRows(path, [np.array(keys, np.uint64) for keys in first], size, 0, most)


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
    stored = stored_rows(tmp_path / "rows", ranges, most)
    assert stored.size == rows.size
    for first, last in [*asked, (0, (1 << 64) - 1)]:
        expected, found = (table.between(np.uint64(first), np.uint64(last)) for table in (rows, stored))
        assert found.key.tolist() == expected.key.tolist() == [key for key in sorted(keys) if first <= key <= last]
        assert found.unit.tolist() == expected.unit.tolist()
        assert found.counts.tolist() == expected.counts.tolist()
        assert found.single_key.size == 0


def test_a_range_of_keys_asks_for_the_files_that_may_have_some(tmp_path: Path) -> None:
    rows = rows_of(range(0, 400, 2), 3)
    ranges = [(rows.key[a : a + 20], rows.unit[a : a + 20], rows.counts[a : a + 20]) for a in range(0, 200, 20)]
    stored = stored_rows(tmp_path / "rows", ranges, 3)
    assert len(list(tmp_path.iterdir())) == 10
    for number in (0, 1, 2, 5, 6, 7, 8, 9):  # those left have 120 to 198
        (tmp_path / f"rows-{number}.parquet").unlink()
    for first, last in ((121, 197), (120, 199), (198, 198), (130, 170)):
        found = stored.between(np.uint64(first), np.uint64(last)).key.tolist()
        assert found == [key for key in range(120, 200, 2) if first <= key <= last]
    with pytest.raises(FileNotFoundError):
        stored.between(np.uint64(121), np.uint64(200))
