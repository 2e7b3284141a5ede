"""Sampling from the model and the loss on its samples, with a plain module and with a real Llama of random weights."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from dft_stats.loss import TERMS, DistributionLoss, DistributionReward, on_policy
from tests.compiled_for_tests import compiled, handmade, measured

SIZE = handmade().vocab_size
NEW = 20


class Bigrams(nn.Module):
    """The smallest language model: a table of logits for the next token."""

    def __init__(self, size: int = SIZE, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(size, size, generator=torch.Generator().manual_seed(seed)))
        self.dropout = nn.Dropout(dropout)
        self.seen_training: list[bool] = []

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        self.seen_training.append(self.training)
        return self.dropout(self.table[ids])


def prompts(rows: int = 4, length: int = 5) -> Tensor:
    return torch.randint(1, SIZE, (rows, length), generator=torch.Generator().manual_seed(1))


def llama(size: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=size, max_position_embeddings=256, initializer_range=0.3, **settings))


def test_it_is_the_loss_on_its_samples_whose_prompt_is_read_and_not_counted() -> None:
    model, loss = Bigrams(), DistributionLoss(handmade(), dead_zone=0.0).eval()
    value, components, tokens = on_policy(loss, model, prompts(), max_new_tokens=NEW, generator=torch.Generator().manual_seed(2))
    value.backward()
    found = model.table.grad
    model.table.grad = None
    labels = tokens.clone()
    labels[:, :5] = -100
    again, expected = loss(model(tokens), labels, input_ids=tokens)
    again.backward()
    assert torch.equal(tokens[:, :5], prompts())
    assert torch.equal(value, again)
    assert components.keys() == expected.keys()
    assert found is not None
    assert torch.equal(found, model.table.grad)
    assert found.abs().max() > 0


def test_the_same_generator_draws_the_same_samples() -> None:
    loss = DistributionLoss(handmade())
    one, again, other = (
        on_policy(loss, Bigrams(), prompts(), max_new_tokens=NEW, generator=torch.Generator().manual_seed(seed))[2] for seed in (3, 3, 4)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_dropout_is_off_while_sampling_and_training_goes_on_behind() -> None:
    model = Bigrams(dropout=0.5).train()
    model.dropout.eval()  # somebody's choice, not to be undone
    on_policy(DistributionLoss(handmade()), model, prompts(), max_new_tokens=3, generator=torch.Generator().manual_seed(0))
    assert model.seen_training == [False] * 3 + [True]
    assert model.training
    assert not model.dropout.training


def test_what_follows_the_end_is_not_counted() -> None:
    loss, model = DistributionLoss(handmade()).eval(), Bigrams()
    end = 4
    _, _, tokens = on_policy(loss, model, prompts(8), max_new_tokens=60, eos_token_id=end, generator=torch.Generator().manual_seed(5))
    drawn = tokens[:, 5:]
    labels = tokens.clone()
    labels[:, :5] = -100
    for row, ids in enumerate(drawn.tolist()):
        if end in ids:
            labels[row, 5 + ids.index(end) + 1 :] = -100
            assert set(ids[ids.index(end) :]) == {end}
    assert (labels[:, 5:] == -100).any()
    seen = on_policy(loss, model, prompts(8), max_new_tokens=60, eos_token_id=[end], generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(seen[0], loss(model(tokens), labels, input_ids=tokens)[0])


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(0)])
def test_padding_on_the_left_is_not_text(generator: torch.Generator | None) -> None:
    """A padded prompt gives the loss of the same prompt alone, by the model's own generation and by ours."""
    made = compiled("gpt2")
    model, loss = llama(made.vocab_size).eval(), DistributionLoss(made, temperature=0.01).eval()  # almost greedy: nothing is drawn
    ids = torch.tensor([[40, 41, 42, 43]])
    padded = torch.cat([torch.full((1, 3), 7), ids], 1)
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    alone = on_policy(loss, model, ids, max_new_tokens=12, generator=generator)
    beside = on_policy(loss, model, padded, attention_mask=mask, max_new_tokens=12, generator=generator)
    assert torch.equal(alone[2][0], beside[2][0, 3:])
    torch.testing.assert_close(beside[0], alone[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wrapped", ["peft", "module"])
@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(0)])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:fan_in_fan_out")
def test_a_wrapped_model_has_its_positions_too(generator: torch.Generator | None, wrapped: str) -> None:
    """Learned absolute positions: behind a wrapper's `**kwargs` a padded prompt is the same prompt, too."""
    made = compiled("gpt2")
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}
    plain = GPT2LMHeadModel(GPT2Config(vocab_size=made.vocab_size, bos_token_id=None, eos_token_id=None, **sizes))
    model = (get_peft_model(plain, LoraConfig(target_modules=["c_attn"])) if wrapped == "peft" else Wrapper(plain)).eval()
    loss = DistributionLoss(made, temperature=1e-4).eval()  # greedy: nothing is drawn
    ids = torch.tensor([[40, 41, 42, 43]])
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    alone = on_policy(loss, model, ids, max_new_tokens=12, generator=generator)
    padded = torch.cat([torch.full((1, 3), 7), ids], 1)
    beside = on_policy(loss, model, padded, attention_mask=mask, max_new_tokens=12, generator=generator)
    assert torch.equal(alone[2][0], beside[2][0, 3:])
    torch.testing.assert_close(beside[0], alone[0], rtol=1e-3, atol=1e-4)


