"""What a trainer should have done, in plain PyTorch: every label of an optimizer step counts alike, and prompts are masked."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dft_stats.loss import DistributionLoss
from tests.prose import PARAGRAPHS, documents

IGNORED = -100
Row = tuple[list[int], list[int]]
"""Tokens of a prompt, and of what is learned."""
Steps = Sequence[Sequence[Sequence[Row]]]
"""Optimizer steps, of micro-batches, of rows."""


def instructions(number: int) -> list[tuple[str, str]]:
    """Prompts, and what is learned behind each: so many documents beside the paragraphs."""
    prompts = ("Tell me:", "What happened at the harbour?", "Go on", "And then, on that evening?")
    return [(prompts[i % len(prompts)], text) for i, text in enumerate([*PARAGRAPHS, *documents(number)])]


def steps_of(rows: Sequence[Row], batch: int, pieces: int) -> Steps:
    """Steps of so many rows each, in their order, cut into so many micro-batches."""
    size = batch // pieces
    return [[rows[at : at + size] for at in range(begin, begin + batch, size)] for begin in range(0, len(rows), batch)]


def train(
    steps: Steps,
    loss: DistributionLoss,
    *,
    weight: float,
    optimizer: torch.optim.Optimizer,
    read_prompts: bool,
    logits_of: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """Train as a trainer should.

    Args:
        steps: of training.
        loss: with `accumulation_steps` of 0.
        weight: of the loss.
        optimizer: of the model's parameters.
        read_prompts: whether the loss sees them.
        logits_of: the model's, of ids and mask.
    """
    for pieces in steps:
        items = sum(len(text) for rows in pieces for _, text in rows)
        for rows in pieces:
            ids = _padded([[*prompt, *text] for prompt, text in rows], 0)
            labels = _padded([[*([IGNORED] * len(prompt)), *text] for prompt, text in rows], IGNORED)
            logits = logits_of(ids, _padded([[1] * (len(prompt) + len(text)) for prompt, text in rows], 0))
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
