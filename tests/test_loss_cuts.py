"""Law 5: the gradient does not depend on how a batch is cut, into micro-batches or ranks, nor on padding."""

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from dft_stats.loss import DistributionLoss
from tests.compiled_for_tests import handmade, ids_of

SIZE = len(handmade().tokens.fold)


def batch(seed: int, rows: int = 6, length: int = 24) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, length, SIZE, dtype=torch.float64, generator=generator) * 1.5
    labels = torch.randint(0, SIZE, (rows, length), generator=generator)
    labels[torch.rand(rows, length, generator=generator) < 0.05] = -100
    return logits, labels


def steady(accumulation_steps: int = 1) -> DistributionLoss:
    """A loss with a step behind it, so that the witness stands."""
    loss = DistributionLoss(handmade(), accumulation_steps=0, dead_zone=0.2)
    loss(*batch(100))
    loss.step()
    loss.accumulation_steps = accumulation_steps
    return loss


def slope(loss: DistributionLoss, logits: Tensor, labels: Tensor, **arguments: object) -> Tensor:
    logits = logits.clone().requires_grad_()
    value, _ = loss(logits, labels, **arguments)
    (gradient,) = torch.autograd.grad(value, logits)
    return gradient


def assert_same_state(one: DistributionLoss, other: DistributionLoss) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for name, values in a.items():
        if isinstance(values, Tensor):
            torch.testing.assert_close(values, b[name], rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("sizes", [[3, 3], [1, 5], [1, 1, 1, 1, 1, 1]])
def test_micro_batches_add_up(sizes: list[int]) -> None:
    logits, labels = batch(1)
    whole, cut = steady(), steady(len(sizes))
    expected = slope(whole, logits, labels)
    num_items = int((labels[:, 1:] != -100).sum())
    parts = zip(logits.split(sizes), labels.split(sizes), strict=True)
    found = torch.cat([slope(cut, *part, num_items=num_items) for part in parts])
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected)
    assert (int(cut.commits), int(cut.forwards)) == (2, 0)
    assert_same_state(whole, cut)


def test_num_items_is_a_tensor_or_a_number() -> None:
    logits, labels = batch(1)
    by_number = slope(steady(), logits, labels, num_items=50)
    torch.testing.assert_close(slope(steady(), logits, labels, num_items=torch.tensor(50)), by_number)
    torch.testing.assert_close(slope(steady(), logits, labels, num_items=100) * 2, by_number)


def test_order_of_rows_does_not_matter() -> None:
    logits, labels = batch(1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    one, other = steady(), steady()
    torch.testing.assert_close(slope(other, logits[order], labels[order]), slope(one, logits, labels)[order])
    assert_same_state(one, other)


@pytest.mark.parametrize("shifted", [True, False])
def test_padding_on_the_right_changes_nothing(shifted: bool) -> None:
    logits, labels = batch(1)
    junk = torch.randn(6, 7, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    one, other = steady(), steady()
    expected = slope(one, logits, labels, shifted=shifted)
    padded = torch.cat([logits, junk], 1), torch.cat([labels, torch.full((6, 7), -100)], 1)
    found = slope(other, *padded, shifted=shifted)
    torch.testing.assert_close(found[:, : logits.shape[1]], expected)
    assert (found[:, logits.shape[1] :] == 0).all()
    assert_same_state(one, other)


def test_padding_on_the_left_changes_nothing() -> None:
    """Behind a prompt: its tokens are read, padding before it is a special token and separates."""
    logits, ids = batch(1)
    ids = ids.clamp_min(0)
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < 5, -100)
    junk = torch.randn(6, 4, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    pad = torch.full((6, 4), ids_of("<s>")[0])
    one, other = steady(), steady()
    expected = slope(one, logits, labels, input_ids=ids)
    found = slope(
        other, torch.cat([junk, logits], 1), torch.cat([torch.full_like(pad, -100), labels], 1), input_ids=torch.cat([pad, ids], 1)
    )
    torch.testing.assert_close(found[:, 4:], expected)
    assert (found[:, :4] == 0).all()
    assert_same_state(one, other)


def test_packed_documents_are_those_of_separate_rows() -> None:
    logits, labels = batch(1, rows=2)
    labels = labels.clamp_min(0)
    labels[:, 0] = -100  # nothing predicts the first token of a row
    ids = labels.masked_fill(labels == -100, 3)
    one, other = steady(), steady()
    expected = slope(one, logits, labels, input_ids=ids)
    starts = torch.arange(2 * 24)[None] == 24
    packed = slope(other, logits.view(1, 48, SIZE), labels.view(1, 48), input_ids=ids.view(1, 48), document_starts=starts)
    torch.testing.assert_close(packed.view_as(expected), expected)
    assert_same_state(one, other)


def test_shifted_logits_and_labels_are_the_same_batch() -> None:
    logits, labels = batch(1)
    labels = labels.clamp_min(0)
    one, other = steady(), steady()
    expected = slope(one, logits, labels)
    found = slope(other, logits.roll(1, 1), labels.clone().index_fill_(1, torch.tensor([0]), -100), input_ids=labels, shifted=True)
    torch.testing.assert_close(found.roll(-1, 1), expected)
    assert_same_state(one, other)


def test_a_vocabulary_padded_with_impossible_ids_changes_nothing() -> None:
    logits, labels = batch(1)
    one, other = steady(), steady()
    expected = slope(one, logits, labels)
    padded = torch.cat([logits, logits.new_full((*labels.shape, 10), -torch.inf)], -1)
    found = slope(other, padded, labels)
    torch.testing.assert_close(found[..., :SIZE], expected)
    assert (found[..., SIZE:] == 0).all()
    assert_same_state(one, other)


def test_surplus_ids_count_nothing_but_take_probability() -> None:
    """As a special token does: a padded head that gives mass to nothing has that much less for words."""
    logits, labels = batch(1)
    loss = DistributionLoss(handmade(), accumulation_steps=0)
    loss(torch.cat([logits, torch.full((*labels.shape, 10), 30.0)], -1), labels)
    counted = loss._families()["token_frequency"]
    assert counted.pending_numerator.sum() < 1e-5 * counted.pending_denominator[0]


def test_another_ignore_index_and_integer_type() -> None:
    logits, labels = batch(1)
    one, other = steady(), steady()
    other.ignore_index = -1
    expected = slope(one, logits, labels)
    torch.testing.assert_close(slope(other, logits, labels.masked_fill(labels == -100, -1).int()), expected)
    assert_same_state(one, other)


# --- ranks


def _rank(rank: int, folder: str, port: int) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    loss = DistributionLoss(handmade(), accumulation_steps=1, dead_zone=0.2)
    gradients = []
    for logits, labels in (batch(100), batch(1)):
        mine = slice(0, 2) if rank == 0 else slice(2, 6)
        num_items = int((labels[:, 1:] != -100).sum())
        gradients.append(slope(loss, logits[mine], labels[mine], num_items=num_items))
    if rank == 0:
        loss(*batch(2))  # the other rank has no batch left
    else:
        loss.step()
    torch.save({"gradient": gradients[1], "state": loss.state_dict()}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_ranks_add_up(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_rank, (str(tmp_path), port), nprocs=2)  # type: ignore[attr-defined]
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    alone = steady()
    expected = slope(alone, *batch(1))
    torch.testing.assert_close(torch.cat([rank["gradient"] for rank in ranks]), expected)
    alone(*batch(2))
    for rank in ranks:
        other = DistributionLoss(handmade())
        other.load_state_dict(rank["state"])
        assert_same_state(alone, other)
