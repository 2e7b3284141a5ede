"""Steer a model towards a profile: a few on-policy steps with an anchor and a brake. Beside it, plain fine-tuning as the control."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dft_stats.demo.branch import Branch
from dft_stats.demo.subject import Subject, likelihood
from dft_stats.demo.writing import SAMPLER, encode, of_terms
from dft_stats.errors import CorpusError
from dft_stats.loss import DistributionLoss, on_policy

BATCH, STEP_TOKENS = 16, 64  # of a step
LAYERS = 10  # the last ones are trained
LEARNING_RATE = 6e-5
WARM_STEPS = 2
ANCHOR = 25.0  # weight of KL(model || model as it was), nats a token
WEIGHTS = {"punctuation_rhythm": 3.0, "sentence_length": 3.0}  # of the terms; 1 for the others
DECAY = 0.7  # of the running rates: as much text as in five steps, so that so few steps see what they steer, and when they may stop
DEAD_ZONE = 0.4  # standard errors of 1,024 words: the noise of those five steps
SETTLED = 5  # steps before the running rates are worth a stop
GRADIENT_NORM = 1.0


def steer(subject: Subject, branch: Branch, prompts: Sequence[str], *, steps: int, weights: Mapping[str, float] = WEIGHTS) -> int:
    """Train on the model's own samples, with `weights` of the terms; returns the number of steps done.

    The anchor is the divergence from the model as it was. The brake is a learning rate that falls to zero over the steps, and a stop
    where every statistic is at the human noise. Neither asks the clock, so that a seed has one result however busy the machine is.
    """
    loss = DistributionLoss(
        subject.compiled, temperature=SAMPLER.temperature, top_p=SAMPLER.top_p, weights=weights, decay=DECAY, dead_zone=DEAD_ZONE
    )
    optimizer = optimizer_of(branch)
    torch.manual_seed(subject.seed + 1)
    chosen = batches(len(prompts))
    began = time.monotonic()
    for step in range(steps):
        ids, mask = encode(subject.tokenizer, [prompts[i] for i in next(chosen)])
        value, components, _ = on_policy(loss, branch, ids, attention_mask=mask, max_new_tokens=STEP_TOKENS)
        update(optimizer, value + ANCHOR * branch.divergence, step, step / steps)
        z2 = of_terms(components)
        subject.tell(
            f"step {step + 1} of {steps}, {time.monotonic() - began:.0f} s,"
            f" z squared: {', '.join(f'{name} {value:.1f}' for name, value in z2.items())};"
            f" {float(branch.divergence.detach()):.3f} nats from the start"
        )
        if step + 1 >= SETTLED and max(z2.values()) <= 1:
            return step + 1
    return steps


def fine_tune(subject: Subject, branch: Branch, texts: Sequence[str], *, steps: int) -> None:
    """Train on human text with cross-entropy alone: as many steps, tokens, layers, and the same learning rates."""
    rows = windows(subject.tokenizer, texts, STEP_TOKENS)
    optimizer = optimizer_of(branch)
    torch.manual_seed(subject.seed + 1)
    chosen = batches(len(rows))
    began = time.monotonic()
    for step in range(steps):
        ids = rows[next(chosen)]
        value = likelihood(branch.model(ids, use_cache=False).logits[:, :-1], ids[:, 1:])
        update(optimizer, value, step, step / steps)
        subject.tell(
            f"plain fine-tuning: step {step + 1} of {steps}, {time.monotonic() - began:.0f} s, loss {float(value.detach()):.2f} nats"
        )


def windows(tokenizer: Any, texts: Sequence[str], length: int) -> Tensor:
    """The texts one after another, cut into rows of ids [N, length + 1].

    Raises:
        CorpusError: they are not enough for a step.
    """
    ids = tokenizer("\n\n".join(texts))["input_ids"]
    number = len(ids) // (length + 1)
    if number < BATCH:
        raise CorpusError(f"the human text has {len(ids):,} tokens to train on; the control needs {BATCH * (length + 1):,} at the least")
    return torch.tensor(ids[: number * (length + 1)]).view(number, length + 1)


def optimizer_of(branch: Branch) -> torch.optim.Optimizer:
    """Of what is trained."""
    return torch.optim.AdamW(branch.trained, lr=LEARNING_RATE, weight_decay=0.0, betas=(0.9, 0.95))


def update(optimizer: torch.optim.Optimizer, value: Tensor, step: int, progress: float) -> None:
    """One step, at a learning rate that rises over the first steps and falls to zero as `progress` goes to one."""
    value.backward()
    for group in optimizer.param_groups:
        group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARM_STEPS) * max(0.0, 1 - progress)
        torch.nn.utils.clip_grad_norm_(group["params"], GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad()


def batches(size: int) -> Iterator[list[int]]:
    """Indices below `size`, `BATCH` at a time, all of them before any comes again."""
    order: list[int] = []
    while True:
        while len(order) < BATCH:
            order += torch.randperm(size).tolist()
        yield order[:BATCH]
        order = order[BATCH:]
