"""Does it keep what it could do? Grammar, broad context and truthfulness, before and after training in each mode.

python benchmarks/retention.py TEXT EVAL [--profile news] [--model PATH] [--steps 16] [--arms NAME ...] [--items 300] [--seeds 0 1 2]

TEXT, the arms and their steps are those of `steer.py`. EVAL is a folder with `blimp.parquet` (UID, sentence_good, sentence_bad; Warstadt
et al. 2020), `lambada_test.jsonl` (text; Paperno et al. 2016) and `TruthfulQA.csv` (Lin et al. 2022). Of each some `--items` are drawn, of
BLiMP as many of each of its paradigms. A continuation's score is its summed log-likelihood, not divided by its length:

* BLiMP: the grammatical sentence is more probable than the other one.
* LAMBADA: every token of the last word is the most probable one; and the perplexity of last words.
* TruthfulQA, MC1: behind the question, with no examples before it, the best answer is more probable than all false ones.

Printed is what part of the items is right, in percent, mean of the seeds, and behind it the difference to the model as it was, with its
standard error: of the same items, so that it is far smaller than that of either.
"""

import argparse
import csv
import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from steer import ARMS, HELD_OUT, train
from torch import Tensor

import dft_stats
from dft_stats.build.corpus import read
from dft_stats.demo.branch import Branch
from dft_stats.demo.documents import passages
from dft_stats.demo.model import load_model
from dft_stats.demo.steer import LAYERS, STEP_TOKENS, windows
from dft_stats.demo.subject import Subject
from dft_stats.demo.writing import banned
from dft_stats.report import teller

ROWS = 16  # continuations at a time
SHOWN = ("fine-tuning", "decode-aware", "on-policy + text")


class Item(NamedTuple):
    """A beginning and what may follow it, the right one first."""

    beginning: str
    choices: list[str]


class Scores(NamedTuple):
    """Of the choices of all items of a task, one after another."""

    likelihood: Tensor  # (choices,), nats
    is_greedy: Tensor  # (choices,), whether each token is the most probable one


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("text", nargs="+")
    parser.add_argument("eval", type=Path)
    parser.add_argument("--profile", default="news")
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=SHOWN)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    tasks = {name: draw(given.eval, given.items) for name, draw in TASKS.items()}
    model, tokenizer, name = load_model(given.model)
    reference = dft_stats.load(given.profile)
    human = passages([text for batch in read(given.text) for text in batch])
    compiled = reference.compile(tokenizer)
    branch = Branch(model, LAYERS, banned(compiled, model))
    trained = windows(tokenizer, [text for i, text in enumerate(human) if i % HELD_OUT], STEP_TOKENS)

    def measured() -> dict[str, Scores]:
        return {task: scores(model, tokenizer, items) for task, items in tasks.items()}

    columns = {"as it was": [measured()], **{arm: [] for arm in given.arms}}
    for seed in given.seeds:
        subject = Subject(model, tokenizer, reference, compiled, {}, seed, teller())
        for arm in given.arms:
            train(subject, branch, ARMS[arm](subject, branch, trained), given.steps)
            columns[arm].append(measured())
            branch.restore()
    seeds = ", ".join(map(str, given.seeds))
    print(f"\n{name}, {reference.name}@{reference.version}, {given.steps} steps, mean of seeds {seeds}\n")
    print(f"| | items | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for task, items in tasks.items():
        shares = [torch.stack([right(items, each[task]) for each in of]).mean(0) for of in columns.values()]
        print(f"| {task}, % right | {len(items)} | {' | '.join(compared(shares))} |")
    last = [torch.stack([each["LAMBADA"].likelihood for each in of]).mean() for of in columns.values()]
    print(f"| LAMBADA, perplexity of last words | | {' | '.join(f'{math.exp(-float(mean)):.1f}' for mean in last)} |")


def blimp(folder: Path, number: int) -> list[Item]:
    found: dict[str, list[Item]] = defaultdict(list)
    for row in pq.read_table(folder / "blimp.parquet").to_pylist():
        found[row["UID"]].append(Item("", [row["sentence_good"], row["sentence_bad"]]))
    return [item for items in found.values() for item in drawn(items, math.ceil(number / len(found)))]


def lambada(folder: Path, number: int) -> list[Item]:
    lines = (folder / "lambada_test.jsonl").read_text(encoding="utf-8").splitlines()
    split = [json.loads(line)["text"].rpartition(" ") for line in lines]
    return drawn([Item(beginning, [space + word]) for beginning, space, word in split], number)


def truthful_qa(folder: Path, number: int) -> list[Item]:
    with (folder / "TruthfulQA.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    items = []
    for row in rows:
        answers = [row["Best Answer"], *row["Incorrect Answers"].split(";")]
        items.append(Item(f"Q: {row['Question']}\nA:", [f" {answer.strip()}" for answer in answers if answer.strip()]))
    return drawn(items, number)


TASKS: dict[str, Callable[[Path, int], list[Item]]] = {"BLiMP": blimp, "LAMBADA": lambada, "TruthfulQA": truthful_qa}


def drawn(items: Sequence[Item], number: int) -> list[Item]:
    return random.Random(0).sample(items, min(number, len(items)))


@torch.no_grad()
def scores(model: Any, tokenizer: Any, items: Sequence[Item]) -> Scores:
    """Log-likelihood of every choice behind its beginning, and whether it would be written greedily."""
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    rows: list[tuple[list[int], int]] = []  # ids, and how many of them begin
    for item in items:
        beginning, *choices = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (item.beginning, *item.choices))
        beginning = beginning or [first]
        rows += [(beginning + choice, len(beginning)) for choice in choices]
    likelihood, is_greedy = torch.zeros(len(rows)), torch.zeros(len(rows), dtype=torch.bool)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    for start in range(0, len(order), ROWS):
        part = order[start : start + ROWS]
        longest = max(len(rows[i][0]) for i in part)
        ids = torch.tensor([rows[i][0] + [first] * (longest - len(rows[i][0])) for i in part])  # a causal model does not look there
        hidden = model.base_model(ids, use_cache=False).last_hidden_state
        for i, row, states in zip(part, ids, hidden, strict=True):
            begun, size = rows[i][1], len(rows[i][0])
            logits, labels = model.get_output_embeddings()(states[begun - 1 : size - 1]).float(), row[begun:size]
            likelihood[i] = -F.cross_entropy(logits, labels, reduction="sum")
            is_greedy[i] = (logits.argmax(-1) == labels).all()
    return Scores(likelihood, is_greedy)


def right(items: Sequence[Item], found: Scores) -> Tensor:
    """Which items are right, (items,), 0 or 1."""
    answers: list[bool] = []
    place = 0
    for item in items:
        mine = found.likelihood[place : place + len(item.choices)]
        answers.append(bool(mine[0] > mine[1:].max()) if len(mine) > 1 else bool(found.is_greedy[place]))
        place += len(mine)
    return torch.tensor(answers, dtype=torch.float64)


def compared(columns: Sequence[Tensor]) -> list[str]:
    """Percent that are right, and the differences to the first column with their standard errors."""
    cells = [f"{100 * float(columns[0].mean()):.1f}"]
    for column in columns[1:]:
        difference = 100 * (column - columns[0])
        error = float(difference.std()) / math.sqrt(len(difference))
        cells.append(f"{100 * float(column.mean()):.1f} ({float(difference.mean()):+.1f} ± {error:.1f})")
    return cells


if __name__ == "__main__":
    main()
