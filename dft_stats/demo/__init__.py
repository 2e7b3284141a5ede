"""`dft-stats demo`: the whole road once, on what every machine has. Needs the extra [demo]."""

from dft_stats.demo.run import run

__all__ = ["run"]
