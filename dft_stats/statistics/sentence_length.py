"""How long sentences are, and how lengths follow each other."""

from collections.abc import Iterator

from dft_stats.statistics.definition import Event, Statistic, words_before
from dft_stats.text import WORD, Document

NO_NEXT = -1


def events(document: Document) -> Iterator[Event]:
    """Three series: lengths in words, lengths in units, and pairs (length, next length) in words. A sentence has a word at least."""
    previous: tuple[int, int] | None = None
    for sentence, positions in zip(document, words_before(document), strict=True):
        length = sum(unit.kind == WORD for unit in sentence)
        if not length:
            continue
        yield ("words", length, NO_NEXT), positions[0]
        yield ("units", len(sentence), NO_NEXT), positions[0]
        if previous is not None:
            yield ("pairs", previous[0], length), previous[1]
        previous = length, positions[0]


SENTENCE_LENGTH = Statistic(
    name="sentence_length",
    keys={"series": "string", "length": "int32", "next_length": "int32"},
    groups=("series",),
    kind="ordinal",
    unit="words (or units) a sentence",
    scope="document",
    source="Yule (1939); Goh and Barabasi, burstiness (2008)",
    events=events,
)
