"""Does it stay where it should? A thousand on-policy steps of a small model that is trained here, beside as many of cross-entropy alone.

python benchmarks/converge.py TEXT... [--steps 1000] [--first 1500] [--every 200] [--arms NAME ...] [--seed 0] [--batch 16]

TEXT is human writing, as `dft-stats build` reads it. From it come the profile, a byte-level BPE tokenizer of 4,096 entries, and a model of
two million parameters, trained with cross-entropy for `--first` steps; every fifth passage is kept for measuring. Then every arm goes on
from there at one constant learning rate (one arm warms it up): with cross-entropy of the text alone, or with the loss beside it, on the
model's own continuations (weight 0.03) or decode-aware on the text (weight 0.1). "no lead" is the loss without its look ahead.
What is printed, every so many steps, is of continuations of kept openings, drawn anew at temperature 0.8 and top-p 0.95: mean z squared of
each term in a set of 128, mean of four sets, and perplexity of the kept passages. The first table says what the passages themselves
have in these places, which need not be 1: they begin paragraphs, and the profile is of whole articles. Their words were drawn once; of a
model expectations are counted, which have less noise.
"""

import argparse
import copy
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from dft_stats.build import build
from dft_stats.build.corpus import read
from dft_stats.compiled import CompiledProfile
from dft_stats.demo.documents import passages
from dft_stats.loss import TERMS, DistributionLoss, on_policy

VOCABULARY, LENGTH, BATCH = 4096, 96, 16
OPENING, NEW, MEASURED, TIMES = 8, 64, 128, 4
SAMPLING: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95}
WEIGHT = 0.03
RATE, RISE = 2e-4, 30  # learning rate, and steps of a warm-up
END = "<|endoftext|>"
Arm = dict[str, Any]
ON_TEXT: Arm = {"weight": 0.1, "is_forced": True, "top_p": 1.0}
ARMS: dict[str, Arm | None] = {
    "cross-entropy alone": None,
    "loss on its own text": {},
    "the same, as a constraint": {"dual_rate": 0.005},
    "the same, with returns": {"returns": 0.3},
    "the same, slow to see": {"decay": 0.8},
    "loss on the text": {"weight": 0.1, "is_forced": True},
    "loss on the text, at temperature 0.8 alone": ON_TEXT,
    "the same, as a constraint too": {**ON_TEXT, "dual_rate": 0.005},
    "loss on the text, at temperature 1": {**ON_TEXT, "temperature": 1.0},
    "loss on the text, at temperature 0.8 alone, slow to see": {**ON_TEXT, "decay": 0.9, "lead": 0.0},
    "loss on the text, at temperature 0.8 alone, no lead": {**ON_TEXT, "lead": 0.0},
    "loss on the text, at temperature 0.8 alone, no lead, warmed up": {**ON_TEXT, "lead": 0.0, "warmup_steps": RISE},
    "loss on the text, at temperature 0.8 alone, no lead, rate warmed up": {**ON_TEXT, "lead": 0.0, "rise": RISE},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("text", nargs="+")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1500)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=BATCH, help="rows in a step of an arm")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    texts = [text for batch in read(given.text) for text in batch]
    human = passages(texts)
    kept, trained = human[::5], [text for i, text in enumerate(human) if i % 5]
    tokenizer = train_tokenizer(trained)
    with tempfile.TemporaryDirectory() as folder:
        profile = build([{"text": text} for text in texts], privacy="none", out=Path(folder) / "own", name="own", min_documents=3)
        compiled = profile.compile(tokenizer, cache=False)
    rows = windows(tokenizer, trained)
    model = make_model()
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {rows.numel():,} tokens", flush=True)
    learn(model, rows, given.first)
    print(f"\nhuman continuations\n\n| | {' | '.join(TERMS)} |\n|---|{'---|' * len(TERMS)}")
    for number, z2 in enumerate(human_continuations(tokenizer, compiled, kept)):
        print(f"| set {number + 1} | {' | '.join(f'{value:.2f}' for value in z2)} |", flush=True)
    for name in given.arms:
        torch.manual_seed(given.seed + 1)
        print(f"\n{name}\n\n| step | {' | '.join(TERMS)} | perplexity | s |\n|---|{'---|' * (len(TERMS) + 2)}", flush=True)
        run(copy.deepcopy(model), tokenizer, compiled, rows, openings(tokenizer, trained), kept, given, ARMS[name])


