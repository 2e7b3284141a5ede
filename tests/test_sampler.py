"""The sampler: the probabilities of temperature and nucleus sampling, and their gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation.logits_process import TopPLogitsWarper

from dft_stats.loss import Sampler
from dft_stats.loss.sampler import CANDIDATES
from tests.float64_loss import softmax


def some_logits(rows: int, vocab: int, scale: float = 2.0, seed: int = 0) -> Tensor:
    return torch.randn(rows, vocab, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


@given(st.floats(0.05, 3), st.floats(0.05, 1), st.integers(2, 40), st.integers(0, 1000))
def test_probabilities_are_those_of_the_definition(temperature: float, top_p: float, vocab: int, seed: int) -> None:
    logits = some_logits(5, vocab, seed=seed)
    found = Sampler(temperature, top_p).probabilities(logits)
    np.testing.assert_allclose(found.numpy(), softmax(logits.numpy(), temperature, top_p), rtol=1e-9, atol=1e-15)


def test_it_is_what_transformers_samples_from() -> None:
    logits = some_logits(50, 300)
    warped = TopPLogitsWarper(0.8)(None, logits / 0.7).softmax(-1)
    torch.testing.assert_close(Sampler(0.7, 0.8).probabilities(logits), warped)


@pytest.mark.parametrize("scale", [0.01, 4.0])
def test_a_nucleus_of_more_than_the_candidates(scale: float) -> None:
    """Flat rows need the full sort, peaked ones do not, and both stand in one batch."""
    size = CANDIDATES[-1] * 2
    logits = torch.cat([some_logits(3, size, scale), some_logits(3, size, 0.5)])
    found = Sampler(1.0, 0.95).probabilities(logits)
    np.testing.assert_allclose(found.numpy(), softmax(logits.numpy(), 1.0, 0.95), rtol=1e-9, atol=1e-15)
    if scale < 1:
        assert (found[0] > 0).sum() > CANDIDATES[-1]


def test_equally_probable_tokens_are_kept_together() -> None:
    p = Sampler(1.0, 0.5).probabilities(torch.tensor([2.0, 1.0, 1.0, 1.0, -9.0]))
    assert (p > 0).tolist() == [True, True, True, True, False]
    assert p.sum() == pytest.approx(1)
    assert p[1] == p[2] == p[3]


def test_plain_sampling_is_softmax_and_a_small_nucleus_is_greedy() -> None:
    logits = some_logits(4, 20)
    assert torch.equal(Sampler().probabilities(logits), logits.softmax(-1))
    greedy = Sampler(1.0, 1e-6).probabilities(logits)
    assert torch.equal(greedy.argmax(-1), logits.argmax(-1))
    assert torch.equal(greedy.amax(-1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("sampler", [Sampler(), Sampler(0.8, 0.9)])
def test_halves_are_computed_in_float32(dtype: torch.dtype, sampler: Sampler) -> None:
    logits = some_logits(3, 30).to(dtype).requires_grad_()
    p = sampler.probabilities(logits)
    assert p.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(p, sampler.probabilities(logits.detach().to(p.dtype)))
    p[:, 0].sum().backward()
    assert logits.grad is not None
    assert logits.grad.dtype == dtype


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.9])
@pytest.mark.parametrize("top_p", [0.6, 0.9, 1.0])
def test_gradient_away_from_the_edge_of_the_nucleus(temperature: float, top_p: float) -> None:
    logits = torch.tensor([[2.0, 1.5, 0.9, 0.1, -0.8, -2.0], [0.3, -1.0, 2.2, 1.1, 0.2, -3.0]], dtype=torch.float64, requires_grad=True)
    mass = softmax(logits.detach().numpy(), temperature)
    gaps = np.abs(np.sort(mass, -1)[:, ::-1].cumsum(-1)[:, :-1] - top_p)
    assert top_p == 1 or gaps.min() > 1e-4  # gradcheck moves logits by 1e-6
    sampler = Sampler(temperature, top_p)
    assert torch.autograd.gradcheck(sampler.probabilities, (logits,), eps=1e-6)
    if top_p == 0.6:
        sampler.probabilities(logits)[0, 0].backward()
        assert logits.grad is not None
        assert logits.grad[0, -1] == 0  # what is cut off has no gradient
        assert logits.grad[0, 0] > 0


def test_samples_come_from_the_probabilities_and_repeat() -> None:
    sampler, logits = Sampler(0.8, 0.9), some_logits(2, 8)
    many = logits[:, None].expand(2, 20_000, 8)
    ids = sampler.sample(many, torch.Generator().manual_seed(1))
    assert ids.shape == (2, 20_000)
    shares = torch.stack([torch.bincount(row, minlength=8) / 20_000 for row in ids])
    p = sampler.probabilities(logits)
    assert (shares - p).abs().max() < 0.02
    assert (shares[p == 0] == 0).all()
    assert torch.equal(ids, sampler.sample(many, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_bad_temperatures_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"temperature is more than 0.*greedy"):
        Sampler(temperature)


@pytest.mark.parametrize("top_p", [0.0, -0.1, 1.1, float("nan")])
def test_bad_nuclei_are_refused(top_p: float) -> None:
    with pytest.raises(ValueError, match="top_p is more than 0 and at most 1"):
        Sampler(1.0, top_p)
