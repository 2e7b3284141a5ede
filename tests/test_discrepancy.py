"""Other distances of rates: closed forms against SciPy, slopes against differences, and that following them lessens them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import energy_distance, wasserstein_distance
from torch import Tensor

from dft_stats.loss import DistributionLoss
from dft_stats.loss.discrepancy import CHOICES, LONGEST, direction, discrepancies, jensen_shannon_bits, of_gaps, of_lengths, squared_l2
from tests.compiled_for_tests import handmade, measured

hazards = st.lists(st.floats(0.05, 0.9), min_size=3, max_size=3)
BUCKETS = torch.tensor([0, 0, 1, 1] + [2] * (LONGEST - 4))
OTHERS = [(term, name) for term, names in CHOICES.items() for name in names if name != "whitened"]


def law(by_bucket: list[float]) -> np.ndarray:
    """Chances of the lengths 1, 2, ..., one at a time."""
    chances, left = [], 1.0
    for bucket in BUCKETS.tolist():
        chances.append(left * by_bucket[bucket])
        left *= 1 - by_bucket[bucket]
    return np.array([*chances[:-1], chances[-1] + left])


@given(hazards, hazards)
def test_lengths_are_scipys_distances(a: list[float], b: list[float]) -> None:
    ages = np.arange(1, LONGEST + 1)
    one, other = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    w1, cramer = (float(of_lengths(one, other, buckets=BUCKETS, power=power)) for power in (1, 2))
    assert w1 == pytest.approx(wasserstein_distance(ages, ages, law(a), law(b)), rel=1e-3, abs=1e-5)
    assert cramer == pytest.approx(energy_distance(ages, ages, law(a), law(b)) ** 2 / 2, rel=1e-3, abs=1e-5)


def test_gaps_are_scipys_distances_by_class() -> None:
    rng = np.random.default_rng(0)
    shape, widths = (3, 4, 2), torch.tensor([1.0, 1.0, 2.0, 4.0], dtype=torch.float64)
    p, q = (rng.uniform(0.1, 1, shape) for _ in range(2))
    values = np.array([0, 1, 2, 4])  # where a bucket begins: mass moves from one beginning to the next
    for power, distance in ((1, wasserstein_distance), (2, lambda *given: energy_distance(*given) ** 2 / 2)):
        expected = sum(q.sum((0, 1))[mark] / q.sum() * distance(values, values, p.sum(0)[:, mark], q.sum(0)[:, mark]) for mark in range(2))
        found = of_gaps(torch.from_numpy(p.ravel()), torch.from_numpy(q.ravel()), shape=shape, widths=widths, power=power)
        assert float(found) == pytest.approx(expected)


@given(st.lists(st.floats(0.001, 0.2), min_size=4, max_size=4), st.lists(st.floats(0.001, 0.2), min_size=4, max_size=4))
def test_frequencies_are_scipys_distances(a: list[float], b: list[float]) -> None:
    one, other = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    expected = jensenshannon([*a, 1 - sum(a)], [*b, 1 - sum(b)], base=2) ** 2
    assert float(jensen_shannon_bits(one, other)) == pytest.approx(expected, abs=1e-9)
    assert float(squared_l2(one, other)) == pytest.approx(np.square(np.subtract(a, b)).sum() / 2)


@pytest.mark.parametrize(("term", "name"), OTHERS)
def test_slopes_are_differences(term: str, name: str) -> None:
    made = handmade()
    (discrepancy,) = discrepancies(made, {term: name}).values()
    target = torch.from_numpy(
        {"token_frequency": made.token_frequency, "ngram_frequency": made.ngram_frequency, "sentence_length": made.hazard}.get(
            term, made.rhythm.ravel()
        )
    )
    generator = torch.Generator().manual_seed(0)
    rates = (target + 0.02 * torch.rand(target.shape, generator=generator, dtype=torch.float64)) * 0.8 + 0.01
    found = direction(discrepancy, rates, target)
    for i in range(0, len(rates), max(1, len(rates) // 20)):
        step = torch.zeros_like(rates)
        step[i] = 1e-6
        difference = (discrepancy(rates + step, target) - discrepancy(rates - step, target)) / 2e-6
        assert float(found[i]) == pytest.approx(float(difference), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(("term", "name"), OTHERS)
def test_following_it_lessens_it(term: str, name: str) -> None:
    """Logits that are learned, one row for all positions, towards a profile that another row of logits makes."""
    size = handmade().vocab_size
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(1, 1, size, generator=generator)
    labels = torch.randint(1, size, (8, 64), generator=generator)
    made = measured(handmade(), wanted.expand(8, 64, size), labels)
    weights = {other: float(other == term) for other in CHOICES}
    loss = DistributionLoss(made, weights=weights, discrepancies={term: name}, dead_zone=0.0, decay=0.0)
    family_name, discrepancy = next(iter(loss.discrepancies.items()))
    family = loss.families()[family_name]
    scores = torch.zeros(size, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.02, betas=(0.5, 0.9))
    values: list[float] = []
    for _ in range(120):
        value, _ = loss(scores.expand(8, 64, size), labels, shifted=True)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(discrepancy(family.rate(family.numerator, family.denominator), family.target)))
    assert sum(values[-20:]) / 20 < (0.1 if name != "wasserstein" else 0.25) * values[0], "the slope of W1 jumps about its least"


@pytest.mark.parametrize(("term", "name"), OTHERS)
def test_it_turns_the_pull_and_keeps_its_length(term: str, name: str) -> None:
    given = handmade()
    uneven = [1 + np.arange(len(sd)) % 3 for sd in (given.token_sd, given.ngram_sd)]
    given = replace(given, token_sd=given.token_sd * uneven[0], ngram_sd=given.ngram_sd * uneven[1])
    loss, plain = (DistributionLoss(given, discrepancies=chosen, dead_zone=0.0) for chosen in ({term: name}, {}))
    labels = torch.randint(1, handmade().vocab_size, (4, 40), generator=torch.Generator().manual_seed(0))
    logits = torch.randn(4, 40, handmade().vocab_size, generator=torch.Generator().manual_seed(1))
    found: list[dict[str, Tensor]] = []
    for one in (loss, plain):
        one(logits, labels)
        witnesses, _ = one.witnesses(None, one.read(labels).stream, True)
        found.append({key: w * one.families()[key].sd for key, w in witnesses.items()})
    for key, turned in found[0].items():
        if key in loss.discrepancies:
            assert float(turned.norm()) == pytest.approx(float(found[1][key].norm()), rel=1e-4)
            assert not torch.allclose(turned, found[1][key], rtol=1e-2, atol=1e-6)
        else:
            torch.testing.assert_close(turned, found[1][key])


@pytest.mark.parametrize("name", ["cramer", "wasserstein"])
def test_lengths_of_untracked_ages_are_the_profiles(name: str) -> None:
    """Long sentences are too few to steer by; the law of lengths goes on beyond, as the profile has it, and does not stop there."""
    given = handmade()
    made = replace(given, at_risk=np.array([0.5, 0.3, 0.15, 0.048, 0.002]), hazard=np.array([0.02, 0.03, 0.02, 0.03, 0.2]))
    loss = DistributionLoss(made, discrepancies={"sentence_length": name}, dead_zone=0.0)
    family = loss.families()["sentence_length"]
    assert family.tracked.tolist() == [True, True, True, True, False]
    target = torch.from_numpy(made.hazard)
    rates = target * torch.tensor([1.3, 0.8, 1.2, 1.1, 9.0])
    z = torch.tensor([1.0, -1.0, 2.0, 1.0, 0.0])
    found = loss.pull("sentence_length", z, rates.float())
    wanted = direction(loss.discrepancies["sentence_length"], torch.where(family.tracked, rates, target), target)
    wanted = wanted * family.sd * family.tracked
    torch.testing.assert_close(found.double(), wanted * (z.norm() / wanted.norm()), rtol=1e-4, atol=1e-5)
    distance = float(loss.discrepancies["sentence_length"](torch.where(family.tracked, rates, target), target))
    ages = np.arange(1, LONGEST + 1)
    bucket = np.minimum(np.searchsorted(made.length_edges, ages, side="right") - 1, 4)
    laws = []
    for values in (torch.where(family.tracked, rates, target).numpy(), made.hazard):
        left = np.cumprod(1 - values[bucket])
        laws.append(1 - left)
    assert distance == pytest.approx((np.abs(laws[0] - laws[1]) ** (1 if name == "wasserstein" else 2)).sum())
    assert float(loss.discrepancies["sentence_length"](family.target.double(), target)) == pytest.approx(0, abs=1e-5)


def test_unknown_ones_are_named() -> None:
    for term, name in itertools.product(("entropy", "words"), ("cramer",)):
        with pytest.raises(ValueError, match=rf"{term} has no discrepancy 'cramer'; there are, token_frequency: whitened, l2"):
            DistributionLoss(handmade(), discrepancies={term: name})
