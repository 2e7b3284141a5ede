"""The guard against bias: words by their tokens, rates that stay where the model had them, and the report."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dft_stats.guard import changes, ids_of, pinning
from dft_stats.loss import TERMS, DistributionLoss
from tests.compiled_for_tests import SPELT, compiled, handmade, measured
from tests.tokenizers_for_tests import ALL

SIZE = handmade().vocab_size
ONLY_TOKENS = {name: float(name == "token_frequency") for name in TERMS}


@pytest.mark.parametrize("kind", sorted(ALL))
def test_words_are_found_in_every_spelling(kind: str) -> None:
    tokenizer = ALL[kind]()
    found = ids_of(tokenizer, ["the", "He", "xylophone"])
    for word in ("the", "He"):
        assert found[word]
        assert {tokenizer.decode([id]).strip().lower() for id in found[word]} == {word.lower()}
    assert found["xylophone"] == []


@pytest.mark.parametrize("words", [[""], ["he", " "], ["of the"], ["he\n"]])
def test_what_is_no_word_has_no_tokens(words: list[str]) -> None:
    with pytest.raises(ValueError, match="is not a word; give words without white space"):
        ids_of(ALL["gpt2"](), words)


def test_a_string_is_no_list_of_words() -> None:
    with pytest.raises(ValueError, match=r"such as \['he'\]"):
        ids_of(ALL["gpt2"](), "he")


def test_pinned_rates_stay_and_the_others_go_to_the_profile() -> None:
    """Logits that are learned; the profile wants twenty times as much of one token, which is pinned."""
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(SIZE, generator=generator) * 0.5
    pinned, free = SPELT.index(" cat"), SPELT.index(" ran")
    wanted[pinned] = wanted[free] = wanted.mean() + 2
    wanted[0] = -torch.inf
    labels = torch.distributions.Categorical(logits=wanted).sample((16, 60))
    made = measured(handmade(), wanted.expand(16, 60, SIZE), labels)
    start = torch.zeros(SIZE)
    before = DistributionLoss(made)
    before(start.expand(16, 60, SIZE), labels, shifted=True)
    rates = before.rates()["token_frequency"]
    loss = DistributionLoss(pinning(made, [pinned], rates), weights=ONLY_TOKENS, dead_zone=0.0, decay=0.0)
    scores = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        loss(scores.expand(16, 60, SIZE), labels, shifted=True)[0].backward()
        optimizer.step()
    after = loss.rates()["token_frequency"]
    assert float(after[pinned]) == pytest.approx(float(rates[pinned]), rel=0.1)
    assert float(after[free]) == pytest.approx(made.token_frequency[free], rel=0.1)
    assert made.token_frequency[pinned] > 2 * rates[pinned]

    report = changes(made, {"cats": [pinned], "runs": [free]}, rates, after, words=960)
    assert [change.group for change in report] == ["runs", "cats"]
    assert report[0].after == pytest.approx(1e6 * float(after[free]))
    assert report[0].z > abs(report[1].z)
    assert str(report[0]).startswith("runs: ")


@pytest.mark.parametrize("way", ["untracked", "excluded"])
def test_what_is_left_alone_is_measured_all_the_same(way: str) -> None:
    """The report sees it change, and an untracked token is pinned to the rate that the model has."""
    made, cat = handmade(), SPELT.index(" cat")
    tracked = made.token_tracked & (np.arange(SIZE) != cat)
    left = replace(made, token_tracked=tracked) if way == "untracked" else made
    exclude = [cat] if way == "excluded" else []
    labels = torch.randint(1, SIZE, (4, 40), generator=torch.Generator().manual_seed(0))
    often = torch.zeros(4, 40, SIZE)
    often[..., cat] = 5
    found = []
    for logits in (often, torch.zeros_like(often)):
        loss = DistributionLoss(left, exclude=exclude)
        assert float(loss.rates()["token_frequency"][cat]) == pytest.approx(made.token_frequency[cat]), "until it is measured"
        loss(logits, labels, shifted=True)
        loss.step()
        found.append(loss.rates()["token_frequency"])
        assert float(found[-1][cat]) == pytest.approx(float(logits[0, 0].softmax(-1)[cat]), rel=1e-4)
        witnesses, _ = loss.witnesses(None, loss.read(labels, shifted=True).stream, True)
        assert float(witnesses["token_frequency"][cat]) == 0
    (change,) = changes(made, {"cats": [cat]}, *found, words=100)
    assert change.before > 10 * change.after
    if way == "untracked":
        pinned = pinning(left, [cat], found[0])
        assert pinned.token_frequency[cat] == pytest.approx(float(often[0, 0].softmax(-1)[cat]), rel=1e-4)
        loss = DistributionLoss(pinned, weights=ONLY_TOKENS, dead_zone=0.0, decay=0.0)
        logits = often.clone().requires_grad_()
        loss(logits, labels, shifted=True)
        loss.step()
        witnesses, _ = loss.witnesses(None, loss.read(labels, shifted=True).stream, True)
        assert abs(float(witnesses["token_frequency"][cat])) < 1e-3 * float(witnesses["token_frequency"].abs().max())


def test_pinning_takes_every_typography_and_changes_nothing_else() -> None:
    made = compiled("gpt2")
    curly = next(id for id, plain in enumerate(made.tokens.fold) if plain != id)
    rates = np.full(made.vocab_size, 1 / made.vocab_size)
    found = pinning(made, [curly], rates)
    plain = made.tokens.fold[curly]
    assert found.token_frequency[plain] == rates[plain]
    assert found.token_tracked[plain]
    others = np.arange(made.vocab_size) != plain
    np.testing.assert_array_equal(found.token_frequency[others], made.token_frequency[others])
    np.testing.assert_array_equal(found.token_tracked[others], made.token_tracked[others])


def test_the_change_is_measured_by_human_noise() -> None:
    """A change of one standard deviation between windows, over four windows in each text: sqrt(4 / 2) standard errors."""
    made, id = handmade(), 3
    before = made.token_frequency.copy()
    after = before.copy()
    after[id] += made.token_sd[id]
    (change,) = changes(made, {"one": [id, id]}, before, after, words=4 * made.window_words)
    assert change.z == pytest.approx(2**0.5)
    assert change.profile == pytest.approx(1e6 * made.token_frequency[id])


def test_what_cannot_be_pinned_is_said() -> None:
    with pytest.raises(ValueError, match=r"rates for \(3,\) ids"):
        pinning(handmade(), [1], [0.1] * 3)
    with pytest.raises(ValueError, match=f"from 0 to {SIZE - 1}; given are 1 to {SIZE}"):
        pinning(handmade(), [1, SIZE], [0.1] * SIZE)
