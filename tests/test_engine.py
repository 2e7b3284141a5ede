"""Law 1, fast_count(x) == count(x), and law 2 across batches, processes and pruning."""

import io
import os
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dft_stats.build.engine import LEAST_MEMORY, count_corpus
from dft_stats.build.events import Part
from dft_stats.build.job import Job
from dft_stats.build.merge import Counted, Keep
from dft_stats.build.order import _order
from dft_stats.build.scan import BROKEN, ENDS, OPENS, SPACED, scan
from dft_stats.build.shapes import flags_of
from dft_stats.build.stale import drop_stale_kernels
from dft_stats.build.threads import threads
from dft_stats.build.units import read_units
from dft_stats.counts import Counts, count, exposure, prune
from dft_stats.demo.documents import documentation_texts
from dft_stats.errors import CorpusError
from dft_stats.masking import Masks
from dft_stats.sentences import RULE, TABLES, Segmenter, documents, unit_flags
from dft_stats.spelling import spell
from dft_stats.statistics import COUNTED, STATISTICS, SURFACE, TOKEN_FREQUENCY
from dft_stats.text import WORD, Unit, units
from tests.prose import documents as prose
from tests.strategies import corpora, texts


def paragraphs(text: str) -> list[list[Unit]]:
    """A segmenter of the tests' own: a sentence is a paragraph, and a letter is a unit where the rule has a word of two."""
    found: list[list[Unit]] = []
    for unit in units(text):
        if unit.break_before:
            found.append([])
        short = unit.kind == WORD and len(unit.text) == 2
        cuts = [unit.start, unit.start + 1, unit.end] if short else [unit.start, unit.end]
        for begin, end in pairwise(cuts):
            first = begin == unit.start
            found[-1].append(Unit(text[begin:end], begin, end, unit.kind, unit.space and first, unit.break_before and first))
    return found


PARAGRAPHS = Segmenter("paragraphs", "1", "0" * 64, paragraphs)


def assert_equal(found: Counted, texts: Sequence[str], segmenter: Segmenter = RULE) -> None:
    segmented = documents(texts, segmenter)
    assert found.exposure == exposure(segmented)
    for statistic in COUNTED:
        expected, got = count(statistic, segmented), found.counts[statistic.name]
        assert got.table.equals(expected.table), statistic.name
        assert got.totals.sort_by([(name, "ascending") for name in got.totals.column_names]).equals(
            expected.totals.sort_by([(name, "ascending") for name in expected.totals.column_names])
        ), statistic.name
        assert len(got.spectrum) == 0


@given(texts)
@example("Figure\n\n٣٣. The end")
@example("x [12] y.[12] Next. [3]")
@example("\u0301a\u0301'b.C.d")
def test_units_and_sentences_are_those_of_the_reference(text: str) -> None:
    (document,) = documents([text])
    found = read_units([text], RULE)
    reference = [(unit, number) for number, sentence in enumerate(document) for unit in sentence]
    vocabulary = found.vocabulary.to_pylist()
    assert len(set(vocabulary)) == len(vocabulary)
    ends = (found.flags & ENDS) > 0
    sentence = np.cumsum(ends) - ends
    got = zip(found.id, found.kind, (found.flags & SPACED) > 0, (found.flags & BROKEN) > 0, sentence, strict=True)
    assert [(vocabulary[i], *map(int, rest)) for i, *rest in got] == [
        (unit.text, unit.kind, int(unit.space), int(unit.break_before), number) for unit, number in reference
    ]
    assert np.flatnonzero(found.flags & OPENS).tolist() == [0][: len(reference)]


