"""Measure what a model writes, and steer it: a few on-policy steps with an anchor and a brake."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dft_stats.compiled import CompiledProfile
from dft_stats.loss import DistributionLoss, on_policy

TEMPERATURE, TOP_P = 0.8, 0.95
SAMPLES, SAMPLE_TOKENS = 48, 96  # of a measurement
BATCH, STEP_TOKENS = 16, 64  # of a step
LEARNING_RATE = 5e-5
LAYERS = 10  # the last ones are trained
ANCHOR = 0.5  # weight of KL(model || model at the start), in nats a token


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote for the measured prompts."""

    texts: list[str]  # prompt and continuation, up to the last end of a sentence
    z2: dict[str, float]  # mean squared z-score of each statistic; 1 is human noise


def write(model: Any, tokenizer: Any, compiled: CompiledProfile, prompts: Sequence[str], tell: Callable[[str], None]) -> Written:
    """Sample continuations and measure them. The same seed before and after."""
    torch.manual_seed(0)
    loss = DistributionLoss(compiled, temperature=TEMPERATURE, top_p=TOP_P, accumulation_steps=10**6)
    model.eval()
    texts: list[str] = []
    components: dict[str, Tensor] = {}
    rounds = math.ceil(SAMPLES / len(prompts))
    for number in range(rounds):
        tell(f"the model writes: {number * len(prompts)} of {rounds * len(prompts)} samples")
        ids, mask = encode(tokenizer, prompts)
        with torch.no_grad():
            tokens = _generate(model, ids, mask, SAMPLE_TOKENS)
        texts += [whole_sentences(tokenizer.decode(row[m:], skip_special_tokens=True)) for row, m in zip(tokens, (1 - mask).sum(1), strict=True)]
        labels = tokens.clone()
        labels[:, : ids.shape[1]] = -100
        whole = torch.cat([mask, torch.ones(len(ids), tokens.shape[1] - ids.shape[1], dtype=mask.dtype)], 1)
        with torch.no_grad():
            logits = model(tokens, attention_mask=whole).logits
        _, components = loss(logits, labels, input_ids=tokens)
    return Written(texts, {name.removeprefix("dist/"): float(value) for name, value in components.items() if name != "dist/loss"})


def steer(
    model: Any, tokenizer: Any, compiled: CompiledProfile, prompts: Sequence[str], *, steps: int, seconds: float, tell: Callable[[str], None]
) -> int:
    """Train the last layers on the model's own samples; returns the number of steps done.

    The anchor is the divergence from the model as it was; the brake is a step size that falls to zero, and a stop when fresh samples
    are at the human noise in every statistic. `seconds` bounds the whole.
    """
    start = copy.deepcopy(model).eval().requires_grad_(False)
    trained = trainable(model, LAYERS)
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0, betas=(0.9, 0.95))
    loss = DistributionLoss(compiled, temperature=TEMPERATURE, top_p=TOP_P, decay=0.85)
    torch.manual_seed(1)
    began = time.monotonic()
    for step in range(steps):
        chosen = [prompts[i] for i in torch.randperm(len(prompts))[:BATCH].tolist()]
        ids, mask = encode(tokenizer, chosen)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 2) * (1 - step / steps)
        loss.train()
        value, components, tokens = on_policy(loss, model, ids, attention_mask=mask, max_new_tokens=STEP_TOKENS)
        anchor = _divergence(model, start, tokens, ids.shape[1], mask)
        (value + ANCHOR * anchor).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        z2 = {name.removeprefix("dist/"): float(part) for name, part in components.items() if name != "dist/loss"}
        spent = time.monotonic() - began
        tell(f"step {step + 1}/{steps}, {spent:.0f} s: " + ", ".join(f"{name} {value:.1f}" for name, value in z2.items()))
        if max(z2.values()) <= 1 or spent * (step + 2) / (step + 1) > seconds:
            return step + 1
    return steps


def trainable(model: Any, layers: int) -> list[Tensor]:
    """Freeze all but the last `layers` blocks; their parameters."""
    model.requires_grad_(False)
    blocks = max((module for module in model.modules() if isinstance(module, torch.nn.ModuleList)), key=len)
    parameters = [parameter for block in blocks[-layers:] for parameter in block.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    return parameters


def encode(tokenizer: Any, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask, padded on the left."""
    rows = [tokenizer(prompt, add_special_tokens=True)["input_ids"] for prompt in prompts]
    longest = max(map(len, rows))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def whole_sentences(text: str) -> str:
    """The text without the sentence that the token limit cut."""
    end = max(text.rfind(mark) for mark in ".!?")
    return text[: end + 1 + (text[end + 1 : end + 2] in ('"', "”"))] if end >= 0 else text


def _generate(model: Any, ids: Tensor, mask: Tensor, new: int) -> Tensor:
    tokens: Tensor = model.generate(
        ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=True, temperature=TEMPERATURE, top_p=TOP_P, top_k=0,
        pad_token_id=0,
    )  # fmt: skip
    return tokens


def _divergence(model: Any, start: Any, tokens: Tensor, prompt: int, mask: Tensor) -> Tensor:
    """Mean KL(model || start) over the sampled positions, in nats."""
    whole = torch.cat([mask, torch.ones(len(tokens), tokens.shape[1] - prompt, dtype=mask.dtype)], 1)
    with torch.no_grad():
        before = F.log_softmax(start(tokens, attention_mask=whole).logits[:, prompt - 1 : -1].float(), -1)
    now = F.log_softmax(model(tokens, attention_mask=whole).logits[:, prompt - 1 : -1].float(), -1)
    return (now.exp() * (now - before)).sum(-1).mean()
