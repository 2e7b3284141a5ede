"""Reading a batch is all that waits for a GPU: behind it nothing asks the host for a number that the device has not computed yet."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dft_stats.errors import NotFinite
from dft_stats.loss import DistributionLoss, through_head
from dft_stats.loss.batch import GAP
from tests.compiled_for_tests import handmade

SIZE, WIDTH = handmade().vocab_size, 24
# Operators whose result has a size that depends on data, or that hand a number to the host: each waits for the device.
WAITING = {
    *("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount", "equal"),
    *("is_nonzero", "item", "repeat_interleave"),
}


class Waits(TorchDispatchMode):
    """Notes the operators that would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.__name__.partition(".")[0]
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in WAITING or by_mask:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, SIZE, (3, 40), generator=generator)
    labels[torch.rand(3, 40, generator=generator) < 0.1] = -100
    labels[1, 12:29] = -100
    return torch.randn(3, 40, WIDTH, generator=generator).requires_grad_(), labels


@pytest.mark.filterwarnings("ignore:.*expected to be on CPU")
@pytest.mark.parametrize("by", ["head", "logits", "both from logits"])
@pytest.mark.parametrize("step", [0, 1])
def test_nothing_waits_after_reading(by: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step, whose witness is made of the batch itself, and one with running rates. On a CPU, where it costs nothing, finite
    numbers and vanished probabilities are looked for at once: both are told here that this is none."""
    head, loss = nn.Linear(WIDTH, SIZE), DistributionLoss(handmade(), dual_rate=0.02, warmup_steps=3, every=2)
    for seed in range(step):
        loss(head(batch(seed)[0]), batch(seed)[1])
    hidden, labels = batch(7)
    read = loss.read(labels, input_ids=labels.clamp_min(0))
    read.cut(loss.chunk_size), read.cut(loss.chunk_size, GAP)
    monkeypatch.setattr(Tensor, "is_cpu", False)
    with Waits() as waits:
        if by == "head":
            value, _ = through_head(loss, hidden, head, read, cross_entropy=1.0)
        elif by == "logits":
            value, _ = loss(head(hidden), read)
        else:
            value, _ = through_head(loss, head(hidden), nn.Identity(), read, cross_entropy=1.0)
        value.backward()
    assert waits.found == []
    assert loss.commits == step + 1


def test_the_notes_see_what_waits() -> None:
    values = torch.arange(4.0)
    with Waits() as waits:
        bool((values > 1).any()), values.nonzero(), values[values > 1], torch.repeat_interleave(torch.tensor([1, 2]))
    assert waits.found == ["_local_scalar_dense", "nonzero", "index", "repeat_interleave"]
    with Waits() as waits:
        DistributionLoss(handmade()).read(batch()[1])
    assert waits.found


@pytest.mark.parametrize("gap", [0, GAP])
@pytest.mark.parametrize("size", [1, 5, 16, 1000])
def test_a_cut_has_every_needed_row_once(size: int, gap: int) -> None:
    loss = DistributionLoss(handmade())
    _, labels = batch()
    read = loss.read(labels, input_ids=labels.clamp_min(0))
    cut, rows = read.cut(size, gap), torch.arange(labels.numel())
    taken = torch.cat([rows[chunk.where] for chunk in cut.chunks])
    spared = torch.cat([rows[part] for part in cut.spared])
    assert sorted([*taken.tolist(), *spared.tolist()]) == rows.tolist()
    assert not read.needed[spared.numpy()].any()
    wanted = torch.cat([pair.rows for pair in read.pairs.values()])[cut.order]
    for chunk in cut.chunks:
        here = rows[chunk.where]
        assert len(here) == chunk.size <= size
        torch.testing.assert_close(here[cut.rows[chunk.pairs]], wanted[chunk.pairs])
        surplus = torch.zeros(len(here), dtype=torch.bool) if chunk.surplus is None else chunk.surplus
        assert (~surplus).tolist() == read.needed[here.numpy()].tolist()
        assert gap or chunk.surplus is None
    assert sum(chunk.pairs.stop - chunk.pairs.start for chunk in cut.chunks) == len(cut.order)


def test_reading_first_is_the_same() -> None:
    head = nn.Linear(WIDTH, SIZE)
    one, other = DistributionLoss(handmade()), DistributionLoss(handmade())
    for seed in range(3):
        hidden, labels = batch(seed)
        again = hidden.detach().clone().requires_grad_()
        one(head(hidden), one.read(labels, input_ids=labels.clamp_min(0)), num_items=99)[0].backward()
        other(head(again), labels, input_ids=labels.clamp_min(0), num_items=99)[0].backward()
        torch.testing.assert_close(hidden.grad, again.grad)
    hidden, labels = batch(9)
    with pytest.raises(TypeError, match=r"input_ids, shifted belong to `read`"):
        one(head(hidden), one.read(labels), input_ids=labels, shifted=True)


def test_logits_and_cross_entropy_in_one_pass() -> None:
    one, other = DistributionLoss(handmade(), dead_zone=0.1), DistributionLoss(handmade(), dead_zone=0.1)
    for seed in range(3):
        _, labels = batch(seed)
        logits = torch.randn(3, 40, SIZE + 3, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        again = logits.detach().clone().requires_grad_()
        total, components = through_head(one, logits, nn.Identity(), labels, weight=0.3, cross_entropy=0.8)
        nll = F.cross_entropy(again[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        (3 * total).backward()
        (3 * (0.3 * other(again, labels)[0] + 0.8 * nll)).backward()
        assert components["dist/cross_entropy"].item() == pytest.approx(nll.item(), rel=1e-5)
        torch.testing.assert_close(logits.grad, again.grad, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("cross_entropy", [0.0, 0.5])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8}, {"temperature": 0.8, "top_p": 0.9}])
def test_what_nobody_needs_may_be_anything(cross_entropy: float, sampling: dict[str, float]) -> None:
    """Rows between those that are needed are read with them, and zero is what they get."""
    _, labels = batch()
    loss, same = DistributionLoss(handmade(), **sampling), DistributionLoss(handmade(), **sampling)
    logits = torch.randn(3, 40, SIZE, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        needed = torch.from_numpy(loss.read(labels).needed).view(3, 40, 1)
        broken = torch.where(needed, logits, float("nan")).requires_grad_()
        whole = logits.clone().requires_grad_()
        for each, given in ((loss, broken), (same, whole)):
            through_head(each, given, nn.Identity(), labels, cross_entropy=cross_entropy)[0].backward()
        assert broken.grad is not None
        torch.testing.assert_close(broken.grad, whole.grad)
        assert not broken.grad.masked_select(~needed).any()


def test_a_graph_that_is_kept_gives_the_gradient_again() -> None:
    hidden, labels = batch()
    head, loss = nn.Linear(WIDTH, SIZE), DistributionLoss(handmade())
    for _ in range(2):
        total, _ = through_head(loss, hidden, head, labels, cross_entropy=1.0)
        hidden.grad = None
        (2 * total).backward(retain_graph=True)
        assert hidden.grad is not None
        first = hidden.grad.clone()
        total.backward()
        torch.testing.assert_close(hidden.grad, 1.5 * first)


def test_on_a_gpu_a_fault_is_told_at_the_next_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    _, labels = batch()
    loss = DistributionLoss(handmade(), decay=0.9)
    logits = torch.randn(3, 40, SIZE)
    loss(logits, labels)
    read, before = loss.read(labels), loss.terms["token_frequency"].families["token_frequency"].get_buffer("numerator").clone()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(Tensor, "is_cpu", False)
        loss(logits / 0, read)
    kept = loss.terms["token_frequency"].families["token_frequency"].get_buffer("numerator")
    torch.testing.assert_close(kept, before)
    with pytest.raises(NotFinite, match="NaN or infinity"):
        loss.read(labels)
    loss.read(labels)
