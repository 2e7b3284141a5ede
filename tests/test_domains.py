"""A profile for each row: each row is steered by its own domain alone, however rows lie."""

import pytest
import torch
from torch import Tensor, nn

from dft_stats.loss import DistributionLoss, DomainLosses
from tests.compiled_for_tests import handmade, measured

SIZE, WIDTH = handmade().vocab_size, 16


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, SIZE, (5, 24), generator=generator)
    labels[torch.rand(5, 24, generator=generator) < 0.1] = -100
    return torch.randn(5, 24, WIDTH, generator=generator), labels


def pair() -> dict[str, DistributionLoss]:
    generator = torch.Generator().manual_seed(9)
    labels = torch.randint(1, SIZE, (8, 60), generator=generator)
    other = measured(handmade(), torch.randn(8, 60, SIZE, generator=generator), labels)
    return {"a": DistributionLoss(handmade(), dead_zone=0.1, decay=0.9), "b": DistributionLoss(other, dead_zone=0.1, decay=0.9)}


@pytest.mark.parametrize("with_head", [False, True])
def test_it_is_the_sum_of_each_domain_alone(with_head: bool) -> None:
    head = nn.Linear(WIDTH, SIZE)
    both, alone = DomainLosses(pair()), pair()
    for seed, domains in enumerate((["a", "b", "a", "b", "b"], ["a"] * 5, ["b", "a", "a", "a", "a"])):
        hidden, labels = batch(seed)
        items = int((labels[:, 1:] != -100).sum())
        mask = {"input_ids": labels.clamp_min(0)}
        one, other = (hidden.clone().requires_grad_() for _ in range(2))
        total, components = both(one if with_head else head(one), labels, domains, head=head if with_head else None, **mask)
        total.backward()
        both.step()
        for name, loss in alone.items():
            rows = [i for i, domain in enumerate(domains) if domain == name]
            if rows:
                value, found = loss(head(other[rows]), labels[rows], num_items=items, input_ids=mask["input_ids"][rows])
                value.backward()
                for key, part in found.items():
                    torch.testing.assert_close(components[f"dist/{name}/{key[5:]}"], part)
            loss.step()
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-8)
    assert [int(loss.commits) for loss in alone.values()] == [3, 2]
    assert [int(loss.commits) for loss in both.losses.values()] == [3, 2]


def test_weights_are_of_the_losses_and_not_of_the_cross_entropy() -> None:
    head, (hidden, labels), domains = nn.Linear(WIDTH, SIZE), batch(0), ["a", "b", "a", "b", "b"]
    values = {}
    for cross_entropy in (0.0, 1.0):
        for name, weights in {"whole": None, "half": {"a": 0.5, "b": 0.5}, "none": {"a": 0.0, "b": 0.0}}.items():
            value, _ = DomainLosses(pair())(hidden, labels, domains, head=head, cross_entropy=cross_entropy, weights=weights)
            values[name, cross_entropy] = value.item()
    entropy = values["none", 1.0]
    assert entropy > 1
    assert values["none", 0.0] == 0
    for name, share in (("whole", 1.0), ("half", 0.5)):
        assert values[name, 0.0] == pytest.approx(share * values["whole", 0.0], rel=1e-5)
        assert values[name, 1.0] == pytest.approx(entropy + values[name, 0.0], rel=1e-5)
    without = DomainLosses(pair())(head(hidden), labels, domains, weights={"a": 0.5, "b": 0.5})[0]
    assert without.item() == pytest.approx(values["half", 0.0], rel=1e-4)


@pytest.mark.parametrize("name", ["news@1.0", "acme/contracts@1.2", "values", "50%"])
def test_a_domain_may_have_any_name(name: str) -> None:
    _, labels = batch(0)
    logits = torch.randn(5, 24, SIZE, generator=torch.Generator().manual_seed(0))
    one, other = DomainLosses({name: pair()["a"], "%32": pair()["b"]}), DomainLosses({"a": pair()["a"], "b": pair()["b"]})
    (value, found), (same, _) = (losses(logits, labels, [*losses.losses][:1] * 5) for losses in (one, other))
    assert value.item() == same.item()
    assert f"dist/{name}/entropy" in found
    one.load_state_dict(one.state_dict())
    assert list(one.losses) == [name, "%32"]


def test_a_domain_without_labels_keeps_its_rates() -> None:
    losses, (_, labels) = DomainLosses(pair()), batch(0)
    logits = torch.randn(5, 24, SIZE, generator=torch.Generator().manual_seed(0))
    losses(logits, labels, ["a", "a", "a", "b", "b"])
    losses.step()
    before = losses.losses["b"].rates()
    losses(logits, labels.index_fill(0, torch.tensor([3, 4]), -100), ["a", "a", "a", "b", "b"])
    losses.step()
    torch.testing.assert_close(losses.losses["b"].rates(), before)


def test_a_row_of_no_domain_is_refused() -> None:
    hidden, labels = batch(0)
    losses = DomainLosses(pair())
    for weights in ({"c": 1.0}, {"a": -1.0}, {"a": float("nan")}):
        with pytest.raises(ValueError, match=r"weights are numbers from 0 up, by domain \(a, b\), not"):
            losses(torch.randn(5, 24, SIZE), labels, ["a"] * 5, weights=weights)
    with pytest.raises(TypeError, match="labels are a tensor"):
        losses(torch.randn(5, 24, SIZE), losses.losses["a"].read(labels), ["a"] * 5)
    with pytest.raises(ValueError, match=r"4 domains for 5 rows, and unknown are c; known are a, b"):
        losses(hidden, labels, ["a", "b", "c", "a"])
    with pytest.raises(ValueError, match="no loss"):
        DomainLosses({})
    for wrong in ([DistributionLoss(handmade())], {"a": handmade()}):
        with pytest.raises(TypeError, match="losses are a DistributionLoss for each name of a domain"):
            DomainLosses(wrong)  # type: ignore[arg-type]


def test_precision_of_the_model_is_not_that_of_the_statistics() -> None:
    model = nn.ModuleDict({"head": nn.Linear(WIDTH, SIZE), "loss": DistributionLoss(handmade())}).to(torch.bfloat16)
    hidden, labels = batch(0)
    model["loss"](model["head"](hidden.bfloat16()), labels)
    assert model["head"].weight.dtype == torch.bfloat16
    assert {values.dtype for values in model["loss"].buffers() if values.is_floating_point()} == {torch.float32}
    same = DistributionLoss(handmade())
    same(model["head"](hidden.bfloat16()).float(), labels)
    torch.testing.assert_close(model["loss"].rates(), same.rates())
