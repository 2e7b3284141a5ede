"""A chunk of logits in two passes, by Triton, on NVIDIA GPUs. The reference is the portable path of `dft_stats.loss.one_pass`.

What is sparse (marks and ends, single entries, labels) is left to torch, in float32, and written over what the second pass left: where
much cancels, as in p - 1 of a likely label, nothing is added up in half precision. Torch's CUDA builds bring Triton.
Proven in its interpreter, on a CPU; never run on a GPU.
"""

import importlib.util
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dft_stats.loss.sampler import Sampler

if TYPE_CHECKING:
    from dft_stats.loss.probabilities import Kinds

ENABLED = True
BLOCK, TILE_ROWS, TILE_BLOCK = 1024, 16, 256


def usable(logits: Tensor, sampler: Sampler) -> bool:
    """Whether the kernels are made for such logits, sampling and machine."""
    return ENABLED and logits.is_cuda and is_made_for(logits, sampler) and importlib.util.find_spec("triton") is not None


def is_made_for(logits: Tensor, sampler: Sampler) -> bool:
    """Whether the kernels are made for such logits and sampling: not for truncation, float64, nor float16, whose slopes need a scale."""
    return sampler.top_p == 1 and logits.dtype in (torch.float32, torch.bfloat16) and logits.stride(-1) == 1


class Passes:
    """The two passes over one chunk, and what is known between them."""

    def __init__(self, logits: Tensor, rate: Tensor, kinds: "Kinds", temperature: float, surplus: Tensor | None) -> None:
        """First pass.

        Args:
            logits: [n, V].
            rate: (vocab,): weight of each token in predicted rows.
            kinds: of the loss.
            temperature: of the sampling.
            surplus: bool (n,): rows that nobody needs, whatever they hold; None: there are none.
        """
        from dft_stats.loss import kernels  # needs triton

        self.kernels: Any = kernels
        self.logits, self.rate, self.temperature = logits, rate.float().contiguous(), temperature
        self.classes = kinds.class_of
        self.size = max(16, 1 << (len(kinds.classes) - 1).bit_length())
        rows, tempered = len(logits), temperature != 1
        self.lse, self.plain_lse, self.expected = (self.rate.new_empty(rows) for _ in range(3))
        padded = self.rate.new_empty(rows, self.size)
        with torch.cuda.device(logits.device) if logits.is_cuda else nullcontext():
            kernels.sums_kernel[(rows,)](
                logits, self.rate, self.classes, self.lse, self.plain_lse, self.expected, padded, logits.shape[1], len(self.rate),
                logits.stride(0), 1 / temperature, CLASSES=self.size, BLOCK=BLOCK, TEMPERED=tempered,
            )  # fmt: skip
        self.surplus = surplus
        self.expected, self.by_class = self._needed(self.expected), self._needed(padded[:, : len(kinds.classes)])

    def at(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities [n, ids] of some tokens in all rows; and without temperature."""
        logits = self.logits[:, ids].float()
        p = self._needed(torch.exp(logits / self.temperature - self.lse[:, None]))
        return p, p if self.temperature == 1 else self._needed(torch.exp(logits - self.plain_lse[:, None]))

    def single(self, rows: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Likewise of single entries, (pairs,)."""
        logits = self.logits[rows, ids].float()
        p = torch.exp(logits / self.temperature - self.lse[rows])
        return p, p if self.temperature == 1 else torch.exp(logits - self.plain_lse[rows])

    def told(self, told: Tensor) -> tuple[Tensor, Tensor]:
        """Probability of a token in each row; and its log likelihood without temperature, (n,)."""
        logits = self.logits.gather(1, told[:, None])[:, 0].float()
        return self._needed(torch.exp(logits / self.temperature - self.lse)), self._needed(logits - self.plain_lse)

    def _needed(self, values: Tensor) -> Tensor:
        if self.surplus is None:
            return values
        return values.masked_fill(self.surplus.view(-1, *[1] * (values.ndim - 1)), 0)

    def slope(self, out: Tensor, tokens: Tensor, predicted: Tensor, by_class: Tensor, mean: Tensor, each: Tensor, weight: float) -> None:
        """Second pass: the dense part of the slope into `out` [n, V], which may be the logits; adds to `tokens` (vocab,).

        Args:
            out: where to.
            tokens: sums of the probabilities over predicted rows.
            predicted: (n,), 0 or 1.
            by_class: [n, classes]: weight of the tokens of each class.
            mean: (n,): expected weight of all that a row predicts.
            each: (n,): weight of the row's label.
            weight: of the loss, by temperature.
        """
        rows, width = self.logits.shape
        padded = torch.zeros(rows, self.size, device=out.device, dtype=torch.float32)
        padded[:, : by_class.shape[1]] = by_class
        grid = (-(-width // TILE_BLOCK), -(-rows // TILE_ROWS))
        kept = torch.ones_like(predicted) if self.surplus is None else (~self.surplus).float()
        given = (self.lse, self.plain_lse, mean.float().contiguous(), padded, predicted.float(), each.float().contiguous(), kept, tokens)
        with torch.cuda.device(out.device) if out.is_cuda else nullcontext():
            self.kernels.slope_kernel[grid](
                self.logits, out, self.rate, self.classes, *given, rows,
                width, len(self.rate), self.logits.stride(0), out.stride(0), 1 / self.temperature, weight, CLASSES=self.size,
                ROWS=TILE_ROWS, BLOCK=TILE_BLOCK, TEMPERED=self.temperature != 1,
            )  # fmt: skip
