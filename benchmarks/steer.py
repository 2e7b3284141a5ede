"""Does it move the numbers? What a small model writes, before and after training in each mode, against the same compute without the loss.

python benchmarks/steer.py TEXT [--profile news] [--model PATH] [--steps 16] [--draws 2] [--arms NAME ...] [--seeds 0]

TEXT is human writing of the profile's domain: files, Parquet or a dataset, as `dft-stats build` reads them. Its passages are trained on,
but every fifth is kept to take the perplexity of. Every arm starts from the same model and takes as many steps of as many tokens, at the
same learning rates. Measured are continuations that the model draws at temperature 0.8 and top-p 0.95 of openings that no arm has seen:
discrepancies as multiples of the human-human floor, mean z squared of what it expects to write, perplexity of held-out text. Of several
seeds the last table has the means, and in brackets the least and the most.

* fine-tuning: cross-entropy of TEXT. teacher-forced: with the loss on the same batch, at temperature 1; temperature: at that of drawing;
  decode-aware: with its top-p as well.
* on-policy: the loss on the model's own continuations, and the divergence from the model as it was; on-policy + text: with the
  cross-entropy of TEXT in its stead; constraint: as on-policy, with dual variables;
  returns + text: as on-policy + text, with the score function of what follows each token.
* reward + text: `DistributionReward` of the continuations in place of the loss on the predictions, token by token, by policy gradient;
  reward of documents + text: with whole documents as well.
* logit bias: log(mu* / mu) of each token, added to the logits, without training.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

import dft_stats
from dft_stats.build.corpus import read
from dft_stats.demo.branch import Branch
from dft_stats.demo.documents import passages
from dft_stats.demo.measured import Measured, rows
from dft_stats.demo.model import load_model
from dft_stats.demo.prompts import MEASURED, STEERED
from dft_stats.demo.steer import LAYERS, STEP_TOKENS, batches, optimizer_of, update, windows
from dft_stats.demo.subject import Subject, likelihood, measure
from dft_stats.demo.writing import SAMPLER, banned, encode
from dft_stats.loss import DistributionLoss, DistributionReward, on_policy, to_go
from dft_stats.report import teller

GAMMA = 0.9  # of rewards a token later
ANCHOR = 60.0  # weight of KL(model || model as it was), nats a token, where there is no text
OWN, TEXT = 0.03, 0.1  # weight of the loss beside the cross-entropy of human text: on the model's own text, on that text
MOST_BIAS = 2.0  # nats
HELD_OUT, MOST_PASSAGES = 5, 48
Step = Callable[[int], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("text", nargs="+")
    parser.add_argument("--profile", default="news")
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--draws", type=int, default=2, help="continuations of each opening")
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, "logit bias"], default=[*ARMS, "logit bias"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    model, tokenizer, name = load_model(given.model)
    reference = dft_stats.load(given.profile)
    human = passages([text for batch in read(given.text) for text in batch])
    guards = {"held-out text": human[::HELD_OUT][:MOST_PASSAGES]}
    trained = windows(tokenizer, [text for i, text in enumerate(human) if i % HELD_OUT], STEP_TOKENS)
    every: list[dict[str, Measured]] = []
    for seed in given.seeds:
        subject = Subject(model, tokenizer, reference, reference.compile(tokenizer), guards, seed, teller())
        branch = Branch(model, LAYERS, banned(subject.compiled, model))
        columns = {"as it was": measure(subject, MEASURED * given.draws)}
        for arm in given.arms:
            began = time.monotonic()
            if arm == "logit bias":
                with biased(subject, branch):
                    columns[arm] = measure(subject, MEASURED * given.draws)
            else:
                train(subject, branch, ARMS[arm](subject, branch, trained), given.steps)
                spent = time.monotonic() - began
                columns[arm] = measure(subject, MEASURED * given.draws)
                branch.restore()
                print(f"{arm}: {given.steps} steps in {spent:.0f} s", flush=True)
        print(f"\n{name}, {reference.name}@{reference.version}, {given.steps} steps, seed {seed}; 1 is human writing")
        show(list(columns), [(yardstick, name, list(map(str, figures))) for yardstick, name, figures in rows(list(columns.values()))])
        every.append(columns)
    if len(every) > 1:
        print(f"\n{name}, {reference.name}@{reference.version}, {given.steps} steps, mean (least to most) of {len(every)} seeds")
        show(list(every[0]), list(means(every)))


def train(subject: Subject, branch: Branch, step_value: Step, steps: int) -> None:
    optimizer = optimizer_of(branch)
    torch.manual_seed(subject.seed + 1)
    for step in range(steps):
        update(optimizer, step_value(step), step, step / steps)
        subject.tell(f"step {step + 1} of {steps}")


def on_text(subject: Subject, branch: Branch, texts: Tensor, weight: float = 0.0, **sampling: Any) -> Step:
    """Cross-entropy of human text, and `weight` times the loss on the same predictions."""
    chosen, loss = batches(len(texts)), DistributionLoss(subject.compiled, **sampling)

    def value(_: int) -> Tensor:
        ids = texts[next(chosen)]
        logits = branch.model(ids, use_cache=False).logits
        nll = likelihood(logits[:, :-1], ids[:, 1:])
        return nll + weight * loss(logits, ids)[0] if weight else nll

    return value


def on_samples(subject: Subject, branch: Branch, texts: Tensor, text: bool = False, returns: float = 0.0, **options: Any) -> Step:
    """The loss on the model's own continuations, anchored by the model as it was or by human text."""
    chosen = batches(len(STEERED))
    loss = DistributionLoss(subject.compiled, temperature=SAMPLER.temperature, top_p=SAMPLER.top_p, **options)
    cross_entropy = on_text(subject, branch, texts)

    def value(step: int) -> Tensor:
        ids, mask = encode(subject.tokenizer, [STEERED[i] for i in next(chosen)])
        own, _, _ = on_policy(loss, branch, ids, attention_mask=mask, max_new_tokens=STEP_TOKENS, returns=returns)
        return OWN * own + cross_entropy(step) if text else own + ANCHOR * branch.divergence

    return value