@given(corpora)
@example(["A cot at e.", "caté cat"])
def test_characters_that_turn_up_later_change_nothing(corpus: list[str]) -> None:
    known = scan(corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dft_stats.build.scan._KINDS", np.full(0x110000, 255, np.uint8))
        patch.setattr("dft_stats.build.normalise._GROUP", 1)  # text by text
        found = scan(corpus)
    assert all(np.array_equal(a, b) for a, b in zip(found[:2], known[:2], strict=True))
    assert found[2].equals(known[2])


def test_flags_of_words_are_those_of_the_reference() -> None:
    """The fast path takes a shortcut for common words: here for every word of the tables, of the documentation, and odd ones."""
    words = {word for table in TABLES for word in table} | {unit.text for text in documentation_texts() for unit in units(text)}
    words |= {
        "iPhone",
        "NASA",
        "xviii",
        "XIVL",
        "Mfg",
        "nth",
        "http",
        "ABCDe",
        "mcDonald",
        "Éa",
        "straße",
        "zz",
        "xl",
        "Xl",
        "NBC",
        "Nth",
        "Try",
        "1,0000,000-a",
        "00:00:0000",
    }
    words |= {word.capitalize() for word in words} | {word.upper() for word in words}
    assert len(words) > 3_000
    listed = sorted(words)
    assert dict(zip(listed, flags_of(pa.array(listed, pa.large_string())).tolist(), strict=True)) == {
        word: unit_flags(word) for word in words
    }


@given(corpora)
@example([])
@example([""])
@example(["", "One.", ""])
def test_fast_count_is_count(corpus: list[str]) -> None:
    assert_equal(count_corpus([corpus]), corpus)


@given(corpora, st.integers(1, 3))
def test_batches_do_not_matter(corpus: list[str], size: int) -> None:
    batches = [corpus[i : i + size] for i in range(0, len(corpus), size)]
    assert_equal(count_corpus(batches), corpus)


def test_real_documents_are_counted_as_the_reference_counts_them() -> None:
    """Documentation of the installed packages: tables, code, lists, URLs, and what no generator thinks of."""
    corpus = sorted(documentation_texts(), key=len)[:60]
    assert sum(map(len, corpus)) > 100_000
    assert_equal(count_corpus([corpus[:20], corpus[20:]]), corpus)


def test_processes_do_not_matter() -> None:
    corpus = prose(40)
    assert_equal(count_corpus([corpus[:10], corpus[10:11], corpus[11:]], workers=2), corpus)


@given(corpora, st.integers(2, 4), st.sampled_from([(1, 1), (2, 1), (1, 3)]))
def test_threads_do_not_matter(corpus: list[str], number: int, least: tuple[int, int]) -> None:
    with pytest.MonkeyPatch.context() as patch:  # as many parts, and stretches of them, as a large corpus has
        patch.setattr("dft_stats.build.radix._PART", 4)
        patch.setattr("dft_stats.build.tally._AT_ONCE", 16)
        with threads(number) as hands:
            assert_same(Job().count(corpus, least=least, threads=hands), Job().count(corpus, least=least))


@pytest.mark.parametrize("job", [Job(), Job(masks=Masks())], ids=["as it is", "to be published"])
def test_threads_do_not_matter_to_real_documents(job: Job) -> None:
    corpus = sorted(documentation_texts(), key=len)[:60]
    with threads(3) as hands:
        assert_same(job.count(corpus, threads=hands), job.count(corpus))


def assert_same(found: Part, expected: Part) -> None:
    assert found.exposure == expected.exposure
    assert found.vocabulary.equals(expected.vocabulary)
    assert np.array_equal(found.stream, expected.stream)
    assert {name: table.equals(expected.numbers[name]) for name, table in found.numbers.items()} == dict.fromkeys(expected.numbers, True)
    assert found.texts.keys() == expected.texts.keys()
    for name, rows in found.texts.items():
        for field in fields(rows):
            assert np.array_equal(getattr(rows, field.name), getattr(expected.texts[name], field.name)), (name, field.name)


def test_another_segmenter() -> None:
    corpus = prose(12)
    assert_equal(count_corpus([corpus], segmenter=PARAGRAPHS), corpus, PARAGRAPHS)
    assert_equal(count_corpus([corpus[:5], corpus[5:]], segmenter=PARAGRAPHS), corpus, PARAGRAPHS)


def test_a_segmenter_whose_units_overlap_is_refused() -> None:
    backwards = Segmenter("backwards", "1", "0" * 64, lambda text: [units(text)[::-1]])
    with pytest.raises(ValueError, match="backwards gave units that overlap or are out of order"):
        count_corpus([["One two."]], segmenter=backwards)


def pruned(counts: Counts, keep: Keep) -> Counts:
    table = counts.table
    return prune(
        counts, pc.and_(pc.greater_equal(table["documents"], keep.min_documents), pc.greater_equal(table["count"], keep.min_count))
    )


@pytest.mark.parametrize("batch", [40, 7])
@pytest.mark.parametrize("keep", [Keep(min_documents=3), Keep(min_count=4), Keep(2, 3), Keep(1000)])
@pytest.mark.parametrize("has_room", [True, False])
def test_pruning_is_that_of_the_core(keep: Keep, batch: int, has_room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_room:  # many parts, few of them sorted at once, and counts of three are many
        for name, size in (("radix._PART", 8), ("tally._AT_ONCE", 100), ("tally._FEW", 3)):
            monkeypatch.setattr(f"dft_stats.build.{name}", size)
    corpus = prose(40)
    found = count_corpus([corpus[i : i + batch] for i in range(0, 40, batch)], keep=keep)
    segmented = documents(corpus)
    for statistic in COUNTED:
        expected = count(statistic, segmented)
        if statistic.kind == "categorical":
            expected = pruned(expected, keep)
        got = found.counts[statistic.name]
        assert got.table.equals(expected.table)
        assert got.spectrum.to_pylist() == expected.spectrum.to_pylist()
        assert sorted(map(tuple, (r.values() for r in got.totals.to_pylist()))) == sorted(
            map(tuple, (r.values() for r in expected.totals.to_pylist()))
        )


@pytest.mark.parametrize("batch", [40, 9])
def test_the_most_frequent_rows_are_kept(batch: int) -> None:
    corpus, most = prose(40), {"token_frequency": 30, "ngram_frequency/2": 20}
    found = count_corpus([corpus[i : i + batch] for i in range(0, 40, batch)], keep=Keep(max_rows=most), max_order=3)
    whole = count_corpus([corpus], max_order=3)
    for name, limit in most.items():
        statistic, _, n = name.partition("/")
        group = (int(n),) if n else ()
        got, expected = found.counts[statistic], whole.counts[statistic]
        kept = got.rows(*group)
        assert len(kept) == limit
        dropped = np.repeat(*expected.frequency_of_frequencies(*group))[::-1][limit:]
        assert min(kept["count"].to_pylist()) >= dropped[0]
        assert np.array_equal(got.frequency_of_frequencies(*group), expected.frequency_of_frequencies(*group))
        assert got.total(*group) == expected.total(*group)
    assert set(found.counts["ngram_frequency"].table["n"].to_pylist()) == {2, 3}
    assert len(found.counts["ngram_frequency"].rows(3)) == len(whole.counts["ngram_frequency"].rows(3))


@pytest.mark.parametrize("batch", [40, 9])
@pytest.mark.parametrize(("least", "floor"), [(4, 1), (9, 4)])
def test_spelling_is_that_of_the_reference(least: int, floor: int, batch: int) -> None:
    corpus = [f"{text} Unheard-of {i % 13}, said Zx{'y' * (i % 7)}." for i, text in enumerate(prose(40))]
    keep = Keep(min_documents=2, surface_documents=least, spelling_documents=floor)
    found = count_corpus([corpus[i : i + batch] for i in range(0, 40, batch)], keep=keep)
    segmented = documents(corpus)
    surface = count(SURFACE, segmented)
    kept = surface.table["documents"].to_numpy() >= least
    expected = spell(surface, count(TOKEN_FREQUENCY, segmented), kept, floor)
    assert len(expected) > 10
    assert found.spelling.equals(expected)
    assert found.counts["surface"].table.equals(surface.table.filter(pa.array(kept)))


def test_rows_of_surface_are_not_limited_by_number() -> None:
    with pytest.raises(ValueError, match="rows of surface are not limited by number, but by documents"):
        Keep(max_rows={"surface": 10})


def test_little_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are added up for one range of keys after the other; here a range has some hundred rows."""
    corpus = prose(60)
    monkeypatch.setattr("dft_stats.build.sums._ROW_BYTES", 1_000_000)
    assert_equal(count_corpus([corpus[:30], corpus[30:45], corpus[45:]], memory=LEAST_MEMORY), corpus)


def test_too_little_memory_is_said() -> None:
    with pytest.raises(CorpusError, match=r"10 MB of memory are too little to work in; give 500 MB at least \(--memory\)"):
        count_corpus([["A text."]], memory=10_000_000)


def test_rows_that_do_not_fit_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tables together, not each for itself."""
    corpus = prose(40)
    rows = sum(len(found.table) for found in count_corpus([corpus]).counts.values() if found.statistic.kind == "categorical")
    monkeypatch.setattr("dft_stats.build.merge._KEPT_BYTES", LEAST_MEMORY // rows)
    count_corpus([corpus], memory=LEAST_MEMORY)
    monkeypatch.setattr("dft_stats.build.merge._KEPT_BYTES", LEAST_MEMORY // rows + 1 + LEAST_MEMORY // rows**2)
    with pytest.raises(CorpusError, match=r"rows and more are to be kept, of this .*does not fit into 0.5 GB.*--min-documents"):
        count_corpus([corpus], memory=LEAST_MEMORY)


def test_progress_counts_characters() -> None:
    told: list[int] = []
    corpus = prose(9)
    count_corpus([corpus[:4], corpus[4:]], progress=lambda state: told.append(state.characters))
    assert told == [sum(map(len, corpus[:4])), sum(map(len, corpus))]


def test_ten_megabytes_on_one_line() -> None:
    text = io.StringIO()
    for i in range(200_000):
        text.write(f"Sentence number {i} has a word, or two; it ends here. ")
    found = count_corpus([[text.getvalue()]], max_order=2)
    assert found.exposure.sentences == 200_000
    assert found.exposure.words == 200_000 * 11
    assert found.counts["sentence_length"].rows("words")["length"].to_pylist() == [11]
    assert {statistic.name for statistic in STATISTICS} < set(found.counts)


def test_kernels_older_than_a_source_are_compiled_again(tmp_path: Path) -> None:
    folder = tmp_path / "package" / "build"
    (folder / "__pycache__").mkdir(parents=True)
    kernels = [folder / "__pycache__" / name for name in ("a.nbi", "a.nbc", "b.nbi")]
    for number, path in enumerate([folder / "a.py", folder.parent / "text.py", *kernels]):
        path.write_text("")
        os.utime(path, (100 + number, 100 + number))
    assert drop_stale_kernels(folder) == 0
    os.utime(folder.parent / "text.py", (200, 200))
    assert drop_stale_kernels(folder) == 3
    assert not any(path.exists() for path in kernels)
    assert drop_stale_kernels(folder) == 0


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.integers(1, 64))
def test_numbers_are_put_in_order_stably(values: list[int], bits: int) -> None:
    """With room for an index beside them and without."""
    numbers = np.array([value >> (64 - bits) for value in values], np.uint64)
    assert _order(numbers, bits).tolist() == sorted(range(len(values)), key=lambda i: int(numbers[i]))
