"""How often each word, mark and symbol occurs."""

from collections.abc import Iterator

from dft_stats.statistics.definition import Event, Statistic, words_before
from dft_stats.text import Document


def events(document: Document) -> Iterator[Event]:
    """One event a unit."""
    for sentence, positions in zip(document, words_before(document), strict=True):
        for unit, position in zip(sentence, positions, strict=True):
            yield (unit.text,), position


TOKEN_FREQUENCY = Statistic(
    name="token_frequency",
    keys={"unit": "string"},
    groups=(),
    kind="categorical",
    unit="units (words, marks, symbols)",
    scope="document",
    source="Zipf (1935); Baayen, Word Frequency Distributions (2001)",
    events=events,
)
