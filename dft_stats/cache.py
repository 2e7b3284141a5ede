"""Where this package keeps what it can make or fetch again."""

import os
from pathlib import Path

from dft_stats.errors import DftStatsError


def cache_folder() -> Path:
    """$DFT_STATS_CACHE, or dft_stats in the user's cache folder.

    Raises:
        DftStatsError: the user has no home, as in some containers.
    """
    given = os.environ.get("DFT_STATS_CACHE")
    if given:
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dft_stats"
    except RuntimeError as error:
        raise DftStatsError(f"there is no home folder for a cache ({error}); name a folder for it in DFT_STATS_CACHE") from error
