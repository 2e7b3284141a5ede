"""What a trainer should have done, in plain PyTorch: every label of an optimizer step counts alike, and prompts are masked."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dft_stats.loss import DistributionLoss

IGNORED = -100
Row = tuple[list[int], list[int]]
"""Tokens of a prompt, and of what is learned."""


def train(
    model: nn.Module,
    rows: Sequence[Row],
    loss: DistributionLoss,
    *,
    weight: float,
    rate: float,
    batch: int,
    pieces: int,
    read_prompts: bool,
    logits_of: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """Steps of gradient descent over the rows, in their order.

    Args:
        model: to train.
        rows: as many as the steps need.
        loss: with `accumulation_steps` of 0.
        weight: of the loss.
        rate: of learning.
        batch: rows of an optimizer step.
        pieces: that each batch is cut into.
        read_prompts: whether the loss sees them.
        logits_of: the model's, of ids and mask.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for begin in range(0, len(rows), batch):
        items = sum(len(text) for _, text in rows[begin : begin + batch])
        for at in range(begin, begin + batch, batch // pieces):
            piece = rows[at : at + batch // pieces]
            ids = _padded([[*prompt, *text] for prompt, text in piece], 0)
            labels = _padded([[*([IGNORED] * len(prompt)), *text] for prompt, text in piece], IGNORED)
            logits = logits_of(ids, _padded([[1] * (len(prompt) + len(text)) for prompt, text in piece], 0))
            cross_entropy = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
            penalty, _ = loss(logits, labels, input_ids=ids if read_prompts else None, num_items=items)
            (cross_entropy / items + weight * penalty).backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.step()


def _padded(rows: list[list[int]], value: int) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Between the parameters of two models."""
    assert one.keys() == other.keys()
    return float(torch.stack([(one[name].float() - other[name].float()).norm() for name in one]).norm())
