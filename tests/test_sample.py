"""The sample of a corpus, and the floor that is drawn from it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.build.features import features_of
from dft_stats.build.floor import discrepancies_of, draw, human_floor, read_events, room_of
from dft_stats.build.sample import EXCERPT_WORDS, EXCERPTS_A_DOCUMENT, Sample, excerpts
from dft_stats.compare import discrepancies
from dft_stats.counts import COUNTS, Counts, count, of_table, prune, schema
from dft_stats.features import SCHEMA, document_features
from dft_stats.sentences import RULE, documents
from dft_stats.statistics import COUNTED
from tests.prose import documents as prose

REST = "\x00"


def counted(texts: Sequence[str]) -> dict[str, Counts]:
    segmented = documents(texts)
    return {statistic.name: count(statistic, segmented) for statistic in COUNTED}


def pooled(counts: Counts, kept: Counts) -> Counts:
    """The counts with all rows that a profile pruned made one row a group: what a floor has to be drawn from."""
    if not len(kept.spectrum):
        return counts
    keys, groups, columns = list(counts.statistic.keys), list(counts.statistic.groups), schema(counts.statistic)
    known = {tuple(row.values()) for row in kept.table.select(keys).to_pylist()}
    rows: dict[tuple[str | int, ...], list[int]] = {}
    for row in counts.table.to_pylist():
        key = tuple(row[name] for name in keys)
        key = key if key in known else tuple(row[name] if name in groups else REST for name in keys)
        rows[key] = [a + row[name] for a, name in zip(rows.get(key, [0] * len(COUNTS)), COUNTS, strict=True)]
    table = pa.Table.from_pylist(
        [dict(zip(columns.names, (*key, *numbers), strict=True)) for key, numbers in sorted(rows.items())], columns
    )
    return of_table(counts.statistic, table)


def collected(batches: list[list[str]]) -> Sample:
    sample = Sample()
    for batch in batches:
        for text in batch:
            sample.add([text])
    return sample


@given(st.lists(st.text(max_size=30), max_size=30), st.randoms())
def test_sample_does_not_depend_on_order_or_batches(texts: list[str], random: "np.random.Generator") -> None:
    shuffled = list(texts)
    random.shuffle(shuffled)
    once, again = collected([texts]), collected([[text] for text in shuffled])
    assert once.documents() == again.documents()
    assert once.excerpts() == again.excerpts()


def test_sample_is_bounded_and_takes_the_lowest_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"Document number {i}." for i in range(200)]
    everything = collected([texts]).documents()
    monkeypatch.setattr("dft_stats.build.sample.MAX_DOCUMENTS", 20)
    monkeypatch.setattr("dft_stats.build.sample.MAX_EXCERPTS", 20)
    sample = collected([texts])
    assert sample.documents() == everything[:20]
    assert len(sample.excerpts()) == 20
    monkeypatch.setattr("dft_stats.build.sample.MAX_CHARACTERS", 30)
    assert sample.documents() == everything[:1]


def test_excerpts_are_whole_paragraphs_of_enough_words() -> None:
    paragraphs = [f"{'word ' * 99}end{i}." for i in range(100)]
    found = list(excerpts("\n\n".join(paragraphs)))
    assert len(found) == EXCERPTS_A_DOCUMENT
    assert [int(excerpt.split("\n\n")[0].split("end")[1][:-1]) for excerpt in found] == [0, 13, 26, 38, 51, 63, 76, 88]
    for excerpt in found:
        assert len(excerpt.split()) >= EXCERPT_WORDS
        assert set(excerpt.split("\n\n")) <= set(paragraphs)
    assert list(excerpts("short")) == ["short"]
    assert len(list(excerpts("\r\n\r\n".join(paragraphs[:7])))) == 2
    seen = [paragraph for excerpt in excerpts("\n\n".join(paragraphs[:20])) for paragraph in excerpt.split("\n\n")]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("most", [30, 10_000])
def test_samples_of_parts_make_the_sample_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr("dft_stats.build.sample.MAX_CHARACTERS", most)
    monkeypatch.setattr("dft_stats.build.sample.MAX_EXCERPTS", 30)
    texts = [f"{text[: 7 * i]}\n\n{i}" for i, text in enumerate(prose(60))] + ["a lone surrogate: \ud800"]
    whole, together = collected([texts]), Sample()
    for number in range(4):
        collected([texts[number::4]]).write(tmp_path / f"{number}.parquet")
    for number in (2, 0, 3, 1):
        together.read(tmp_path / f"{number}.parquet")
    assert together.documents() == whole.documents()
    assert together.excerpts() == whole.excerpts()


def test_the_two_sides_of_a_draw_share_no_document_and_are_large_enough() -> None:
    owner, words = np.repeat(np.arange(20), 3), np.full(60, 50)
    halves = draw(owner, words, 300, seed=(300, 0))
    assert halves is not None
    assert not set(owner[halves[0]]) & set(owner[halves[1]])
    assert all(words[half].sum() >= 300 for half in halves)
    assert draw(owner, words, 10**6, seed=(0, 0)) is None


@pytest.mark.parametrize("least", [1, 12])
def test_discrepancies_are_those_of_the_counts(least: int) -> None:
    """Of the texts of a draw, with what the profile pruned in one row a group; an excerpt without a unit does no harm."""
    texts = [*prose(20)[:9], "", *prose(20)[9:], " "]
    kept = {
        name: prune(table, pc.greater_equal(table.table["documents"], least)) if table.statistic.kind == "categorical" else table
        for name, table in counted(texts).items()
    }
    events = read_events(texts, kept, RULE, "fold")
    a, b = np.array([0, 3, 9, 4, 11]), np.array([1, 2, 8, 21, 20])
    sides = [{name: pooled(table, kept[name]) for name, table in counted([texts[i] for i in side]).items()} for side in (a, b)]
    expected, found = discrepancies(*sides), discrepancies_of(events, a, b, room_of(events))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_features_are_those_of_the_reference() -> None:
    texts = [*prose(12), "Ok", "“Yes” — no; (it is): 3.14?!", ", . -", "", "One two. Three. Four five six. Seven eight"]
    expected = pa.Table.from_pylist([document_features(document) for document in documents(texts) if document], SCHEMA)
    found = features_of(texts, RULE)
    assert found.schema == SCHEMA
    for name in SCHEMA.names:
        assert found[name].is_null().equals(expected[name].is_null()), name
        assert found[name].fill_null(-1).to_pylist() == pytest.approx(expected[name].fill_null(-1).to_pylist(), rel=1e-6), name


def test_floor_falls_with_the_amount_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dft_stats.build.floor.SIZES", (200, 800))
    monkeypatch.setattr("dft_stats.build.floor.MAX_REPEATS", 4)
    sample = collected([[f"{text}\n\n{i}" for i, text in enumerate(prose(60))]])
    floor = human_floor(sample.excerpts(), counted(prose(60)), RULE)
    rows = {(row["statistic"], row["words"]): row["mean"] for row in floor.to_pylist()}
    for statistic in ("token_frequency", "ngram_frequency", "sentence_length", "punctuation_rhythm", "entropy_32"):
        assert 0 < rows[statistic, 800] < rows[statistic, 200], statistic


def test_no_floor_from_a_handful_of_documents() -> None:
    sample = collected([["One short text.", "Another one."]])
    assert len(human_floor(sample.excerpts(), counted(["One."]), RULE)) == 0
