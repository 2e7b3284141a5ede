"""How often each token of one tokenizer occurs in the running text: counted, not compiled."""

from collections.abc import Iterator

from dft_stats.statistics.definition import Event, Statistic
from dft_stats.statistics.tokenised import runs_of
from dft_stats.text import Document


def events(document: Document) -> Iterator[Event]:
    """One event a token, in the window of the unit in which its first character lies. Needs a `Tokenised` document."""
    for run in runs_of(document):
        for token in run:
            yield (token.id,), token.position


TOKEN_IDS = Statistic(
    name="token_ids",
    keys={"id": "int32"},
    groups=(),
    kind="categorical",
    unit="tokens of one tokenizer",
    scope="document",
    source="Sennrich et al., subword units (arXiv 1508.07909); Kudo, Unigram (arXiv 1804.10959)",
    events=events,
)
