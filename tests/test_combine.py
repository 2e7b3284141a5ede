"""Finished profiles added up: the same as one build of all texts, or a bound on what that has more; and what does not add up."""

import json
from pathlib import Path
from typing import Any

import pytest

from dft_stats.build import build
from dft_stats.build.combine import combine
from dft_stats.cli import main
from dft_stats.errors import IncomparableError
from dft_stats.profile import Profile, read_profile
from tests.profiles import hashes
from tests.prose import documents as prose


def test_profiles_add_up_to_that_of_all_texts(tmp_path: Path) -> None:
    texts = [f"{text} Number {i}." for i, text in enumerate(prose(60))]
    pieces = [build(texts[i::3], privacy="none", out=tmp_path / f"piece-{i}", name=f"piece-{i}") for i in range(3)]
    whole, merged = build(texts, privacy="none", out=tmp_path / "whole", name="x"), combine(pieces, out=tmp_path / "merged", name="x")
    assert merged.exposure == whole.exposure
    counted = [name for name in hashes(whole) if name not in ("documents", "floor")]
    assert {name: hashes(merged)[name] for name in counted} == {name: hashes(whole)[name] for name in counted}
    assert [entry["name"] for entry in merged.manifest["merged"]] == ["piece-0", "piece-1", "piece-2"]
    assert set(merged.manifest["undercount"].values()) == {0}
    assert len(merged.table("documents")) == 60


def test_the_undercount_of_pruned_profiles_is_a_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"{text} Number {i}. {'A zebra, of all things! ' * (i in (0, 1, 2, 4))}" for i, text in enumerate(prose(60))]
    for i in range(2):
        build(texts[i::2], privacy="none", out=tmp_path / f"{i}", name=f"piece-{i}", min_documents=3)
    assert main(["merge", str(tmp_path / "0"), str(tmp_path / "1"), "--out", str(tmp_path / "merged"), "--name", "x"]) == 0
    merged = Profile(tmp_path / "merged", json.loads((tmp_path / "merged" / "manifest.json").read_text()))
    whole = build(texts, privacy="none", out=tmp_path / "whole", name="x")
    bound = merged.manifest["undercount"]
    assert bound["documents"] == 4
    for name, key in (("token_frequency", "unit"), ("surface", "surface"), ("ngram_frequency", "ngram")):
        exact = {row[key]: row for row in whole.table(name).to_pylist()}
        missing = [
            (exact[row[key]]["count"] - row["count"], exact[row[key]]["documents"] - row["documents"])
            for row in merged.table(name).to_pylist()
        ]
        assert all(0 <= count <= bound[name] and 0 <= documents <= bound["documents"] for count, documents in missing)
        assert any(count for count, _ in missing)
        assert merged.counts(name).total(*([2] if name == "ngram_frequency" else [])) == whole.counts(name).total(
            *([2] if name == "ngram_frequency" else [])
        )


def test_the_same_corpus_does_not_add_up_to_itself(tmp_path: Path) -> None:
    texts = prose(20)
    one, again = (build(texts[::step], out=tmp_path / f"{step}", name=f"x{step + 1}") for step in (1, -1))
    other = build([*texts, "One more."], out=tmp_path / "other", name="other")
    for profiles in ([one, one], [one, other, again]):
        with pytest.raises(IncomparableError, match=r"have the same counts in every table: this is the same corpus twice"):
            combine(profiles, out=tmp_path / "sum", name="sum")
    assert not (tmp_path / "sum").exists()
    both = combine([one, other], out=tmp_path / "sum", name="sum")
    assert both.exposure.documents == 41
    more = combine([both, build(prose(7), out=tmp_path / "more", name="more")], out=tmp_path / "all", name="all")
    assert [entry["name"] for entry in more.manifest["merged"]] == [one.name, "other", "more"]
    for profiles in ([both, other], [more, both], [other, more]):
        with pytest.raises(IncomparableError, match=r" both hold (x2|other) 1\.0\.0, as itself or added up"):
            combine(profiles, out=tmp_path / "double", name="double")


