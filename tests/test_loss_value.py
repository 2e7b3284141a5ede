"""Value, components and gradient of the loss: the float64 reference, gradcheck, and law 4, no pull where the statistics agree."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dft_stats.loss import TERMS, DistributionLoss, DistributionReward
from dft_stats.loss.control import Control
from dft_stats.loss.family import MOST_WORDS, Exposure
from tests.compiled_for_tests import compiled, handmade, ids_of, measured, text_rows
from tests.float64_loss import Float64Loss, softmax, through_softmax

SIZE = len(handmade().tokens.fold)


def batch(seed: int, rows: int = 2, length: int = 20) -> tuple[Tensor, Tensor]:
    """Logits [B, T, V] in float64, and labels [B, T] of which some are ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, length, SIZE, dtype=torch.float64, generator=generator) * 1.5
    labels = torch.randint(0, SIZE, (rows, length), generator=generator)
    labels[torch.rand(rows, length, generator=generator) < 0.08] = -100
    return logits.requires_grad_(), labels


def gradient(logits: Tensor) -> Tensor:
    assert logits.grad is not None
    return logits.grad


# --- the independent reference


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dead_zone": 0.0, "decay": 0.5},
        {"dual_rate": 0.3, "dual_limit": 1.0, "decay": 0.5},
        {"dead_zone": 0.5, "clip": 0.7, "decay": 0.0},
        {"weights": {"entropy": 3.0, "ngram_frequency": 0.25, "token_frequency": 0.0}, "decay": 0.9},
        {"temperature": 0.7, "top_p": 0.9, "decay": 0.9},
        {"most_words": 16, "dead_zone": 0.2, "dual_rate": 0.3, "decay": 0.5},
        {"most_words": 4, "dead_zone": 0.1, "lead": 0.75},
        {"most_words": 4, "dead_zone": 0.1, "lead": 100.0, "clip": 9.0, "decay": 0.5},
    ],
)
def test_training_is_that_of_the_float64_reference(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Four optimizer steps of two micro-batches: value, components and gradient of each."""
    made = handmade()
    monkeypatch.setattr("dft_stats.loss.family.MOST_WORDS", options.get("most_words", MOST_WORDS))
    sampling = {name: options[name] for name in ("temperature", "top_p") if name in options}
    loss = DistributionLoss(made, accumulation_steps=2, **{name: value for name, value in options.items() if name != "most_words"})
    reference = Float64Loss(made, **{name: value for name, value in options.items() if name not in sampling})
    moved = 0.0
    for step in range(4):
        micro = [batch(10 * step + i) for i in range(2)]
        num_items = sum(int((labels != -100).sum()) for _, labels in micro)
        for logits, labels in micro:
            value, components = loss(logits, labels, shifted=True, num_items=num_items)
            value.backward()
            p = softmax(logits.detach().numpy(), **sampling)
            tokens = torch.where(labels == -100, -1, labels)
            expected, z_squared, slope = reference.micro_batch(p, tokens.tolist(), (labels != -100).tolist(), num_items)
            assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
            for term in TERMS:
                assert components[f"dist/{term}"].item() == pytest.approx(z_squared[term], rel=1e-4), term
            assert components["dist/loss"] == value.detach()
            wanted = through_softmax(p, slope, options.get("temperature", 1.0))
            np.testing.assert_allclose(gradient(logits).numpy(), wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max())
            moved += np.abs(wanted).max()
        reference.step()
    assert moved > 0


@pytest.mark.parametrize("term", TERMS)
def test_each_term_alone_is_that_of_the_reference_on_a_real_profile(term: str) -> None:
    made = compiled("gpt2")
    weights = {name: float(name == term) for name in TERMS}
    loss = DistributionLoss(made, weights=weights, dead_zone=0.0)
    reference = Float64Loss(made, weights=weights, dead_zone=0.0)
    labels = torch.tensor(text_rows("gpt2", 2, 12))
    logits = torch.randn(2, 12, made.vocab_size, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    value, components = loss(logits, labels, shifted=True)
    value.backward()
    p = softmax(logits.detach().numpy())
    expected, z_squared, slope = reference.micro_batch(p, labels.tolist(), [[True] * 12] * 2, labels.numel())
    wanted = through_softmax(p, slope)
    assert np.abs(wanted).max() > 0
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert components[f"dist/{term}"].item() == pytest.approx(z_squared[term], rel=1e-4)
    np.testing.assert_allclose(gradient(logits).numpy(), wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max())


# --- gradcheck: the witness has no gradient, so it is fixed by a closed step


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.3}, {"temperature": 0.8, "top_p": 0.9}])
@pytest.mark.parametrize("shifted", [True, False])
def test_gradcheck(shifted: bool, sampling: Mapping[str, float]) -> None:
    loss = DistributionLoss(handmade(), accumulation_steps=0, dead_zone=0.1, **sampling)
    with torch.no_grad():
        first, labels = batch(0)
    loss(first, labels, shifted=shifted)
    loss.step()
    logits, labels = batch(1)

    def value(given: Tensor) -> Tensor:
        return loss(given, labels, shifted=shifted)[0]

    assert torch.autograd.gradcheck(value, (logits,), eps=1e-6, atol=1e-6, fast_mode=True)  # in a random direction


@pytest.mark.parametrize("term", TERMS)
def test_a_step_against_the_gradient_brings_the_term_nearer(term: str) -> None:
    loss = DistributionLoss(handmade(), weights={name: float(name == term) for name in TERMS}, dead_zone=0.0).eval()
    logits, labels = batch(4, rows=4, length=40)
    before = None
    for _ in range(20):
        value, components = loss(logits, labels, shifted=True)
        before = components[f"dist/{term}"] if before is None else before
        (slope,) = torch.autograd.grad(value, logits)
        with torch.no_grad():
            logits -= 0.3 * slope / slope.abs().max()
    assert before is not None
    assert components[f"dist/{term}"] < 0.9 * before


def test_who_predicts_a_stop_and_who_proves_it_wrong_are_steered_alike() -> None:
    """Where too many sentences end at two words, the stop is to become rarer and what takes it back more frequent; else the other way."""
    made = handmade()
    stop, small, large = ids_of(".", " ran", " The")
    weights = {name: float(name == "sentence_length") for name in TERMS}
    for then, target, sign in ((large, 0.0, 1), (small, 1.0, -1)):
        row = torch.tensor([[*ids_of(" The", " cat"), stop, then]] * 4)
        loss = DistributionLoss(replace(made, hazard=np.full(5, target)), weights=weights, dead_zone=0.0).eval()
        logits = 5 * torch.nn.functional.one_hot(row, SIZE).double()  # the text is what the model would write
        loss(logits.requires_grad_(), row, shifted=True)[0].backward()
        slope = sign * gradient(logits)[0]
        assert slope[2, stop] > 0 > slope[2, small]
        assert slope[3, small] < 0 < slope[3, large]


# --- law 4


@pytest.mark.parametrize("training", [True, False])
def test_nothing_pulls_where_the_statistics_are_the_profiles(training: bool) -> None:
    logits, labels = batch(7, rows=6, length=60)
    matched = DistributionLoss(measured(handmade(), logits, labels), dead_zone=0.0).train(training)
    value, components = matched(logits, labels, shifted=True)
    (slope,) = torch.autograd.grad(value, logits)
    assert abs(value.item()) < 1e-6
    assert slope.abs().max() < 1e-6
    assert all(components[f"dist/{term}"] < 1e-6 for term in TERMS)
    unmatched, _ = DistributionLoss(handmade(), dead_zone=0.0).train(training)(logits, labels, shifted=True)
    (other,) = torch.autograd.grad(unmatched, logits)
    assert other.abs().max() > 1000 * slope.abs().max()


def test_nothing_pulls_inside_the_dead_zone() -> None:
    logits, labels = batch(7)
    value, components = DistributionLoss(handmade(), dead_zone=1e6)(logits, labels)
    value.backward()
    assert value == 0
    assert gradient(logits).abs().max() == 0
    assert components["dist/token_frequency"] > 0


def test_the_witness_by_hand() -> None:
    """One rate: 0.5 measured, 0.1 wanted, sd 0.1, 32 words of windows of 128: z = 4 * sqrt(32 / 128) = 2."""
    loss = DistributionLoss(handmade())
    family = loss.families()["marks"]
    family.target.fill_(0.1), family.sd.fill_(0.1)
    numerator, denominator = torch.full_like(family.target, 16.0), torch.full_like(family.target, 32.0)
    z = family.z(numerator, denominator, Exposure(torch.tensor(32.0), torch.tensor(32.0)))
    torch.testing.assert_close(z, torch.full_like(z, 2.0))
    root = len(z) ** 0.5
    for sign in (1, -1):
        torch.testing.assert_close(family.witness(Control(0.5, 4.0).shrink(sign * z)), torch.full_like(z, sign * 1.5 / 0.1 / root))
        torch.testing.assert_close(family.witness(Control(0.5, 0.3).shrink(sign * z)), torch.full_like(z, sign * 0.3 / 0.1 / root))
    assert (family.witness(Control(2.0, 4.0).shrink(z)) == 0).all()


def test_more_text_makes_the_same_distance_count_more() -> None:
    """z grows with the square root of the text: the same batch four times over."""
    logits, labels = batch(3, length=40)
    once = DistributionLoss(handmade()).eval()(logits, labels, shifted=True)[1]
    often = DistributionLoss(handmade()).eval()(logits.repeat(4, 1, 1), labels.repeat(4, 1), shifted=True)[1]
    for term in TERMS:
        assert often[f"dist/{term}"].item() == pytest.approx(4 * once[f"dist/{term}"].item(), rel=1e-5), term


@pytest.mark.parametrize("options", [{}, {"dual_rate": 0.1}, {"discrepancies": {"sentence_length": "cramer"}}])
def test_from_a_thousand_words_on_more_text_pulls_no_harder(options: dict[str, Any]) -> None:
    """The same rates over 60 and 240 batches, closed as a step: the next one is steered by both alike, though z doubles."""
    logits, labels = batch(3, length=40)
    found: list[tuple[float, Tensor, float]] = []
    for times in (60, 240):
        loss = DistributionLoss(handmade(), dead_zone=0.5, **options)
        with torch.no_grad():
            counted = loss.eval()(logits.repeat(times, 1, 1), labels.repeat(times, 1), shifted=True)[1]
        loss.train()(logits.repeat(times, 1, 1), labels.repeat(times, 1), shifted=True)
        assert loss.words > MOST_WORDS
        given = logits.detach().clone().requires_grad_()
        value, _ = loss(given, labels, shifted=True)
        value.backward()
        found.append((value.item(), gradient(given), counted["dist/entropy"].item()))
    (value, slope, z2), (again, same, larger) = found
    assert value != 0
    assert again == pytest.approx(value, rel=1e-4)
    torch.testing.assert_close(same, slope, rtol=1e-4, atol=1e-9)
    assert larger == pytest.approx(4 * z2, rel=1e-4)


@pytest.mark.parametrize("chosen", [{}, {"sentence_length": "cramer", "token_frequency": "jensen_shannon"}])
def test_inference_mode_gives_the_same_and_leaves_nothing_behind(chosen: dict[str, str]) -> None:
    """Loss, reward and a move to another type; training goes on behind with a batch that was read inside."""
    labels = torch.randint(1, SIZE, (2, 30), generator=torch.Generator().manual_seed(0))
    logits = torch.randn(2, 30, SIZE, generator=torch.Generator().manual_seed(1), requires_grad=True)
    loss = DistributionLoss(handmade(), discrepancies=chosen, dead_zone=0.0)
    rewards = [DistributionReward(handmade(), discrepancies=chosen, dead_zone=0.0, decay=0.5) for _ in range(2)]
    with torch.no_grad():
        wanted = loss.eval()(logits, labels)[0]
    rows = rewards[0](completion_ids=labels.tolist())
    with torch.inference_mode():
        assert float(loss(logits, labels)[0]) == float(wanted)
        assert rewards[1](completion_ids=labels.tolist()) == rows
        loss.to(torch.device("cpu")).double()
        batch = loss.read(labels)
    value, _ = loss.train()(logits, batch)
    value.backward()
    assert logits.grad is not None
    assert logits.grad.any()
    assert rewards[0](completion_ids=labels.tolist()) == rewards[1](completion_ids=labels.tolist())
