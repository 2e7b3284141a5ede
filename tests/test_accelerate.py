"""The loss in loops of Accelerate: the recipe of docs/trainers.md is plain torch on the whole batch, in one process and in two."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor

from dft_stats.compiled import CompiledProfile
from dft_stats.errors import VocabularyMismatch
from dft_stats.loss import DistributionLoss
from tests.causal_models import IGNORED, KINDS, flat, model, padded, same_direction
from tests.profiles import profile_of
from tests.prose import documents
from tests.recipes import TEMPERATURE
from tests.tokenizers_for_tests import gpt2_like

WEIGHT, RATE = 0.7, 0.1
Rows = list[list[int]]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """One thread, since the tensors are tiny; and nothing left of an accelerator before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> CompiledProfile:
    found = profile_of(documents(60), tmp_path_factory.mktemp("accelerate") / "profile").compile(gpt2_like())
    # Ages at which no sentence of so small a corpus ends have no noise to measure by.
    return replace(found, at_risk=np.where(found.hazard > 0, found.at_risk, 0))


@pytest.fixture(scope="module")
def steps() -> list[Rows]:
    """Three optimizer steps of eight rows, of unequal lengths."""
    texts = [gpt2_like().encode(text).ids for text in documents(24)]
    return [[ids[: 20 + 5 * (i % 7)] for i, ids in enumerate(texts[n : n + 8])] for n in (0, 8, 16)]


