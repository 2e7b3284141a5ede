"""Recipes and their mixtures."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.cleaning import unescape, without_figures
from pipelines.official import REGISTRY, build_recipe
from pipelines.recipe import _limits, mix, read_recipe
from tests.prose import documents as prose

RECIPE = """
name = "tiny"
version = "1.0.0"
title = "Two small sources"
licence = "CC0-1.0"
max_order = 3
min_documents = 2
[[sources]]
name = "large"
file = "large.jsonl"
licence = "CC0-1.0"
origin = "written for the tests"
clean = ["unescape"]
words_share = 0.5
[[sources]]
name = "small"
file = "small.jsonl"
licence = "CC0-1.0"
origin = "written for the tests"
"""


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    texts = [f"{text}\n\nNumber {i}." for i, text in enumerate(prose(40))]
    for name, part in (("large", texts[:32]), ("small", texts[32:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in part))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path


def test_a_source_has_at_most_its_share(corpora: Path) -> None:
    _, shares, _ = mix(read_recipe(corpora / "tiny.toml"), corpora)
    assert shares[0].words_share == pytest.approx(0.5, abs=0.08)
    assert shares[1].documents == 8
    assert sum(share.words_share for share in shares) == pytest.approx(1)


def test_held_out_documents_are_not_in_the_mixture(corpora: Path) -> None:
    chosen, _, held_out = mix(read_recipe(corpora / "tiny.toml"), corpora, leave_out=4)
    assert len(held_out) == 10
    assert not set(chosen) & set(held_out)


@given(st.lists(st.tuples(st.floats(0.3, 1), st.integers(1, 10**6)), min_size=4, max_size=6))
@example([(1.0, 1), (0.375, 22), (0.30078125, 27), (0.30078125, 1002)])  # shares that leave little
def test_limits_are_the_largest_that_keep_the_shares(sources: list[tuple[float, int]]) -> None:
    shares, sizes = [share for share, _ in sources], [size for _, size in sources]
    limits = _limits(shares, sizes)
    for limit, share, size in zip(limits, shares, sizes, strict=True):
        assert limit <= size
        assert limit <= share * sum(limits) * (1 + 1e-3)
        assert limit == pytest.approx(size, rel=1e-3) or limit == pytest.approx(share * sum(limits), rel=1e-3)


def test_a_recipe_builds_a_profile_with_provenance(corpora: Path, tmp_path: Path) -> None:
    profile = build_recipe(corpora / "tiny.toml", corpora, tmp_path / "out")
    assert profile.path == tmp_path / "out" / "tiny" / "1.0.0"
    assert [source["name"] for source in profile.manifest["sources"]] == ["large", "small"]
    assert set(profile.table("ngram_frequency")["n"].to_pylist()) <= {2, 3}
    assert min(profile.table("token_frequency")["documents"].to_pylist()) >= 2
    card = (profile.path / "README.md").read_text()
    assert "Two small sources" in card
    assert "| large |" in card


def test_an_unknown_cleaning_step_is_refused(corpora: Path) -> None:
    (corpora / "bad.toml").write_text(RECIPE.replace('"unescape"', '"polish"'))
    with pytest.raises(ValueError, match=r"large asks for the cleaning steps \['polish'\]"):
        read_recipe(corpora / "bad.toml")


def test_official_recipes_are_readable_and_obey_their_sources() -> None:
    found = {path.stem: read_recipe(path) for path in sorted((REGISTRY / "recipes").glob("*.toml"))}
    assert set(found) == {"academic", "fiction", "legal", "news"}
    for recipe in found.values():
        if any("counts alone" in source.licence for source in recipe.sources):
            assert recipe.facts["max_order"] <= 3
            assert recipe.facts["min_documents"] >= 5


def test_cleaning() -> None:
    assert unescape("Bank &amp; Trust") == "Bank & Trust"
    assert without_figures("Shr loss 7.26 dlrs\n\nProfit rose to 3.2 mln dlrs in 1986, it said.\n\n12 13 14 15 16") == (
        "Profit rose to 3.2 mln dlrs in 1986, it said."
    )
