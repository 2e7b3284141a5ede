"""Compiled kernels that are older than a source. Numba looks at the file of a kernel alone, not at those whose kernels it calls."""

import contextlib
from pathlib import Path


def drop_stale_kernels(folder: Path) -> int:
    """Delete the compiled kernels of a package if one of its sources is newer than any of them; return how many.

    Args:
        folder: of the package; its sources and those of the parent package, which kernels take constants from, are looked at.
    """
    compiled = [*folder.glob("__pycache__/*.nbi"), *folder.glob("__pycache__/*.nbc")]
    sources = [*folder.glob("*.py"), *folder.parent.glob("*.py")]
    with contextlib.suppress(OSError):  # not ours to write, or another process is at it
        if compiled and min(path.stat().st_mtime for path in compiled) < max(path.stat().st_mtime for path in sources):
            for path in compiled:
                path.unlink(missing_ok=True)
            return len(compiled)
    return 0
