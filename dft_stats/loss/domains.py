"""A profile for each row: one loss for each domain, and each row of a batch is read by that of its own."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dft_stats.loss.batch import describe
from dft_stats.loss.distribution_loss import DistributionLoss
from dft_stats.loss.through_head import through_head


class DomainLosses(nn.Module):
    """Losses by name of the domain, each for a profile that was compiled for the one tokenizer.

    Their sum is what `DistributionLoss` is for one: over micro-batches and ranks it adds up if `num_items` are those of the whole step.
    Call `step` after each optimizer step, on every rank; a domain without rows in it keeps its running rates.
    """

    def __init__(self, losses: Mapping[str, DistributionLoss]) -> None:
        """Take over the losses; their `accumulation_steps` are set to 0."""
        super().__init__()
        if not isinstance(losses, Mapping) or not all(isinstance(loss, DistributionLoss) for loss in losses.values()):
            raise TypeError(
                f"losses are a DistributionLoss for each name of a domain, not {losses!r:.200}; make each of a compiled profile"
            )
        if not losses:
            raise ValueError("there is no loss; give one for each domain")
        self._names = tuple(losses)
        self._losses = nn.ModuleDict({_key(name): loss for name, loss in losses.items()})
        for loss in losses.values():
            loss.accumulation_steps = 0

    @property
    def losses(self) -> dict[str, DistributionLoss]:
        """By name of the domain."""
        found: Any = self._losses.values()
        return dict(zip(self._names, found, strict=True))

    def forward(
        self,
        predictions: Tensor,
        labels: Tensor,
        domains: Sequence[str],
        *,
        head: nn.Module | None = None,
        num_items: int | Tensor | None = None,
        weights: Mapping[str, float] | None = None,
        **options: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of the losses, and `{"dist/<domain>/<term>": ...}`.

        Args:
            predictions: logits [B, T, V]; with a head, hidden states [B, T, H].
            labels: int64 [B, T].
            domains: name of each row's, (B,).
            head: as in `through_head`.
            num_items: labels in the whole step; None: those of this batch.
            weights: of the losses by domain, not of a cross-entropy beside them; 1 where none is given.
            options: of `DistributionLoss.forward` or, with a head, of `through_head` except `weight`; tensors [B, T] are cut like the rows.

        Raises:
            TypeError: labels are no tensor; a batch that one loss has read is of no use to the others.
            ValueError: another number of domains than of rows, or an unknown one; weights that cannot be.
        """
        if not isinstance(labels, Tensor):
            raise TypeError(f"labels are a tensor [B, T] here, of which each domain's loss reads its rows, not {describe(labels)}")
        wrong = {name: weight for name, weight in (weights or {}).items() if name not in self.losses or not 0 <= weight < math.inf}
        if wrong:
            raise ValueError(f"weights are numbers from 0 up, by domain ({', '.join(self.losses)}), not {wrong}")
        unknown = sorted(set(domains) - set(self.losses))
        if unknown or len(domains) != len(labels):
            raise ValueError(
                f"there are {len(domains)} domains for {len(labels)} rows, and unknown are {', '.join(unknown) or 'none'};"
                f" known are {', '.join(self.losses)}"
            )
        if num_items is None:
            some = next(iter(self.losses.values()))
            known = labels if options.get("shifted", False) else labels[:, 1:]
            num_items = (known != some.ignore_index).sum()
        total, components = predictions.new_zeros((), dtype=torch.promote_types(predictions.dtype, torch.float32)), dict[str, Tensor]()
        for name, loss in self.losses.items():
            rows = torch.tensor([i for i, domain in enumerate(domains) if domain == name], dtype=torch.long, device=labels.device)
            if not len(rows):
                continue
            own = {
                key: value[rows] if isinstance(value, Tensor) and value.shape == labels.shape else value for key, value in options.items()
            }
            weight = (weights or {}).get(name, 1.0)
            given: Any = (predictions[rows.to(predictions.device)], labels[rows])
            if head is None:
                value, found = loss(*given, num_items=num_items, **own)
                value = weight * value
            else:
                value, found = through_head(loss, given[0], head, given[1], weight=weight, num_items=num_items, **own)  # type: ignore[arg-type]
            total = total + value
            components |= {f"dist/{name}/{key.removeprefix('dist/')}": part for key, part in found.items()}
        return total, components

    def step(self) -> None:
        """Close an optimizer step in all of them."""
        for loss in self.losses.values():
            loss.step()


def _key(name: str) -> str:
    """A name that a module may have: without points, and none of `nn.ModuleDict`'s own."""
    return "of " + name.replace("%", "%25").replace(".", "%2E")
