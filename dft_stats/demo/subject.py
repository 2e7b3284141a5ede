"""A language model under study: what it writes, measured against a profile."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dft_stats.build import build
from dft_stats.compare import Comparison, compare
from dft_stats.compiled import CompiledProfile
from dft_stats.demo.measured import Measured, standard_error
from dft_stats.demo.writing import write
from dft_stats.profile import Profile

GUARD_TOKENS = 128  # of a text whose perplexity is taken, at the most
ROWS = 16  # texts at a time
PARTS = 8  # of the texts, each left out once for the standard errors


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, and what it is measured by."""

    model: Any
    tokenizer: Any
    reference: Profile
    compiled: CompiledProfile
    guards: Mapping[str, Sequence[str]]  # what human text -> passages
    seed: int
    tell: Callable[[str], None]


def measure(subject: Subject, prompts: Sequence[str]) -> Measured:
    """Let the model continue the prompts, count what it wrote as a corpus is counted, and compare. The same seed gives the same draws."""
    written = write(subject.model, subject.tokenizer, subject.compiled, prompts, seed=subject.seed, tell=subject.tell)
    found = compared(subject, written.texts)
    parts = range(min(PARTS, len(written.texts)))
    left_out = [compared(subject, [text for i, text in enumerate(written.texts) if i % len(parts) != part]) for part in parts]
    again = [{(each.statistic, each.unit): each.multiple for each in comparison.differences} for comparison in left_out]
    return Measured(
        multiples={difference.statistic: difference.multiple for difference in found.differences},
        errors={each.statistic: standard_error([part.get((each.statistic, each.unit)) for part in again]) for each in found.differences},
        z2=written.z2,
        perplexity={name: perplexity(subject.model, subject.tokenizer, texts) for name, texts in subject.guards.items() if texts},
        texts=written.texts,
        words=found.other_words,
    )


def compared(subject: Subject, texts: Sequence[str]) -> Comparison:
    """Texts against the reference, counted by its rules."""
    rules = subject.reference.manifest
    with tempfile.TemporaryDirectory(prefix="dft-stats-") as folder:
        profile = build(
            [{"text": text} for text in texts],
            privacy="none",
            out=Path(folder) / "written",
            name="written",
            segmenter=rules["segmenter"]["name"],
            typography=rules["typography"],
            max_order=3,
            progress=subject.tell,
        )
        return compare(subject.reference, profile)


@torch.no_grad()
def perplexity(model: Any, tokenizer: Any, texts: Sequence[str]) -> float:
    """Of texts, each by itself, per token: exp of the mean negative log-likelihood in nats."""
    rows = sorted((tokenizer(text)["input_ids"][:GUARD_TOKENS] for text in texts), key=len)
    total, tokens = 0.0, 0
    for i in range(0, len(rows), ROWS):
        part = rows[i : i + ROWS]
        longest = max(map(len, part))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in part])  # padded behind, where a causal model does not look
        labels = torch.tensor([row + [-100] * (longest - len(row)) for row in part])[:, 1:]
        total += float(likelihood(model(ids, use_cache=False).logits[:, :-1], labels) * (labels >= 0).sum())
        tokens += int((labels >= 0).sum())
    return math.exp(total / max(tokens, 1))


def likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats of labels [B, T], -100 not counted, under logits [B, T, V]."""
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100)
