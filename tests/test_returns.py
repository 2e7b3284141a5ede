"""The score-function part of the on-policy gradient: with it the gradient is exact, which is shown by counting all texts there are."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from dft_stats.loss import TERMS, DistributionLoss, DistributionReward, on_policy, to_go
from dft_stats.loss.credit import credit
from dft_stats.loss.returns import consequences, less_others, surrogate
from tests.compiled_for_tests import handmade
from tests.soft_counts import soft_count
from tests.test_on_policy import Bigrams

SPELT = ("<s>", " the", " The", ".", ",")
PROMPT, LENGTH = 1, 4


def texts() -> Tensor:
    """All of them, int64 [texts, 1 + LENGTH], behind a prompt of one word."""
    drawn = torch.tensor(list(itertools.product((1, 2, 3, 4), repeat=LENGTH)))
    return torch.cat([torch.ones(len(drawn), PROMPT, dtype=torch.long), drawn], 1)


def steady(term: str) -> DistributionLoss:
    """With running rates; of one term alone."""
    weights = {name: float(name == term) for name in TERMS}
    loss = DistributionLoss(handmade(SPELT, ngrams=((-1, 1, 3), (-1, 3, 2))), weights=weights, dead_zone=0.0, accumulation_steps=0)
    generator = torch.Generator().manual_seed(3)
    loss(torch.randn(4, 30, len(SPELT), generator=generator), torch.randint(1, len(SPELT), (4, 30), generator=generator), shifted=True)
    loss.step()
    return loss


def ended() -> Tensor:
    """All of them that end at the special token, or are cut; behind the end stand more of them."""
    found = torch.tensor(list(itertools.product(range(len(SPELT)), repeat=LENGTH)))
    end = (found == 0).cumsum(1)
    found = found[((end == 0) | (found == 0)).all(1)]
    return torch.cat([torch.ones(len(found), PROMPT, dtype=torch.long), found], 1)


def labels_of(tokens: Tensor) -> Tensor:
    labels = tokens.clone()
    labels[:, :PROMPT] = -100
    end = (tokens == 0).long()
    return labels.masked_fill(end.cumsum(1) > end, -100)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("term", ["token_frequency", "ngram_frequency", "sentence_length", "punctuation_rhythm"])
def test_with_returns_the_gradient_is_exact(term: str, ends: bool) -> None:
    """Of the expected loss of a text, with witness and rates held: by enumeration, and as the mean of the estimator over all texts."""
    loss, tokens = steady(term), ended() if ends else texts()
    table = torch.randn(len(SPELT), len(SPELT), generator=torch.Generator().manual_seed(4))
    table[:, 0] = 0.0 if ends else -30  # chance of a special token
    table.requires_grad_()
    log_p = table.log_softmax(-1)
    drawn = labels_of(tokens)[:, 1:] >= 0
    chance = sum(log_p[tokens[:, t], tokens[:, t + 1]] * drawn[:, t] for t in range(LENGTH)).exp()
    assert chance.sum().item() == pytest.approx(1, abs=1e-4)
    items = torch.tensor(float(LENGTH))

    batch = loss.read(labels_of(tokens), input_ids=tokens)
    witnesses, _ = loss.witnesses(None, batch.stream, True)
    rates = {name: f.numerator / f.denominator.clamp_min(1e-9) for name, f in loss.families().items()}
    rates = {name: torch.where(f.denominator > 0, rates[name], f.target) for name, f in loss.families().items()}
    gains, chances = credit(loss, witnesses, batch.stream, batch.targets.clamp_min(0), batch.pairs, items, rates)
    cost = (gains - chances).view(tokens.shape).sum(1)
    (exact,) = torch.autograd.grad((chance * cost).sum(), table, retain_graph=True)

    immediate, whole = torch.zeros_like(table), torch.zeros_like(table)
    for i, share in enumerate(chance.detach().tolist()):
        text = tokens[i : i + 1]
        logits = table[text]
        one = loss.read(labels_of(text), input_ids=text)
        value = loss.value(witnesses, soft_count(loss, loss.sampler.probabilities(logits), one.stream), items)
        extra = surrogate(loss, logits, one, consequences(loss, one, text.shape, items, 1.0))
        immediate += share * torch.autograd.grad(value, table, retain_graph=True)[0]
        whole += share * torch.autograd.grad(value + extra, table)[0]
    assert exact.abs().max() > 0
    torch.testing.assert_close(whole, exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))
    if term == "sentence_length":
        assert float((immediate - exact).norm() / exact.norm()) > 0.1


def test_on_policy_adds_it_from_the_second_step_on() -> None:
    found = []
    for returns in (0.0, 1.0):
        loss, model = DistributionLoss(handmade(), dead_zone=0.0), Bigrams()
        gradients = []
        for step in range(2):
            prompts = torch.randint(1, handmade().vocab_size, (4, 3), generator=torch.Generator().manual_seed(1))
            generator = torch.Generator().manual_seed(step)
            value, _, _ = on_policy(loss, model, prompts, max_new_tokens=12, generator=generator, returns=returns)
            gradients.append(torch.autograd.grad(value, model.table)[0])
        found.append(gradients)
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.allclose(found[0][1], found[1][1])


class Said:
    """Rewards that are known."""

    def rewards(self, completion_ids: list[list[int]]) -> tuple[list[Tensor], Tensor, dict[str, float]]:
        self.seen = completion_ids
        return [torch.tensor(ids).float() for ids in completion_ids], torch.arange(len(completion_ids)) * 10.0, {"dist/documents": 2.0}


@pytest.mark.parametrize("end", [None, 0, 7])
def test_rewards_are_followed_by_their_tokens_and_what_they_bring(end: int | None) -> None:
    """Against the policy gradient written out: reward-to-go with discount, the whole without; the end of a text is a choice, too."""
    loss = DistributionLoss(handmade(), weights=dict.fromkeys(TERMS, 0.0), accumulation_steps=0)
    model, reward, gamma = Bigrams(), Said(), 0.5
    if end is not None:
        with torch.no_grad():
            model.table[:, end] += 3
    prompts = torch.randint(1, handmade().vocab_size, (3, 4), generator=torch.Generator().manual_seed(1))
    draw = {"max_new_tokens": 6, "generator": torch.Generator().manual_seed(2), "eos_token_id": end}
    value, components, tokens = on_policy(loss, model, prompts, reward=reward, gamma=gamma, **draw)  # type: ignore[arg-type]
    (found,) = torch.autograd.grad(value, model.table)
    drawn = [row.index(end) + 1 if end in row else len(row) for row in tokens[:, 4:].tolist()]
    assert reward.seen == [row[:size] for row, size in zip(tokens[:, 4:].tolist(), drawn, strict=True)]
    assert (end is None) == (set(drawn) == {6})
    assert float(components["dist/documents/reward"]) == 2
    powers, log_p = [gamma**k for k in range(6)], model(tokens)[:, 3:-1].log_softmax(-1)
    cost = torch.zeros(())
    for i, ids in enumerate(reward.seen):
        for t, id in enumerate(ids):
            worth = sum(a * float(b) for a, b in zip(powers, ids[t:], strict=False)) + 10 * i
            cost = cost - worth * log_p[i, t, id] / 3
    (expected,) = torch.autograd.grad(cost, model.table)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_mean_of_the_other_rows_is_taken_away() -> None:
    """Of those that have a token there; costs that are the same for all rows leave nothing."""
    costs = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
    drawn = torch.tensor([[True, True], [True, False], [True, False]])
    assert less_others(costs, drawn)[drawn].tolist() == [1 - 4, 2, 3 - 3, 5 - 2]
    assert not less_others(torch.full((4, 3), 3.0), torch.ones(4, 3).bool()).any()


class Told(nn.Module):
    """Scores that depend on nothing, and continuations that are told."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor([-50.0, 0.3, -0.5, 1.1]))
        self.told = torch.zeros(0)

    def forward(self, ids: Tensor) -> Tensor:
        return self.scores.expand(*ids.shape, 4)

    def generate(self, *_: object, **__: object) -> Tensor:
        return self.told