def run(
    model: Any, tokenizer: Tokenizer, compiled: CompiledProfile, rows: Tensor, starts: Tensor, kept: list[str], given: Any, arm: Arm | None
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    options = {**SAMPLING, **(arm or {})}
    returns, weight, is_forced = options.pop("returns", 0.0), options.pop("weight", WEIGHT), options.pop("is_forced", False)
    rise = options.pop("rise", 1)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / rise))
    loss = None if arm is None else DistributionLoss(compiled, **options)
    text, prompts = batches(rows, given.batch), batches(starts, given.batch)
    began = time.monotonic()
    for step in range(given.steps + 1):
        if step % given.every == 0:
            z2, perplexity = measure(model, tokenizer, compiled, kept)
            cells = [f"{value:.2f}" for value in (*z2, perplexity)]
            print(f"| {step} | {' | '.join(cells)} | {time.monotonic() - began:.0f} |", flush=True)
        ids = next(text)
        logits = model(ids, use_cache=False).logits
        value = nll(logits, ids)
        if loss is not None and is_forced:
            value = value + weight * loss(logits, ids)[0]
        elif loss is not None:
            value = value + weight * on_policy(loss, model, next(prompts), max_new_tokens=NEW, returns=returns)[0]
        advance(model, optimizer, value)
        rate.step()


@torch.no_grad()
def measure(model: Any, tokenizer: Tokenizer, compiled: CompiledProfile, kept: list[str]) -> tuple[list[float], float]:
    """Mean z squared of each term in `MEASURED` fresh continuations, mean of `TIMES` such; and perplexity of the passages."""
    model.eval()
    state = torch.random.get_rng_state()
    torch.manual_seed(7)
    loss = DistributionLoss(compiled, **SAMPLING).eval()
    parts = [on_policy(loss, model, starts, max_new_tokens=NEW)[1] for starts in openings(tokenizer, kept).split(MEASURED)[:TIMES]]
    torch.random.set_rng_state(state)
    rows = windows(tokenizer, kept)
    total = sum(float(nll(model(part, use_cache=False).logits, part)) * len(part) for part in rows.split(64)) / len(rows)
    model.train()
    return [sum(float(part[f"dist/{term}"]) for part in parts) / len(parts) for term in TERMS], math.exp(total)


def human_continuations(tokenizer: Tokenizer, compiled: CompiledProfile, kept: list[str]) -> Iterator[list[float]]:
    """Mean z squared of each term in what passages have where a model would write: `TIMES` sets of `MEASURED`, those long enough."""
    loss = DistributionLoss(compiled).eval()
    texts = [row for row in (tokenizer.encode(text).ids[: OPENING + NEW] for text in kept) if len(row) == OPENING + NEW]
    for ids in torch.tensor(texts).split(MEASURED)[:TIMES]:
        if len(ids) == MEASURED:
            certain = 100 * F.one_hot(ids.roll(-1, 1), compiled.vocab_size).float()
            _, components = loss(certain, ids.index_fill(1, torch.arange(OPENING), -100), input_ids=ids)
            yield [float(components[f"dist/{term}"]) for term in TERMS]


def train_tokenizer(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def make_model() -> Any:
    size = {"hidden_size": 160, "intermediate_size": 480, "num_hidden_layers": 4, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, max_position_embeddings=256, **size))


def learn(model: Any, rows: Tensor, steps: int) -> None:
    optimizer, text = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01), batches(rows)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 100) * (0.05 + 0.95 * (1 - step / steps))
        ids = next(text)
        advance(model, optimizer, nll(model(ids, use_cache=False).logits, ids))


def advance(model: nn.Module, optimizer: torch.optim.Optimizer, value: Tensor) -> None:
    optimizer.zero_grad()
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def nll(logits: Tensor, ids: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def openings(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """The first tokens of each text, [texts, OPENING]."""
    ids = [tokenizer.encode(text).ids[:OPENING] for text in texts]
    return torch.tensor([row for row in ids if len(row) == OPENING])


def windows(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Texts one behind the other, with the end of text between, cut into [rows, LENGTH]."""
    end = tokenizer.token_to_id(END)
    ids = [id for text in texts for id in (end, *tokenizer.encode(text).ids)]
    return torch.tensor(ids[: len(ids) // LENGTH * LENGTH]).view(-1, LENGTH)


def batches(rows: Tensor, size: int = BATCH) -> Iterator[Tensor]:
    """Random rows for ever, all of them once before any of them twice."""
    while True:
        for chosen in torch.randperm(len(rows)).split(size):
            if len(chosen) == size:
                yield rows[chosen]


if __name__ == "__main__":
    main()
