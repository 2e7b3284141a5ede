"""How hard the loss pulls: dead zone, dual variables, warm-up, alternation, and what is left alone."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dft_stats.compiled import excluding
from dft_stats.loss import TERMS, DistributionLoss
from dft_stats.loss.control import Control
from tests.compiled_for_tests import compiled, handmade, ids_of, measured, text_rows

ONLY_TOKENS = {name: float(name == "token_frequency") for name in TERMS}


def rows(seed: int, size: int, length: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, length, size, generator=generator), torch.randint(1, size, (4, length), generator=generator)


def test_dual_variables_grow_by_the_recursion_and_no_further_than_the_limit() -> None:
    made = handmade()
    loss = DistributionLoss(made, dual_rate=0.25, dual_limit=0.8, dead_zone=0.3, decay=0.5)
    families = loss.families()
    duals = {name: np.zeros(len(family.target)) for name, family in families.items()}
    reached = False
    for seed in range(6):
        logits, labels = rows(seed, made.vocab_size)
        loss(logits, labels, shifted=True)
        words, squared = float(loss.words), float(loss.words_squared)
        for name, family in families.items():
            rate = (family.numerator / family.denominator.clamp_min(1e-8)).numpy()
            text = words**2 / squared
            windows = text * (family.denominator / words).numpy() if family.window_words is None else text / family.window_words
            z = np.where(
                family.tracked & (family.denominator > 0), (rate - family.target.numpy()) / family.sd.numpy() * np.sqrt(windows), 0
            )
            beyond = np.sign(z) * np.clip(np.abs(z) - 0.3, 0, 4)
            duals[name] = np.clip(duals[name] + 0.25 * np.clip(beyond, -1, 1), -0.8, 0.8)
            np.testing.assert_allclose(family.dual.numpy(), duals[name], rtol=1e-3, atol=1e-5, err_msg=name)
            reached |= bool((np.abs(duals[name]) == 0.8).any())
    assert reached


@pytest.mark.parametrize("adam", [True, False])
def test_dual_variables_meet_the_constraint_where_the_penalty_stops_short(adam: bool) -> None:
    """A unigram model that an anchor holds: the rates are exact, and the profile's are those of another unigram model."""
    size = handmade().vocab_size
    wanted = torch.randn(1, 1, size, generator=torch.Generator().manual_seed(1)) * 0.5
    _, labels = rows(0, size, 200)
    made = measured(handmade(), wanted.expand(4, 200, size), labels)
    start = torch.zeros(size)
    worst: dict[float, float] = {}
    for dual_rate in (0.0, 0.02):
        loss = DistributionLoss(made, weights=ONLY_TOKENS, dual_rate=dual_rate, decay=0.5)
        scores = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([scores], lr=0.02) if adam else torch.optim.SGD([scores], lr=0.1)
        squares = []
        for _ in range(300):
            value, components = loss(scores.expand(4, 200, size), labels, shifted=True)
            kl = F.kl_div(start.log_softmax(0), scores.log_softmax(0), reduction="sum", log_target=True)
            (value + 20 * kl).backward()
            optimizer.step()
            optimizer.zero_grad()
            squares.append(components["dist/token_frequency"].item())
        worst[dual_rate] = max(squares[-100:])  # it stays there
    assert worst[0.02] < 1
    assert worst[0.0] > 1.3


def test_strength_rises_and_alternates() -> None:
    steps = torch.arange(7)
    control = Control(warmup_steps=4, every=3)
    assert torch.stack([control.strength(step) for step in steps]).tolist() == [0.25, 0, 0, 1, 0, 0, 1]
    assert Control().strength(steps[0]) == 1


def test_alternation_and_warm_up_scale_the_loss_and_not_the_rates() -> None:
    made = handmade()
    plain, other = (DistributionLoss(made, dual_rate=0.0, **options) for options in ({}, {"warmup_steps": 2, "every": 2}))
    for step in range(4):
        logits, labels = rows(step, made.vocab_size)
        value, components = plain(logits, labels)
        scaled, same = other(logits, labels)
        assert scaled.item() == pytest.approx([0.5, 0, 1, 0][step] * value.item(), rel=1e-6)
        assert same["dist/token_frequency"] == components["dist/token_frequency"]
    assert torch.equal(plain.families()["rhythm"].numerator, other.families()["rhythm"].numerator)


def overshoot(lead: float, gain: float) -> float:
    """How far a rate that begins ten standard errors above falls below, where an optimizer with momentum follows the pull."""
    control, scale = Control(lead=lead), torch.tensor(0.2)
    z = before = torch.tensor(10.0)
    momentum, least = torch.tensor(0.0), 0.0
    for _ in range(200):
        momentum = 0.9 * momentum + 0.1 * control.shrink(control.ahead(z, before, scale))
        before, z = z, z - gain * momentum + 0.05  # and something drives it up
        least = min(least, z.item())
    assert z.item() == pytest.approx(1 + 0.05 / gain, abs=0.02), "where it ends does not depend on how it got there"
    return -least


