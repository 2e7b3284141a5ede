"""Whether a tokenizer reads a text stretch by stretch, as compiling takes for granted.

Some do not: byte-level tokenizers without a pre-tokenizer, or those trained to join words ("of the" as one token). So texts from the
profile itself are encoded twice, whole and as stretches, and the two counts of tokens compared.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dft_stats.encoding import LINE as ENCODED_LINE
from dft_stats.encoding import encode_between, follower
from dft_stats.measures import jensen_shannon_bits
from dft_stats.sentences import CLOSERS, TERMINATORS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from dft_stats.profile import Profile

PROBES = 1500  # texts
JOINED = 5  # n-grams in a text
STEP = 607  # prime: places are taken in this step where they shall not go along with those beside them
LINE = "\n\n"
_CLOSING, _OPENING = r"^ .*\n\n$", r"^[^ ](?s:.*)[^\n]$|^[^ \n]$"  # a paragraph
_ENDING = f"^ .*[{re.escape(''.join(sorted(TERMINATORS)))}][{re.escape(''.join(sorted(CLOSERS)))}]*$"  # a sentence


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
    texts = [mixed[i : i + JOINED] for i in range(0, len(mixed), JOINED)]
    closing, opening, ending = (_drawn(surface, kind, len(texts)) for kind in (_CLOSING, _OPENING, _ENDING))
    for i, row in enumerate(texts):
        at = i * STEP % len(texts)
        opens, begins = opening[at], opening[(at + len(texts) // 2) % len(texts)]
        row[0] += (closing[i] or LINE) + (opens or row[0])
        row[len(row) // 2] += ending[at] + (" " + begins if begins else "")
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
    opening = "a" + LINE
    whole = tokenizer.encode_batch([opening + text for text in texts], add_special_tokens=False)
    cut = [stretches(text) for text in texts]
    encoded = iter(_encode(tokenizer, cut))
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


def _encode(tokenizer: "Tokenizer", cut: Sequence[Sequence[str]]) -> list[list[int]]:
    """Token ids of the stretches of texts, one by one; those that end a paragraph before what they would be compiled before."""
    before = [ENCODED_LINE if stretch[0] != " " else "a" for row in cut for stretch in row]
    followers = [stretch for row in cut for stretch in (*row[1:], "a")]
    flat = [stretch for row in cut for stretch in row]
    after = [follower(next_.lstrip()) if stretch[-1] == "\n" else "" for stretch, next_ in zip(flat, followers, strict=True)]
    return encode_between(tokenizer, before, flat, after)


def legibility(tokenizer: "Tokenizer", spelt: Sequence[str], texts: Sequence[str]) -> float:
    """Share of the words, between white space, that come out of their ids as they went in.

    Not so with tokenizers that make all letters small, put spaces where none were, have no decoder, or no token for many words.

    Args:
        tokenizer: any.
        spelt: what each of its ids spells, from `surfaces`.
        texts: from `probe_texts`. Words that are not ASCII do not count: ids may spell parts of a character.
    """
    into, out = Counter[str](), Counter[str]()
    for text, encoding in zip(texts, tokenizer.encode_batch_fast(list(texts), add_special_tokens=False), strict=True):
        into.update(word for word in text.split() if word.isascii())
        out.update("".join(spelt[id] for id in encoding.ids).split())
    return (into & out).total() / max(into.total(), 1)


def stretches(text: str) -> list[str]:
    """A normalised text cut at its white space, as the table `surface` has it."""
    found = []
    for number, line in enumerate(paragraphs := text.split(LINE)):
        words = line.split(" ")
        row = [" " * (i > 0) + word for i, word in enumerate(words)]
        row[-1] += LINE * (number + 1 < len(paragraphs))
        found += row
    return found
