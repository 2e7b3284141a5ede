"""Whether a tokenizer reads a text stretch by stretch, as compiling takes for granted.

Some do not: byte-level tokenizers without a pre-tokenizer, or those trained to join words ("of the" as one token). So texts from the
profile itself are encoded twice, whole and as stretches, and the two counts of tokens compared.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dft_stats.encoding import encode_in_context
from dft_stats.measures import jensen_shannon_bits

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dft_stats.profile import Profile

PROBES = 1500
JOINED = 5  # pieces of text put together to one
LINE = "\n\n"


@dataclass(frozen=True, slots=True)
class Exactness:
    """How near the tokens of stretches come to those of the running text."""

    agreement: float  # share of the tokens that are the same, 1 - total variation
    divergence_bits: float  # Jensen-Shannon, between the two
    example: str  # a text that comes out differently, "" if none does


def probe_texts(profile: "Profile") -> list[str]:
    """Running text from the longest n-grams of a profile, the most frequent ones and others taken at even steps.

    Each text is several of them with spaces between, and a paragraph break.
    """
    ngrams = profile.counts("ngram_frequency")
    order = max(ngrams.table["n"].unique().to_pylist(), default=0)
    rows = ngrams.rows(order).sort_by([("count", "descending"), ("ngram", "ascending")])["ngram"].to_pylist() if order else []
    few = PROBES * JOINED // 2
    chosen = rows[:few] + rows[few :: max(1, len(rows) // few)]
    if not chosen:  # no sentence of two units
        chosen = [text.strip() for text in profile.table("surface")["surface"].to_pylist()[:few]]
    half = (len(chosen) + 1) // 2  # frequent and rare ones alternate
    mixed = [text for pair in zip(chosen[:half], [*chosen[half:], chosen[0]], strict=False) for text in pair]
    return [LINE.join((mixed[i], " ".join(mixed[i + 1 : i + JOINED] or mixed[:1]))) for i in range(0, len(mixed), JOINED)]


def measure(tokenizer: "Tokenizer", texts: Sequence[str]) -> Exactness:
    """Encode texts whole and by stretches, each behind a paragraph of its own so that no text begins anything."""
    opening = "a" + LINE
    whole = tokenizer.encode_batch([opening + text for text in texts], add_special_tokens=False)
    cut = [stretches(text) for text in texts]
    encoded = iter(encode_in_context(tokenizer, [stretch for row in cut for stretch in row]))
    a, b, example = Counter[int](), Counter[int](), ""
    for text, encoding, row in zip(texts, whole, cut, strict=True):
        ids = [id for id, (_, end) in zip(encoding.ids, encoding.offsets, strict=True) if end > len(opening)]
        joined = [id for _ in row for id in next(encoded)]
        a.update(ids)
        b.update(joined)
        if joined != ids and not example:
            example = text
    counted = np.array([[a[id], b[id]] for id in sorted(a | b)], np.float64).T.reshape(2, -1)
    shares = counted / np.maximum(counted.sum(1, keepdims=True), 1)
    if not a and not b:
        return Exactness(1.0, 0.0, "")
    return Exactness(1 - float(np.abs(shares[0] - shares[1]).sum() / 2), jensen_shannon_bits(counted[0], counted[1]), example)


def stretches(text: str) -> list[str]:
    """A normalised text cut at its white space, as the table `surface` has it."""
    found = []
    for number, line in enumerate(paragraphs := text.split(LINE)):
        words = line.split(" ")
        row = [" " * (i > 0) + word for i, word in enumerate(words)]
        row[-1] += LINE * (number + 1 < len(paragraphs))
        found += row
    return found
