"""Whether a tokenizer reads a text stretch by stretch, as compiling takes for granted.

Some do not: byte-level tokenizers without a pre-tokenizer, or those trained to join words ("of the" as one token). So texts from the
profile itself are encoded twice, whole and as stretches, and the two counts of tokens compared.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dft_stats.encoding import LINE, encode_in_context, follower
from dft_stats.measures import jensen_shannon_bits
from dft_stats.sentences import CLOSERS, TERMINATORS
from dft_stats.statistics.surface import PARAGRAPH
from dft_stats.tokenizer import special_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dft_stats.profile import Profile

PROBES = 1500  # texts
JOINED = 5  # n-grams in a text
LEAST = 300  # texts, however few n-grams there are
READABLE = 100  # words, below which nothing is said of whether they can be read
_CLOSING, _OPENING = r"^ .*\n\n$", r"^[^ ](?s:.*)[^\n]$|^[^ \n]$"  # a paragraph
_STOP = f"[{re.escape(''.join(sorted(TERMINATORS)))}][{re.escape(''.join(sorted(CLOSERS)))}]*$"
_ENDING = f"^ .*{_STOP}"  # a sentence
_STOPPED = re.compile(_STOP)


@dataclass(frozen=True, slots=True)
class Exactness:
    """How near the tokens of stretches come to those of the running text."""

    agreement: float  # share of the tokens that are the same, 1 - total variation
    divergence_bits: float  # Jensen-Shannon, between the two
    example: str  # a text that comes out differently, "" if none does


def probe_texts(profile: "Profile") -> list[str]:
    """Running text from the longest n-grams of a profile, the most frequent ones and others taken at even steps.

    Each text is several of them with spaces between, and two places that no n-gram reaches over: the end of a paragraph, and that of a
    sentence, between stretches that stand there, each as often as it does in the corpus.
    """
    ngrams, surface = profile.counts("ngram_frequency"), profile.table("surface").select(["surface", "count"])
    order = max(ngrams.table["n"].unique().to_pylist(), default=0)
    rows = ngrams.rows(order).sort_by([("count", "descending"), ("ngram", "ascending")])["ngram"].to_pylist() if order else []
    few = PROBES * JOINED // 2
    chosen = rows[:few] + rows[few :: max(1, len(rows) // few)]
    if not chosen:  # no sentence of two units
        chosen = [text.strip() for text in surface["surface"].slice(0, few).to_pylist()]
    half = (len(chosen) + 1) // 2  # frequent and rare ones alternate
    mixed = [text for pair in zip(chosen[:half], [*chosen[half:], chosen[0]], strict=False) for text in pair]
    mixed *= max(1, -(-LEAST * JOINED // len(mixed)))
    texts = [mixed[i : i + JOINED] for i in range(0, len(mixed), JOINED)]
    closing, opening, ending = (_drawn(surface, kind, len(texts)) for kind in (_CLOSING, _OPENING, _ENDING))
    step = next(step for step in range(len(texts) * 5 // 8, 2 * len(texts)) if math.gcd(step, len(texts)) == 1)
    for i, row in enumerate(texts):  # what is drawn in order is put beside one another in none
        at = i * step % len(texts)
        opens, begins = opening[at], opening[(at + len(texts) // 2) % len(texts)]
        row[0] += (closing[i] or PARAGRAPH) + (opens or row[0])
        row[len(row) // 2] += ending[at * step % len(texts)] + (" " + begins if begins else "")
    return [" ".join(row) for row in texts]


def _drawn(surface: pa.Table, kind: str, number: int) -> list[str]:
    """So many stretches of a kind, each as often as it occurs, or "" if there are none (systematic sampling; Cochran 1977, chapter 8)."""
    rows = surface.filter(pc.match_substring_regex(surface["surface"], kind))
    if not len(rows):
        return [""] * number
    ends = np.cumsum(rows["count"].to_numpy())
    places = np.searchsorted(ends, (np.arange(number) + 0.5) / number * ends[-1], side="right")
    found: list[str] = rows["surface"].take(np.minimum(places, len(rows) - 1)).to_pylist()
    return found


def measure(tokenizer: "Tokenizer", texts: Sequence[str]) -> Exactness:
    """Encode texts whole and by stretches, each behind a paragraph of its own so that no text begins anything."""
    whole = tokenizer.encode_batch([LINE + text for text in texts], add_special_tokens=False)
    cut = [stretches(text) for text in texts]
    behind = [follower(text.lstrip()) for row in cut for text in (*row[1:], "a")]
    encoded = iter(encode_in_context(tokenizer, [stretch for row in cut for stretch in row], behind))
    a, b, example = Counter[int](), Counter[int](), ""
    for text, encoding, row in zip(texts, whole, cut, strict=True):
        ids = [id for id, (_, end) in zip(encoding.ids, encoding.offsets, strict=True) if end > len(LINE)]
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


def legibility(tokenizer: "Tokenizer", spelt: Sequence[str], texts: Sequence[str]) -> float:
    """Share of the words, between white space, that come out of their ids as they went in, special ones left out.

    Not so with tokenizers that make all letters small, put spaces where none were, have no decoder, or no token for many words or for line
    ends, or take words of the text for special tokens. Where there are few words to judge by, it is 1.

    Args:
        tokenizer: any.
        spelt: what each of its ids spells, from `surfaces`.
        texts: from `probe_texts`. Words that are not ASCII do not count: ids may spell parts of a character.
    """
    into, out, special = Counter[str](), Counter[str](), set(special_ids(tokenizer))
    for text, encoding in zip(texts, tokenizer.encode_batch_fast(list(texts), add_special_tokens=False), strict=True):
        spelled = "".join(spelt[id] for id in encoding.ids if id not in special)
        into.update(word for word in text.split() if word.isascii())
        out.update(spelled.split())
        line, is_broken, _ = text.partition(PARAGRAPH)
        if is_broken and not _STOPPED.search(line):  # a sentence that ends with its line alone
            into[PARAGRAPH] += 1
            out[PARAGRAPH] += "\n" in spelled
    return (into & out).total() / into.total() if into.total() >= READABLE else 1.0


def stretches(text: str) -> list[str]:
    """A normalised text cut at its white space, as the table `surface` has it."""
    found = []
    for number, line in enumerate(paragraphs := text.split(PARAGRAPH)):
        words = line.split(" ")
        row = [" " * (i > 0) + word for i, word in enumerate(words)]
        row[-1] += PARAGRAPH * (number + 1 < len(paragraphs))
        found += row
    return found
