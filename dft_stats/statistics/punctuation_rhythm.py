"""Where punctuation falls: which mark follows which, after how many words."""

from collections.abc import Iterator

from dft_stats.statistics.definition import Event, Statistic
from dft_stats.text import MARK_CLASSES, WORD, Document

OPENING = "opening"
"""The mark that every document begins with."""
NO_GAP = -1


def events(document: Document) -> Iterator[Event]:
    """Two series: marks by class, and (previous mark, words between, mark). Symbols are neither marks nor words."""
    previous, gap, position = OPENING, 0, 0
    for sentence in document:
        for unit in sentence:
            if unit.kind == WORD:
                gap += 1
                position += 1
            elif unit.kind >= 0:
                mark = MARK_CLASSES[unit.kind]
                yield ("marks", "", NO_GAP, mark), position
                yield ("gaps", previous, gap, mark), position
                previous, gap = mark, 0


PUNCTUATION_RHYTHM = Statistic(
    name="punctuation_rhythm",
    keys={"series": "string", "previous": "string", "gap": "int32", "mark": "string"},
    groups=("series",),
    kind="ordinal",
    unit="words between marks",
    scope="document",
    source="Darmon et al., Pull out all the stops (arXiv 1901.00519); Stanisz et al., inter-mark gaps (arXiv 2212.11182)",
    events=events,
)
