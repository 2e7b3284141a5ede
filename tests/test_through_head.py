"""The loss from hidden states and a head: what the logits path says, however the rows are cut, whatever the head is."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dft_stats.errors import NotFinite, VocabularyMismatch
from dft_stats.loss import DistributionLoss, LogitsMissing, through_head
from tests.compiled_for_tests import compiled, handmade, text_rows

SIZE = handmade().vocab_size
WIDTH = 24


def batch(seed: int, rows: int = 3, length: int = 40, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Hidden states [B, T, H] in float64, and labels [B, T] of which some are ignored."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, length, WIDTH, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, size, (rows, length), generator=generator)
    labels[torch.rand(rows, length, generator=generator) < 0.1] = -100
    labels[0, :9] = -100
    return hidden.requires_grad_(), labels


def linear(size: int = SIZE, *, bias: bool = True, dtype: torch.dtype = torch.float64) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, size, bias=bias, dtype=dtype)


def by_logits(
    loss: DistributionLoss, logits: Tensor, labels: Tensor, weight: float, cross_entropy: float, **options: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """The same as `through_head`, with all logits at once."""
    value, components = loss(logits, labels, **options)
    shifted = options.get("shifted", False)
    predictions, targets = (logits, labels) if shifted else (logits[:, :-1], labels[:, 1:])
    nll = F.cross_entropy(predictions.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    items = options.get("num_items") or (targets != -100).sum()
    return weight * value + cross_entropy * nll / items, {**components, "dist/cross_entropy": (nll / items).detach()}


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("chunk_size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_p": 0.9}])
def test_it_is_the_loss_of_all_logits_at_once(sampling: dict[str, float], chunk_size: int, shifted: bool) -> None:
    """Three optimizer steps of two micro-batches, then one evaluation."""
    head, same = linear(), linear()
    one, other = (DistributionLoss(handmade(), accumulation_steps=2, dead_zone=0.1, decay=0.9, **sampling) for _ in range(2))
    for seed in range(6):
        hidden, labels = batch(seed)
        again = hidden.detach().clone().requires_grad_()
        given: dict[str, Any] = {"num_items": 170, "shifted": shifted}
        total, components = through_head(
            one, hidden, head, labels, weight=0.3, cross_entropy=0.8, chunk_size=chunk_size, input_ids=labels.clamp_min(0), **given
        )
        wanted, expected = by_logits(other, same(again), labels, 0.3, 0.8, input_ids=labels.clamp_min(0), **given)
        (2 * total).backward()
        (2 * wanted).backward()
        assert total.item() == pytest.approx(wanted.item(), rel=1e-5)
        assert {n: v.item() for n, v in components.items()} == pytest.approx({n: v.item() for n, v in expected.items()}, rel=1e-4)
        torch.testing.assert_close(hidden.grad, again.grad, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(head.weight.grad, same.weight.grad, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(head.bias.grad, same.bias.grad, rtol=1e-5, atol=1e-8)
    for name, value in one.state_dict().items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        hidden, labels = batch(9)
        _, components = through_head(one.eval(), hidden, head, labels, shifted=shifted, chunk_size=chunk_size)
        _, expected = other.eval()(same(hidden), labels, shifted=shifted)
    assert {n: v.item() for n, v in components.items()} == pytest.approx({n: v.item() for n, v in expected.items()}, rel=1e-4)


def test_each_term_alone_on_a_real_profile() -> None:
    made = compiled("gpt2")
    labels = torch.tensor(text_rows("gpt2", 3, 48))
    hidden = torch.randn(3, 48, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for weights in ({name: float(name == term) for name in DistributionLoss(made).weights} for term in DistributionLoss(made).weights):
        head = linear(made.vocab_size)
        one, other = (DistributionLoss(made, weights=weights, dead_zone=0.0) for _ in range(2))
        for _ in range(2):  # the second step takes one pass
            total, _ = through_head(one, hidden, head, labels, chunk_size=50)
            wanted, _ = other(head(hidden), labels)
            found, expected = (torch.autograd.grad(value, [hidden, head.weight]) for value in (total, wanted))
            assert max(gradient.abs().max().item() for gradient in expected) > 0, weights
            for a, b in zip(found, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6 * b.abs().max().item())


class LowRank(nn.Module):
    """A head as LoRA makes it: frozen, plus a product of two small trained matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.base = linear(bias=False).requires_grad_(False)
        torch.manual_seed(1)
        self.a, self.b = nn.Linear(WIDTH, 3, bias=False, dtype=torch.float64), nn.Linear(3, SIZE, bias=False, dtype=torch.float64)

    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.base(hidden) + self.b(self.a(hidden))
        return logits


