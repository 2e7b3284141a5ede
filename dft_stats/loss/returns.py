"""What a token does to the text after it: the score-function part of the on-policy gradient (Williams 1992, REINFORCE).

A prediction changes the loss at its own place, which `DistributionLoss` follows exactly, over all tokens; and it changes what comes after,
and how many chances there are: a sentence that ends begins another one. For that only the tokens that were drawn are known.
"""

import torch
from torch import Tensor

from dft_stats.loss.batch import Batch
from dft_stats.loss.credit import credit
from dft_stats.loss.distribution_loss import DistributionLoss
from dft_stats.loss.probabilities import without_autocast
from dft_stats.loss.reward import DistributionReward


def to_go(values: Tensor, gamma: float = 1.0) -> Tensor:
    """What is still to come after each token, float [..., T]: sum over k > t of gamma^(k - t - 1) values[k]."""
    found = torch.zeros_like(values)
    for t in range(values.shape[-1] - 2, -1, -1):
        found[..., t] = values[..., t + 1] + gamma * found[..., t + 1]
    return found


@torch.no_grad()
def consequences(loss: DistributionLoss, batch: Batch, shape: torch.Size, items: Tensor, gamma: float) -> Tensor:
    """What follows from the token of each row, in units of the loss, [B, T]: to be lowered. The running rates must be steady.

    Args:
        loss: whose witness is that of the next forward.
        batch: the drawn text.
        shape: B and T.
        items: labels in the whole step.
        gamma: weight of what comes a token later, for each token; less than 1 has less noise and some bias.
    """
    witnesses, _ = loss.witnesses(None, batch.stream, True)
    with without_autocast(loss.words):
        gains, chances = credit(loss, witnesses, batch.stream, batch.targets.clamp_min(0), batch.pairs, items, loss.rates())
    return to_go((gains - chances).view(shape), gamma) - chances.view(shape)


@torch.no_grad()
def rewarded(reward: DistributionReward, tokens: Tensor, drawn: Tensor, gamma: float) -> tuple[Tensor, dict[str, float]]:
    """What comes with and after the token of each row, as a cost, [B, T], mean over continuations; and the reward's components.

    Args:
        reward: of the continuations.
        tokens: prompts and continuations, [B, T].
        drawn: bool [B, T], what of them belongs to the continuations.
        gamma: weight of what comes a token later; what a continuation gets as a whole is not discounted.
    """
    rows, whole, components = reward.rewards([row[mask].tolist() for row, mask in zip(tokens, drawn, strict=True)])
    given = torch.zeros(tokens.shape, device=tokens.device, dtype=torch.float32)
    given[drawn] = torch.cat(rows).to(tokens.device)
    costs = -(given + gamma * to_go(given, gamma) + whole.to(tokens.device)[:, None]) / len(tokens)
    return costs.roll(-1, 1), components  # a row predicts the next token


def less_others(costs: Tensor, drawn: Tensor) -> Tensor:
    """Costs [B, T] less their mean over the other rows at the same place, of what is `drawn` bool [B, T].

    That changes the noise and not the expectation where a row's costs do not depend on what the others draw: those of the loss, whose
    witness is made of the steps before, and not a reward that compares texts with each other.
    """
    others = drawn.sum(0) - drawn.long()
    mean = ((costs * drawn).sum(0) - costs * drawn) / others.clamp_min(1)
    return torch.where(drawn & (others > 0), costs - mean, costs)


def surrogate(loss: DistributionLoss, logits: Tensor, batch: Batch, costs: Tensor) -> Tensor:
    """A scalar whose gradient is that of the expected `costs` [B, T] by way of the drawn tokens."""
    drawn = batch.labelled.view(costs.shape)
    p = loss.sampler.probabilities(logits).gather(-1, batch.targets.clamp_min(0).view(*costs.shape, 1))[..., 0]
    return (costs * drawn * torch.where(drawn, p, 1).clamp_min(torch.finfo(p.dtype).tiny).log()).sum()
