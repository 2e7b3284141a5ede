"""The leak test that ships with the package: it finds what is told, and what is built to be published tells nothing below the floor."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.build import audit as auditing
from dft_stats.build.audit import area, audit
from dft_stats.build.canaries import KINDS, MASKED, SEQUENCE, Canary, found_in, hatch, plant
from dft_stats.cli import main
from dft_stats.errors import CorpusError
from tests.prose import documents as prose


def corpus(number: int) -> list[dict[str, str]]:
    """Documents that are alike, each with a number and words of its own."""
    return [
        {"text": f"{text} Item {i} is kept, as no. {i * 7919}.", "author": f"a{i % (number // 3)}"} for i, text in enumerate(prose(number))
    ]


@pytest.mark.parametrize("group_column", [None, "author"])
def test_nothing_below_the_floor_is_told(group_column: str | None) -> None:
    report = audit(corpus(90), text_column="text", group_column=group_column, each=3)
    assert report.leaks == ()
    assert report.unit == ("document" if group_column is None else "group")
    levels = {row.owners for row in report.canaries}
    assert {1, 4, 5, 20} <= levels
    for row in report.canaries:
        assert row.planted == 3
        if row.owners < 5 or row.kind in MASKED:
            assert row.recovered == 0, row
        else:  # names and sequences that enough have are what a profile is for: had none been found, the search would be blind
            assert row.recovered == 3, row


def test_a_build_without_privacy_tells_all() -> None:
    report = audit(corpus(60), text_column="text", privacy="none", each=2)
    assert {row.kind for row in report.leaks} == set(KINDS)
    assert all(row.recovered == row.planted for row in report.canaries)
    assert all(row.is_leak == (row.owners < 5) for row in report.canaries)


def test_a_floor_that_is_broken_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that keeps rows of two documents, whatever it says."""
    whole = auditing.build

    def careless(*given: object, **how: object) -> object:
        monkeypatch.setattr("dft_stats.build.privacy.LEAST_DOCUMENTS", 2)
        return whole(*given, **{**how, "min_documents": 2})  # type: ignore[arg-type]

    monkeypatch.setattr(auditing, "build", careless)
    report = audit(corpus(60), text_column="text", each=2)
    assert {(row.kind, row.owners) for row in report.leaks} >= {("name", 2), ("name", 4), ("five words", 3)}
    assert not any(row.owners == 1 for row in report.leaks)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9), st.lists(st.integers(0, 4), min_size=1, max_size=9))
def test_the_area_is_the_chance_to_be_above(positive: list[int], negative: list[int]) -> None:
    expected = np.mean([(a > b) + (a == b) / 2 for a in positive for b in negative])
    assert area(np.array(positive, float), np.array(negative, float)) == pytest.approx(expected)


def test_membership_is_seen_where_it_is_plain() -> None:
    """Every document has a word of its own three times: without privacy whoever has it was counted."""
    rows = [{"text": f"{text} The wug{i}x sees the wug{i}x and the wug{i}x."} for i, text in enumerate(prose(60))]
    plain, private = (audit(rows, privacy=mode, each=1) for mode in ("none", "publish"))
    assert plain.membership.auc > 0.95
    assert plain.membership.low > 0.8
    assert private.membership.low < 0.75
    assert private.membership.inside + private.membership.outside == 60


def test_canaries_are_in_as_many_documents_as_they_say() -> None:
    texts, rng = [row["text"] for row in corpus(60)], np.random.default_rng(1)
    owners = [i // 2 for i in range(60)]
    canaries = hatch(texts, (1, 3, 20), 2, rng)
    assert len({canary.text for canary in canaries}) == len(canaries) == 30
    planted = plant(texts, owners, canaries, rng)
    for canary in canaries:
        assert not any(canary.text in text for text in texts)
        assert len({owner for owner, text in zip(owners, planted, strict=True) if canary.text in text}) == canary.owners


def test_a_sequence_that_a_reader_can_join_is_found() -> None:
    canary = Canary(SEQUENCE, "of harbour six waved town", 1)
    pairs = {"of harbour", "harbour six", "six waved", "waved town"}
    assert found_in(canary, {"ngram_frequency": "of harbour\nsix waved"}, pairs, []) == ["joined"]
    assert found_in(canary, {}, pairs - {"six waved"}, []) == []
    assert found_in(canary, {"surface": "x of harbour six waved town y"}, set(), []) == ["verbatim in surface"]
    assert found_in(Canary("name", "Bagidoku Zetumaro", 1), {}, set(), ["gidok", "zet"]) == ["in a piece"]


def test_the_names_of_the_user_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": f"{text} So V ank emper, and Brambotz-{i % 2}."} for i, text in enumerate(prose(60))]
    names = ["Vankemper", "Brambotz", "Brambozt"]
    told = {name.name: name for name in audit(rows, deny=[*names, "--"], each=1, privacy="none").names}
    with pytest.raises(ValueError, match="'--' is to be denied"):
        audit(rows, deny=[*names, "--"], each=1)
    assert told["Vankemper"].tables == ("ngram_frequency", "surface")[: len(told["Vankemper"].tables)] != ()
    assert "token_frequency" in told["Brambotz"].tables or "surface" in told["Brambotz"].tables
    assert [(name.documents, name.tables == ()) for name in told.values()] == [(0, False), (60, False), (0, True)]
    assert not any(name.is_leak for name in told.values())
    report = audit(rows, deny=names, each=1)
    assert report.ok
    assert all(name.tables == () for name in report.names)
    monkeypatch.setattr(sys.modules["dft_stats.build.build"], "withheld", lambda counted, names, floor: (counted, {}))
    report = audit(rows, deny=names, each=1)
    assert [name.name for name in report.names if name.is_leak] == ["Vankemper"]
    assert report.leaks == ()
    assert not report.ok
    assert not report.to_dict()["ok"]


def test_few_words_make_few_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    """The audit of a form goes without them, and says so; it does not look for ever."""
    told: list[str] = []
    forms = [{"text": f"The cat number {i} sat on the mat. It was happy, very happy! Was it? Yes."} for i in range(12)]
    report = audit(forms, text_column="text", each=9, progress=told.append)
    assert sum(row.planted for row in report.canaries if row.kind == SEQUENCE) < 9 * len({row.owners for row in report.canaries})
    assert any("sequences are not tried: the texts have too few words" in line for line in told)


def test_letters_of_other_scripts_are_words() -> None:
    texts = [f"{word} и {other}." for word in ("дом", "лес", "мост", "сад", "дым") for other in ("снег", "дождь", "ветер", "град")]
    found = [canary.text for canary in hatch(texts, [1], 3, np.random.default_rng(0)) if canary.kind == SEQUENCE]
    assert found
    assert all(len(text.split()) == 5 for text in found)


def test_few_documents_are_refused() -> None:
    with pytest.raises(CorpusError, match="9 documents are too few for an audit with a floor of 5; give 10 or more"):
        audit(prose(9))
    with pytest.raises(CorpusError, match=r"4 groups \(author\) are too few"):
        audit([{"text": text, "author": str(i % 4)} for i, text in enumerate(prose(40))], text_column="text", group_column="author")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in corpus(60)))
    command = ["audit", str(path), "--text-column", "text", "--each", "1"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    assert 0 <= found["membership"]["low"] <= found["membership"]["auc"] <= found["membership"]["high"] <= 1
    assert main([*command, "--privacy", "none"]) == 1
    assert "LEAK" in capsys.readouterr().out
