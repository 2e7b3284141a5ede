"""Building profiles at speed and out of core. Needs the extra [build]: polars, duckdb, numba, spacy."""

from importlib.util import find_spec
from pathlib import Path

if missing := [name for name in ("duckdb", "numba", "polars", "spacy") if find_spec(name) is None]:
    raise ImportError(f"dft_stats.build needs {', '.join(missing)}: pip install 'dft-stats[build]'")

from dft_stats.build.build import build
from dft_stats.build.stale import drop_stale_kernels

__all__ = ["build"]

drop_stale_kernels(Path(__file__).parent)  # before the first call of one
