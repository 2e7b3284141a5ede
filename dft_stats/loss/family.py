"""The rates of one kind, beside what the profile says of them: running sums, z-scores, and the witness that steers."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from dft_stats.loss.control import Control

LEAST = 1e-8  # that anything is divided by
MOST_WORDS = 1024  # by whose noise rates are steered: with that of a large step every rate would be far off, and swing at full strength


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much text rates were measured on."""

    words: Tensor  # scalar: counted word beginnings, weighted as the sums are
    effective_words: Tensor  # scalar: as many unweighted words have the same noise (Kish)

    @property
    def scale(self) -> Tensor:
        """Factor that makes a z-score one in standard errors of `MOST_WORDS` words, if there are more."""
        return (MOST_WORDS / self.effective_words.clamp_min(1)).sqrt().clamp_max(1)


class Family(nn.Module):
    """Rates with one kind of denominator: rate = numerator / denominator, feature by feature.

    `numerator` and `denominator` are sums over optimizer steps with exponential decay; the `pending_*` pair belongs to the step that is
    being accumulated. These four, `dual`, the strength that the constraint has come to need, and `before` are state.
    """

    target: Tensor  # (features,)
    sd: Tensor  # (features,): of the rate, between windows of the profile's text
    tracked: Tensor  # (features,) bool: the others are measured, not steered
    per_token: Tensor  # (features,): expected denominator in a counted token
    numerator: Tensor  # (features,)
    denominator: Tensor  # (features,)
    pending_numerator: Tensor
    pending_denominator: Tensor
    dual: Tensor  # (features,)
    before: Tensor  # (features,): z of the sums as they were a step ago, in standard errors of `MOST_WORDS` words at the most

    def __init__(
        self, target: ArrayLike, sd: ArrayLike, tracked: ArrayLike, *, per_word: ArrayLike, tokens_per_word: float, window_words: int | None
    ) -> None:
        """Facts of the profile.

        Args:
            target: rates, any shape; features are its elements.
            sd: standard deviation of the rates between windows of `window_words` words, same shape.
            tracked: bool, same shape or one value.
            per_word: how much denominator there is in a word, same shape or one number.
            tokens_per_word: of the profile.
            window_words: None: the denominator counts windows, and a rate is a mean over them instead of events per chance.
        """
        super().__init__()
        rate, noise = (np.asarray(values, np.float64).reshape(-1) for values in (target, sd))
        exposure = np.broadcast_to(np.asarray(per_word, np.float64).reshape(-1), rate.shape)
        usable = np.broadcast_to(np.asarray(tracked, bool).reshape(-1), rate.shape) & (exposure > 0)
        usable = usable & np.isfinite(rate) & np.isfinite(noise)
        rate = np.where(np.isfinite(rate), rate, 0.0)  # of what is not tracked too: `rates` says it where nothing was measured
        noise, exposure = np.where(usable, noise, 1.0), np.where(usable, exposure, 1.0)
        if window_words is not None:
            # Few documents can show too little noise. Rare independent events vary like Poisson at least, and what was never seen like
            # something that is seen once in a window.
            chances = window_words * exposure
            noise = np.maximum(noise, np.sqrt(np.where(rate > 0, rate, 1 / chances) / chances))
        self.window_words = window_words
        for name, array in (("target", rate), ("sd", np.maximum(noise, LEAST)), ("per_token", exposure / tokens_per_word)):
            self.register_buffer(name, torch.tensor(array, dtype=torch.float32), persistent=False)
        self.register_buffer("tracked", torch.tensor(usable), persistent=False)
        for name in ("numerator", "denominator", "pending_numerator", "pending_denominator", "dual", "before"):
            self.register_buffer(name, torch.zeros(len(rate), dtype=torch.float32))

    def add(self, numerator: Tensor, denominator: Tensor) -> None:
        """Count a micro-batch of the pending step."""
        self.pending_numerator += numerator.detach()
        self.pending_denominator += denominator.detach()

    def commit(self, decay: Tensor) -> None:
        """Close the pending step."""
        for total, pending in ((self.numerator, self.pending_numerator), (self.denominator, self.pending_denominator)):
            total.mul_(decay).add_(pending)
            pending.zero_()

    def remember(self, exposure: Exposure, happened: Tensor) -> None:
        """Before a step is closed: keep what the sums say, of `exposure`, if there is a step to close."""
        z = self.z(self.numerator, self.denominator, exposure) * exposure.scale
        self.before.copy_(torch.where(happened, z, self.before))

    def z(self, numerator: Tensor, denominator: Tensor, exposure: Exposure) -> Tensor:
        """Distance from the profile in standard errors of `exposure`, (features,); 0 where nothing was measured or it is not tracked."""
        if self.window_words is None:
            windows = exposure.effective_words * denominator / exposure.words.clamp_min(1)
        else:
            windows = exposure.effective_words / self.window_words
        return (self.rate(numerator, denominator) - self.target) / self.sd * windows.sqrt() * self.tracked

    def rate(self, numerator: Tensor, denominator: Tensor) -> Tensor:
        """Rates, (features,), steered or not; the profile's rate where nothing was measured."""
        return torch.where(denominator > 0, numerator / denominator.clamp_min(LEAST), self.target)

    def turned(self, pull: Tensor, slope: Tensor) -> Tensor:
        """A pull of the same length in standard errors, in the direction of the slope of a discrepancy, (features,)."""
        whitened = slope * self.sd * self.tracked
        turned: Tensor = whitened * ((pull * self.tracked).norm() / whitened.norm().clamp_min(LEAST**2))
        return turned

    def witness(self, pull: Tensor) -> Tensor:
        """Weight of each rate in the loss, (features,): the pull in standard errors, per unit of the rate."""
        return pull * self.tracked / (self.sd * self.tracked.sum(dtype=self.sd.dtype).clamp_min(1).sqrt())

    def insist(self, beyond: Tensor, control: Control) -> None:
        """Let the dual variables grow where rates stay beyond the human noise."""
        self.dual.add_(control.dual_rate * beyond.clamp(-1, 1)).clamp_(-control.dual_limit, control.dual_limit)

    def value(self, witness: Tensor, numerator: Tensor, denominator: Tensor, tokens: Tensor) -> Tensor:
        """Term of the loss: sum of witness * (rate - target), with the denominator that `tokens` tokens are expected to have.

        Linear in `numerator`, so micro-batches add up to their batch.
        """
        return (witness * (numerator - self.target * denominator) / self.per_token).sum() / tokens
