"""The reward: its policy gradient is that of the discrepancy, on one process and on two; and a policy that follows it gets nearer."""

import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch import multiprocessing as processes

from dft_stats.errors import VocabularyMismatch
from dft_stats.loss import TERMS, DistributionLoss, DistributionReward
from tests.compiled_for_tests import compiled, handmade, measured, text_rows

TOKENS = ("<s>", " the", " The", " cat")
LENGTH, COMPLETIONS = 2, 2
ONLY_TOKENS = {name: float(name == "token_frequency") for name in TERMS}


def reward_of_tokens(**options: float) -> DistributionReward:
    made = handmade(TOKENS, ngrams=((-1, -1, 1, 3),))
    return DistributionReward(made, weights=ONLY_TOKENS, dead_zone=0.0, clip=1e9, **options)


def test_its_expected_policy_gradient_is_that_of_the_discrepancy() -> None:
    """All outcomes of two completions of two tokens. With a completion's own counts in its witness (plug-in) the gradient is another."""
    reward = reward_of_tokens()
    family = reward.loss.families()["token_frequency"]
    family.target.copy_(torch.tensor([0.0, 0.6, 0.3, 0.1]))
    family.sd.copy_(torch.tensor([0.1, 0.1, 0.3, 0.05]))
    scores = torch.tensor([0.3, -0.5, 1.1], requires_grad=True)  # of the three words
    log_p = scores.log_softmax(0)

    def pull(rates: Tensor, words: float) -> Tensor:
        z = (rates - family.target) / family.sd * math.sqrt(words / family.window_words)
        return family.witness(z)

    texts = list(itertools.product((1, 2, 3), repeat=LENGTH))
    leave_one_out, plug_in = torch.zeros(3), torch.zeros(3)
    for batch in itertools.product(texts, repeat=COMPLETIONS):
        chance = math.exp(sum(float(log_p[token - 1].detach()) for text in batch for token in text))
        counts = torch.stack([torch.bincount(torch.tensor(text), minlength=4).float() for text in batch])
        for i, given in enumerate(reward(completion_ids=batch)):
            (slope,) = torch.autograd.grad(sum(log_p[token - 1] for token in batch[i]), scores, retain_graph=True)
            leave_one_out += chance * given * slope
            g = pull(counts.sum(0) / (COMPLETIONS * LENGTH), COMPLETIONS * LENGTH)
            plug_in += chance * -float((g * counts[i]).sum() / LENGTH) * slope
    rates = torch.cat([torch.zeros(1), log_p.exp()])
    discrepancy = (pull(rates, (COMPLETIONS - 1) * LENGTH).detach() * rates).sum()
    (exact,) = torch.autograd.grad(-COMPLETIONS * discrepancy, scores)
    torch.testing.assert_close(leave_one_out, exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))
    scaled = plug_in * float((plug_in @ exact) / (plug_in @ plug_in))  # whatever its length
    assert float((scaled - exact).norm() / exact.norm()) > 0.03


def test_rewards_of_tokens_sum_to_those_of_completions() -> None:
    texts = text_rows("gpt2", 4, 50)
    one, other = (DistributionReward(compiled("gpt2"), dead_zone=0.0) for _ in range(2))
    rows, components = other.token_rewards(texts)
    assert one(completion_ids=texts) == pytest.approx([float(row.sum()) for row in rows])
    assert [len(row) for row in rows] == [50] * 4
    assert set(components) == {f"dist/{term}" for term in TERMS}
    assert len({round(float(row.sum()), 6) for row in rows}) == 4


def test_components_are_those_of_the_loss_on_the_texts() -> None:
    made, texts = compiled("gpt2"), text_rows("gpt2", 4, 50)
    _, components = DistributionReward(made).token_rewards(texts)
    labels = torch.tensor(texts)
    certain = torch.nn.functional.one_hot(labels, made.vocab_size).float().log()
    _, expected = DistributionLoss(made).eval()(certain.clamp_min(-80), labels, shifted=True)
    assert components == pytest.approx({name: float(value) for name, value in expected.items() if name != "dist/loss"}, rel=1e-3)


