"""Settings of all tests: no deadlines, so that a slow machine fails nothing."""

from hypothesis import settings

settings.register_profile("dft-stats", max_examples=40, deadline=None)
settings.load_profile("dft-stats")