def on_rewards(subject: Subject, branch: Branch, texts: Tensor, documents: float = 0.0) -> Step:
    """Policy gradient with the reward, token by token, less the mean of the other continuations at the place; and human text."""
    chosen, cross_entropy = batches(len(STEERED)), on_text(subject, branch, texts)
    whole = subject.reference.embed_documents(words=(30, 200)) if documents else None
    reward = DistributionReward(subject.compiled, documents=whole, document_weight=documents)

    def value(step: int) -> Tensor:
        ids, mask = encode(subject.tokenizer, [STEERED[i] for i in next(chosen)])
        with torch.no_grad():
            tokens = branch.generate(
                ids, attention_mask=mask, max_new_tokens=STEP_TOKENS, temperature=SAMPLER.temperature, top_p=SAMPLER.top_p
            )
        drawn = tokens[:, ids.shape[1] :]
        rows = torch.stack(reward.token_rewards(drawn.tolist())[0])
        to_come = rows + GAMMA * to_go(rows, GAMMA)
        advantage = to_come - (to_come.sum(0) - to_come) / (len(rows) - 1)
        seen = torch.cat([mask, torch.ones_like(drawn)], 1)
        logits = branch.model(tokens, attention_mask=seen, position_ids=(seen.cumsum(1) - 1).clamp_min(0), use_cache=False).logits
        p = SAMPLER.probabilities(logits[:, ids.shape[1] - 1 : -1]).gather(-1, drawn[..., None])[..., 0]
        surrogate = -(advantage * p.clamp_min(1e-30).log()).sum() / len(rows)
        return OWN * surrogate + cross_entropy(step)

    return value


ARMS: dict[str, Callable[[Subject, Branch, Tensor], Step]] = {
    "fine-tuning": on_text,
    "teacher-forced": partial(on_text, weight=TEXT),
    "temperature": partial(on_text, weight=TEXT, temperature=SAMPLER.temperature),
    "decode-aware": partial(on_text, weight=TEXT, temperature=SAMPLER.temperature, top_p=SAMPLER.top_p),
    "on-policy": on_samples,
    "constraint": partial(on_samples, dual_rate=0.02),
    "on-policy + text": partial(on_samples, text=True),
    "returns + text": partial(on_samples, text=True, returns=1.0),
    "reward + text": on_rewards,
    "reward of documents + text": partial(on_rewards, documents=1.0),
}


@contextmanager
def biased(subject: Subject, branch: Branch) -> Iterator[None]:
    """The model with log(mu* / mu) added to its logits, mu being its own rates on the openings of training."""
    loss = DistributionLoss(subject.compiled, temperature=SAMPLER.temperature, top_p=SAMPLER.top_p, accumulation_steps=0)
    torch.manual_seed(subject.seed + 1)
    for rows_ in torch.arange(len(STEERED)).split(16):
        ids, mask = encode(subject.tokenizer, [STEERED[int(i)] for i in rows_])
        on_policy(loss, branch, ids, attention_mask=mask, max_new_tokens=STEP_TOKENS)
    family = loss.families()["token_frequency"]
    own = family.pending_numerator / family.pending_denominator.clamp_min(1)
    least = 1 / family.pending_denominator.max()
    ratio = torch.log((family.target + least) / (own + least)).clamp(-MOST_BIAS, MOST_BIAS)
    head = branch.model.get_output_embeddings()
    bias = torch.zeros(head.weight.shape[0])
    bias[: len(ratio)] = torch.where(family.tracked, ratio, 0)[torch.from_numpy(subject.compiled.tokens.fold.astype("int64"))]
    hook = head.register_forward_hook(lambda _, __, logits: logits + bias)
    try:
        yield
    finally:
        hook.remove()


def means(seeds: list[dict[str, Measured]]) -> Iterator[tuple[str, str, list[str]]]:
    """Rows of the means over seeds, each with the least and the most."""
    tables = [rows(list(columns.values())) for columns in seeds]
    for (yardstick, statistic, first), *others in zip(*tables, strict=True):
        cells = []
        for figures in zip(first, *(figures for *_, figures in others), strict=True):
            found = [figure.value for figure in figures if figure.value is not None]
            cells.append(f"{sum(found) / len(found):.2f} ({min(found):.2f} to {max(found):.2f})" if len(found) == len(seeds) else "-")
        yield yardstick, statistic, cells


def show(columns: list[str], cells: list[tuple[str, str, list[str]]]) -> None:
    print("| | |", " | ".join(columns), "|")
    print("|---|---" + "|---" * len(columns) + "|")
    for yardstick, statistic, values in cells:
        print(f"| {yardstick} | {statistic} |", " | ".join(values), "|", flush=True)


if __name__ == "__main__":
    main()