@pytest.mark.parametrize("gain", [0.2, 0.6, 1.0])
def test_what_is_taken_ahead_does_not_overshoot(gain: float) -> None:
    found = [overshoot(lead, gain) for lead in (0.0, 1.0, 2.0, 3.0, 4.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 1.5, "without it the rate goes through the dead zone and out of it"
    assert found[-1] < 1.05


def test_trends_of_small_steps_are_noise_and_not_followed() -> None:
    z, before = torch.tensor([3.0, -2.0]), torch.tensor([1.0, 4.0])
    assert torch.equal(Control().ahead(z, before, torch.tensor(1.0)), z)
    assert Control(lead=5.0).ahead(z, before, torch.tensor(0.5)).tolist() == [5.0, -8.0]  # 4,096 words: a step
    assert Control(lead=0.5).ahead(z, before, torch.tensor(0.1)).tolist() == [4.0, -5.0]
    made = handmade()
    losses = [DistributionLoss(made, lead=lead, dead_zone=0.1) for lead in (0.0, 5.0)]
    for step in range(4):
        logits, labels = rows(step, made.vocab_size)
        assert len({loss(logits, labels)[0].item() for loss in losses}) == 1
    assert losses[0].words < 1024


def test_trends_begin_with_the_second_step_and_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dft_stats.loss.family.MOST_WORDS", 16)
    made = handmade()
    plain, ahead, resumed = (DistributionLoss(made, lead=lead, dead_zone=0.1) for lead in (0.0, 5.0, 5.0))
    for step in range(4):
        logits, labels = rows(step, made.vocab_size)
        if step == 3:
            resumed.load_state_dict(ahead.state_dict())
        value, components = ahead(logits, labels)
        without, same = plain(logits, labels)
        assert (value == without) == (step < 2)
        assert {name: value for name, value in components.items() if name != "dist/loss"} == {
            name: value for name, value in same.items() if name != "dist/loss"
        }, "what is reported is z as it is"
    assert resumed(logits, labels)[0] == value
    ahead.step()  # nothing happened
    assert ahead(logits, labels)[0] == resumed(logits, labels)[0]


def test_excluded_tokens_are_measured_and_not_steered() -> None:
    made = compiled("gpt2")
    labels = torch.tensor(text_rows("gpt2", 2, 40))
    id = next(int(i) for i in labels.flatten().tolist() if made.token_tracked[made.tokens.fold[i]])
    logits = torch.randn(2, 40, made.vocab_size, generator=torch.Generator().manual_seed(0))
    weights = {name: float(name in ("token_frequency", "ngram_frequency")) for name in TERMS}
    pulls, counts = [], []
    for exclude in ((), (id,)):
        loss = DistributionLoss(made, weights=weights, exclude=exclude, dead_zone=0.0)
        value, _ = loss(given := logits.clone().requires_grad_(), labels)
        value.backward()
        pulls.append(bool(loss.families()["token_frequency"].witness(torch.ones(made.vocab_size))[made.tokens.fold[id]]))
        counts.append(loss.families()["token_frequency"].numerator)
        assert given.grad is not None
    assert pulls == [True, False]
    assert torch.equal(counts[0], counts[1])
    assert not np.isin(excluding(made, [id]).ngrams, made.tokens.fold[id]).any()
    assert len(excluding(made, [id]).ngrams) == len(made.ngrams) - np.isin(made.ngrams, made.tokens.fold[id]).any(1).sum()


def test_ids_are_whole_numbers() -> None:
    with pytest.raises(TypeError, match="float"):
        DistributionLoss(handmade(), exclude=[1.5])  # type: ignore[list-item]


def test_every_typography_of_an_excluded_token_is_excluded() -> None:
    made = handmade()
    curly, straight = ids_of("”", '"')
    assert not excluding(made, [curly]).token_tracked[made.tokens.fold[[curly, straight]]].any()
    assert excluding(made, []) is made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dual_rate": 1.5}, "dual_rate"),
        ({"dual_limit": 0.0}, "dual_limit"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"every": 0}, "every"),
        ({"exclude": [10**6]}, "exclude"),
        ({"dead_zone": -1.0}, "dead_zone"),
        ({"dead_zone": float("nan")}, "dead_zone"),
        ({"clip": float("nan")}, "clip"),
        ({"dual_limit": float("nan")}, "dual_limit"),
        ({"every": 1.5}, "whole numbers"),
        ({"lead": -1.0}, "lead is a number of steps"),
        ({"lead": float("nan")}, "lead is a number of steps"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistributionLoss(handmade(), **options)
