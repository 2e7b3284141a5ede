"""The mean embedding of documents that a published profile has in place of their rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dft_stats.build import build
from dft_stats.embedding_documents import normal_covariance, stored_embeddings
from dft_stats.errors import IncomparableError
from dft_stats.features import SCHEMA
from tests.prose import documents as prose


def test_a_published_profile_has_the_mean_that_its_documents_have(tmp_path: Path) -> None:
    exact, private = (build(prose(400), out=tmp_path / mode, name="x", privacy=mode, max_order=2) for mode in ("none", "publish"))
    expected, found = exact.embed_documents(), private.embed_documents()
    assert len(private.table("documents")) == 0
    assert found.documents == expected.documents
    assert found.words == (50, 1000)
    assert np.allclose(found.phases, expected.phases)
    assert np.allclose(found.frequencies, expected.frequencies, rtol=1e-4, atol=1e-5)
    assert np.allclose(found.embedding, expected.embedding, atol=1e-4)
    assert not np.array_equal(found.embedding, expected.embedding)  # no more digits than a mean is known to
    for how in ({"words": (20, 400)}, {"size": 64}, {"seed": 1}):
        with pytest.raises(IncomparableError, match=r"built to be published.*words=\(50, 1000\), size=256, seed=0"):
            private.embed_documents(**how)  # type: ignore[arg-type]


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_the_covariance_of_normal_features_is_closed_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((3, 3))
    covariance = mixed @ mixed.T
    frequencies, phases = rng.standard_normal((3, 6)) / 3, rng.uniform(0, 2 * np.pi, 6)
    draws = rng.standard_normal((200_000, 3)) @ mixed.T
    embedded = np.sqrt(2 / 6) * np.cos(draws @ frequencies + phases)
    assert np.allclose(normal_covariance(covariance, frequencies, phases), np.cov(embedded, rowvar=False), atol=5e-3)


def test_two_means_do_not_tell_the_documents_between_them() -> None:
    """The mean of a range inside another is told only if a hundred documents lie outside it."""

    def told(short: int, long: int) -> list[tuple[int, ...]]:
        rows = [
            dict.fromkeys(SCHEMA.names, 1.0 + i % 7) | {"words": 100 if i < short else 900, "sentences": 9} for i in range(short + long)
        ]
        return [tuple(entry["words"]) for entry in stored_embeddings(pa.Table.from_pylist(rows, schema=SCHEMA))]

    assert told(150, 120) == [(50, 1000), (50, 400)]
    assert told(150, 99) == [(50, 1000)]
    assert told(99, 120) == [(50, 1000)]
    assert told(99, 0) == []
