"""Recipes, their mixtures, what is removed from their sources, and the data sheets."""

import dataclasses
import gzip
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dft_stats.build import build
from dft_stats.profile import Profile
from dft_stats.tables import FLOOR_SCHEMA
from pipelines import sections
from pipelines.cleaning import english, paragraph_key, unescape, without_figures, without_gutenberg_frame
from pipelines.dispersion import coincidence, dispersion
from pipelines.duplicates import BOILERPLATE_DOCUMENTS, shingles, survey
from pipelines.official import OF_RECORD, RECIPES, build_mixture, build_recipe
from pipelines.recipe import _limits, plan, read_recipe
from pipelines.sample_size import floor_size, words_needed
from pipelines.sources import Source, count_words
from pipelines.stability import contributions
from pipelines.typography import typography
from tests.profiles import hashes
from tests.prose import PARAGRAPHS

RECIPE = """
name = "tiny"
version = "1.0.0"
title = "Two small sources"
licence = "CC0-1.0"
max_order = 3
min_documents = 2
[[sources]]
name = "large"
file = "large"
licence = "CC0-1.0"
origin = "written for the tests"
clean = ["unescape"]
words_share = 0.5
[[sources]]
name = "small"
file = "small"
licence = "CC0-1.0"
origin = "written for the tests"
"""
WORDS = sorted({word.strip('.,;:?!()"') for paragraph in PARAGRAPHS for word in paragraph.split()} - {"", "—"})


def sentence(number: int, words: int = 12) -> str:
    """A sentence that shares no 5-gram with those of other numbers, but by chance."""
    drawn = random.Random(number).choices(WORDS, k=words)
    return " ".join(drawn).capitalize() + "."


