"""What does not fit into the memory of a database goes to the disk, beside nothing else's, and is gone afterwards."""

from pathlib import Path

import pytest

from dft_stats.build.database import database

ROWS = 12_000_000  # of 8 bytes: more than the least that a database gets
TABLE = f"CREATE TEMP TABLE t AS SELECT hash(range) AS h FROM range({ROWS})"


def test_it_spills_and_leaves_nothing(tmp_path: Path) -> None:
    with database(1, tmp_path) as one, database(1, tmp_path) as other:
        assert not list(tmp_path.iterdir())
        for engine in (one, other):
            engine.execute(TABLE)
        assert len(list(tmp_path.iterdir())) == 2
        for engine in (one, other):
            assert engine.sql("SELECT count(*), count(DISTINCT h % 1000) FROM t").fetchall() == [(ROWS, 1000)]
    assert not list(tmp_path.iterdir())


def test_it_leaves_nothing_behind_an_error(tmp_path: Path) -> None:
    def failing() -> None:
        with database(1, tmp_path) as engine:
            engine.execute(TABLE)
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert not list(tmp_path.iterdir())
