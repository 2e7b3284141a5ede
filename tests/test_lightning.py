"""The loss in a `LightningModule`, as in docs/trainers.md: it is plain torch on the whole batch, and its state goes with the module's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from dft_stats.compiled import CompiledProfile
from dft_stats.errors import VocabularyMismatch
from dft_stats.loss import DistributionLoss
from tests.causal_models import IGNORED, KINDS, flat, model, padded, same_direction
from tests.profiles import profile_of
from tests.prose import documents
from tests.recipes import TEMPERATURE
from tests.tokenizers_for_tests import gpt2_like

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),  # of Lightning, about what it uses
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
]
WEIGHT, RATE = 0.7, 0.1
Rows = list[list[int]]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> CompiledProfile:
    found = profile_of(documents(60), tmp_path_factory.mktemp("lightning") / "profile").compile(gpt2_like())
    # Ages at which no sentence of so small a corpus ends have no noise to measure by.
    return replace(found, at_risk=np.where(found.hazard > 0, found.at_risk, 0))


@pytest.fixture(scope="module")
def texts() -> Rows:
    return [gpt2_like().encode(text).ids for text in documents(40)]


@pytest.fixture(scope="module")
def even(texts: Rows) -> Rows:
    """Rows of one length: a mean of means is the mean."""
    return [ids[:30] for ids in texts if len(ids) >= 30][:24]


@pytest.fixture(scope="module")
def uneven(texts: Rows) -> Rows:
    return [ids[: 20 + 5 * (i % 7)] for i, ids in enumerate(texts[:24])]


def warm(loss: DistributionLoss) -> DistributionLoss:
    """With a step behind it: the witness of the very first is made of what was seen so far, and so depends on how it is cut."""
    ids = torch.randint(1, 600, (4, 40), generator=torch.Generator().manual_seed(0))
    loss(torch.zeros(4, 40, 700, requires_grad=True), ids)
    loss.step()
    return loss


class Tuned(lightning.LightningModule):
    """As in docs/trainers.md."""

    def __init__(self, compiled: CompiledProfile, kind: str = "llama") -> None:
        super().__init__()
        self.model = model(kind)
        self.distribution_loss = warm(DistributionLoss(compiled, temperature=TEMPERATURE, accumulation_steps=0, decay=0.9))
        self.gradients: list[Tensor] = []

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        output = self.model(**batch)
        penalty, components = self.distribution_loss(output.logits, batch["labels"])
        self.log_dict(components)
        return output.loss + WEIGHT * penalty  # type: ignore[no-any-return]

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        _, components = self.distribution_loss(self.model(**batch).logits, batch["labels"])
        self.log_dict({f"val_{name}": value for name, value in components.items()})

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.distribution_loss.step()
        self.gradients.append(flat(p.grad for p in self.parameters()))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=RATE, momentum=0.9)

    def rates(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self.distribution_loss.named_buffers()}


class Exact(Tuned):
    """As there: every label counts alike, whatever the sizes of micro-batches."""

    items: Any = 0

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        self.items = self.items + (batch["labels"][:, 1:] != IGNORED).sum()
        output = self.model(**batch, num_items_in_batch=1)  # a sum
        penalty, _ = self.distribution_loss(output.logits, batch["labels"], num_items=1)
        return output.loss + WEIGHT * penalty  # type: ignore[no-any-return]

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        share = self.trainer.accumulate_grad_batches / self.all_gather(self.items).float().mean()  # both are divided by the ranks
        self.items = 0
        for parameter in self.model.parameters():
            parameter.grad.mul_(share)
        super().on_before_optimizer_step(optimizer)


def fit(
    tuned: Tuned, rows: Rows, batch: int, folder: Path | None = None, *, resume: Any = None, held_out: Any = None, **options: Any
) -> Any:
    """Trained on rows in their order, `batch` at a time."""
    base: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False, "max_epochs": 1}
    base |= {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(**{**base, **options}, **({} if folder is None else {"default_root_dir": str(folder)}))
    loaders = [torch.utils.data.DataLoader(data, batch_size=batch, collate_fn=padded) if data else None for data in (rows, held_out)]
    trainer.fit(tuned, *loaders, ckpt_path=resume)
    return trainer


def by_hand(compiled: CompiledProfile, rows: Rows, size: int, kind: str = "llama") -> tuple[list[Tensor], Tensor, dict[str, Tensor]]:
    """Gradients of all steps, weights and rates after them: plain torch, a step in one batch of `size` rows."""
    module, loss, gradients = model(kind), warm(DistributionLoss(compiled, temperature=TEMPERATURE, accumulation_steps=0, decay=0.9)), []
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE, momentum=0.9)
    for start in range(0, len(rows), size):
        batch = padded(rows[start : start + size])
        logits = module(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        entropy = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
        (entropy + WEIGHT * loss(logits, batch["labels"])[0]).backward()
        loss.step()
        gradients.append(flat(p.grad for p in module.parameters()))
        optimizer.step()
        optimizer.zero_grad()
    return gradients, flat(module.parameters()), dict(loss.named_buffers())


def same_rates(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(("kind", "accumulation"), [*((kind, 4) for kind in KINDS), ("llama", 1), ("llama", 2), ("llama", 8)])
@pytest.mark.parametrize("made", [Tuned, Exact])
def test_micro_batches_are_the_whole_batch(
    made: type[Tuned], kind: str, accumulation: int, compiled: CompiledProfile, even: Rows, uneven: Rows
) -> None:
    rows = even if made is Tuned else uneven
    gradients, weights, rates = by_hand(compiled, rows, 8, kind)
    tuned = made(compiled, kind)
    trainer = fit(tuned, rows, 8 // accumulation, accumulate_grad_batches=accumulation)
    assert trainer.global_step == 3
    assert all(same_direction(*pair) for pair in zip(tuned.gradients, gradients, strict=True))
    start = flat(model(kind).parameters())
    assert same_direction(flat(tuned.model.parameters()) - start, weights - start)
    same_rates(tuned.rates(), rates)


def test_the_short_step_at_the_end_of_an_epoch_is_one(compiled: CompiledProfile, uneven: Rows) -> None:
    """Five batches by two: Lightning steps after the second, the fourth and the fifth."""
    gradients, _, rates = by_hand(compiled, uneven[:20], 8)
    tuned = Exact(compiled)
    fit(tuned, uneven[:20], 4, accumulate_grad_batches=2)
    assert int(tuned.distribution_loss.commits) == 1 + 3
    assert int(tuned.distribution_loss.forwards) == 0
    assert all(same_direction(*pair) for pair in zip(tuned.gradients, gradients, strict=True))
    same_rates(tuned.rates(), rates)


def test_a_saved_run_goes_on_as_if_never_interrupted(compiled: CompiledProfile, even: Rows, tmp_path: Path) -> None:
    whole, first, resumed = Tuned(compiled), Tuned(compiled), Tuned(compiled)
    options = {"accumulate_grad_batches": 2}
    fit(whole, even, 4, max_epochs=2, **options)
    fit(first, even, 4, max_epochs=1, **options).save_checkpoint(tmp_path / "one.ckpt")
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.zero_()
    fit(resumed, even, 4, max_epochs=2, resume=tmp_path / "one.ckpt", **options)
    assert int(first.distribution_loss.commits) == 1 + 3
    assert torch.equal(flat(whole.model.parameters()), flat(resumed.model.parameters()))
    wanted = whole.rates()
    assert int(wanted["commits"]) == 1 + 6
    assert all(torch.equal(value, wanted[name]) for name, value in resumed.rates().items())


def test_the_checkpoint_of_another_profile_is_refused(compiled: CompiledProfile, even: Rows, tmp_path: Path) -> None:
    fit(Tuned(compiled), even[:4], 4).save_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(VocabularyMismatch, match="another profile"):
        fit(Tuned(replace(compiled, profile_sha256="2" * 64)), even[:4], 4, max_epochs=2, resume=tmp_path / "one.ckpt")


def test_evaluation_changes_no_state_and_is_logged(compiled: CompiledProfile, even: Rows) -> None:
    ends = []
    for held_out in (None, even[:8]):
        tuned = Tuned(compiled)
        trainer = fit(tuned, even, 4, held_out=held_out, val_check_interval=2 if held_out else None)
        ends.append((flat(tuned.parameters()), *tuned.rates().values()))
    assert all(torch.equal(*pair) for pair in zip(*ends, strict=True))
    assert {"dist/loss", "val_dist/loss", "val_dist/token_frequency"} <= set(trainer.logged_metrics)
    loss = tuned.distribution_loss.eval()
    with torch.no_grad():
        alone = [loss(tuned.model(**batch).logits, batch["labels"])[1] for batch in (padded(even[:4]), padded(even[4:8]))]
    for name in alone[0]:
        assert float(trainer.logged_metrics[f"val_{name}"]) == pytest.approx(float(sum(one[name] for one in alone)) / 2, rel=1e-3)


# --- two processes


class Reporting(Exact):
    """Takes every second row, in their order, and leaves what it found in a folder."""

    folder, rows = Path(), Rows()

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.rows[self.global_rank :: 2], batch_size=2, collate_fn=padded)  # type: ignore[arg-type]

    def on_fit_end(self) -> None:
        found = {"gradients": self.gradients, "weights": flat(self.model.parameters()), "rates": self.rates()}
        torch.save(found, self.folder / f"{self.global_rank}.pt")


def test_two_processes_are_one(compiled: CompiledProfile, uneven: Rows, tmp_path: Path) -> None:
    """The module is wrapped with the loss in it, whose buffers are then the wrapper's to broadcast: not in the middle of a step."""
    gradients, weights, rates = by_hand(compiled, uneven, 8)
    tuned = Reporting(compiled)
    tuned.folder, tuned.rows = tmp_path, uneven
    strategy = DDPStrategy(process_group_backend="gloo", start_method="spawn")
    fit(tuned, [], 2, devices=2, strategy=strategy, accumulate_grad_batches=2, use_distributed_sampler=False)  # which shuffles
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    start = flat(model().parameters())
    for found in (first, second):
        assert all(same_direction(*pair) for pair in zip(found["gradients"], gradients, strict=True))
        assert same_direction(found["weights"] - start, weights - start)
        same_rates(found["rates"], rates)
    assert all(torch.equal(value, second["rates"][name]) for name, value in first["rates"].items())