def document(number: int, sentences: int = 12) -> str:
    own = [sentence(1_000 * number + i, 5 + i % 9) for i in range(sentences)]
    return " ".join(own[: sentences // 2]) + "\n\n" + " ".join(own[sentences // 2 :])


def write(folder: Path, name: str, files: Sequence[Sequence[str]]) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for i, texts in enumerate(files):
        (folder / name / f"{i}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    texts = [document(i) for i in range(40)]
    write(tmp_path, "large", [texts[:20], texts[20:32]])
    write(tmp_path, "small", [texts[32:]])
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path


def source(tmp_path: Path, texts: Sequence[str], **settings: object) -> Source:
    write(tmp_path, "one", [texts])
    return Source("one", "one", "CC0-1.0", "written for the tests", **settings)  # type: ignore[arg-type]


# --- mixtures ---------------------------------------------------------------------------------------------------------------------


def test_a_source_has_at_most_its_share(corpora: Path) -> None:
    shares = plan(read_recipe(corpora / "tiny.toml"), corpora).shares
    assert shares[0].words_share == pytest.approx(0.5, abs=0.08)
    assert shares[1].documents == 8
    assert sum(share.words_share for share in shares) == pytest.approx(1)


def test_held_out_documents_are_not_in_the_mixture(corpora: Path) -> None:
    recipe = read_recipe(corpora / "tiny.toml")
    mixture = plan(recipe, corpora, leave_out=4)
    chosen, held_out = list(mixture.texts()), list(mixture.held_out())
    assert len(held_out) == 10
    assert not set(chosen) & set(held_out)
    surveys = [survey(own, corpora) for own in recipe.sources]
    assert set(held_out) == {text for found in surveys for _, text in found.pairs(corpora, found.keys[::4])}


@given(st.lists(st.tuples(st.floats(0.3, 1), st.integers(1, 10**6)), min_size=4, max_size=6))
@example([(1.0, 1), (0.375, 22), (0.30078125, 27), (0.30078125, 1002)])  # shares that leave little
def test_limits_are_the_largest_that_keep_the_shares(sources: list[tuple[float, int]]) -> None:
    shares, sizes = [share for share, _ in sources], [size for _, size in sources]
    limits = _limits(shares, sizes)
    for limit, share, size in zip(limits, shares, sizes, strict=True):
        assert limit <= size
        assert limit <= share * sum(limits) * (1 + 1e-3)
        assert limit == pytest.approx(size, rel=1e-3) or limit == pytest.approx(share * sum(limits), rel=1e-3)


def test_a_smaller_sample_is_part_of_a_larger_one(tmp_path: Path) -> None:
    texts = [document(i, 3) for i in range(300)]
    samples = {share: set(survey(source(tmp_path, texts, sample=share), tmp_path).keys.tolist()) for share in (0.2, 0.6, 1.0)}
    assert samples[0.2] < samples[0.6] < samples[1.0]
    assert len(samples[1.0]) == 300
    for share, expected in ((0.2, 60), (0.6, 180)):
        assert abs(len(samples[share]) - expected) < 4 * np.sqrt(expected)


def test_the_order_of_files_and_rows_changes_nothing(corpora: Path, tmp_path: Path) -> None:
    texts = [document(i) for i in range(40)]
    texts += ["\n\n".join([sentence(7), text]) for text in texts[:10]]  # near-duplicates, and a boilerplate sentence
    write(corpora, "large", [texts[:20], texts[20:]])
    random.Random(1).shuffle(texts)
    other = tmp_path / "other"
    write(other, "large", [texts[:3], texts[3:31], texts[31:]])
    write(other, "small", [[document(i) for i in range(39, 31, -1)]])
    first, second = (build_recipe(corpora / "tiny.toml", root, tmp_path / name) for root, name in ((corpora, "a"), (other, "b")))
    assert hashes(first) == hashes(second)
    assert first.manifest["sources"] == second.manifest["sources"]
    assert first.manifest["sources"][0]["removed"]["near_duplicates"] == 10


def test_a_recipe_builds_a_profile_with_provenance(corpora: Path, tmp_path: Path) -> None:
    profile = build_recipe(corpora / "tiny.toml", corpora, tmp_path / "out")
    assert profile.path == tmp_path / "out" / "tiny" / "1.0.0"
    assert [source["name"] for source in profile.manifest["sources"]] == ["large", "small"]
    assert set(profile.table("ngram_frequency")["n"].to_pylist()) <= {2, 3}
    assert min(profile.table("token_frequency")["documents"].to_pylist()) >= 2
    card = (profile.path / "README.md").read_text()
    assert "Two small sources" in card
    assert "| large |" in card
    assert "of 32 documents removed: 0 near-duplicates, 0 copies" in card


# --- what is removed --------------------------------------------------------------------------------------------------------------


def test_of_near_duplicates_the_longest_stays(tmp_path: Path) -> None:
    own = [sentence(i) for i in range(100)]
    long = " ".join(own[:10])
    six_of_nine, four_of_ten = " ".join(own[:6] + own[20:23]), " ".join(own[:4] + own[30:36])
    found = survey(source(tmp_path, [six_of_nine, four_of_ten, long]), tmp_path)
    assert found.removed.near_duplicates == 1
    assert set(found.texts(tmp_path, found.keys)) == {long, four_of_ten}


def test_no_two_documents_that_stay_are_near_duplicates(tmp_path: Path) -> None:
    draw = random.Random(3)
    texts = [" ".join(sentence(draw.randrange(60)) for _ in range(draw.randrange(4, 9))) for _ in range(60)]
    found = survey(source(tmp_path, texts, boilerplate=False), tmp_path)

    def ngrams(text: str) -> set[int]:
        return set(shingles([text])[1].tolist())

    kept = [ngrams(text) for text in found.texts(tmp_path, found.keys)]
    gone = [ngrams(text) for text in set(texts) - set(found.texts(tmp_path, found.keys))]
    assert gone
    assert all(2 * len(a & b) < min(len(a), len(b)) for i, a in enumerate(kept) for b in kept[:i])
    assert all(any(2 * len(a & b) >= min(len(a), len(b)) for b in kept) for a in gone)


def test_a_share_of_the_ngrams_finds_the_same_copies(tmp_path: Path) -> None:
    texts = [document(i, 40) for i in range(30)]
    texts += [text.replace(".", " again.", 1) for text in texts[:10]]
    counts = {survey(source(tmp_path, texts, shingles=share), tmp_path).removed.near_duplicates for share in (1.0, 0.5, 0.25)}
    assert counts == {10}


@pytest.mark.parametrize("number", [BOILERPLATE_DOCUMENTS, BOILERPLATE_DOCUMENTS - 1])
def test_boilerplate_is_what_many_documents_say(tmp_path: Path, number: int) -> None:
    texts = [f"{document(i)}\n\nYou have just read number {i} of our weekly column.\n\nThe end." for i in range(number)]
    found = survey(source(tmp_path, texts), tmp_path)
    kept = list(found.texts(tmp_path, found.keys))
    is_boilerplate = number == BOILERPLATE_DOCUMENTS
    assert all(("weekly column" in text) != is_boilerplate for text in kept)
    assert all(text.endswith("The end.") for text in kept)  # too short to tell
    assert found.removed.paragraphs == number * is_boilerplate
    assert not survey(source(tmp_path, texts, boilerplate=False), tmp_path).boilerplate


def test_what_is_removed_and_what_stays_are_all_that_was_read(tmp_path: Path) -> None:
    notice = sentence(5, 20)
    texts = [f"{document(i)}\n\n{notice}" for i in range(9)] + [document(3), document(12), document(12), notice]
    found = survey(source(tmp_path, texts), tmp_path)
    removed = found.removed
    assert (found.documents, removed.copies, removed.near_duplicates, removed.emptied) == (13, 1, 2, 0)  # the notice is in all of nine
    assert found.documents == len(found.keys) + removed.copies + removed.near_duplicates + removed.emptied
    assert found.words == sum(map(count_words, texts)) == int(found.kept_words.sum()) + removed.words
    assert dict(zip(found.keys.tolist(), found.kept_words.tolist(), strict=True)) == {
        key: pytest.approx(count_words(text), abs=1) for key, text in found.pairs(tmp_path, found.keys)
    }


def test_a_document_of_nothing_but_boilerplate_is_removed(tmp_path: Path) -> None:
    notice = sentence(5, 10)  # too few 5-grams for a near-duplicate
    found = survey(source(tmp_path, [f"{document(i)}\n\n{notice}" for i in range(9)] + [notice]), tmp_path)
    assert (found.removed.near_duplicates, found.removed.paragraphs, found.removed.emptied) == (0, 10, 1)
    assert len(found.keys) == 9


def test_an_empty_source_gives_nothing(tmp_path: Path) -> None:
    found = survey(source(tmp_path, ["...", "   "]), tmp_path)
    assert not len(found.keys)
    assert not list(found.texts(tmp_path, found.keys))


def test_paragraphs_are_equal_but_for_case_digits_and_white_space() -> None:
    key = paragraph_key("See  page 12 of THE report for all the numbers.")
    assert key is not None
    assert key == paragraph_key("see page 7 of the\nreport for all the numbers.")
    assert key != paragraph_key("See page 12 of the report for all the letters.")
    assert paragraph_key('"Yes," he said.') is None


def test_cleaning() -> None:
    assert unescape("Bank &amp; Trust") == "Bank & Trust"
    assert without_figures("Shr loss 7.26 dlrs\n\nProfit rose to 3.2 mln dlrs in 1986, it said.\n\n12 13 14 15 16") == (
        "Profit rose to 3.2 mln dlrs in 1986, it said."
    )
    assert english(PARAGRAPHS[2]) == PARAGRAPHS[2]
    assert not english("Le conseil a voté le budget, et les ingénieurs ont demandé le double avant la fin de mars.")
    book = "Title\n*** START OF THE PROJECT GUTENBERG EBOOK A ***\nThe text.\n*** END OF THE PROJECT GUTENBERG EBOOK A ***\nLicence"
    assert without_gutenberg_frame(book) == "The text."
    assert without_gutenberg_frame("The text.") == "The text."


# --- recipes ----------------------------------------------------------------------------------------------------------------------


def test_an_unknown_cleaning_step_is_refused(corpora: Path) -> None:
    (corpora / "bad.toml").write_text(RECIPE.replace('"unescape"', '"polish"'))
    with pytest.raises(ValueError, match=r"large asks for the cleaning steps \['polish'\]"):
        read_recipe(corpora / "bad.toml")


def test_official_recipes_are_readable_and_obey_their_sources() -> None:
    found = {path.stem: read_recipe(path) for path in sorted(RECIPES.glob("*.toml"))}
    assert set(found) == {"academic", "fiction", "legal", "news"}
    for recipe in found.values():
        if any("counts alone" in source.licence for source in recipe.sources):
            assert recipe.facts["max_order"] <= 3
            assert recipe.facts["min_documents"] >= 5


def test_recipes_of_record_say_that_they_were_not_run() -> None:
    found = {path.stem: read_recipe(path) for path in sorted(OF_RECORD.glob("*.toml"))}
    assert set(found) == {"academic", "fiction", "legal", "news"}
    for name, recipe in found.items():
        assert recipe.facts["name"] == name
        assert recipe.facts["has_been_run"] is False or all("@" in own.file for own in recipe.sources)  # a run is pinned to commits
        assert recipe.facts["version"] > read_recipe(RECIPES / f"{name}.toml").facts["version"]
        assert all(own.file.startswith("common-pile/") and "counts alone" not in own.licence for own in recipe.sources)


@pytest.mark.parametrize("name", ["academic", "fiction", "legal", "news"])
def test_recipes_of_record_build_from_files_laid_out_like_the_hub(tmp_path: Path, name: str) -> None:
    recipe = read_recipe(OF_RECORD / f"{name}.toml")
    small = dataclasses.replace(recipe, sources=tuple(dataclasses.replace(own, sample=1.0, shingles=1.0) for own in recipe.sources))
    for i, own in enumerate(small.sources):
        folder = tmp_path / own.file.partition("/**")[0] / "v0"
        folder.mkdir(parents=True)
        (folder.parent / "README.md").write_text("The card of the data set is no document.")
        for part in range(2):
            texts = [re.sub(r"((?:\S+ ){5})", r"\1the ", document(100 * i + 40 * part + n)) for n in range(30)]  # English has many of these
            rows = [{"id": str(n), "text": text, "source": own.name} for n, text in enumerate(texts)]
            with gzip.open(folder / f"{part}.jsonl.gz", "wt") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
    mixture = plan(small, tmp_path)
    assert sum(share.survey.documents for share in mixture.shares) == 60 * len(small.sources)
    profile = build_mixture(mixture, tmp_path / "out")
    assert profile.exposure.documents == sum(share.documents for share in mixture.shares) >= 60
    assert "has_been_run" not in profile.manifest


def test_a_remote_root_is_read_like_a_folder(corpora: Path, tmp_path: Path) -> None:
    remote = fsspec.filesystem("memory")
    for name, numbers in (("large", range(32)), ("small", range(32, 40))):
        with remote.open(f"/hub/{name}/train/0.parquet", "wb") as file:
            pq.write_table(pa.table({"id": list(numbers), "text": [document(i) for i in numbers]}), file, row_group_size=5)
    here, there = (build_recipe(corpora / "tiny.toml", root, tmp_path / name) for root, name in ((corpora, "a"), ("memory://hub", "b")))
    assert hashes(here) == hashes(there)


# --- what the data sheets say ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 50), min_size=1, max_size=9).filter(lambda parts: sum(parts) > 1))
def test_coincidence_is_the_chance_that_two_occurrences_share_a_window(parts: list[int]) -> None:
    windows = [i for i, number in enumerate(parts) for _ in range(number)]
    pairs = [a == b for i, a in enumerate(windows) for b in windows[:i]]
    found = coincidence(np.array([len(windows)]), np.array([sum(number**2 for number in parts)]))
    assert found[0] == pytest.approx(np.mean(pairs))


def test_a_word_of_one_document_is_found(tmp_path: Path) -> None:
    texts = [document(i) for i in range(20)]
    texts[3] += "\n\n" + " ".join("The zebra slept here." for _ in range(30))
    texts[4] += "\n\nA zebra came."
    profile = build(texts, privacy="none", out=tmp_path / "p", name="p", min_documents=2, max_order=3)
    (words, *_) = dispersion(profile, texts, worst=100)
    table = profile.table("token_frequency")
    assert words.rows == len(table)
    share = {text: (count, documents, of_one) for text, count, documents, of_one in words.worst}
    assert share["zebra"] == (31, 2, pytest.approx(30 / 31))
    assert words.in_one_document == len(share)
    assert words.both >= 1


@given(st.floats(0.003, 0.1), st.floats(0.2, 0.9))
def test_the_size_that_a_power_law_floor_asks_for(value: float, power: float) -> None:
    sizes = [1000 * 2**k for k in range(9)]
    rows = [{"statistic": "s", "words": size, "mean": size**-power, "sd": 0.0} for size in sizes]
    size, is_least = floor_size(pa.Table.from_pylist(rows, schema=FLOOR_SCHEMA), "s", value)
    exact = value ** (-1 / power)
    if exact > sizes[-1] * 1.001:
        assert size is None
    elif exact < sizes[0] * 0.999:
        assert (size, is_least) == (sizes[0], True)
    elif sizes[0] * 1.001 < exact < sizes[-1] * 0.999:
        assert size == pytest.approx(exact, rel=1e-6)
        assert not is_least


def test_the_fold_makes_sources_alike() -> None:
    curly = typography(["“It’s late,” she said – and left."] * 3)
    straight = typography(['"It\'s late," she said -- and left.'] * 3)
    assert curly.before != straight.before
    assert curly.after == straight.after == {"quotes": pytest.approx(3000 / 7), "dashes": pytest.approx(1000 / 7)}
    assert curly.left == straight.left == 0


@pytest.fixture
def sheet(tmp_path: Path) -> tuple[Profile, Path]:
    """Two sources of one kind and a third that writes in short sentences."""
    recipe = RECIPE.replace("words_share = 0.5\n", "") + RECIPE[RECIPE.rindex("[[sources]]") :].replace("small", "odd")
    (tmp_path / "tiny.toml").write_text(
        recipe.replace("licence =", 'cut_off = "2020-01-01"\nis_for = "Tests."\nis_not_for = "Else."\nproblems = "None."\nlicence =', 1)
    )
    write(tmp_path, "large", [[document(i, 24) for i in range(30)]])
    write(tmp_path, "small", [[document(i, 24) for i in range(100, 130)]])
    write(tmp_path, "odd", [[" ".join(sentence(10**6 + 100 * i + j, 3) for j in range(60)) for i in range(30)]])
    return build_recipe(tmp_path / "tiny.toml", tmp_path, tmp_path / "out"), tmp_path


def test_the_odd_source_contributes_most(sheet: tuple[Profile, Path]) -> None:
    profile, root = sheet
    mixture = plan(read_recipe(root / "tiny.toml"), root)
    found = {one.source: one for one in contributions(mixture, profile)}
    assert found["odd"].alone["sentence_length"] == max(one.alone["sentence_length"] for one in found.values())
    assert found["odd"].left_out["sentence_length"] == max(one.left_out["sentence_length"] for one in found.values())
    assert found["odd"].summary["sentence_length"]["mean"] == pytest.approx(3, abs=0.2)
    text = "\n".join(sections.contributed(list(found.values())))
    assert "without odd it moves by" in text


def test_a_data_sheet_is_the_same_each_time(sheet: tuple[Profile, Path], tmp_path: Path) -> None:
    from pipelines.data_sheet import check_same, data_sheet

    profile, root = sheet
    mixture = plan(read_recipe(root / "tiny.toml"), root)
    other = build([document(i, 9) for i in range(500, 530)], privacy="none", out=tmp_path / "other", name="other", max_order=3)
    first, second = (data_sheet(profile, [other], mixture) for _ in range(2))
    assert first == second
    assert all(f"| {name} |" in first for name in ("large", "small", "odd"))
    assert {one.nearest for one in words_needed(profile, [other])} == {"other"}
    check_same(profile, mixture)
    with pytest.raises(ValueError, match="build it again first"):
        check_same(profile, plan(read_recipe(root / "tiny.toml"), root, leave_out=3))


def test_plots_are_the_same_bytes_each_time_and_small(sheet: tuple[Profile, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from pipelines.plots import plot_all

    first, second = (plot_all(sheet[0], [sheet[0]], tmp_path / name) for name in ("x", "y"))
    assert len(first) == 4
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
        assert a.stat().st_size < 60_000