@pytest.mark.parametrize(
    ("how", "documents", "times"),
    [
        ({"privacy": "none", "min_count": 10}, 9, 1),
        ({"group_column": "author"}, 10, 40),  # of four authors
        ({}, 4, 40),
        ({"privacy": "none", "max_rows": {"token_frequency": 60}}, 10, 1),
    ],
)
def test_the_undercount_is_a_bound_however_rows_were_pruned(how: dict[str, Any], documents: int, times: int, tmp_path: Path) -> None:
    """A word is in so many documents of one part, so often in each, which is too little there; and in ten of the other."""

    def rows(part: int) -> list[dict[str, str]]:
        has, often = ((10, 3), (documents, times))[part]
        says = [" zork" * often * (i < has) for i in range(40)]
        return [
            {"text": f"{text} It says{say}. Part {part}.", "author": str(i % 4 if part and i < has else 100 * part + i)}
            for i, (text, say) in enumerate(zip(prose(40), says, strict=True))
        ]

    pieces = [build(rows(i), out=tmp_path / f"{i}", name=f"p{i}", text_column="text", **how) for i in range(2)]
    merged = combine(pieces, out=tmp_path / "sum", name="sum")
    whole = build([*rows(0), *rows(1)], out=tmp_path / "whole", name="whole", privacy="none", text_column="text")
    bound, is_short = merged.manifest["undercount"], False
    for name, key in (("token_frequency", "unit"), ("surface", "surface"), ("ngram_frequency", "ngram")):
        exact = {row[key]: row for row in whole.table(name).to_pylist()}
        for row in merged.table(name).to_pylist():
            if row[key] in exact:  # masked digits are not in the whole
                count, documents = (exact[row[key]][column] - row[column] for column in ("count", "documents"))
                assert count <= bound[name]
                assert documents <= bound["documents"]
                is_short |= count > 0
    assert is_short


def test_what_was_left_out_is_in_the_sum(tmp_path: Path) -> None:
    parts = [
        build([{"text": text} for text in (*prose(9 + i), None)], out=tmp_path / f"{i}", name=f"p{i}", privacy="none") for i in range(2)
    ]
    assert combine(parts, out=tmp_path / "sum", name="sum").manifest["excluded"] == {"row whose text is null": 2}


def test_profiles_of_other_rules_do_not_add_up(tmp_path: Path) -> None:
    texts = prose(12)
    plain = build(texts, privacy="none", out=tmp_path / "plain", name="plain")
    with pytest.raises(IncomparableError, match="typography"):
        combine([plain, build(texts, privacy="none", out=tmp_path / "kept", name="kept", typography="keep")], out=tmp_path / "x", name="x")
    with pytest.raises(IncomparableError, match="n-grams of up to 5 units"):
        combine([plain, build(texts, privacy="none", out=tmp_path / "short", name="short", max_order=3)], out=tmp_path / "x", name="x")
    with pytest.raises(ValueError, match="1 profile was given"):
        combine([plain], out=tmp_path / "x", name="x")


def test_profiles_that_lie_there_are_not_replaced_by_their_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (build(prose(20 + i)[i::2], privacy="none", out=tmp_path / f"{i}", name=f"x{i}") for i in range(2))
    for out in (one.path, other.path):
        assert main(["merge", str(one.path), str(other.path), "--out", str(out), "--name", "sum"]) == 1
        assert "holds a profile already; give another folder, or replace it" in capsys.readouterr().err
    assert read_profile(one.path).name == "x0"
    for _ in range(2):
        assert main(["merge", str(one.path), str(other.path), "--out", str(tmp_path / "s"), "--name", "s", "--overwrite"]) == 0
    assert read_profile(tmp_path / "s").exposure.words == one.exposure.words + other.exposure.words
