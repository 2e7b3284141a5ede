"""A database for tables that may not fit into memory: one thread, a quarter of the memory that there is, and the rest on the disk."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb


@contextmanager
def database(memory: int, folder: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty one, until the block ends.

    Args:
        memory: bytes, of the whole build.
        folder: in which it may spill; that of the system if None.
    """
    with tempfile.TemporaryDirectory(prefix=".spilt-", dir=folder) as own, duckdb.connect() as engine:
        engine.execute("SET temp_directory = ?", [own])
        engine.execute("SET memory_limit = ?", [f"{max(memory // 4, 1 << 26)}B"])
        engine.execute("SET threads = 1")
        yield engine
