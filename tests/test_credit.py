"""What each token of a text adds: counts of certain predictions, and shares that sum to the loss."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.loss import DistributionLoss
from dft_stats.loss.credit import credit, hard_count
from tests.compiled_for_tests import KINDS, compiled, token_rows
from tests.soft_counts import soft_count


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_text_is_a_prediction_that_is_certain(kind: str, data: st.DataObject) -> None:
    made = compiled(kind)
    loss = DistributionLoss(made)
    tokens = torch.tensor(data.draw(token_rows(kind)))
    counted = torch.tensor(data.draw(st.lists(st.booleans(), min_size=tokens.numel(), max_size=tokens.numel()))).view_as(tokens)
    stream = loss.reader(tokens, counted)
    certain = F.one_hot(tokens, made.vocab_size).float()
    expected, found = soft_count(loss, certain, stream), hard_count(loss, stream, tokens.flatten(), loss.pairs(stream))
    for name in expected:
        for a, b in zip(found[name], expected[name], strict=True):
            torch.testing.assert_close(a.double(), b.double(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_what_tokens_add_sums_to_the_loss(kind: str, data: st.DataObject) -> None:
    made = compiled(kind)
    loss = DistributionLoss(made)
    tokens = torch.tensor(data.draw(token_rows(kind)))
    stream = loss.reader(tokens, torch.ones_like(tokens, dtype=torch.bool))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    witnesses = {name: torch.randn(len(family.target), generator=generator) for name, family in loss.families().items()}
    items = torch.tensor(float(tokens.numel()))
    counts = hard_count(loss, stream, tokens.flatten(), loss.pairs(stream))
    value = loss.value(witnesses, counts, items)
    gains, chances = credit(loss, witnesses, stream, tokens.flatten(), loss.pairs(stream), items)
    shares = gains - chances
    size = (
        sum(
            float((w.abs() * (n + d * loss.families()[f].target) / loss.families()[f].per_token).abs().sum())
            for (f, w), (n, d) in zip(witnesses.items(), counts.values(), strict=True)
        )
        / items
    )
    assert shares.shape == (tokens.numel(),)
    assert float(shares.sum()) == pytest.approx(float(value), abs=1e-5 * float(size) + 1e-6)
    for name in witnesses:
        alone = {name: witnesses[name]}
        part = torch.stack(credit(loss, alone, stream, tokens.flatten(), loss.pairs(stream), items)).sum(1).diff().neg()
        assert float(part) == pytest.approx(float(loss.value(alone, counts, items)), abs=1e-5 * float(size) + 1e-6), name
