"""The same tokens laid out otherwise: padded, packed, behind prompts, on a rank that runs out of them; and under autocast."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor

from dft_stats.errors import VocabularyMismatch
from dft_stats.loss import DistributionLoss
from tests.compiled_for_tests import handmade, ids_of

SIZE, LENGTH = handmade().vocab_size, 24


def batch(seed: int, rows: int = 6, length: int = LENGTH) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, length, SIZE, dtype=torch.float64, generator=generator) * 1.5
    return logits, torch.randint(0, SIZE, (rows, length), generator=generator)


def steady() -> DistributionLoss:
    """A loss with a step behind it, so that the witness stands."""
    loss = DistributionLoss(handmade(), dead_zone=0.2)
    loss(*batch(100))
    return loss


def slope(loss: DistributionLoss, logits: Tensor, labels: Tensor, **arguments: Any) -> Tensor:
    logits = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, labels, **arguments)[0], logits)
    return gradient


def assert_same_state(one: DistributionLoss, other: DistributionLoss) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for name, values in a.items():
        if isinstance(values, Tensor):
            torch.testing.assert_close(values, b[name], rtol=1e-5, atol=1e-5, msg=name)


def junk(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("shifted", [True, False])
def test_padding_on_the_right_changes_nothing(shifted: bool) -> None:
    logits, labels = batch(1)
    one, other = steady(), steady()
    expected = slope(one, logits, labels, shifted=shifted)
    padded = torch.cat([logits, junk(6, 7, SIZE)], 1), torch.nn.functional.pad(labels, (0, 7), value=-100)
    found = slope(other, *padded, shifted=shifted)
    torch.testing.assert_close(found[:, :LENGTH], expected)
    assert expected.abs().max() > 0
    assert (found[:, LENGTH:] == 0).all()
    assert_same_state(one, other)


def test_padding_on_the_left_changes_nothing() -> None:
    """Prompts are read and not counted; a special token as padding separates."""
    logits, ids = batch(1)
    labels = ids.masked_fill(torch.arange(LENGTH) < 5, -100)
    one, other = steady(), steady()
    expected = slope(one, logits, labels, input_ids=ids)
    pad = torch.full((6, 4), ids_of("<s>")[0])
    wide = torch.nn.functional.pad(labels, (4, 0), value=-100)
    found = slope(other, torch.cat([junk(6, 4, SIZE), logits], 1), wide, input_ids=torch.cat([pad, ids], 1))
    torch.testing.assert_close(found[:, 4:], expected)
    assert (found[:, :4] == 0).all()
    assert_same_state(one, other)


def test_a_prompt_is_context_where_its_ids_are_given() -> None:
    """After " Dr" a period ends no sentence. Without the prompt's ids nobody knows."""
    row = torch.tensor([ids_of(" The", " Dr", ".", " cat", ".")])
    labels = row.masked_fill(torch.arange(5) < 2, -100)
    logits = torch.full((1, 5, SIZE), 0.0).scatter_(2, row.roll(-1, 1)[..., None], 200)
    ends = []
    for arguments in ({"input_ids": row}, {}):
        loss = DistributionLoss(handmade(), accumulation_steps=0)
        loss(logits, labels, **arguments)
        ends.append(loss.families()["sentence_length"].pending_numerator.tolist())
    assert ends == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]]  # "The Dr. cat." of three words; "cat." of one


def test_packed_documents_are_those_of_separate_rows() -> None:
    logits, ids = batch(1, rows=2)
    labels = ids.index_fill(1, torch.tensor([0]), -100)  # nothing predicts the first token of a row
    one, other = steady(), steady()
    expected = slope(one, logits, labels, input_ids=ids)
    starts = (torch.arange(2 * LENGTH) == LENGTH)[None]
    flat = {"input_ids": ids.view(1, -1), "document_starts": starts}
    packed = slope(other, logits.view(1, -1, SIZE), labels.view(1, -1), **flat)
    torch.testing.assert_close(packed.view_as(expected), expected)
    assert_same_state(one, other)
    of_ints = slope(steady(), logits.view(1, -1, SIZE), labels.view(1, -1), **flat | {"document_starts": starts.long()})
    assert torch.equal(of_ints, packed)


def test_shifted_logits_beside_the_whole_text_are_the_same_batch() -> None:
    logits, ids = batch(1)
    one, other = steady(), steady()
    expected = slope(one, logits, ids)
    labels = ids.index_fill(1, torch.tensor([0]), -100)
    found = slope(other, logits.roll(1, 1), labels, input_ids=ids, shifted=True)
    torch.testing.assert_close(found.roll(-1, 1), expected)
    assert_same_state(one, other)