def cut(rows: Rows, pieces: int) -> list[dict[str, Tensor]]:
    """Micro-batches of unequal padding: neighbours stay together."""
    size = -(-len(rows) // pieces)
    return [padded(rows[i : i + size]) for i in range(0, len(rows), size)]


def warm(loss: DistributionLoss, rank: int = 0) -> DistributionLoss:
    """With a step behind it: the witness of the very first is made of what was seen so far, and so depends on how it is cut."""
    if rank == 0:
        ids = torch.randint(1, 600, (4, 40), generator=torch.Generator().manual_seed(0))
        loss(torch.zeros(4, 40, 700, requires_grad=True), ids)
    loss.step()
    return loss


class Run:
    """A model, its optimizer and its loss, in the hands of an accelerator."""

    def __init__(self, compiled: CompiledProfile, kind: str = "llama") -> None:
        self.accelerator = Accelerator(cpu=True)
        loss = DistributionLoss(compiled, temperature=TEMPERATURE, accumulation_steps=0, decay=0.9)
        self.loss = warm(loss, self.accelerator.process_index)
        self.plain = model(kind)
        self.model, self.optimizer = self.accelerator.prepare(self.plain, torch.optim.SGD(self.plain.parameters(), lr=RATE, momentum=0.9))
        self.accelerator.register_for_checkpointing(self.loss)
        self.gradient = torch.zeros(0)

    def step(self, batches: Sequence[dict[str, Tensor]]) -> None:
        """An optimizer step as in docs/trainers.md."""
        accelerator, last = self.accelerator, len(batches) - 1
        items = accelerator.reduce(sum((batch["labels"][:, 1:] != IGNORED).sum() for batch in batches))
        for number, batch in enumerate(batches):
            with nullcontext() if number == last else accelerator.no_sync(self.model):
                output = self.model(**batch, num_items_in_batch=items)
                penalty, _ = self.loss(output.logits, batch["labels"], num_items=items)
                accelerator.backward(accelerator.num_processes * (output.loss + WEIGHT * penalty))
        self.gradient = flat(p.grad for p in self.plain.parameters())
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.loss.step()

    def weights(self) -> Tensor:
        return flat(self.plain.parameters())

    def rates(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self.loss.named_buffers()}


def by_hand(compiled: CompiledProfile, steps: list[Rows], kind: str = "llama", weight: float = WEIGHT) -> tuple[list[Tensor], Tensor, Any]:
    """Gradients of all steps, weights and rates after them: plain torch, a step in one batch."""
    module, loss, gradients = model(kind), warm(DistributionLoss(compiled, temperature=TEMPERATURE, accumulation_steps=0, decay=0.9)), []
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE, momentum=0.9)
    for rows in steps:
        batch = padded(rows)
        logits = module(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        entropy = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
        (entropy + weight * loss(logits, batch["labels"])[0]).backward()
        loss.step()
        gradients.append(flat(p.grad for p in module.parameters()))
        optimizer.step()
        optimizer.zero_grad()
    return gradients, flat(module.parameters()), dict(loss.named_buffers())


def same_rates(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(("kind", "pieces"), [*((kind, 4) for kind in KINDS), ("llama", 1), ("llama", 3), ("llama", 8)])
def test_micro_batches_are_the_whole_batch(kind: str, pieces: int, compiled: CompiledProfile, steps: list[Rows]) -> None:
    gradients, weights, rates = by_hand(compiled, steps, kind)
    without, *_ = by_hand(compiled, steps, kind, weight=0.0)
    run = Run(compiled, kind)
    for rows, wanted, plain in zip(steps, gradients, without, strict=True):
        run.step(cut(rows, pieces))
        assert same_direction(run.gradient, wanted)
        assert float((wanted - plain).norm()) > 0.1 * float(wanted.norm())  # the loss is felt
    assert same_direction(run.weights() - flat(model(kind).parameters()), weights - flat(model(kind).parameters()))
    same_rates(run.rates(), rates)


def test_a_saved_run_goes_on_as_if_never_interrupted(compiled: CompiledProfile, steps: list[Rows], tmp_path: Path) -> None:
    whole = Run(compiled)
    for number, rows in enumerate(steps):
        whole.step(cut(rows, 2))
        if number == 0:
            whole.accelerator.save_state(str(tmp_path))
    resumed = Run(compiled)
    resumed.accelerator.load_state(str(tmp_path))
    for rows in steps[1:]:
        resumed.step(cut(rows, 2))
    assert torch.equal(resumed.weights(), whole.weights())
    assert int(resumed.loss.commits) == 4
    wanted = whole.rates()
    assert all(torch.equal(value, wanted[name]) for name, value in resumed.rates().items())
    assert torch.load(tmp_path / "custom_checkpoint_0.pkl", weights_only=True).keys() == whole.loss.state_dict().keys()


def test_the_checkpoint_of_another_profile_is_refused(compiled: CompiledProfile, tmp_path: Path) -> None:
    Run(compiled).accelerator.save_state(str(tmp_path))
    with pytest.raises(VocabularyMismatch, match="another profile"):
        Run(replace(compiled, profile_sha256="2" * 64)).accelerator.load_state(str(tmp_path))


def test_evaluation_changes_no_state(compiled: CompiledProfile, steps: list[Rows]) -> None:
    ends = []
    for between in (False, True):
        run = Run(compiled)
        for rows in steps:
            run.step(cut(rows, 2))
            if between:
                before = run.rates()
                run.model.eval()
                with torch.no_grad():  # the model's mode is not the loss's: it learns where gradients are enabled
                    batch = padded(steps[0])
                    _, components = run.loss(run.model(**batch).logits, batch["labels"])
                run.model.train()
                assert all(torch.equal(value, before[name]) for name, value in run.rates().items())
                assert all(torch.isfinite(value) for value in components.values())
        ends.append(run.weights())
    assert torch.equal(*ends)


def test_accumulate_closes_a_step_where_it_syncs_also_the_short_one_at_the_end(compiled: CompiledProfile, steps: list[Rows]) -> None:
    """Five batches by two: Accelerate steps after the second, the fourth and the fifth."""
    rows = [row[:20] for row in chain(*steps)][:20]  # of one length: a mean of means is the mean
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    loss = warm(DistributionLoss(compiled, temperature=TEMPERATURE, accumulation_steps=0, decay=0.9))
    plain = model()
    loader = torch.utils.data.DataLoader(rows, batch_size=4, collate_fn=padded)  # type: ignore[arg-type]
    prepared, optimizer, loader = accelerator.prepare(plain, torch.optim.SGD(plain.parameters(), lr=RATE, momentum=0.9), loader)
    gradients = []
    for batch in loader:
        with accelerator.accumulate(prepared):
            output = prepared(**batch)
            penalty, _ = loss(output.logits, batch["labels"])
            accelerator.backward(output.loss + WEIGHT * penalty)
            if accelerator.sync_gradients:
                gradients.append(flat(p.grad for p in plain.parameters()))
            optimizer.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            loss.step()
    assert int(loss.commits) == 1 + 3
    assert int(loss.forwards) == 0
    wanted, *_ = by_hand(compiled, [rows[:8], rows[8:16], rows[16:]])
    assert all(same_direction(found, gradient) for found, gradient in zip(gradients[:2], wanted, strict=False))
    assert same_direction(2 * gradients[2], wanted[2])  # Accelerate divides the short step by two all the same


# --- two processes


def _rank(rank: int, folder: Path, compiled: CompiledProfile, steps: list[Rows]) -> None:
    torch.set_num_threads(1)
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"})
    mine = slice(0, 3) if rank == 0 else slice(3, 8)  # unequal shares
    run = Run(compiled)
    gradients = []
    for number, rows in enumerate(steps):
        run.step(cut(rows[mine], 2))
        gradients.append(run.gradient)
        if number == 1:
            run.accelerator.save_state(str(folder / "state"))
    resumed = Run(compiled)
    resumed.accelerator.load_state(str(folder / "state"))
    resumed.step(cut(steps[2][mine], 2))
    pairs = [(run.weights(), resumed.weights()), *zip(run.rates().values(), resumed.rates().values(), strict=True)]
    goes_on = all(torch.equal(*pair) for pair in pairs)
    torch.save({"gradients": gradients, "weights": run.weights(), "rates": run.rates(), "goes on": goes_on}, folder / f"{rank}.pt")
    run.accelerator.end_training()


def test_two_processes_are_one(compiled: CompiledProfile, steps: list[Rows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    torch.multiprocessing.spawn(_rank, (tmp_path, compiled, steps), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    gradients, weights, rates = by_hand(compiled, steps)
    start = flat(model().parameters())
    for found in (first, second):
        assert all(same_direction(*pair) for pair in zip(found["gradients"], gradients, strict=True))
        assert same_direction(found["weights"] - start, weights - start)
        same_rates(found["rates"], rates)
        assert found["goes on"]
    assert all(torch.equal(value, second["rates"][name]) for name, value in first["rates"].items())
