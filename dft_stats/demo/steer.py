"""Steer a model towards a profile: a few on-policy steps with an anchor and a brake. Beside it, plain fine-tuning as the control."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from dft_stats.compiled import CompiledProfile
from dft_stats.demo.branch import Branch
from dft_stats.demo.writing import TEMPERATURE, TOP_P, encode, of_terms, special
from dft_stats.loss import DistributionLoss, on_policy

BATCH, STEP_TOKENS = 32, 64  # of a step
LEARNING_RATE = 5e-5
LAYERS = 10  # the last ones are trained
ANCHOR = 0.5  # weight of KL(model || model at the start), in nats a token
WEIGHTS = {}
DECAY, DEAD_ZONE, CLIP = 0.85, 1.0, 4.0
GRADIENT_NORM = 1.0


def steer(
    model: Any, tokenizer: Any, compiled: CompiledProfile, prompts: Sequence[str], *,
    steps: int, seconds: float, seed: int, tell: Callable[[str], None], watch=None,
) -> int:  # fmt: skip
    branch = Branch(model, LAYERS, special(compiled, model))
    branch.check(encode(tokenizer, prompts[:1])[0])
    optimizer = torch.optim.AdamW(branch.trained, lr=LEARNING_RATE, weight_decay=0.0, betas=(0.9, 0.95))
    loss = DistributionLoss(compiled, temperature=TEMPERATURE, top_p=TOP_P, decay=DECAY, weights=WEIGHTS, dead_zone=DEAD_ZONE, clip=CLIP)
    torch.manual_seed(seed + 1)
    began = time.monotonic()
    order: list[int] = []
    for step in range(steps):
        if len(order) < BATCH:
            order += torch.randperm(len(prompts)).tolist()
        chosen, order = order[:BATCH], order[BATCH:]
        ids, mask = encode(tokenizer, [prompts[i] for i in chosen])
        spent = time.monotonic() - began
        progress = max(step / steps, spent / seconds)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 2) * (1 - progress)
        t0 = time.monotonic()
        value, components, _ = on_policy(loss, branch, ids, attention_mask=mask, max_new_tokens=STEP_TOKENS)
        t1 = time.monotonic()
        (value + ANCHOR * branch.divergence).backward()
        norm = torch.nn.utils.clip_grad_norm_(branch.trained, GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        z2 = of_terms(components)
        spent = time.monotonic() - began
        tell(
            f"step {step + 1}/{steps}, {spent:.0f} s: "
            + ", ".join(f"{name} {value:.1f}" for name, value in z2.items())
            + f" kl {float(branch.divergence):.4f} norm {float(norm):.2f} loss {float(value):.2f} fwd {t1 - t0:.1f} bwd {time.monotonic() - t1:.1f}"
        )
        if watch:
            watch(step + 1)
        if spent * (step + 2) / (step + 1) > seconds:
            return step + 1
    return steps
