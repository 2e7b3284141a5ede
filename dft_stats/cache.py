"""Where this package keeps what it can make or fetch again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$DFT_STATS_CACHE, or dft_stats in the user's cache folder."""
    given = os.environ.get("DFT_STATS_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dft_stats"
