"""What the docs say of the numbers that the loss logs: they lag, grow with the text, may be 0 or negative; and what counts as a step."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from dft_stats.loss import TERMS, DistributionLoss
from tests.compiled_for_tests import handmade, measured
from tests.tokenizers_for_tests import gpt2_like

MADE = handmade()
ONLY_TOKENS = {name: float(name == "token_frequency") for name in TERMS}


def batch(favoured: int, strength: float) -> tuple[Tensor, Tensor]:
    """Logits [4, 30, V] that are nothing but one token more or less likely than the others, and a text."""
    logits = torch.zeros(4, 30, MADE.vocab_size)
    logits[..., 0] = -torch.inf  # special
    logits[..., favoured] = strength
    return logits, torch.randint(1, MADE.vocab_size, (4, 30), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_of_a_model_that_does_not_change_z_squared_grows_until_the_window_is_full(decay: float) -> None:
    """It lags one step, and after n steps is that of the first times the steps that the window is worth."""
    loss = DistributionLoss(MADE, decay=decay)
    seen = [float(loss(*batch(3, 2.0), shifted=True)[1]["dist/token_frequency"]) for _ in range(80)]
    assert seen[0] == pytest.approx(seen[1]), "the second step is steered by what the first saw"
    worth = [(1 + decay) / (1 - decay) * (1 - decay**n) / (1 + decay**n) for n in (1, *range(1, 80))]
    assert seen == pytest.approx([seen[0] * steps for steps in worth], rel=1e-3)
    assert seen[-1] == pytest.approx(seen[0] * (1 + decay) / (1 - decay), rel=1e-3)


def test_a_model_that_expects_what_the_profile_says_has_no_z_at_all() -> None:
    """Whatever text is drawn, an expectation has no noise of its own: 0 is nothing that a human text would have."""
    logits, labels = batch(3, 1.0)
    loss = DistributionLoss(measured(MADE, logits, labels))
    for seed in range(3):
        drawn = torch.distributions.Categorical(logits=logits).sample().roll(seed, 1)
        assert float(loss(logits, drawn, shifted=True)[1]["dist/token_frequency"]) == pytest.approx(0, abs=1e-6)


def test_the_loss_is_a_slope_and_may_be_negative() -> None:
    loss = DistributionLoss(MADE, weights=ONLY_TOKENS)
    above = float(loss(*batch(3, 4.0), shifted=True)[0])
    below = float(loss(*batch(3, -4.0), shifted=True)[0])  # steered by the step before it, which was above
    assert above > 0 > below


def test_what_counts_as_a_step_is_for_the_loss_to_say_and_not_for_the_model() -> None:
    loss, model = DistributionLoss(MADE), nn.Identity().eval()
    logits, labels = batch(3, 1.0)
    loss(model(logits), labels, shifted=True)
    assert int(loss.commits) == 1, "model.eval() does not reach the loss"
    with torch.no_grad():
        loss(model(logits), labels, shifted=True)
    loss.eval()
    loss(model(logits), labels, shifted=True)
    assert int(loss.commits) == 1
    loss.train()
    loss(model(logits), labels, shifted=True)
    assert int(loss.commits) == 2


def test_what_lies_within_the_human_noise_is_not_steered() -> None:
    """So little text that no rate is off by a standard error: the loss is 0.0, and that of more text of the same kind is not."""
    logits, labels = batch(3, 1.5)
    few, many = (DistributionLoss(MADE, weights=ONLY_TOKENS) for _ in range(2))
    assert float(few(logits[:1, :4], labels[:1, :4], shifted=True)[0]) == 0.0
    assert float(many(logits, labels, shifted=True)[0]) > 0


@pytest.mark.parametrize(("pad", "more"), [("<|endoftext|>", 0), ("<|pad|>", 1)])
def test_a_padding_token_that_a_tokenizer_lacks_is_a_new_id(tmp_path: Path, pad: str, more: int) -> None:
    gpt2_like().save(str(tmp_path / "tokenizer.json"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), pad_token=pad)
    assert len(tokenizer) == gpt2_like().get_vocab_size() + more
