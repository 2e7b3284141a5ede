"""How the sources of a mixture are typeset, and what the fold of the build makes of it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from dft_stats.text import normalise
from pipelines.sources import count_words

BEFORE = {
    "curly quotes": "“”„‟‘’‚‛«»",
    "straight quotes": "\"'",
    "em dashes": "—―",
    "en dashes": "–‒",
}
DOUBLED = "double or spaced hyphens"
AFTER = {"quotes": "\"'", "dashes": "—"}
LEFT = "“”„‟‘’‚‛«»–‒―"
"""What the fold must leave none of."""


@dataclass(frozen=True, slots=True)
class Typography:
    """Characters per 1,000 words. Apostrophes are quotes here: they are the same characters."""

    before: dict[str, float]
    after: dict[str, float]
    left: int  # characters that the fold should have folded


def typography(texts: Iterable[str]) -> Typography:
    """Of some texts."""
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    words = left = 0
    for text in texts:
        words += count_words(text)
        folded = normalise(text)
        before.update({name: sum(map(text.count, characters)) for name, characters in BEFORE.items()})
        before[DOUBLED] += text.count("--") + text.count(" - ")
        after.update({name: sum(map(folded.count, characters)) for name, characters in AFTER.items()})
        left += 0 if folded.isascii() else sum(map(folded.count, LEFT))
    rate = 1000 / max(words, 1)
    return Typography({name: rate * before[name] for name in (*BEFORE, DOUBLED)}, {name: rate * after[name] for name in AFTER}, left)