def steady_pair() -> tuple[DistributionLoss, DistributionLoss]:
    """Two equal losses with running rates of one step."""
    losses = [DistributionLoss(handmade(), dead_zone=0.0) for _ in range(2)]
    hidden, labels = batch(7)
    for loss in losses:
        loss(linear()(hidden), labels)
    return losses[0], losses[1]


def test_only_what_is_trained_of_a_head_gets_a_gradient() -> None:
    one, other = steady_pair()
    head, (hidden, labels) = LowRank(), batch(0)
    total, _ = through_head(one, hidden, head, labels, cross_entropy=1.0, chunk_size=16)
    wanted, _ = by_logits(other, head(hidden), labels, 1.0, 1.0)
    trained = [hidden, head.a.weight, head.b.weight]
    for found, expected in zip(torch.autograd.grad(total, trained), torch.autograd.grad(wanted, trained), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
    assert head.base.weight.grad is None


def test_soft_caps_scales_and_padded_heads() -> None:
    one, other = steady_pair()
    head, (hidden, labels) = linear(SIZE + 13), batch(0)
    total, _ = through_head(one, hidden, head, labels, cross_entropy=1.0, chunk_size=16, softcap=3.0, logit_scale=0.5)
    wanted, _ = by_logits(other, 3 * torch.tanh(head(hidden) / 6), labels, 1.0, 1.0)
    for found, expected in zip(*(torch.autograd.grad(v, [hidden, head.weight]) for v in (total, wanted)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_heads_have_statistics_in_float32(dtype: torch.dtype) -> None:
    one, other = steady_pair()
    head, (hidden, labels) = linear(dtype=dtype), batch(0)
    hidden = hidden.detach().to(dtype).requires_grad_()
    total, components = through_head(one, hidden, head, labels, cross_entropy=1.0, chunk_size=16)
    wanted, expected = by_logits(other, head(hidden).float(), labels, 1.0, 1.0)
    assert all(value.dtype in (torch.float32, torch.float64) for value in components.values())
    assert components["dist/loss"].item() == pytest.approx(expected["dist/loss"].item(), rel=1e-3)
    found, exact = (torch.autograd.grad(value, [hidden, head.weight]) for value in (total, wanted))
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == dtype
        assert F.cosine_similarity(a.double().flatten(), b.double().flatten(), dim=0) > 0.999


@pytest.mark.parametrize("way", ["autocast", "head", "logits"])
def test_float16_keeps_small_gradients_until_they_are_scaled(way: str) -> None:
    """A hundred thousand labels in a step, and the scale of a `GradScaler`: as near to float64 as float16 can be."""
    scale, items = 2.0**16, 100_000
    labels = torch.randint(1, SIZE, (2, 40), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, 1000, bias=False).to(torch.float32 if way == "autocast" else torch.float16)
    hidden = torch.randn(2, 40, WIDTH, generator=torch.Generator().manual_seed(2)).to(head.weight.dtype)
    given = (head(hidden) if way == "logits" else hidden).detach().requires_grad_()
    leaves = [given] if way == "logits" else [given, head.weight]
    module = nn.Identity() if way == "logits" else head
    with torch.autocast("cpu", torch.float16, enabled=way == "autocast"):
        total, _ = through_head(steady_pair()[0], given, module, labels, weight=0.0, cross_entropy=1.0, num_items=items)
    found = torch.autograd.grad(scale * total, leaves)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    logits = exact[0] if way == "logits" else exact[0] @ exact[1].T
    wanted = torch.autograd.grad(F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum") / items, exact)
    for leaf, one, other in zip(leaves, found, wanted, strict=True):
        assert one.dtype == leaf.dtype
        assert float((one.double() / scale - other).norm()) < 1e-3 * float(other.norm())


def test_a_batch_without_a_label_gives_zero_with_a_gradient() -> None:
    hidden, labels = batch(0)
    head = linear()
    total, components = through_head(steady_pair()[0], hidden, head, torch.full_like(labels, -100), cross_entropy=1.0)
    total.backward()
    assert total.item() == 0
    assert components["dist/cross_entropy"].item() == 0
    assert hidden.grad is not None
    assert head.weight.grad is not None
    assert not hidden.grad.any()


def test_labels_of_vanished_probability_keep_their_likelihood() -> None:
    """exp(-200) is no float32, its logarithm is."""
    one, _ = steady_pair()
    hidden = torch.ones(1, 6, 1)
    head = nn.Linear(1, SIZE, bias=False)
    with torch.no_grad():
        head.weight.zero_()[5] = -200
    _, components = through_head(one, hidden, head, torch.full((1, 6), 5), cross_entropy=1.0, shifted=True)
    assert components["dist/cross_entropy"].item() == pytest.approx(200 + torch.tensor(SIZE - 1.0).log().item())


def test_only_rows_that_matter_meet_the_head() -> None:
    hidden, labels = batch(0)
    seen: list[int] = []
    head = linear()
    head.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    labels[:, 20:] = -100
    through_head(steady_pair()[0], hidden, head, labels, shifted=True, chunk_size=16)
    assert sum(seen) == int((labels != -100).sum())
    assert max(seen) <= 16


def test_logits_that_a_hook_keeps_stay_what_they_are() -> None:
    head, (hidden, labels) = linear(), batch(0)
    kept: list[tuple[Tensor, Tensor]] = []
    head.register_forward_hook(lambda _, __, logits: kept.append((logits.detach(), logits.detach().clone())))
    one, _ = steady_pair()
    through_head(one, hidden, head, labels, cross_entropy=1.0)
    assert kept
    assert all(torch.equal(*pair) for pair in kept)


class Squashed(nn.Linear):
    """A head that is more than a linear layer."""

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.tanh(super().forward(hidden))


def test_a_subclass_of_a_linear_layer_keeps_what_its_backward_needs() -> None:
    one, other = steady_pair()
    head, (hidden, labels) = Squashed(WIDTH, SIZE), batch(0)
    hidden = hidden.detach().float().requires_grad_()
    total, _ = through_head(one, hidden, head, labels, cross_entropy=1.0)
    wanted, _ = by_logits(other, head(hidden), labels, 1.0, 1.0)
    for found, expected in zip(*(torch.autograd.grad(v, [hidden, head.weight]) for v in (total, wanted)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_what_is_wrong_is_said() -> None:
    loss, (hidden, labels), head = DistributionLoss(handmade()), batch(0), linear()
    with pytest.raises(LogitsMissing, match=r"hidden states.*None"):
        through_head(loss, None, head, labels)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="do not fit"):
        through_head(loss, hidden[:, 1:], head, labels)
    with pytest.raises(VocabularyMismatch, match=rf"{SIZE - 1} entries.*{SIZE} ids"):
        through_head(loss, hidden, linear(SIZE - 1), labels)
    with pytest.raises(ValueError, match="chunk_size"):
        through_head(loss, hidden, head, labels, chunk_size=0)
    with pytest.raises(NotFinite, match="NaN"):
        through_head(loss, hidden * float("nan"), head, labels)
