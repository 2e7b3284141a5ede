"""Differentially private profiles: contributions are bounded, the accounting adds up, and nothing of one document is told."""

import json
import re
from math import sqrt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dft_stats.build import build
from dft_stats.build.audit import audit
from dft_stats.build.clamping import CHARACTERS, SENTENCES, TOTALS, UNITS, bounds, owned_texts, sums
from dft_stats.build.combine import combine
from dft_stats.build.formats import signed
from dft_stats.build.noisy import counted
from dft_stats.cli import main
from dft_stats.counts import count
from dft_stats.errors import CorpusError, IncomparableError
from dft_stats.masking import Masks
from dft_stats.profile import Profile
from dft_stats.sentences import RULE, documents
from dft_stats.statistics import TOKEN_FREQUENCY
from dft_stats.verify import problems
from tests.prose import documents as prose
from tests.strategies import texts as any_texts

repeated = st.builds(lambda word, n: f"{word} " * n + ".", st.sampled_from(("the", "a, b;", "so.", 'x "y"')), st.integers(1, 400))
corpora = st.lists(st.one_of(any_texts, repeated, st.sampled_from(prose(12))), max_size=6)


def clamped(texts: list[str]) -> dict[str, dict]:  # type: ignore[type-arg]
    own, is_cut = owned_texts(texts, Masks(), typography="fold")
    return sums(own, is_cut, RULE, typography="fold", max_order=3)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(corpora, st.one_of(any_texts, repeated, st.just("\n\n".join(prose(30)))))
def test_one_document_changes_a_table_within_its_bound(corpus: list[str], more: str) -> None:
    """The sensitivity that the noise is made for, whatever the others are."""
    without, within = clamped(corpus), clamped([*corpus, more])
    for name, bound in bounds(3).items():
        keys = without[name].keys() | within[name].keys()
        change = np.array([within[name].get(key, 0) - without[name].get(key, 0) for key in keys], np.int64)
        assert (change >= 0).all()
        assert (change > 0).sum() <= bound.rows, name
        assert change.max(initial=0) <= bound.per_row, name
        assert sqrt((change**2).sum()) <= bound.norm + 1e-9, name


def test_one_author_changes_a_table_within_its_bound() -> None:
    own, is_cut = owned_texts([signed(text, "one") for text in prose(40)], Masks(), typography="fold")
    assert len(own) == 1
    assert is_cut == [True]
    assert len(own[0]) == CHARACTERS
    assert sum(sums(own, is_cut, RULE, typography="fold", max_order=2)[TOTALS].values()) <= 4 * UNITS


@given(st.lists(any_texts, max_size=4))
def test_of_short_texts_the_sums_are_the_counts(corpus: list[str]) -> None:
    texts = [text for text in corpus if len(text) < 60]
    (expected,) = [count(TOKEN_FREQUENCY, documents(Masks().apply(texts)[0]))]
    rows = {(row["unit"],): row["count"] for row in expected.table.to_pylist()}
    if max(rows.values(), default=0) <= 5:
        assert clamped(texts)[TOKEN_FREQUENCY.name] == rows


def test_owners_give_whole_sentences_and_not_too_many() -> None:
    found = clamped(["One two. " * 200])
    assert found["sentence_length/words"] == {("words", 2, -1): 4}  # one row, and no more of it than the bound
    assert found[TOTALS][("words",)] == 2 * SENTENCES
    assert clamped(["word " * 1000])[TOTALS] == {}  # its only sentence is longer than what an owner gives


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    own = ["".join("bdfgklmnpr"[int(digit)] + "a" for digit in f"{i:03d}") for i in range(600)]
    rows = [f"{text} The zanzibar{word} hummed." for word, text in zip(own, prose(600), strict=True)]
    return build([{"text": text} for text in rows], out=tmp_path_factory.mktemp("e") / "x", name="x", epsilon=8.0)


def test_the_accounting_adds_up(profile: Profile) -> None:
    entry = profile.manifest["privacy"]
    assert (entry["mode"], entry["unit"], entry["epsilon"], entry["delta"]) == ("epsilon", "document", 8.0, 1e-6)
    split = entry["split"]
    assert set(split) == {*bounds(3), "documents"}
    for name, row in split.items():  # zero-concentrated differential privacy of Gaussian noise (Bun and Steinke 2016)
        assert row["rho"] == pytest.approx(row["norm"] ** 2 / (2 * row["scale"] ** 2), rel=1e-6), name
    assert entry["spent"]["rho"] == pytest.approx(sum(row["rho"] for row in split.values()))
    assert sum(row["delta"] for row in split.values()) <= 0.5e-6
    assert 0.9 * 8 < entry["spent"]["epsilon"] <= 8
    rho = entry["spent"]["rho"]  # OpenDP's conversion is tighter than the textbook's
    assert entry["spent"]["epsilon"] <= rho + 2 * sqrt(rho * np.log(1 / 0.5e-6))