def test_from_some_length_on_more_completions_pull_no_harder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one text, again and again, all others have the same rates."""
    made = handmade()
    text = torch.randint(1, made.vocab_size, (60,), generator=torch.Generator().manual_seed(0)).tolist()

    def rewards(copies: int) -> Tensor:
        return DistributionReward(made, dead_zone=0.2, clip=1e6).token_rewards([text] * copies)[0][0]

    assert rewards(40).norm() > 1.5 * rewards(10).norm()  # ten are shorter than 1,024 words
    monkeypatch.setattr("dft_stats.loss.family.MOST_WORDS", 16)
    torch.testing.assert_close(rewards(40), rewards(10), rtol=1e-3, atol=1e-4)


def test_empty_completions_get_nothing_and_change_nothing() -> None:
    texts = text_rows("gpt2", 3, 40)
    one, other = (DistributionReward(compiled("gpt2"), dead_zone=0.0) for _ in range(2))
    rewards = one(completion_ids=[texts[0], [], texts[1], texts[2]])
    assert rewards[1] == 0
    without = other(completion_ids=texts)
    ratio = 4 / 3  # per mean completion
    assert [rewards[0], rewards[2], rewards[3]] == pytest.approx([ratio * reward for reward in without], rel=1e-3)
    assert one(completion_ids=[[], []]) == [0, 0]


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(two_steps(slice(0, 1) if rank == 0 else slice(1, 4)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def two_steps(mine: slice) -> list[list[float]]:
    reward = DistributionReward(compiled("handmade"), decay=0.5, dual_rate=0.1, dead_zone=0.0)
    texts = text_rows("handmade", 8, 30)
    return [reward(completion_ids=texts[step : step + 4][mine]) for step in (0, 4)]


def test_ranks_see_the_completions_of_all(tmp_path: Path) -> None:
    processes.spawn(_rank, (str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for step, expected in enumerate(two_steps(slice(0, 4))):
        assert found[0][step] + found[1][step] == pytest.approx(expected, rel=1e-3)


def test_a_policy_that_follows_it_gets_nearer() -> None:
    """A unigram policy over readable tokens, towards another one; REINFORCE with the mean as baseline."""
    size = handmade().vocab_size
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(1, 1, size, generator=generator)
    wanted[..., 0] = -torch.inf
    labels = torch.distributions.Categorical(logits=wanted[0, 0]).sample((16, 60))
    made = measured(handmade(), wanted.expand(16, 60, size), labels)
    torch.manual_seed(1)
    scores = torch.zeros(size, requires_grad=True)
    reward = DistributionReward(made, weights=ONLY_TOKENS, decay=0.5)
    optimizer = torch.optim.Adam([scores], lr=0.05)
    squares = []
    for _ in range(60):
        policy = torch.distributions.Categorical(logits=torch.where(torch.arange(size) == 0, -torch.inf, scores))
        tokens = policy.sample((16, 40))
        rows, components = reward.token_rewards(tokens.tolist())
        rewards = torch.stack(rows)
        (-(rewards - rewards.mean()) * policy.log_prob(tokens)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        squares.append(components["dist/token_frequency"])
    assert sum(squares[-10:]) < 0.5 * sum(squares[:3]) / 3 * 10


def test_it_looks_like_a_function_to_trainers_and_logs() -> None:
    reward = DistributionReward(compiled("gpt2"))
    logged: dict[str, float] = {}
    reward(["a"] * 2, ["b"] * 2, text_rows("gpt2", 2, 30), log_metric=logged.__setitem__, column=[1, 2])
    assert not isinstance(reward, torch.nn.Module)
    assert reward.__name__ == "distribution_reward"
    assert set(logged) == {f"dist/{term}" for term in TERMS}


def test_several_in_one_trainer_have_names() -> None:
    reward, logged = DistributionReward(handmade(), name="news"), list[str]()
    reward(completion_ids=[[1, 3], [2, 4]], log_metric=lambda name, _: logged.append(name))
    assert reward.__name__ == "distribution_reward_news"
    assert set(logged) == {f"dist/news/{term}" for term in TERMS}


def test_ids_of_a_padded_head_are_special() -> None:
    """A head may be of a round size; what it draws beyond the tokenizer's ids is no text."""
    texts, size = text_rows("gpt2", 4, 30), compiled("gpt2").vocab_size
    special = compiled("gpt2").tokens.special.tolist().index(True)
    found = []
    for id in (special, size, size + 500):
        reward = DistributionReward(compiled("gpt2"))
        found.append(reward(completion_ids=[[*texts[0][:9], id, *texts[0][9:]], *texts[1:]]))
    assert found[0] == found[1] == found[2]
    with pytest.raises(VocabularyMismatch, match=f"to {size + 1024}"):
        reward(completion_ids=[[size + 1024]])


def test_what_is_wrong_is_said() -> None:
    reward = DistributionReward(handmade())
    with pytest.raises(TypeError, match="completion_ids"):
        reward(["a"], ["b"])
    with pytest.raises(VocabularyMismatch, match=str(handmade().vocab_size)):
        reward(completion_ids=[[1, 10**6]])
    with pytest.raises(VocabularyMismatch, match="ids from -100 to 3"):
        reward(completion_ids=[[1, 3], [], [2, -100]])
    for wrong in ([[1.5, 2.0]], torch.ones(2, 3), [1, 2]):
        with pytest.raises(TypeError, match="completion_ids are lists of token ids, one for each completion, not"):
            reward(completion_ids=wrong)
    with pytest.raises(ValueError, match="temperature"):
        DistributionReward(handmade(), temperature=0.5)
