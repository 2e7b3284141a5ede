"""Would a learned discriminator tell models from humans better than the discrepancies of the loss do? On the same document features.

python benchmarks/discriminator.py TEXTS [--least-words 80] [--draws 5]

TEXTS is Parquet with columns `text` and `generator`, "human" among them, such as the samples of Fast-DetectGPT. Half of the human texts are
the reference. Of each generator n texts are seen; printed is the AUROC on all texts that were not, human and generated, mean over
generators and draws (0.5: chance). The loss's side needs no training: the direction of the squared MMD (`DocumentEmbedding`), and the
whitened difference of means. The learned: logistic regression on features and their squares, and a network with one layer of 32, both with
weight decay, by Adam to convergence on n texts against the reference, classes weighed alike.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dft_stats.document_embedding import FEATURES, transformed
from dft_stats.features import document_features
from dft_stats.measures import median_distance
from dft_stats.sentences import documents

Floats = NDArray[np.float64]
SIZES = (8, 16, 64)
STEPS, RATE, DECAY = 400, 0.02, 0.01


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--least-words", type=int, default=80)
    parser.add_argument("--draws", type=int, default=5)
    given = parser.parse_args()
    for path in given.texts:
        by_generator = features(path, given.least_words)
        human = by_generator.pop("human")
        found: dict[tuple[int, str], list[float]] = {}
        rng = np.random.default_rng(0)
        used = {name: rows for name, rows in by_generator.items() if len(rows) >= max(SIZES) + 40}
        for _ in range(given.draws):
            order = rng.permutation(len(human))
            reference, others = human[order[: len(human) // 2]], human[order[len(human) // 2 :]]
            mean, scale = reference.mean(0), np.maximum(reference.std(0), 1e-9)
            for rows in used.values():
                shuffled = rows[rng.permutation(len(rows))]
                for size in SIZES:
                    seen, unseen = ((part - mean) / scale for part in (shuffled[:size], shuffled[size:]))
                    people, kept = (reference - mean) / scale, (others - mean) / scale
                    for name, learn in WITNESSES.items():
                        score = learn(people, seen)
                        found.setdefault((size, name), []).append(auroc(score(unseen), score(kept)))
        print(f"{path.name}: {len(human)} human texts, {len(used)} generators\n\n| seen | {' | '.join(WITNESSES)} |")
        print("|---|" + "---|" * len(WITNESSES))
        for size in SIZES:
            print(f"| {size} | {' | '.join(f'{statistics.mean(found[size, name]):.3f}' for name in WITNESSES)} |")
        print(flush=True)


def features(path: Path, least: int) -> dict[str, Floats]:
    """Feature values [texts, features] of each generator."""
    found: dict[str, list[list[float]]] = {}
    table = pq.read_table(path, columns=["text", "generator"]).to_pylist()
    for row, document in zip(table, documents([row["text"] for row in table]), strict=True):
        values = document_features(document)
        if (values["words"] or 0) >= least and values["sentence_length_lag1"] is not None:
            found.setdefault(row["generator"], []).append([float(values[name] or 0.0) for name in FEATURES])
    return {name: transformed(np.array(rows)) for name, rows in found.items()}


def auroc(generated: Floats, human: Floats) -> float:
    """Chance that a generated text scores higher than a human one."""
    difference = generated[:, None] - human[None]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


Score = Callable[[Floats], Floats]


def by_mmd(people: Floats, seen: Floats) -> Score:
    rng = np.random.default_rng(0)
    frequencies, phases = rng.standard_normal((people.shape[1], 256)) / median_distance(people), rng.uniform(0, 2 * np.pi, 256)

    def embed(rows: Floats) -> Floats:
        found: Floats = np.cos(rows @ frequencies + phases)
        return found

    direction = embed(seen).mean(0) - embed(people).mean(0)
    return lambda rows: embed(rows) @ direction


def by_means(people: Floats, seen: Floats) -> Score:
    direction = seen.mean(0) - people.mean(0)  # of standardised features
    return lambda rows: rows @ direction


def learned(make: Callable[[int], nn.Module]) -> Callable[[Floats, Floats], Score]:
    def learn(people: Floats, seen: Floats) -> Score:
        torch.manual_seed(0)
        rows = tensor(np.concatenate([seen, people]))
        labels = torch.cat([torch.ones(len(seen)), torch.zeros(len(people))])
        weights = torch.where(labels > 0, 1 / len(seen), 1 / len(people)) / 2
        model = make(rows.shape[1])
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
        for _ in range(STEPS):
            optimizer.zero_grad()
            each = nn.functional.binary_cross_entropy_with_logits(model(rows)[:, 0], labels, reduction="none")
            (each * weights).sum().backward()
            optimizer.step()

        def score(values: Floats) -> Floats:
            with torch.no_grad():
                found: Floats = model(tensor(values))[:, 0].double().numpy()
            return found

        return score

    return learn


def tensor(rows: Floats) -> Tensor:
    return torch.from_numpy(np.concatenate([rows, rows**2], 1)).float().clamp(-30, 30)


WITNESSES: dict[str, Callable[[Floats, Floats], Score]] = {
    "squared MMD": by_mmd,
    "difference of means": by_means,
    "logistic regression": learned(lambda width: nn.Linear(width, 1)),
    "network": learned(lambda width: nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 1))),
}


if __name__ == "__main__":
    main()
