"""Texts as wholes: their features off tokens, the discrepancy from a profile's documents, and the reward that lessens it."""

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dft_stats.document_embedding import FEATURES, DocumentEmbedding, transformed
from dft_stats.errors import IncomparableError
from dft_stats.features import document_features
from dft_stats.loss import TERMS, DistributionLoss, DistributionReward
from dft_stats.loss.credit import hard_count
from dft_stats.loss.documents import Documents, text_features
from dft_stats.measures import mmd2
from dft_stats.sentences import documents as segmented
from dft_stats.text import normalise
from tests.compiled_for_tests import compiled
from tests.profiles import profile_of
from tests.prose import PARAGRAPHS, documents
from tests.tokenizers_for_tests import ALL

SHORT = ("The gate was shut.", "Nobody had come.", "A bell rang twice.", "It was late again.")
LONG = (
    "The men who had waited all morning at the gate of the yard went home when the rain began to fall.",
    "She wrote to her sister that the house by the river was still for sale and that nobody wanted it.",
    "In the end the council, which had never been of one mind, agreed to mend the bridge before the winter.",
)
NOTHING = dict.fromkeys(TERMS, 0.0)


def mixed(rng: random.Random) -> str:
    """A text in which short and long sentences alternate by chance."""
    return " ".join(rng.choice(rng.choice((SHORT, LONG))) for _ in range(12))


def uniform(rng: random.Random) -> str:
    """A text of short sentences alone, or of long ones alone: in all, lengths are as in `mixed`."""
    kind = rng.choice((SHORT, LONG))
    return " ".join(rng.choice(kind) for _ in range(12))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> DocumentEmbedding:
    rng = random.Random(0)
    profile = profile_of([mixed(rng) for _ in range(300)], Path(tmp_path_factory.mktemp("mixed")) / "mixed")
    return profile.embed_documents(words=(20, 400))


def features(kind: str, text: str) -> list[float] | None:
    tokens = torch.tensor(ALL[kind]().encode(normalise(text), add_special_tokens=False).ids)
    loss = DistributionLoss(compiled(kind))
    stream = loss.reader(tokens[None], torch.ones(1, len(tokens), dtype=torch.bool))
    marks = hard_count(loss, stream, tokens, loss.pairs(stream))["marks"][0]
    return text_features(stream, marks, closed=True)


def ids(write: Callable[[random.Random], str], number: int, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [ALL["gpt2"]().encode(write(rng), add_special_tokens=False).ids for _ in range(number)]


@pytest.mark.parametrize("kind", sorted(ALL))
def test_features_off_tokens_are_those_of_the_text(kind: str) -> None:
    """Without abbreviations and an ellipsis, inside which small tokenizers cut."""
    plain = [text for text in PARAGRAPHS if not any(part in text for part in ("Mrs.", "Sec.", "..."))]
    for i in range(12):
        text = "\n\n".join(plain[(i + j * (1 + i % 3)) % len(plain)] for j in range(1 + i % 4))
        wanted = document_features(segmented([text])[0])
        found = features(kind, text)
        if wanted["sentence_length_cv"] is None:
            assert found is None
            continue
        expected = transformed(np.array([wanted[name] for name in FEATURES], float))
        assert found == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6)


def test_random_features_are_the_kernel(reference: DocumentEmbedding) -> None:
    rng = np.random.default_rng(1)
    x, y = (rng.normal(size=(80, len(FEATURES))) * reference.scale + reference.mean for _ in range(2))
    y[:, 0] += 2 * reference.scale[0]
    varies = (reference.frequencies != 0).any(1)
    bandwidth = 1 / reference.frequencies[varies].std()
    exact = mmd2(*(((v - reference.mean) / reference.scale)[:, varies] for v in (x, y)), bandwidth=bandwidth)
    a, b = reference.embed(x), reference.embed(y)
    within = [((s.sum(0) ** 2).sum() - (s**2).sum()) / (len(s) * (len(s) - 1)) for s in (a, b)]
    assert sum(within) - 2 * a.mean(0) @ b.mean(0) == pytest.approx(exact, rel=0.3)


