"""The loss in Composer's `Trainer`, by the algorithm that docs/trainers.md tells: make test-trainer NAME=composer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

pytest.importorskip("composer")

from composer import Algorithm, DataSpec, Trainer
from composer.loggers import InMemoryLogger
from composer.models import HuggingFaceModel
from transformers import PreTrainedTokenizerFast

from dft_stats.compiled import CompiledProfile
from dft_stats.loss import TERMS, DistributionLoss
from tests.causal_models import IGNORED, flat, model, padded, same_direction
from tests.profiles import profile_of
from tests.prose import documents
from tests.recipes import TEMPERATURE, recipe
from tests.tokenizers_for_tests import gpt2_like

pytestmark = pytest.mark.usefixtures("one_thread")
RATE, BATCH, PROMPT = 0.1, 8, 5
Rows = list[list[int]]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> CompiledProfile:
    return profile_of(documents(60), tmp_path_factory.mktemp("composer") / "profile").compile(gpt2_like())


@pytest.fixture(scope="module")
def even() -> Rows:
    """Rows of one length: every micro-batch has as many labels."""
    return [ids[:40] for ids in (gpt2_like().encode(text).ids for text in documents(40)) if len(ids) >= 40][:24]


@pytest.fixture(scope="module")
def uneven(even: Rows) -> Rows:
    return [ids[: 16 + 4 * (i % 7)] for i, ids in enumerate(even)]


@pytest.fixture(scope="module")
def distribution() -> Callable[[DistributionLoss], Algorithm]:
    """The algorithm, as told."""
    names: dict[str, Any] = {}
    exec(compile(recipe("my_composer.py"), "my_composer.py", "exec"), names)
    return names["Distribution"]  # type: ignore[no-any-return]


def warm(loss: DistributionLoss) -> DistributionLoss:
    """With a step behind it: the witness of the very first is made of what was seen so far, and so depends on how it is cut."""
    ids = torch.randint(1, 600, (4, 40), generator=torch.Generator().manual_seed(0))
    loss(torch.zeros(4, 40, 700, requires_grad=True), ids)
    loss.step()
    return loss


def batched(rows: Rows) -> dict[str, Tensor]:
    """With the first tokens as a prompt."""
    batch = padded(rows)
    batch["labels"][:, :PROMPT] = IGNORED
    return batch


def counted(batch: dict[str, Tensor]) -> dict[str, int]:
    """As Composer wants to know it."""
    return {"total": batch["input_ids"].numel(), "loss_generating": int((batch["labels"][:, 1:] != IGNORED).sum())}


def fit(
    algorithm: Algorithm | None, rows: Rows, micro_batch: int, *, tokens: bool = False, batches: int = 3, **options: Any
) -> tuple[Tensor, dict[str, Any]]:
    """Parameters after the run, and what reached its logger."""
    made = HuggingFaceModel(model(), tokenizer=PreTrainedTokenizerFast(tokenizer_object=gpt2_like(), pad_token="<|endoftext|>"))
    loader: Any = DataLoader(rows, batch_size=BATCH, collate_fn=batched)  # type: ignore[arg-type]
    logs = InMemoryLogger()
    trainer = Trainer(
        model=made,
        train_dataloader=DataSpec(loader, get_num_tokens_in_batch=counted) if tokens else loader,
        accumulate_train_batch_on_tokens=tokens,
        device_train_microbatch_size=micro_batch,
        max_duration=f"{batches}ba",
        optimizers=torch.optim.SGD(made.parameters(), lr=RATE),
        algorithms=[] if algorithm is None else [algorithm],
        loggers=logs,
        device="cpu",
        progress_bar=False,
        **options,
    )
    trainer.fit()
    trainer.close()
    return flat(made.parameters()), {name: [float(value) for _, value in found] for name, found in logs.data.items()}


def by_hand(loss: DistributionLoss, rows: Rows) -> Tensor:
    """Parameters after the same run: plain PyTorch, a step in one batch, and the weight that is told."""
    made = model()
    optimizer = torch.optim.SGD(made.parameters(), lr=RATE)
    for begin in range(0, len(rows), BATCH):
        batch = batched(rows[begin : begin + BATCH])
        logits = made(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        cross_entropy = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
        (cross_entropy + 0.1 * loss(logits, batch["labels"], input_ids=batch["input_ids"])[0]).backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.step()
    return flat(made.parameters())


@pytest.mark.parametrize("micro_batch", [8, 4, 2])
@pytest.mark.parametrize("tokens", [False, True])
def test_micro_batches_are_the_whole_batch(
    micro_batch: int, tokens: bool, distribution: Any, compiled: CompiledProfile, even: Rows, uneven: Rows
) -> None:
    """By rows, if all have as many labels; by labels in any case."""
    rows, start = uneven if tokens else even, flat(model().parameters())
    wanted = by_hand(warm(DistributionLoss(compiled, temperature=TEMPERATURE, accumulation_steps=0)), rows)
    loss = warm(DistributionLoss(compiled, temperature=TEMPERATURE, accumulation_steps=0))
    found, _ = fit(distribution(loss), rows, micro_batch, tokens=tokens)
    assert same_direction(found - start, wanted - start)
    assert int(loss.commits) == 1 + 3
    assert int(loss.forwards) == 0
    without, _ = fit(None, rows, micro_batch, tokens=tokens)
    assert not same_direction(without - start, wanted - start)


def test_its_components_are_logged_once_a_step(distribution: Any, compiled: CompiledProfile, even: Rows) -> None:
    _, logs = fit(distribution(DistributionLoss(compiled, temperature=TEMPERATURE, accumulation_steps=0)), even, 4)
    for name in ("dist/loss", *(f"dist/{term}" for term in TERMS)):
        assert len(logs[name]) == 3
    assert logs["dist/token_frequency"][0] > 0


def test_a_saved_run_goes_on_as_if_never_interrupted(distribution: Any, compiled: CompiledProfile, even: Rows, tmp_path: Path) -> None:
    whole, first, resumed = (DistributionLoss(compiled, temperature=TEMPERATURE, accumulation_steps=0) for _ in range(3))
    wanted, _ = fit(distribution(whole), even, 4)
    fit(distribution(first), even, 4, batches=2, save_folder=str(tmp_path), save_interval="1ba", save_filename="{batch}.pt")
    found, _ = fit(distribution(resumed), even, 4, load_path=str(tmp_path / "2.pt"))
    assert torch.equal(found, wanted)
    for name, value in whole.named_buffers():
        assert torch.equal(dict(resumed.named_buffers())[name], value), name
