"""A database for tables that may not fit into memory: one thread, a quarter of the memory that there is, and the rest on the disk."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

_LEAST = 1 << 26


@contextmanager
def database(memory: int, folder: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty one, until the block ends.

    Args:
        memory: bytes, of the whole build.
        folder: in which it may spill, and leaves nothing; that of the system if None.
    """
    own = Path(folder or tempfile.gettempdir()) / f".spilt-{secrets.token_hex(8)}"  # made when it is needed
    try:
        with duckdb.connect() as engine:
            engine.execute("SET temp_directory = ?", [str(own)])
            engine.execute("SET memory_limit = ?", [f"{max(memory // 4, _LEAST)}B"])
            engine.execute("SET threads = 1")
            yield engine
    finally:
        shutil.rmtree(own, ignore_errors=True)