def test_human_texts_are_within_one_standard_error(reference: DocumentEmbedding) -> None:
    """Over draws of twenty documents like those of the profile, z has mean 0 and variance 1, as far as forty draws can tell."""
    reward = DistributionReward(compiled("gpt2"), weights=NOTHING, documents=reference)
    squares = [reward.token_rewards(ids(mixed, 20, seed))[1]["dist/documents"] for seed in range(40)]
    assert 0.3 < float(np.mean(squares)) < 2.5


def test_it_sees_what_corpus_rates_cannot(reference: DocumentEmbedding) -> None:
    """Texts that are each of one sentence length, and together have the lengths of the profile."""
    reward = DistributionReward(compiled("gpt2"), weights=NOTHING, documents=reference)
    rows, components = reward.token_rewards(ids(uniform, 24, 1))
    assert components["dist/documents"] > 100
    assert all(not row[:-1].any() for row in rows), "it stands at the last token"
    some = ids(uniform, 12, 2) + ids(mixed, 12, 2)
    rewards = DistributionReward(compiled("gpt2"), weights=NOTHING, documents=reference)(completion_ids=some)
    assert np.mean(rewards[12:]) > np.mean(rewards[:12]) + 1
    assert max(rewards[:12]) < max(rewards[12:])


def test_its_expected_gradient_is_that_of_the_discrepancy(reference: DocumentEmbedding) -> None:
    """All outcomes of three texts, each of three kinds: what texts are rewarded for, before it is scaled, is the slope of squared MMD."""
    documents_ = Documents(reference).double()
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, len(FEATURES), generator=generator).double() * documents_.scale + documents_.mean
    kinds = documents_.centred(values)
    scores = torch.tensor([0.2, -0.4, 0.7], dtype=torch.float64, requires_grad=True)
    log_p = scores.log_softmax(0)
    (exact,) = torch.autograd.grad(-(log_p.exp() @ kinds).square().sum() / 2, scores, retain_graph=True)
    found = torch.zeros(3, dtype=torch.float64)
    for texts in itertools.product(range(3), repeat=3):
        chance = float(log_p[list(texts)].sum().exp().detach())
        drawn = kinds[list(texts)]
        for i, kind in enumerate(texts):
            others = (drawn.sum(0) - drawn[i]) / 2
            (slope,) = torch.autograd.grad(log_p[kind], scores, retain_graph=True)
            spread = ((others @ documents_.covariance) @ others).sqrt()
            found += chance * -float(documents_.typicality(others[None], drawn[i : i + 1]) * spread) * slope / 3
    torch.testing.assert_close(found, exact)


def test_few_or_short_texts_have_no_say(reference: DocumentEmbedding) -> None:
    reward = DistributionReward(compiled("gpt2"), weights=NOTHING, documents=reference)
    rewards = reward(completion_ids=[*ids(uniform, 3, 4), ids(mixed, 1, 5)[0][:6], []])
    assert rewards[3:] == [0, 0]
    assert reward(completion_ids=ids(uniform, 2, 4)) == [0, 0], "one other text says nothing of noise"
    assert all(isinstance(value, float) for value in rewards)


def test_documents_of_other_lengths_are_refused(tmp_path: Path) -> None:
    profile = profile_of(documents(120), tmp_path / "prose")
    with pytest.raises(IncomparableError, match=r"has \d+ documents of 5000 to 9000 words.*longer than \d+ words"):
        profile.embed_documents(words=(5000, 9000))
    made = profile.embed_documents(words=(1, 10_000))
    assert made.documents <= 120
    assert np.isfinite(made.covariance).all()
    assert isinstance(Documents(made).centred(torch.zeros(2, len(FEATURES))), Tensor)
