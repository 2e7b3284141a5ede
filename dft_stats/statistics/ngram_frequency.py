"""How often each sequence of 2 to 5 units occurs inside a sentence."""

from collections.abc import Iterator, Sequence

from dft_stats.statistics.definition import Event, Statistic, words_before
from dft_stats.text import Document, Unit

ORDERS = (2, 3, 4, 5)


def ngram_text(units: Sequence[Unit]) -> str:
    """The stretch of text that the units cover, without what stands before the first."""
    return units[0].text + "".join(" " * unit.space + unit.text for unit in units[1:])


def events(document: Document) -> Iterator[Event]:
    """One event an n-gram, at its first unit."""
    for sentence, positions in zip(document, words_before(document), strict=True):
        for n in ORDERS:
            for i in range(len(sentence) - n + 1):
                yield (n, ngram_text(sentence[i : i + n])), positions[i]


NGRAM_FREQUENCY = Statistic(
    name="ngram_frequency",
    keys={"n": "int8", "ngram": "string"},
    groups=("n",),
    kind="categorical",
    unit="n-grams of units",
    scope="sentence",
    source="Shannon (1948); Biber et al., Longman Grammar, lexical bundles (1999)",
    events=events,
)
