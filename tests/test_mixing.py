"""Mixtures of compiled profiles: those of the merged corpora, where that is known; of one with itself nothing new."""

import numpy as np
import pytest

from dft_stats.compiled import CompiledProfile
from dft_stats.compiling import compile_profile
from dft_stats.errors import IncomparableError
from dft_stats.loss import DistributionLoss
from dft_stats.mixing import mix
from dft_stats.profile import Profile
from tests.compiled_for_tests import compiled, handmade
from tests.profiles import profile_of
from tests.prose import documents
from tests.tokenizers_for_tests import gpt2_like

RATES = ("token_frequency", "marks", "rhythm", "hazard", "at_risk")


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Profile, Profile]:
    """Two profiles of different texts, and that of both."""
    folder, texts = tmp_path_factory.mktemp("mixing"), documents(150)
    one, other = profile_of(texts[:70], folder / "one"), profile_of(texts[70:], folder / "other")
    return one, other, profile_of(texts, folder / "both")


def made(profile: Profile) -> CompiledProfile:
    return compile_profile(profile, gpt2_like(), cache=False)


def test_a_mixture_is_the_profile_of_the_merged_corpora(halves: tuple[Profile, Profile, Profile]) -> None:
    one, other, both = map(made, halves)
    found = mix([one, other], [profile.exposure.words for profile in halves[:2]])
    for name in RATES:
        np.testing.assert_allclose(getattr(found, name), getattr(both, name), rtol=1e-6, atol=1e-9, err_msg=name)
    assert found.tokens_per_word == pytest.approx(both.tokens_per_word)
    where = {tuple(row): rate for row, rate in zip(both.ngrams.tolist(), both.ngram_frequency.tolist(), strict=True)}
    shared = [(where[tuple(row)], rate) for row, rate in zip(found.ngrams.tolist(), found.ngram_frequency.tolist(), strict=True)
              if tuple(row) in where]  # fmt: skip
    assert len(shared) > 20
    # Across words tokens are joined by the rates of words, which is not linear.
    np.testing.assert_allclose([a for a, _ in shared], [b for _, b in shared], rtol=1e-4)


def test_mixing_a_profile_with_itself_changes_nothing() -> None:
    one = compiled("gpt2")
    found = mix([one, one], [1, 3])
    for name in (*RATES, "token_sd", "ngram_sd", "hazard_sd", "marks_sd", "rhythm_sd", "ngrams", "entropy_bits", "entropy_sd"):
        np.testing.assert_allclose(getattr(found, name), getattr(one, name), rtol=1e-9, atol=1e-12, err_msg=name)


def test_where_domains_differ_there_is_more_noise(halves: tuple[Profile, Profile, Profile]) -> None:
    one, other, _ = map(made, halves)
    found = mix([one, other], [1, 1])
    between = np.abs(one.marks - other.marks) / 2
    np.testing.assert_allclose(found.marks_sd**2, (one.marks_sd**2 + other.marks_sd**2) / 2 + between**2)


def test_a_mixture_steers(halves: tuple[Profile, Profile, Profile]) -> None:
    one, other, _ = map(made, halves)
    loss = DistributionLoss(mix([one, other], [0.3, 0.7]))
    assert loss.identity["profile_sha256"] not in (one.profile_sha256, other.profile_sha256)
    assert mix([one, other], [3, 7]).profile_sha256 == loss.identity["profile_sha256"]
    assert mix([one, other], [0.6, 1.4]).profile_sha256 == loss.identity["profile_sha256"], "shares are divided by their sum"
    assert mix([one, other], [4, 6]).profile_sha256 != loss.identity["profile_sha256"]


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(ValueError, match="2 profiles and 1 shares"):
        mix([handmade(), handmade()], [1])
    with pytest.raises(ValueError, match="more than 0"):
        mix([handmade()], [0])
    with pytest.raises(IncomparableError, match=r"tokenizer_sha256.*one tokenizer"):
        mix([handmade(), compiled("gpt2")], [1, 1])
