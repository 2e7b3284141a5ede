"""How text is sampled from logits, so that the statistics are those of the text that readers will see."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CANDIDATES = (64, 512, 4096)  # probabilities that are looked at for the nucleus, in turn, where the fewer do not hold it
AT_ONCE = 1024  # on a GPU, where each turn is a wait


@dataclass(frozen=True, slots=True)
class Sampler:
    """Temperature and nucleus sampling (Holtzman et al. 2020), as in transformers with top_k=0.

    Args:
        temperature: logits are divided by it, more than 0.
        top_p: the fewest tokens with this much mass are kept, 0 < top_p <= 1; tokens as probable as the last of them are kept too.
    """

    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature is more than 0, not {self.temperature}; for greedy decoding use a small one such as 0.01")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is more than 0 and at most 1, not {self.top_p}")

    @property
    def is_plain(self) -> bool:
        """Whether the probabilities are those of a softmax."""
        return self.temperature == 1 and self.top_p == 1

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities [..., V] in float32, or float64 for float64 logits; differentiable on the tokens that are kept."""
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        if self.is_plain:
            return torch.softmax(logits, -1, dtype=dtype)
        p: Tensor = _Nucleus.apply(logits, self.temperature, self.top_p, dtype)  # type: ignore[no-untyped-call]
        return p

    @torch.no_grad()
    def sample(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Ids [...] drawn from logits [..., V]."""
        p = self.probabilities(logits)
        return torch.multinomial(p.reshape(-1, p.shape[-1]), 1, generator=generator).reshape(p.shape[:-1])


class _Nucleus(torch.autograd.Function):
    """Softmax over the kept tokens. Its own function, for the sake of memory: one result and one gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, temperature: float, top_p: float, dtype: torch.dtype) -> Tensor:
        p = torch.softmax(logits.to(dtype) / temperature, -1)
        if top_p < 1:
            p.masked_fill_(p < cut_off(p, top_p), 0)
            p /= p.sum(-1, keepdim=True)
        ctx.save_for_backward(p)
        ctx.temperature, ctx.dtype = temperature, logits.dtype
        return p

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (p,) = ctx.saved_tensors
        product = gradient * p
        product.addcmul_(p, product.sum(-1, keepdim=True), value=-1)
        return (product / ctx.temperature if ctx.temperature != 1 else product).to(ctx.dtype), None, None, None


def cut_off(p: Tensor, top_p: float) -> Tensor:
    """The least probability in the nucleus, [..., 1]."""
    flat = p.reshape(-1, p.shape[-1])
    least, left = p.new_empty(len(flat)), torch.arange(len(flat), device=p.device)  # rows whose nucleus is not found yet
    for number in (*(CANDIDATES if p.is_cpu else (AT_ONCE,)), flat.shape[1]):
        rows = flat if len(left) == len(flat) else flat[left]
        falling = rows.topk(number, -1).values if number < flat.shape[1] else rows.sort(-1, descending=True).values
        least[left], held = _least(falling, top_p)
        left = left[~held]
        if number >= flat.shape[1] or not len(left):
            break
    return least.view(*p.shape[:-1], 1)


def _least(falling: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Least kept value of each row of falling probabilities, and whether the row has the mass at all."""
    above = falling.cumsum(-1) - falling
    number = (above < top_p).sum(-1, keepdim=True).clamp_min(1)
    return falling.gather(-1, number - 1)[:, 0], falling.sum(-1) >= top_p
