"""The sample of a corpus, and the floor that is drawn from it."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.build.floor import REST, draw, human_floor, pool
from dft_stats.build.sample import EXCERPT_WORDS, EXCERPTS_A_DOCUMENT, Excerpt, Sample, excerpts
from dft_stats.counts import Counts, count, exposure, prune
from dft_stats.statistics import COUNTED
from dft_stats.text import documents
from tests.prose import documents as prose


def counted(texts: Sequence[str]) -> tuple[int, dict[str, Counts]]:
    segmented = documents(texts)
    return exposure(segmented).words, {statistic.name: count(statistic, segmented) for statistic in COUNTED}


def collected(batches: list[list[str]]) -> Sample:
    sample = Sample()
    assert list(sample.watch(batches)) == batches
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
    found = excerpts("\n\n".join(paragraphs))
    assert len(found) == EXCERPTS_A_DOCUMENT
    for excerpt in found:
        assert len(excerpt.split()) >= EXCERPT_WORDS
        assert set(excerpt.split("\n\n")) <= set(paragraphs)
    assert excerpts("short") == ["short"]


def test_the_two_sides_of_a_draw_share_no_document_and_are_large_enough() -> None:
    pieces = [Excerpt(i // 3, f"{i} " * 50) for i in range(60)]
    halves = draw(pieces, np.unique([piece.document for piece in pieces]), 300, seed=(300, 0))
    assert halves is not None
    owners = [{int(text.split()[0]) // 3 for text in half} for half in halves]
    assert not owners[0] & owners[1]
    assert all(sum(len(text.split()) for text in half) >= 300 for half in halves)
    assert draw(pieces, np.unique([piece.document for piece in pieces]), 10**6, seed=(0, 0)) is None


def test_pooling_keeps_totals_and_merges_what_the_profile_lacks() -> None:
    _, whole = counted(prose(20))
    kept = {
        name: prune(table, pc.greater_equal(table.table["documents"], 12)) if table.statistic.kind == "categorical" else table
        for name, table in whole.items()
    }
    _, half = counted(prose(7))
    pooled = pool(half, kept)
    known = set(kept["token_frequency"].table["unit"].to_pylist())
    units = pooled["token_frequency"].table
    assert set(units["unit"].to_pylist()) <= known | {REST}
    assert pooled["token_frequency"].total() == half["token_frequency"].total()
    for n in (2, 3, 4, 5):
        assert pooled["ngram_frequency"].total(n) == half["ngram_frequency"].total(n)
    rest = units.filter(pc.equal(units["unit"], REST))["count"].to_pylist()
    missing = half["token_frequency"].table
    missing = missing.filter(pc.invert(pc.is_in(missing["unit"], pa.array(sorted(known)))))
    assert rest == [pc.sum(missing["count"]).as_py()]
    assert pooled["sentence_length"].table.equals(half["sentence_length"].table)


def test_floor_falls_with_the_amount_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dft_stats.build.floor.SIZES", (200, 800))
    monkeypatch.setattr("dft_stats.build.floor.MAX_REPEATS", 4)
    sample = collected([[f"{text}\n\n{i}" for i, text in enumerate(prose(60))]])
    _, kept = counted(prose(60))
    floor = human_floor(sample.excerpts(), kept, counted)
    rows = {(row["statistic"], row["words"]): row["mean"] for row in floor.to_pylist()}
    for statistic in ("token_frequency", "ngram_frequency", "sentence_length", "punctuation_rhythm", "entropy_32"):
        assert 0 < rows[statistic, 800] < rows[statistic, 200], statistic


def test_no_floor_from_a_handful_of_documents() -> None:
    sample = collected([["One short text.", "Another one."]])
    assert len(human_floor(sample.excerpts(), counted(["One."])[1], counted)) == 0
