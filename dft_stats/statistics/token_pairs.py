"""How often each token of one tokenizer follows another in the running text."""

from collections.abc import Iterator
from itertools import pairwise

from dft_stats.statistics.definition import Event, Statistic
from dft_stats.statistics.tokenised import runs_of
from dft_stats.text import Document


def events(document: Document) -> Iterator[Event]:
    """One event a pair of neighbours, where the first of them happens. Pairs cross sentences, as a model does, and never documents."""
    for run in runs_of(document):
        for first, second in pairwise(run):
            yield (first.id, second.id), first.position


TOKEN_PAIRS = Statistic(
    name="token_pairs",
    keys={"first": "int32", "second": "int32"},
    groups=(),
    kind="categorical",
    unit="pairs of neighbouring tokens of one tokenizer",
    scope="document",
    source="Shannon (1948)",
    events=events,
)
