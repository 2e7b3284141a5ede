"""The statistics: what each one counts, defined in plain Python. This is the specification; every fast path is tested against it.

A statistic turns a segmented document into *events*, (key, position): the key is a row of its table, the position is the number of
words before the event, which says in which window of the document it falls. `dft_stats.counts` adds events up.
"""

from dft_stats.statistics.definition import Statistic
from dft_stats.statistics.entropy import ENTROPY
from dft_stats.statistics.ngram_frequency import NGRAM_FREQUENCY
from dft_stats.statistics.punctuation_rhythm import PUNCTUATION_RHYTHM
from dft_stats.statistics.sentence_length import SENTENCE_LENGTH
from dft_stats.statistics.surface import SURFACE
from dft_stats.statistics.token_frequency import TOKEN_FREQUENCY
from dft_stats.statistics.token_ids import TOKEN_IDS
from dft_stats.statistics.token_pairs import TOKEN_PAIRS

STATISTICS = (TOKEN_FREQUENCY, NGRAM_FREQUENCY, SENTENCE_LENGTH, PUNCTUATION_RHYTHM, ENTROPY)
COUNTED = (*STATISTICS, SURFACE)
"""All tables of counts of a profile: the five statistics, and the spelling that compiling to a tokenizer needs."""
TOKEN_STATISTICS = (TOKEN_IDS, TOKEN_PAIRS)
"""Tables that a profile has beside these if it was built with a tokenizer."""

__all__ = [
    "COUNTED",
    "ENTROPY",
    "NGRAM_FREQUENCY",
    "PUNCTUATION_RHYTHM",
    "SENTENCE_LENGTH",
    "STATISTICS",
    "SURFACE",
    "TOKEN_FREQUENCY",
    "TOKEN_IDS",
    "TOKEN_PAIRS",
    "TOKEN_STATISTICS",
    "Statistic",
]