def test_a_reward_that_compares_texts_is_followed_without_bias() -> None:
    """Two completions of two tokens, all there are: the expected gradient is the policy gradient of the rewards."""
    made = handmade(("<s>", " the", " The", " cat"), ngrams=((-1, -1, 1, 3),))
    weights = {name: float(name == "token_frequency") for name in TERMS}
    reward = DistributionReward(made, weights=weights, dead_zone=0.0, clip=1e9)
    family = reward.loss.families()["token_frequency"]
    family.target.copy_(torch.tensor([0.0, 0.6, 0.3, 0.1])), family.sd.copy_(torch.tensor([0.1, 0.1, 0.3, 0.05]))
    loss, model = DistributionLoss(made, weights=dict.fromkeys(TERMS, 0.0)), Told()
    found, exact = torch.zeros(4), torch.zeros(4)
    for drawn in itertools.product((1, 2, 3), repeat=4):
        completions = torch.tensor(drawn).view(2, 2)
        model.told = torch.cat([torch.ones(2, 1, dtype=torch.long), completions], 1)
        log_p = model.scores.log_softmax(0)[completions]
        chance = float(log_p.detach().sum().exp())
        value, _, _ = on_policy(loss, model, model.told[:, :1], max_new_tokens=2, reward=reward, gamma=1.0)
        found += chance * torch.autograd.grad(value, model.scores)[0]
        rows, _, _ = reward.rewards(completions.tolist())
        to_come = torch.stack(rows).flip(1).cumsum(1).flip(1)
        exact += chance * torch.autograd.grad(-(to_come * log_p).sum() / 2, model.scores)[0]
    assert float(exact.norm()) > 1
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-4)


def test_what_is_to_come() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    assert to_go(values).tolist() == [[14, 12, 8, 0]]
    assert to_go(values, 0.5).tolist() == [[2 + 2 + 2, 4 + 4, 8, 0]]
    assert math.isclose(float(to_go(values, 0.0).sum()), 14)
