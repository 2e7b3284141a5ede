"""Law 3: with all probability on the token itself, what the loss expects is what the reference counts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dft_stats.compiled import CompiledProfile
from dft_stats.loss import DistributionLoss
from dft_stats.loss.credit import hard_count
from dft_stats.loss.distribution_loss import TERMS
from dft_stats.stream import StreamCounts, count_stream
from tests.compiled_for_tests import KINDS, compiled, handmade, text_rows, token_rows
from tests.float64_loss import counts_by_family, expect, softmax
from tests.soft_counts import soft_count
from tests.tokenizers_for_tests import ALL

IGNORED = -100


def assert_counts(loss: DistributionLoss, made: CompiledProfile, found: Sequence[StreamCounts]) -> None:
    """What a forward pass left in the pending sums."""
    expected = [counts_by_family(made, count) for count in found]
    assert loss.pending_words.item() == sum(count.words for count in found)
    names = [name for term in loss.terms.values() for name in term.families]
    assert sorted(names) == sorted(expected[0])
    for name in names:
        family = loss.families()[name]
        for pending, i in ((family.pending_numerator, 0), (family.pending_denominator, 1)):
            np.testing.assert_allclose(pending.numpy(), sum(counts[name][i] for counts in expected), rtol=1e-5, atol=1e-4, err_msg=name)


def peaked(ids: Tensor, vocab: int, generator: torch.Generator, certain: Tensor) -> Tensor:
    """Logits [B, T, V] with all mass on `ids` where `certain`, anything elsewhere."""
    logits = torch.randn(*ids.shape, vocab, generator=generator) * 3
    on = torch.nn.functional.one_hot(ids.clamp_min(0), vocab).bool() & certain[..., None]
    return logits.masked_fill(certain[..., None], 0).masked_fill(on, 200)


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_one_hot_counts_what_the_reference_counts(kind: str, shifted: bool, data: st.DataObject) -> None:
    made = compiled(kind)
    ids = torch.tensor(data.draw(token_rows(kind)))
    flags = st.lists(st.booleans(), min_size=ids.numel(), max_size=ids.numel())
    labelled, starts = (torch.tensor(data.draw(flags)).view(ids.shape) for _ in range(2))
    given_ids, given_starts, padded = (data.draw(st.booleans()) for _ in range(3))
    labels = torch.where(labelled, ids, IGNORED)

    predicted = labels if shifted else labels.roll(-1, 1)  # the last row predicts nothing
    generator = torch.Generator().manual_seed(0)
    certain = predicted != IGNORED
    if not shifted:
        certain[:, -1] = False
    logits = peaked(predicted, made.vocab_size + 7 * padded, generator, certain)
    loss = DistributionLoss(made, accumulation_steps=0)
    arguments = {"input_ids": ids} if given_ids else {}
    loss(logits, labels, shifted=shifted, document_starts=starts if given_starts else None, **arguments)

    read = ids if given_ids else torch.where(labelled, ids, -1)
    mask = labelled.clone()
    if not shifted:
        mask[:, 0] = False
    opens = starts if given_starts else torch.zeros_like(starts)
    found = [
        count_stream(made, *map(list, row[:2]), starts=list(row[2])) for row in zip(read.numpy(), mask.numpy(), opens.numpy(), strict=True)
    ]
    assert_counts(loss, made, found)


@pytest.mark.parametrize("kind", ALL)
def test_counts_of_real_text_in_long_windows(kind: str) -> None:
    made = replace(compiled(kind), entropy_window=32)
    ids = torch.tensor(text_rows(kind, 3, 200))
    loss = DistributionLoss(made, accumulation_steps=0)
    loss(peaked(ids, made.vocab_size, torch.Generator().manual_seed(1), torch.ones_like(ids).bool()), ids, shifted=True)
    found = [count_stream(made, row) for row in ids.tolist()]
    assert all(len(count.entropies) >= 2 and count.ngrams.sum() > 5 and count.marks.sum() > 5 for count in found)
    assert_counts(loss, made, found)


def test_soft_counts_are_linear_in_the_probabilities() -> None:
    made = compiled("gpt2")
    loss = DistributionLoss(made)
    ids = torch.tensor(text_rows("gpt2", 2, 40))
    stream = loss.reader(ids, torch.ones_like(ids).bool())
    one, other = torch.randn(2, 2, 40, made.vocab_size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(-1)
    a, b, mixed = (soft_count(loss, p, stream) for p in (one, other, 0.3 * one + 0.7 * other))
    assert set(a) == {name for term in TERMS for name in loss.terms[term].families}
    for name, (numerator, denominator) in mixed.items():
        torch.testing.assert_close(numerator, 0.3 * a[name][0] + 0.7 * b[name][0])
        assert torch.equal(denominator, a[name][1])


@pytest.mark.parametrize("kind", ["handmade", "gpt2"])
def test_expected_counts_are_those_of_the_float64_reference(kind: str) -> None:
    made = compiled(kind)
    generator = torch.Generator().manual_seed(3)
    tokens = torch.tensor(text_rows(kind, 2, 24))
    tokens[1, 5] = -1
    counted = torch.rand(tokens.shape, generator=generator) < 0.9
    p = softmax(torch.randn(*tokens.shape, made.vocab_size, dtype=torch.float64, generator=generator).numpy() * 2)
    loss = DistributionLoss(made)
    found = soft_count(loss, torch.from_numpy(p), loss.reader(tokens, counted))
    expected = expect(made, p, tokens.tolist(), counted.tolist()).counts
    assert expected["entropy"][1][0] >= 1
    for name, (numerator, denominator) in found.items():
        np.testing.assert_allclose(numerator.numpy(), expected[name][0], rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(denominator.numpy(), expected[name][1], err_msg=name)


def test_expected_counts_are_the_mean_of_sampled_counts() -> None:
    """What the next token is expected to count is the mean over tokens drawn for it, the text before held fixed."""
    made = handmade(entropy_window=3)
    before, draws = [1, 3, 13, 2, 3], 4000
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(made.vocab_size, generator=generator, dtype=torch.float64).softmax(0)
    drawn = torch.multinomial(p, draws, replacement=True, generator=generator).tolist()
    mask = [False] * len(before) + [True]
    sampled = [counts_by_family(made, count_stream(made, [*before, token], mask)) for token in drawn]
    loss = DistributionLoss(made)
    ids, counted = torch.tensor([[*before, 3]]), torch.tensor([mask])
    found = soft_count(loss, p.expand(1, len(mask), -1), loss.reader(ids, counted))
    for name in ("token_frequency", "ngram_frequency", "sentence_length", "marks", "rhythm"):
        mean = sum(counts[name][0] for counts in sampled) / draws
        np.testing.assert_allclose(found[name][0].numpy(), mean, atol=5 * np.sqrt(0.25 / draws), err_msg=name)


def test_the_end_of_a_text_is_an_outcome_like_any_other() -> None:
    """A text that is drawn token by token, ends among them, is counted as often as the chances it was drawn by expect: within 5 sigma."""
    made = handmade(ngrams=((-1, -1, 3), (-1, 1, 3), (1, 3, 1), (-1, 13, 1)), entropy_window=3)
    p = torch.randn(made.vocab_size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p[[1, 3, 13]] += 2
    p[0] = p.logsumexp(0) - 1  # about every fourth token ends a text
    p = p.softmax(0)
    rows = torch.multinomial(p, 60_000, replacement=True, generator=torch.Generator().manual_seed(1)).view(150, 400)
    assert 0.2 < float((rows == 0).double().mean()) < 0.35
    loss = DistributionLoss(made)
    stream = loss.reader(rows, torch.ones_like(rows).bool())
    soft = soft_count(loss, p.expand(*rows.shape, -1), stream)
    hard = hard_count(loss, stream, rows.flatten(), loss.pairs(stream))
    for name, (numerator, denominator) in soft.items():
        drawn, chances = (values.double() for values in hard[name])
        torch.testing.assert_close(denominator, chances)
        spread = 0.2 * chances.sqrt() if name == "entropy" else (drawn.abs() + 1).sqrt()
        off = (numerator - drawn).abs() / spread
        assert float(off.max()) < 5, (name, int(off.argmax()))
    assert float(soft["token_frequency"][0].sum() / soft["token_frequency"][1][0]) == pytest.approx(1, abs=0.02)


def test_a_profile_of_the_models_own_text_leaves_the_end_of_a_text_alone() -> None:
    """One end in twenty tokens, as the model has it: no rate is off, and no logit is pulled, that of the end least of all."""
    size, end = handmade().vocab_size, 1 / 20
    text = torch.full((size,), 1 / (size - 1))
    text[0] = 0
    target = np.zeros(size)
    np.add.at(target, handmade().tokens.fold, text.numpy())
    made = replace(handmade(ngrams=((-1, -1, 3),)), token_frequency=target, ngram_frequency=target[[3]])
    rows = torch.randint(1, size, (20, 40), generator=torch.Generator().manual_seed(0))
    rows[:, ::20] = 0
    logits = torch.cat([torch.tensor([end]), text[1:] * (1 - end)]).log().requires_grad_()
    weights = {name: float(name in ("token_frequency", "ngram_frequency")) for name in TERMS}
    loss = DistributionLoss(made, weights=weights, dead_zone=0.0)
    value, components = loss(logits.expand(20, 40, size), rows, shifted=True)
    value.backward()
    assert float(components["dist/token_frequency"]) < 1e-6
    assert float(components["dist/ngram_frequency"]) < 1e-6
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-4


def test_a_profile_without_ngrams_has_none() -> None:
    made = replace(handmade(), ngrams=np.zeros((0, 3), np.int32), ngram_frequency=np.zeros(0), ngram_sd=np.zeros(0))
    ids = torch.tensor([[1, 3, 4, 5, 13, 1, 3]])
    loss = DistributionLoss(made)
    value, components = loss(torch.randn(1, 7, made.vocab_size, requires_grad=True), ids)
    value.backward()
    assert components["dist/ngram_frequency"] == 0
