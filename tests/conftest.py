"""Settings of all tests: no deadlines, so that a slow machine fails nothing, and the same examples every time.

`HYPOTHESIS_PROFILE=explore` draws others. Triton's kernels run in its interpreter, on a CPU; that must be said before it is imported.
"""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

from hypothesis import settings

settings.register_profile("dft-stats", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("explore", max_examples=400, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dft-stats"))
