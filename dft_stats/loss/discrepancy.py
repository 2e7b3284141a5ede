"""Which way to pull: other distances of a term's rates from the profile's than the z-scores one by one.

Each is a differentiable function of the rates; its gradient says in which proportions they are to change, and `Control` how strongly. W1
is in words, but its gradient is a sign that jumps; Cramér's distance has the same minimum and a smooth one, so train that and report W1.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dft_stats.compiled import CompiledProfile

LONGEST = 256  # words: what is beyond counts as that long
LEAST_MASS = 1e-12

Discrepancy = Callable[[Tensor, Tensor], Tensor]
"""Distance of rates (features,) from target rates (features,), a scalar."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "token_frequency": ("whitened", "l2", "jensen_shannon"),
    "ngram_frequency": ("whitened", "l2", "jensen_shannon"),
    "sentence_length": ("whitened", "cramer", "wasserstein"),
    "punctuation_rhythm": ("whitened", "cramer", "wasserstein"),
    "entropy": ("whitened",),
}
"""What each term may be pulled by; "whitened" is the z-scores themselves."""


def discrepancies(compiled: CompiledProfile, chosen: Mapping[str, str]) -> dict[str, Discrepancy]:
    """By family, those that are not whitened.

    Raises:
        ValueError: a term has no such discrepancy.
    """
    for term, name in chosen.items():
        if name not in CHOICES.get(term, ()):
            known = "; ".join(f"{term}: {', '.join(names)}" for term, names in CHOICES.items())
            raise ValueError(f"{term} has no discrepancy {name!r}; there are, {known}")
    found: dict[str, Discrepancy] = {}
    for term, tracked in (("token_frequency", compiled.token_tracked), ("ngram_frequency", np.ones(len(compiled.ngrams), bool))):
        if (name := chosen.get(term, "whitened")) != "whitened":
            found[term] = squared_l2 if name == "l2" else partial(jensen_shannon_bits, tracked=torch.from_numpy(tracked))
    ages = np.arange(1, LONGEST + 1)
    if (name := chosen.get("sentence_length", "whitened")) != "whitened":
        buckets = torch.from_numpy(np.searchsorted(compiled.length_edges, ages, side="right") - 1).clamp_max(len(compiled.hazard) - 1)
        found["sentence_length"] = partial(of_lengths, buckets=buckets, power=2 if name == "cramer" else 1)
    if (name := chosen.get("punctuation_rhythm", "whitened")) != "whitened":
        widths = torch.from_numpy(np.diff(np.minimum(compiled.gap_edges, LONGEST)).astype(np.float64)).clamp_min(1)
        found["rhythm"] = partial(of_gaps, shape=compiled.rhythm.shape, widths=widths, power=2 if name == "cramer" else 1)
    return found


def direction(discrepancy: Discrepancy, rates: Tensor, target: Tensor) -> Tensor:
    """Gradient of the discrepancy at the rates, (features,)."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = rates.detach().clone().double().requires_grad_()
        (slope,) = torch.autograd.grad(discrepancy(leaf, target.clone().double()), leaf)
    return slope.to(rates.dtype)


def squared_l2(rates: Tensor, target: Tensor) -> Tensor:
    """Half the squared Euclidean distance: squared MMD with the linear kernel on counts. The most frequent dominate it."""
    return (rates - target).square().sum() / 2


def jensen_shannon_bits(rates: Tensor, target: Tensor, *, tracked: Tensor | None = None) -> Tensor:
    """Jensen-Shannon divergence in bits of the rates, of `tracked` bool (features,) if they are told, and what they leave of one."""

    def whole(values: Tensor) -> Tensor:
        values = values if tracked is None else values * tracked.to(values.device)
        return torch.cat([values, 1 - values.sum()[None]]).clamp_min(LEAST_MASS)

    p, q = whole(rates), whole(target)
    middle = (p + q) / 2
    return ((p * (p / middle).log2()).sum() + (q * (q / middle).log2()).sum()) / 2


def of_lengths(hazards: Tensor, target: Tensor, *, buckets: Tensor, power: int) -> Tensor:
    """Integral of |F - F*| ** power over sentence lengths, in words, with the laws that the hazards make.

    Args:
        hazards: chance that a sentence that has reached an age ends at it, by bucket of age.
        target: likewise.
        buckets: int64 (LONGEST,): of each age from 1 on.
        power: 1: Wasserstein-1; 2: Cramér.
    """
    buckets = buckets.to(hazards.device)

    def law(values: Tensor) -> Tensor:
        return 1 - (1 - values.clamp(0, 1)[buckets]).cumprod(0)

    return (law(hazards) - law(target)).abs().pow(power).sum()


def of_gaps(rates: Tensor, target: Tensor, *, shape: tuple[int, ...], widths: Tensor, power: int) -> Tensor:
    """Integral of |F - F*| ** power over the words between a mark and the one before, mean over classes as often as the profile has them.

    Args:
        rates: of (previous mark, gap, mark) per word, flattened.
        target: likewise.
        shape: of these.
        widths: (gaps,): words in each bucket of gaps.
        power: 1: Wasserstein-1; 2: Cramér.
    """

    def law(values: Tensor) -> Tensor:
        by_gap = values.view(shape).sum(0).clamp_min(0)
        return by_gap.cumsum(0) / by_gap.sum(0).clamp_min(LEAST_MASS)

    share = target.view(shape).sum((0, 1))
    distance = ((law(rates) - law(target)).abs().pow(power) * widths.to(rates.device)[:, None])[:-1].sum(0)
    return (distance * share).sum() / share.sum().clamp_min(LEAST_MASS)
