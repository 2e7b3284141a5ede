"""Pairs of tokens compiled from a profile are the pairs of the tokenised text."""

from pathlib import Path

import numpy as np
import pytest

from dft_stats.chunks import encode_profile
from dft_stats.profile import Profile
from dft_stats.text import normalise
from dft_stats.token_bigrams import token_bigrams
from dft_stats.tokenizer import resolve, vocabulary_size
from tests.profiles import profile_of
from tests.tokenizers_for_tests import ALL


def directly(kind: str, texts: list[str]) -> np.ndarray:
    """Counts of pairs, (vocab, vocab)."""
    tokenizer = resolve(ALL[kind]())
    size = vocabulary_size(tokenizer)
    counts = np.zeros((size, size))
    for text in texts:
        ids = tokenizer.encode(normalise(text), add_special_tokens=False).ids
        np.add.at(counts, (ids[:-1], ids[1:]), 1)
    return counts


def everything(size: int) -> np.ndarray:
    return np.stack(np.divmod(np.arange(size * size), size), 1)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("min_documents", [1, 3])
def test_all_pairs_sum_to_one(kind: str, min_documents: int, texts: list[str], tmp_path: Path) -> None:
    profile = profile_of(texts, tmp_path / "pruned", min_documents=min_documents)
    found = token_bigrams(profile, ALL[kind]())
    frequency = found.frequency(everything(len(found.rests[0].first)))
    assert frequency.sum() == pytest.approx(1, abs=1e-9)
    assert (frequency >= 0).all()
    assert found.coverage + sum(rest.mass for rest in found.rests) == pytest.approx(1, abs=1e-9)
    assert (np.diff(found.pairs[:, 0].astype(np.int64) * len(found.rests[0].first) + found.pairs[:, 1]) > 0).all()


@pytest.mark.parametrize("kind", ALL)
def test_pairs_are_those_of_the_tokenised_text(kind: str, profile: Profile, texts: list[str]) -> None:
    direct = directly(kind, texts)
    found = token_bigrams(profile, ALL[kind]())
    assert found.coverage > 0.9
    # Across the end of a sentence the two tokens are taken to be independent.
    frequency = found.frequency(everything(len(direct))).reshape(direct.shape)
    assert np.abs(direct / direct.sum() - frequency).sum() / 2 < 0.05
    # Where a pair can stand only inside a stretch, it is exact.
    tokenizer = resolve(ALL[kind]())
    chunks = encode_profile(profile, tokenizer, 128)
    starts = {int(id) for id, new in zip(chunks.ids, np.diff(chunks.owner, prepend=-1) != 0, strict=True) if new}
    inner = [b for b in range(len(direct)) if b not in starts and direct[:, b].sum()]
    assert len(inner) > 20
    # SentencePiece puts a space before the first word of a document; which word that is, the profile does not say.
    bound = 1e-3 if kind == "sentencepiece" else 1e-9
    assert np.abs(direct[:, inner] / direct.sum() - frequency[:, inner]).max() < bound


def test_a_pair_that_no_text_has_is_rare(profile: Profile) -> None:
    tokenizer = resolve(ALL["gpt2"]())
    comma = tokenizer.token_to_id(",")
    found = token_bigrams(profile, tokenizer)
    assert found.frequency(np.array([[comma, comma]]))[0] == 0
