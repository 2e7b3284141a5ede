"""Compiled profiles that the tests of the loss share: real small ones, one made by hand, and token rows that are hard to read."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch import Tensor

from dft_stats.compiled import CompiledProfile
from dft_stats.compiling import compile_profile
from dft_stats.doubts import STAYS, STAYS_APART
from dft_stats.loss import DistributionLoss
from dft_stats.text import MARK_CLASSES, normalise
from dft_stats.token_table import token_table
from tests.profiles import profile_of
from tests.prose import PARAGRAPHS, documents
from tests.tokenizers_for_tests import ALL

CLASSES = len(MARK_CLASSES)
KINDS = (*ALL, "handmade")
SPELT = (
    *("<s>", " the", " The", " cat", " ran", " Dr", " of", "s", "-", "known", " U", ".S", "'"),
    *(",", ";", ":", ".", "!", "?", '."', "...", "\n\n", ' "', '"', " (see", ")", " —", "”", ",”", ".\n\n", "?\n\nThe", "\ufffd", " §"),
    *("3", "14", "S", " 5", " ", "The", " No", " Sup", "p", " Section", "II", "12", " J", " Sec", "tion"),
    *(". ", "Sup. ", ". The"),  # of tokenizers that join words
    *(" pre-", "3,", " U.", " o'", "\n\nThe", "\n\n3."),  # of tokenizers that do not part marks and line ends from words
)


@cache
def compiled(kind: str) -> CompiledProfile:
    """A real one, of a tokenizer in `KINDS`. Windows of four words, so that short rows have some; n-grams of one to four tokens."""
    if kind == "handmade":
        return handmade(ngrams=[(-1, -1, -1, 3), *((-1, -1, i, i + 1) for i in range(1, 9)), (-1, 1, 3, 4), (1, 3, 13, 16)])
    with tempfile.TemporaryDirectory() as folder:
        made = compile_profile(profile_of(documents(60), Path(folder) / "test"), ALL[kind](), cache=False)
    known = np.pad(made.ngrams, ((0, 0), (1, 0)), constant_values=-1)
    ids = made.tokens.fold[ALL[kind]().encode(normalise(PARAGRAPHS[6]), add_special_tokens=False).ids]
    fours = np.array([ids[i : i + 4] for i in range(0, 12, 2)] + [[-1, -1, -1, ids[3]]], np.int32)
    ngrams, first = np.unique(np.concatenate([known, fours]), axis=0, return_index=True)
    rates, sds = (np.concatenate([given, np.full(len(fours), 1e-3)])[first] for given in (made.ngram_frequency, made.ngram_sd))
    return replace(made, ngrams=ngrams, ngram_frequency=rates, ngram_sd=sds, entropy_window=4, entropy_bits=1.6, entropy_sd=0.3)


def handmade(
    spelt: Sequence[str] = SPELT,
    ngrams: Sequence[Sequence[int]] = ((-1, 1, 3), (1, 3, 4)),
    *,
    gap_edges: Sequence[int] = (0, 1, 2, 4, 8, 1_000_000),
    entropy_window: int = 4,
) -> CompiledProfile:
    """One whose tokens are readable: `spelt`, the first of which is special. Its rates are made up."""
    size, gaps, buckets = len(spelt), len(gap_edges) - 1, 5
    text = np.arange(size) > 0
    return CompiledProfile(
        profile="handmade@1.0.0",
        profile_sha256="0" * 64,
        tokenizer_sha256="1" * 64,
        vocab_size=size,
        window_words=128,
        tokens_per_word=1.5,
        tokens=token_table(spelt, [0]),
        token_frequency=text / text.sum(),
        token_sd=np.full(size, 0.01),
        token_tracked=text,
        ngrams=np.array(ngrams, np.int32).reshape(len(ngrams), -1),
        ngram_frequency=np.full(len(ngrams), 0.01),
        ngram_sd=np.full(len(ngrams), 0.01),
        length_edges=np.array([1, 2, 3, 5, 9, 1_000_000], np.int64),
        hazard=np.linspace(0.1, 0.4, buckets),
        hazard_sd=np.full(buckets, 0.05),
        at_risk=np.full(buckets, 1 / buckets),
        marks=np.full(CLASSES, 0.03),
        marks_sd=np.full(CLASSES, 0.02),
        gap_edges=np.array(gap_edges, np.int64),
        rhythm=np.full((CLASSES + 1, gaps, CLASSES), 0.001),
        rhythm_sd=np.full((CLASSES + 1, gaps, CLASSES), 0.001),
        entropy_window=entropy_window,
        entropy_bits=1.6,
        entropy_sd=0.3,
    )


def ids_of(*surfaces: str) -> list[int]:
    """Ids of the tokens of `handmade`."""
    return [SPELT.index(surface) for surface in surfaces]


@cache
def telling(kind: str) -> tuple[int, ...]:
    """Ids where reading can go wrong: marks, ends, abbreviations, joiners, two spellings of one token, specials."""
    table = compiled(kind).tokens
    words = np.flatnonzero(table.words_before > 0)
    groups = (
        table.first_mark >= 0,
        table.last_mark >= 0,
        table.end > 0,
        table.abbreviation > 0,
        table.numbering > 0,
        table.joiner > 0,
        table.head == STAYS,
        table.head == STAYS_APART,
        np.isin(np.arange(len(table.fold)), table.pairs[:, :2]),
        table.glues,
        table.words_after > 0,
        table.fold != np.arange(len(table.fold)),
        table.special,
    )
    return tuple(id for group in groups for id in np.flatnonzero(group)[:30].tolist()) + tuple(words[-60:].tolist())


def token_rows(kind: str, *, rows: int = 3, length: int = 24) -> st.SearchStrategy[list[list[int]]]:
    """Token ids [B, T] of the tokenizer: of real text, of what is hard to read, and of anything."""
    vocab_size, corpus = compiled(kind).vocab_size, _encoded(kind)
    token = st.one_of(st.sampled_from(telling(kind)), st.sampled_from(corpus[:200]), st.integers(0, vocab_size - 1))

    def of_length(size: int) -> st.SearchStrategy[list[list[int]]]:
        run = st.integers(0, len(corpus) - size).map(lambda begin: list(corpus[begin : begin + size]))
        return st.lists(st.one_of(run, st.lists(token, min_size=size, max_size=size)), min_size=1, max_size=rows)

    return st.integers(1, length).flatmap(of_length)


@cache
def _encoded(kind: str) -> tuple[int, ...]:
    if kind == "handmade":
        return tuple(np.random.default_rng(0).integers(0, len(SPELT), 300).tolist())
    return tuple(ALL[kind]().encode(normalise("\n\n".join(PARAGRAPHS)), add_special_tokens=False).ids)


def text_rows(kind: str, rows: int, length: int) -> list[list[int]]:
    """Stretches of real text, each beginning elsewhere."""
    corpus = _encoded(kind) * 3
    return [list(corpus[37 * i : 37 * i + length]) for i in range(rows)]


def measured(made: CompiledProfile, logits: Tensor, labels: Tensor) -> CompiledProfile:
    """The profile that says exactly what the model does: logits [B, T, V] that predict labels [B, T]."""
    loss = DistributionLoss(made, accumulation_steps=0)
    with torch.enable_grad():
        loss(logits, labels, shifted=True)
    families = loss.families()
    rates = {name: (f.pending_numerator / f.pending_denominator.clamp_min(1e-9)).double().numpy() for name, f in families.items()}
    return replace(
        made,
        token_frequency=rates["token_frequency"],
        ngram_frequency=rates["ngram_frequency"],
        hazard=rates["sentence_length"],
        marks=rates["marks"],
        rhythm=rates["rhythm"].reshape(made.rhythm.shape),
        entropy_bits=float(rates["entropy"][0]),
    )


def directly(tokenizer: Tokenizer, compiled: CompiledProfile, texts: list[str]) -> np.ndarray:
    """Token frequency counted on the tokenised text."""
    counts = np.zeros(compiled.vocab_size)
    for text in texts:
        np.add.at(counts, compiled.tokens.fold[tokenizer.encode(normalise(text), add_special_tokens=False).ids], 1)
    counts[compiled.tokens.special] = 0
    return counts / counts.sum()
