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
    assert [int(loss.commits) for loss in both.losses.values()] == [3, 2]  # type: ignore[arg-type, union-attr]


def test_a_row_of_no_domain_is_refused() -> None:
    hidden, labels = batch(0)
    losses = DomainLosses(pair())
    with pytest.raises(ValueError, match=r"4 domains for 5 rows, and unknown are c; known are a, b"):
        losses(hidden, labels, ["a", "b", "c", "a"])
    with pytest.raises(ValueError, match="no loss"):
        DomainLosses({})


def test_precision_of_the_model_is_not_that_of_the_statistics() -> None:
    model = nn.ModuleDict({"head": nn.Linear(WIDTH, SIZE), "loss": DistributionLoss(handmade())}).to(torch.bfloat16)
    hidden, labels = batch(0)
    model["loss"](model["head"](hidden.bfloat16()), labels)
    assert model["head"].weight.dtype == torch.bfloat16
    assert {values.dtype for values in model["loss"].buffers() if values.is_floating_point()} == {torch.float32}
    same = DistributionLoss(handmade())
    same(model["head"](hidden.bfloat16()).float(), labels)
    torch.testing.assert_close(model["loss"].rates(), same.rates())