def test_surplus_ids_count_nothing_but_take_probability() -> None:
    logits, labels = batch(1)
    loss = DistributionLoss(handmade(), accumulation_steps=0)
    loss(torch.cat([logits, torch.full((*labels.shape, 10), 30.0)], -1), labels)
    tokens = loss.families()["token_frequency"]
    assert tokens.pending_numerator.sum() < 1e-5 * tokens.pending_denominator[0]


def test_num_items_divides_and_is_a_number_or_a_tensor() -> None:
    logits, labels = batch(1)
    by_number = slope(steady(), logits, labels, num_items=50)
    torch.testing.assert_close(slope(steady(), logits, labels, num_items=torch.tensor(50)), by_number)
    torch.testing.assert_close(2 * slope(steady(), logits, labels, num_items=100), by_number)
    torch.testing.assert_close(slope(steady(), logits, labels.int(), num_items=50), by_number)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "top_p": 0.9}])
def test_autocast_does_not_reach_the_statistics(sampling: dict[str, float]) -> None:
    logits, labels = batch(1)
    logits = logits.float()
    plain, cast = (DistributionLoss(handmade(), dead_zone=0.2, **sampling) for _ in range(2))
    for seed in (1, 2):
        expected = slope(plain, logits, labels.roll(seed, 1))
        with torch.autocast("cpu", torch.bfloat16):
            found = slope(cast, logits, labels.roll(seed, 1))
        assert torch.equal(found, expected)
    assert_same_state(plain, cast)


def test_missing_labels_are_named() -> None:
    with pytest.raises(TypeError, match=r"labels are a tensor \[B, T\] of ids, not None"):
        steady()(batch(1)[0], None)


def test_a_batch_is_of_the_loss_that_read_it() -> None:
    """Its n-grams and marks are numbered; other settings of a loss for the same profile number them alike."""
    logits, labels = batch(1)
    plain, excluding, other = (
        DistributionLoss(handmade(), dead_zone=0.2),
        DistributionLoss(handmade(), exclude=[3]),
        DistributionLoss(replace(handmade(), profile_sha256="1" * 64)),
    )
    for loss, told in ((excluding, "with other tokens excluded"), (other, "of another profile")):
        with pytest.raises(VocabularyMismatch, match=f"this batch was read by another loss, {told}") as error:
            loss(logits, plain.read(labels))
        assert "pinned" not in str(error.value)
    expected = DistributionLoss(handmade(), clip=0.5)(logits, labels)[0]
    assert torch.equal(DistributionLoss(handmade(), clip=0.5)(logits, plain.read(labels))[0], expected)


@pytest.mark.parametrize("number", [float("nan"), -1.0])
def test_items_that_cannot_be(number: float) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        steady()(*batch(1), num_items=number)  # type: ignore[arg-type]


def test_a_number_of_items_is_not_negative() -> None:
    logits, labels = batch(1)
    with pytest.raises(ValueError, match="0 or more, not -3"):
        steady()(logits, labels, num_items=-3)
    with torch.no_grad():
        none, one = (steady()(logits, labels, num_items=number)[0] for number in (0, 1))
    assert torch.equal(none, one), "as trainers have it on a step of padding alone"


def test_a_refused_state_leaves_the_loss_as_it_was() -> None:
    loss, other = steady(), DistributionLoss(replace(handmade(), tokenizer_sha256="2" * 64))
    with pytest.raises(VocabularyMismatch, match="running rates of another loss: for another tokenizer"):
        other.load_state_dict(loss.state_dict())
    assert not any(values.any() for name, values in other.state_dict().items() if name != "_extra_state")


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    loss = steady_share(rank)
    if rank == 0:
        loss(*batch(2))
    else:
        loss.step()  # it has no batch left
    torch.save(loss.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def steady_share(rank: int) -> DistributionLoss:
    loss, (logits, labels) = DistributionLoss(handmade(), dead_zone=0.2), batch(100)
    mine = slice(0, 2) if rank == 0 else slice(2, 6)
    loss(logits[mine], labels[mine])
    return loss


def test_a_rank_without_a_batch_closes_the_step_with_the_others(tmp_path: Path) -> None:
    processes.spawn(_rank, (str(tmp_path),), nprocs=2)
    alone = steady()
    alone(*batch(2))
    for rank in range(2):
        other = DistributionLoss(handmade())
        other.load_state_dict(torch.load(tmp_path / f"{rank}.pt", weights_only=True))
        assert_same_state(alone, other)