def test_nothing_else_is_told(profile: Profile) -> None:
    assert problems(profile.path) == []
    assert len(profile.table("documents")) == len(profile.table("floor")) == 0
    assert profile.manifest["excluded"] == {}
    assert "masked" not in profile.manifest["privacy"]
    assert {row["spelling"] for row in profile.table("spelling").to_pylist()} <= {" x"}
    told = {text for name in profile.tables for c in profile.table(name).columns if pa.types.is_string(c.type) for text in c.to_pylist()}
    assert "the" in told
    assert not any("anzibar" in text for text in told)  # of one document each
    assert not re.search("[1-9]", "".join(profile.table("surface")["surface"].to_pylist()))
    exact = profile.exposure
    assert abs(exact.documents - 600) < 100
    assert exact.windows[128] >= exact.documents


def test_much_epsilon_is_little_noise(tmp_path: Path) -> None:
    corpus = prose(300)
    found = build([{"text": text} for text in corpus], out=tmp_path / "x", name="x", epsilon=100, max_order=2)
    exact = {key[0]: number for key, number in clamped(corpus)[TOKEN_FREQUENCY.name].items()}
    rows, how = found.table("token_frequency").to_pylist(), found.manifest["privacy"]["split"]["token_frequency"]
    for row in rows:
        assert abs(row["count"] - exact[row["unit"]]) <= 7 * how["scale"]  # once in some 10^12 rows
    assert {row["unit"] for row in rows} >= {unit for unit, number in exact.items() if number > how["threshold"] + 7 * how["scale"]}
    assert len(rows) > 30
    assert found.exposure.documents == pytest.approx(300, abs=10)


def test_an_audit_finds_nothing() -> None:
    report = audit([{"text": text} for text in prose(300)], epsilon=4.0, each=2)
    assert report.leaks == ()
    assert {row.recovered for row in report.canaries} == {0}  # not even of twenty documents: the noise is larger
    assert report.membership.low < 0.6


def test_two_builds_differ(tmp_path: Path) -> None:
    """Noise with a seed could be taken off again."""
    rows = [{"text": text} for text in prose(200)]
    one, two = (build(rows, out=tmp_path / f"{i}", name="x", epsilon=8, max_order=2).exposure.words for i in range(2))
    assert one != two


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"epsilon": 0}, "epsilon is a number above 0"),
        ({"epsilon": 1, "delta": 1}, "epsilon is a number above 0"),
        ({"delta": 1e-6}, "delta was given without epsilon"),
        ({"epsilon": 1, "privacy": "none"}, "privacy none cannot be had"),
        ({"epsilon": 1, "min_documents": 5}, "min_documents cannot be had"),
        ({"epsilon": 1, "segmenter": "spacy"}, "segmenter cannot be had"),
    ],
)
def test_what_is_refused(tmp_path: Path, how: dict, said: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=said):
        build(prose(9), out=tmp_path / "x", name="x", **how)


def test_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text, "who": i % 40}) + "\n" for i, text in enumerate(prose(120))))
    command = [
        "build",
        str(path),
        "--out",
        str(tmp_path / "x"),
        "--name",
        "x",
        "--epsilon",
        "80",
        "--delta",
        "1e-7",
        "--group-column",
        "who",
    ]
    assert main(command) == 0
    entry = json.loads((tmp_path / "x" / "manifest.json").read_text())["privacy"]
    assert (entry["unit"], entry["epsilon"], entry["delta"]) == ("group", 80.0, 1e-7)
    assert main(["verify", str(tmp_path / "x")]) == 0


def test_too_few_texts_for_their_noise_make_no_profile(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"epsilon 1 tells not one word of these texts"):
        build(prose(12), out=tmp_path / "x", name="x", epsilon=1)
    assert not list(tmp_path.iterdir())


def test_noise_may_take_an_order_of_ngrams_away() -> None:
    from dft_stats.build.epsilon import Released
    from dft_stats.summary import summarise

    tables = {name: {} for name in bounds(3)} | {"ngram_frequency/3": {("a b c",): 9}, TOTALS: {("ngram_frequency/2",): -4}}
    found = counted(Released(tables, 3, {}), 3)
    assert "conditional_3" not in summarise(found.counts, found.exposure)["entropies_bits"]


def test_tables_without_a_row_are_a_profile() -> None:
    from dft_stats.build.epsilon import Released

    empty = counted(Released({name: {} for name in bounds(3)}, 1, {}), 3)
    assert empty.exposure.words == 1
    assert all(len(counts.table) == 0 for counts in empty.counts.values())


def test_profiles_with_noise_do_not_add_up(tmp_path: Path) -> None:
    few = [build(prose(30 + i), out=tmp_path / f"{i}", name=f"x{i}", epsilon=80) for i in range(2)]
    with pytest.raises(IncomparableError, match="differentially private, and what a sum of such would promise nobody accounts for"):
        combine(few, out=tmp_path / "sum", name="sum")
    assert not (tmp_path / "sum").exists()
