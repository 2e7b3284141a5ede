"""Token rows [B, T], and what of them lies before each token: running maxima and shifts instead of a loop over positions."""

import torch
from torch import Tensor


class Rows:
    """Token rows [B, T] and where documents open in them."""

    def __init__(self, ids: Tensor, text: Tensor, reset: Tensor) -> None:
        self.ids, self.text, self.reset = ids, text, reset  # text: not a special token; reset: nothing before counts
        self.position = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        self.opening = torch.where(reset, self.position, -1).cummax(1).values
        self.within = of_last(text, False) & ~reset  # the token before belongs to the document

    def latest(self, mask: Tensor) -> Tensor:
        """Position of the last token before, in the document, that `mask` holds for; -1: none."""
        found = of_last(torch.where(mask & self.text, self.position, -1).cummax(1).values, -1)
        return torch.where(found >= self.opening.clamp_min(0), found, -1)

    def at(self, values: Tensor, place: Tensor) -> Tensor:
        """Values at the positions `place`, 0 where there is none."""
        return torch.where(place >= 0, values.gather(1, place.clamp_min(0)), 0)


def of_last(values: Tensor, opening: bool | int) -> Tensor:
    """Values of the token before, [B, T]."""
    return torch.cat([torch.full_like(values[:, :1], opening), values[:, :-1]], 1)


def of_next(values: Tensor, closing: bool) -> Tensor:
    """Values of the token behind, [B, T]."""
    return torch.cat([values[:, 1:], torch.full_like(values[:, :1], closing)], 1)


def largest(behind: Tensor, at: Tensor) -> Tensor:
    """Largest value so far, at least 0: of `behind` up to the token before, of `at` up to this one."""
    return torch.maximum(of_last(behind, -1), at).clamp_min(0).cummax(1).values
