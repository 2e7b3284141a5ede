"""The kernels, in Triton's interpreter: value, gradients and state are those of the portable path, whatever the chunk holds."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dft_stats.loss import DistributionLoss, Sampler, fused, through_head
from tests.compiled_for_tests import handmade

if sys.platform != "linux":
    pytest.skip("Triton is for Linux", allow_module_level=True)

SIZE, WIDTH = handmade().vocab_size, 16


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The kernels wherever they fit; notes how many chunks they took. Small tiles, so that there are several."""
    taken: list[int] = []

    def usable(logits: Tensor, sampler: Sampler) -> bool:
        if fused.is_made_for(logits, sampler):
            taken.append(len(logits))
        return fused.is_made_for(logits, sampler)

    monkeypatch.setattr(fused, "usable", usable)
    for name, size in (("BLOCK", 32), ("TILE_ROWS", 4), ("TILE_BLOCK", 16)):
        monkeypatch.setattr(fused, name, size)
    return taken


def batch(seed: int, rows: int = 2, length: int = 14) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, SIZE, (rows, length), generator=generator)
    labels[0, 5:7] = -100
    return torch.randn(rows, length, WIDTH, generator=generator), labels


def steps(fits: bool, surplus: int, cross_entropy: float, dtype: torch.dtype, sampling: dict[str, float], identity: bool) -> dict[str, Any]:
    """Three steps; `fits` is for the caller's fixture to make the kernels take them."""
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, SIZE + surplus, dtype=dtype)
    loss = DistributionLoss(handmade(), dead_zone=0.1, **sampling)  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for seed in range(3):
        hidden, labels = batch(seed)
        given = hidden.to(dtype).requires_grad_()
        options: dict[str, Any] = {"weight": 0.5, "cross_entropy": cross_entropy, "chunk_size": 9, "input_ids": labels.clamp_min(0)}
        predictions = head(given) if identity else given
        if identity:  # what nobody needs may be anything
            predictions = torch.where(torch.from_numpy(loss.read(labels).needed).view(2, 14, 1), predictions, float("nan"))
        total, components = through_head(loss, predictions, nn.Identity() if identity else head, labels, **options)
        (3 * total).backward()
        found |= {f"{seed} total": total.detach(), f"{seed} hidden": given.grad, **{f"{seed} {k}": v for k, v in components.items()}}
    return found | {"weight": head.weight.grad, "bias": head.bias.grad, **{f"state {k}": v for k, v in loss.rates().items()}}


@pytest.mark.filterwarnings("ignore:.*NaN:RuntimeWarning", "ignore:.*invalid value:RuntimeWarning")  # of the interpreter, which is NumPy
@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize(
    ("surplus", "cross_entropy", "sampling"),
    [(0, 1.0, {}), (5, 1.0, {}), (5, 0.0, {}), (3, 0.7, {"temperature": 0.6}), (0, 0.0, {"temperature": 1.7})],
)
def test_it_is_the_portable_path(
    on_gpu: list[int], surplus: int, cross_entropy: float, sampling: dict[str, float], identity: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: Any = (surplus, cross_entropy, torch.float32, sampling, identity)
    found = steps(True, *arguments)
    assert len(on_gpu) >= 6, "the kernels took part"
    monkeypatch.setattr(fused, "usable", lambda *_: False)
    expected = steps(False, *arguments)
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=2e-4, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_half_precision_is_near_the_portable_path(on_gpu: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    found = steps(True, 5, 1.0, torch.bfloat16, {}, False)
    assert on_gpu
    monkeypatch.setattr(fused, "usable", lambda *_: False)
    expected = steps(False, 5, 1.0, torch.bfloat16, {}, False)
    for name, value in expected.items():
        one, other = found[name].double().flatten(), value.double().flatten()
        assert float((one - other).norm()) <= 0.02 * float(other.norm()) + 1e-6, name


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_likely_labels_keep_their_gradient_in_half_precision(
    on_gpu: list[int], temperature: float, weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a label is all but certain, p - 1 is far smaller than the steps of bfloat16 near 1."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1, SIZE, (2, 33), generator=generator)
    logits = torch.randn(2, 33, SIZE, generator=generator) * 0.5
    logits[:, :-1].scatter_add_(2, labels[:, 1:, None], torch.full((2, 32, 1), 11.0))
    exact = logits.bfloat16().double().requires_grad_()
    found = []
    for given in (logits.bfloat16().requires_grad_(), exact):
        if given is exact:
            monkeypatch.setattr(fused, "usable", lambda *_: False)
        loss = DistributionLoss(handmade(), temperature=temperature, dead_zone=0.0)
        through_head(loss, given, nn.Identity(), labels, weight=weight, cross_entropy=1.0)[0].backward()
        assert given.grad is not None
        found.append(given.grad.double())
    assert on_gpu
    assert float((found[0] - found[1]).norm()) < 0.01 * float(found[1].norm())


def test_vanishing_probabilities_have_their_logarithm(on_gpu: list[int]) -> None:
    """A label 300 nats below: its likelihood is exact, where the probability is 0 in float32."""
    labels = torch.full((1, 6), 3)
    logits = torch.zeros(1, 6, SIZE)
    logits[..., 3] = -300
    _, components = through_head(DistributionLoss(handmade()), logits.requires_grad_(), nn.Identity(), labels, cross_entropy=1.0)
    assert on_gpu
    assert components["dist/cross_entropy"].item() == pytest.approx(300 + torch.tensor(SIZE - 1.0).log().item(), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_forbidden_tokens(on_gpu: list[int], temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole blocks of logits of minus infinity, the first among them."""
    labels = torch.randint(40, SIZE, (2, 10), generator=torch.Generator().manual_seed(0))
    logits = torch.randn(2, 10, SIZE, generator=torch.Generator().manual_seed(1))
    logits[..., :36] = -torch.inf
    found = []
    for fits in (True, False):
        if not fits:
            monkeypatch.setattr(fused, "usable", lambda *_: False)
        loss, given = DistributionLoss(handmade(), temperature=temperature, dead_zone=0.1), logits.clone().requires_grad_()
        for _ in range(2):
            through_head(loss, given, nn.Identity(), labels, cross_entropy=1.0)[0].backward()
        found.append(given.grad)
    assert on_gpu
    torch.testing.assert_close(*found, rtol=2e-4, atol=2e-6)


def test_what_the_kernels_are_not_made_for_goes_the_portable_way() -> None:
    logits = torch.zeros(2, 4)
    assert fused.is_made_for(logits, Sampler(0.7))
    assert not fused.is_made_for(logits, Sampler(0.7, 0.9))
    assert not fused.is_made_for(logits.double(), Sampler())
    assert not fused.is_made_for(logits.half(), Sampler())
    assert not fused.is_made_for(logits.T, Sampler())
    assert not fused.usable(logits, Sampler()), "not on a CPU"
