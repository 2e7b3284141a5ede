"""How words and marks are spelt together: the stretches between white space. Compiling to a tokenizer starts from these."""

from collections.abc import Iterator

from dft_stats.statistics.definition import Event, Statistic, words_before
from dft_stats.text import Document

PARAGRAPH = "\n\n"


def events(document: Document) -> Iterator[Event]:
    """One event a stretch of units without white space, with the space before it and the paragraph break after it."""
    found = [unit for sentence in document for unit in sentence]
    positions = [position for row in words_before(document) for position in row]
    begin = 0
    for i in range(len(found)):
        following = found[i + 1] if i + 1 < len(found) else None
        if following is None or following.space or following.break_before:
            text = " " * found[begin].space + "".join(u.text for u in found[begin : i + 1])
            yield (text + PARAGRAPH * (following is not None and following.break_before),), positions[begin]
            begin = i + 1


SURFACE = Statistic(
    name="surface",
    keys={"surface": "string"},
    groups=(),
    kind="categorical",
    unit="stretches between white space",
    scope="document",
    source="the pre-tokens of byte-level BPE (Radford et al. 2019), in a form that no tokenizer owns",
    events=events,
)
