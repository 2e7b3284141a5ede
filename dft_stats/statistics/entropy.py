"""How much a stretch of fixed length says: plug-in entropy and number of types of its words."""

from collections import Counter
from collections.abc import Iterable, Iterator
from math import log2

from dft_stats.statistics.definition import Event, Statistic
from dft_stats.text import WORD, Document

WINDOW_WORDS = (32, 128, 1024)
BITS = 1 << 24
"""c log2 c is rounded to this fraction of a bit before it is summed, so that a sum does not depend on its order."""


def scaled_c_log_c(count: int) -> int:
    """`count * log2(count)` in units of 1 / BITS bit."""
    return round(count * log2(count) * BITS)


def entropy_centibits(counts: Iterable[int], window: int) -> int:
    """Plug-in entropy of the counts of `window` words, log2 N - sum c log2 c / N, in whole hundredths of a bit, rounded down."""
    surplus = sum(map(scaled_c_log_c, counts))
    return 100 * (scaled_c_log_c(window) - surplus) // (window * BITS)


def events(document: Document) -> Iterator[Event]:
    """One event a full window, at its first word: (window, types, entropy). Words are lower-cased."""
    words = [unit.text.lower() for sentence in document for unit in sentence if unit.kind == WORD]
    for window in WINDOW_WORDS:
        for begin in range(0, len(words) - window + 1, window):
            counts = Counter(words[begin : begin + window])
            yield (window, len(counts), entropy_centibits(counts.values(), window)), begin


ENTROPY = Statistic(
    name="entropy",
    keys={"window": "int32", "types": "int32", "centibits": "int32"},
    groups=("window",),
    kind="ordinal",
    unit="bits a word, in windows of fixed length",
    scope="window",
    source="Shannon (1948); Miller, Note on the bias of information estimates (1955)",
    events=events,
)