class Wrapper(nn.Module):
    """As DDP wraps a model."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


@pytest.mark.parametrize("given", [["a text"], "a text", {"input_ids": [[1, 2]]}, [[1, 2]], torch.tensor([1, 2]), torch.ones(1, 2)])
def test_prompts_that_are_no_ids_say_what_they_should_be(given: Any) -> None:
    with pytest.raises(TypeError, match=r"prompts are a tensor of ids \[B, P\].*padding_side='left'"):
        on_policy(DistributionLoss(handmade()), Bigrams(), given, max_new_tokens=2)


def test_a_model_may_return_a_tuple_and_an_end_be_a_tensor() -> None:
    class Tuples(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Bigrams()

        def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, None]:
            logits: Tensor = self.inner(ids)
            return logits.mean(), logits, None

    given, tuples = torch.tensor([[1, 3], [2, 3]]), Tuples()
    models: list[tuple[nn.Module, Any]] = [(tuples, torch.tensor(2)), (tuples.inner, 2)]
    found, expected = (
        on_policy(
            DistributionLoss(handmade()), model, given, max_new_tokens=4, eos_token_id=end, generator=torch.Generator().manual_seed(0)
        )
        for model, end in models
    )
    assert torch.equal(found[2], expected[2])
    assert torch.equal(found[0], expected[0])


@pytest.mark.parametrize("shape", [(2, 0), (0, 3)])
def test_a_prompt_has_a_token_at_least(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"prompts are \[B, P\] and not empty, not .*such as the BOS"):
        on_policy(DistributionLoss(handmade()), Bigrams(), torch.zeros(shape, dtype=torch.long), max_new_tokens=2)


def test_prompts_that_are_padded_on_the_right_are_refused() -> None:
    """By their mask; and without one, by special tokens at the end of some rows, or several at the end of one."""
    loss, some = DistributionLoss(handmade()), torch.tensor([[1, 3, 4], [1, 3, 0]])
    several = torch.tensor([[1, 0, 0], [0, 0, 0]])
    for ids, mask in ((some, (some != 0).long()), (some, None), (several, None)):
        with pytest.raises(ValueError, match="padded on the right"):
            on_policy(loss, Bigrams(), ids, attention_mask=mask, max_new_tokens=2)
    with pytest.raises(ValueError, match=r"aligned, \[B, P\]; they are \(2, 2\) and \(2, 3\)"):
        on_policy(loss, Bigrams(), some, attention_mask=torch.ones(2, 2), max_new_tokens=2)
    opening = torch.zeros(2, 1, dtype=torch.long)  # as prompts are that are nothing but a BOS
    for ids in (some[:, :2], opening, torch.tensor([[1, 0], [3, 0]])):
        on_policy(loss, Bigrams(), ids, max_new_tokens=2)
    on_policy(loss, Bigrams(), some, attention_mask=torch.ones_like(some), max_new_tokens=2)


def test_a_model_of_transformers_generates_and_learns() -> None:
    made = compiled("gpt2")
    model, loss = llama(made.vocab_size), DistributionLoss(made, temperature=0.9, top_p=0.95)
    value, components, tokens = on_policy(loss, model, torch.tensor([[40, 41], [50, 51]]), max_new_tokens=NEW)
    value.backward()
    assert tokens.shape == (2, 2 + NEW)
    assert {f"dist/{term}" for term in TERMS} < components.keys()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_padded_head_may_draw_what_is_no_token() -> None:
    """Where it does, nothing is counted, as behind the end of a text."""
    model, loss = Bigrams(SIZE + 64), DistributionLoss(handmade(), dead_zone=0.0)
    reward = DistributionReward(handmade())
    given: dict[str, Any] = {"max_new_tokens": NEW, "generator": torch.Generator().manual_seed(2), "reward": reward, "returns": 1.0}
    for _ in range(2):
        value, _, tokens = on_policy(loss, model, prompts(), **given)
        value.backward()
        assert (tokens >= SIZE).any()
    assert model.table.grad is not None
    assert torch.isfinite(model.table.grad).all()
    labels = tokens.masked_fill(tokens >= SIZE, -100)
    labels[:, :5] = -100
    expected, _ = DistributionLoss(handmade(), dead_zone=0.0)(model(tokens), labels, input_ids=tokens)
    found, *_ = on_policy(
        DistributionLoss(handmade(), dead_zone=0.0), Drawn(model, tokens), prompts(), max_new_tokens=NEW, generator=torch.Generator()
    )
    assert found.item() == pytest.approx(expected.item())


class Drawn(nn.Module):
    """A model that draws these tokens and no others."""

    def __init__(self, model: nn.Module, tokens: Tensor) -> None:
        super().__init__()
        self.model, self.tokens = model, tokens

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(ids)
        if ids.shape == self.tokens.shape:
            return logits
        return torch.full_like(logits, -1e9).scatter(2, self.tokens[:, ids.shape[1], None, None].expand(-1, ids.shape[1], 1), 0.0)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:fan_in_fan_out")
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("own", [{"min_p": 0.9}, {"suppress_tokens": list(range(600))}, {"eos_token_id": 5, "min_new_tokens": 2}])
def test_the_models_own_settings_of_generation_are_not_followed(own: dict[str, Any], wrapped: bool) -> None:
    """What is drawn is what is counted: the share of draws that lie in a half of the vocabulary, within 5 sigma."""
    made = compiled("gpt2")
    plain: Any = llama(made.vocab_size).eval()
    model = get_peft_model(plain, LoraConfig(target_modules=["q_proj"])).eval() if wrapped else plain
    prompt, draws = torch.tensor([[40, 41]]), 500
    with torch.no_grad():
        p = plain(prompt).logits[0, -1].softmax(-1)
    half = p.argsort(descending=True)[::2]
    for name, value in own.items():
        setattr(model.generation_config, name, value)
    kept = model.generation_config.to_dict()
    torch.manual_seed(0)
    loss = DistributionLoss(made).eval()
    tokens = on_policy(loss, model, prompt.expand(draws, 2), max_new_tokens=2)[2]
    assert tokens.shape == (draws, 4)
    share = torch.isin(tokens[:, 2], half).float().mean()
    least = torch.isin(tokens[:, 2], p.argsort()[: len(p) // 2]).float().mean()
    for found, expected in ((share, p[half].sum()), (least, p.sort().values[: len(p) // 2].sum())):
        assert abs(float(found - expected)) < 5 * (0.25 / draws) ** 0.5
    assert float(tokens[:, 2].unique().numel()) > 50
    assert model.generation_config.to_dict() == kept
    if "eos_token_id" in own:
        with torch.no_grad():
            plain.lm_head.weight.mul_(1e-3)  # all are about as likely, the EOS too
        drawn = on_policy(loss, model, prompt.expand(draws, 2), max_new_tokens=20)[2][:, 2:]
        assert abs(float((drawn == 5).float().mean()) - 1 / made.vocab_size) < 5 * (1 / made.vocab_size / drawn.numel()) ** 0.5
        assert float((drawn == 5).float().sum()) > 0


def test_statistics_are_those_of_the_sampler() -> None:
    """Outside the nucleus nothing is drawn, expected, or pulled."""
    loss, model = DistributionLoss(handmade(), temperature=0.7, top_p=0.5, dead_zone=0.0).eval(), Bigrams()
    value, _, tokens = on_policy(loss, model, prompts(), max_new_tokens=NEW, generator=torch.Generator().manual_seed(6))
    value.backward()
    kept = loss.sampler.probabilities(model.table.detach()) > 0
    assert kept[tokens[:, 4:-1], tokens[:, 5:]].all()
    assert model.table.grad is not None
    assert not model.table.grad[~kept].any()
    assert model.table.grad[kept].any()


def test_training_on_samples_brings_every_statistic_nearer() -> None:
    """The law of the whole: one model is steered to what another one writes, measured on fresh samples."""
    teacher, model, start = Bigrams(seed=1), Bigrams(), prompts(200, 1)
    sampled = on_policy(DistributionLoss(handmade()), teacher, start, max_new_tokens=120, generator=torch.Generator().manual_seed(7))[2]
    made = measured(handmade(), teacher(sampled[:, :-1]).detach(), sampled[:, 1:])
    loss = DistributionLoss(made, decay=0.8, dead_zone=0.3)  # of 1,024 words: the text that is measured is longer
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def measure() -> dict[str, float]:
        fresh = DistributionLoss(made).eval()
        components = on_policy(fresh, model, start, max_new_tokens=40, generator=torch.Generator().manual_seed(99))[1]
        return {term: float(components[f"dist/{term}"]) for term in TERMS}

    before = measure()
    for step in range(40):
        value, _, _ = on_policy(loss, model, start, max_new_tokens=20, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    after = measure()
    assert all(after[term] < max(before[term], 4.0) for term in TERMS), (before, after)  # two standard errors: entropy is one rate
    assert sum(after.values()) < 0.5 * sum(before.values()), (before, after)
