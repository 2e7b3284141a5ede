"""Counts add up: in any order, in any parts, pruned or not."""

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.counts import (
    COUNTS,
    MOMENTS,
    WINDOWS,
    Counts,
    Exposure,
    count,
    design_effect,
    digits_masked,
    exposure,
    merge,
    prune,
    rate,
    rate_sd,
    schema,
)
from dft_stats.sentences import documents
from dft_stats.statistics import COUNTED, Statistic
from dft_stats.text import WORD
from tests.strategies import corpora, texts

TOKENS = next(statistic for statistic in COUNTED if statistic.name == "token_frequency")
every_statistic = pytest.mark.parametrize("statistic", COUNTED, ids=lambda statistic: statistic.name)


def counted(statistic: Statistic, corpus: list[str], least: int = 1) -> Counts:
    found = count(statistic, documents(corpus))
    return prune(found, pc.greater_equal(found.table["count"], least)) if least > 1 else found


def facts(counts: Counts) -> tuple[object, ...]:
    totals = sorted(counts.totals.to_pylist(), key=repr)
    return counts.table.to_pylist(), totals, counts.spectrum.to_pylist(), counts.table.schema, counts.totals.schema, counts.spectrum.schema


@every_statistic
@given(corpus=corpora, cut=st.integers(0, 4))
def test_the_count_of_a_corpus_is_the_merge_of_its_parts(statistic: Statistic, corpus: list[str], cut: int) -> None:
    parts = [counted(statistic, corpus[:cut]), counted(statistic, corpus[cut:])]
    assert facts(merge(parts)) == facts(counted(statistic, corpus))


@every_statistic
@given(corpora_=st.tuples(corpora, corpora, corpora), least=st.sampled_from([1, 2, 3]))
def test_merge_is_a_commutative_monoid_of_pruned_parts_too(statistic: Statistic, corpora_: tuple[list[str], ...], least: int) -> None:
    a, b, c = (counted(statistic, corpus, least) for corpus in corpora_)
    zero = count(statistic, [])
    assert facts(merge([a, b])) == facts(merge([b, a]))
    assert facts(merge([merge([a, b]), c])) == facts(merge([a, merge([b, c])])) == facts(merge([a, b, c]))
    assert facts(merge([a, zero])) == facts(merge([zero, a])) == facts(merge([a])) == facts(a)


@every_statistic
@given(corpus=corpora, least=st.integers(2, 4))
def test_pruning_keeps_totals_types_and_frequencies(statistic: Statistic, corpus: list[str], least: int) -> None:
    whole, pruned = counted(statistic, corpus), counted(statistic, corpus, least)
    assert facts(pruned)[1] == facts(whole)[1]
    assert all(pc.greater_equal(pruned.table["count"], least).to_pylist())
    for row in whole.totals.to_pylist():
        group = [row[name] for name in statistic.groups]
        assert pruned.total(*group) == whole.total(*group) == row["count"]
        assert pruned.types(*group) == whole.types(*group) == row["types"]
        counts, types = pruned.frequency_of_frequencies(*group)
        assert np.array_equal(np.repeat(counts, types), sorted(whole.rows(*group)["count"].to_pylist()))
        assert len(set(counts)) == len(counts)


@given(corpora, st.integers(2, 3), st.integers(1, 2))
def test_pruning_twice_is_pruning_once(corpus: list[str], most: int, less: int) -> None:
    once = counted(TOKENS, corpus, most)
    first = counted(TOKENS, corpus, less)
    assert facts(prune(first, pc.greater_equal(first.table["count"], most))) == facts(once)


@every_statistic
@given(corpus=corpora)
def test_rows_are_sorted_distinct_and_occur(statistic: Statistic, corpus: list[str]) -> None:
    found = counted(statistic, corpus).table
    keys = list(zip(*(found[name].to_pylist() for name in statistic.keys), strict=True))
    assert found.schema == schema(statistic)
    assert keys == sorted(set(keys))
    assert all(row["count"] >= row["documents"] >= 1 for row in found.to_pylist())
    assert all(row[f"square_{w}"] >= row["count"] for row in found.to_pylist() for w in WINDOWS)


@given(corpora, corpora)
def test_exposure_adds_up(left: list[str], right: list[str]) -> None:
    assert exposure(documents(left)) + exposure(documents(right)) == exposure(documents(left + right))
    assert exposure([]) + exposure(documents(left)) == exposure(documents(left))


@pytest.mark.parametrize("text", ["", "\r\n", "\x00", "..."])
def test_documents_without_a_word_count_as_documents(text: str) -> None:
    found = exposure(documents([text]))
    assert (found.documents, found.words, found.sentences) == (1, 0, 0)
    assert found.windows == dict.fromkeys(WINDOWS, 0)


def test_red_fish_blue_fish() -> None:
    segmented = documents(["red fish blue fish"])
    row = next(row for row in count(TOKENS, segmented).table.to_pylist() if row["unit"] == "fish")
    assert row == {"unit": "fish", "count": 2, "documents": 1, "square_128": 4, "cross_128": 8, "square_1024": 4, "cross_1024": 8}
    assert exposure(segmented) == Exposure(1, 4, 1, {128: 1, 1024: 1}, {128: 16, 1024: 16})


def test_moments_are_those_of_windows() -> None:
    segmented = documents(["a " * 100 + "b " * 100, "b"])  # windows of 128 words: (100 a, 28 b), (72 b), (1 b)
    rows = {row["unit"]: row for row in count(TOKENS, segmented).table.to_pylist()}
    assert rows["a"]["square_128"] == 100**2
    assert rows["a"]["cross_128"] == 100 * 128
    assert rows["b"]["square_128"] == 28**2 + 72**2 + 1
    assert rows["b"]["cross_128"] == 28 * 128 + 72 * 72 + 1
    assert rows["b"]["square_1024"] == 100**2 + 1
    assert exposure(segmented).squares[128] == 128**2 + 72**2 + 1


@given(st.lists(st.integers(0, 400), min_size=2, max_size=6), st.integers(0, 2**32 - 1), st.sampled_from(WINDOWS))
def test_rate_sd_is_that_of_a_direct_computation_over_windows(sizes: list[int], seed: int, window: int) -> None:
    generator = np.random.default_rng(seed)
    words = [generator.choice(["a", "b", "c", "d"], size, p=[0.5, 0.3, 0.15, 0.05]) for size in sizes]
    segmented = documents([" ".join(row) for row in words])
    found, exposed = count(TOKENS, segmented), exposure(segmented)
    pieces = [row[i : i + window] for row in words for i in range(0, len(row), window)]
    if len(pieces) < 2:
        return
    lengths = np.array([len(piece) for piece in pieces])
    expected, effects = [], []
    for unit in found.table["unit"].to_pylist():
        counts = np.array([(piece == unit).sum() for piece in pieces])
        share = counts.sum() / lengths.sum()
        variance = ((counts - share * lengths) ** 2).sum() / (len(pieces) - 1)  # between windows, of their count
        expected.append(np.sqrt(variance / (lengths**2).mean()))
        effects.append(variance * len(pieces) / counts.sum())  # over the Poisson variance of all
    np.testing.assert_allclose(rate_sd(found, exposed, window), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(design_effect(found, exposed, window), effects, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(rate(found, exposed).sum(), 1.0 if exposed.words else 0.0)


def test_design_effects_where_there_is_nothing_to_tell_them_by() -> None:
    one = count(TOKENS, documents(["a a a b"]))
    np.testing.assert_array_equal(design_effect(one, exposure(documents(["a a a b"])), 128), [1, 1])  # one window
    two = documents(["a a a b", "a b b b"])
    found = count(TOKENS, two)
    empty = found.table.set_column(found.table.schema.get_field_index("count"), "count", pa.array([0, 4]))  # as no profile should have it
    assert np.isfinite(design_effect(found, exposure(two), 128, empty)).all()


@given(texts)
def test_words_of_all_windows_are_the_words_of_the_document(text: str) -> None:
    segmented = documents([text])
    words = sum(unit.kind == WORD for sentence in segmented[0] for unit in sentence)
    found = count(TOKENS, segmented)
    for window in WINDOWS:
        if 0 < words <= window:  # one window: cross is count times all words, marks after the last word included or in no window at all
            assert all(row[f"cross_{window}"] <= row["count"] * words for row in found.table.to_pylist())


def test_columns_are_64_bit_so_that_squares_of_a_large_corpus_fit() -> None:
    for statistic in COUNTED:
        assert {schema(statistic).field(name).type for name in COUNTS} == {pa.int64()}
    assert len(MOMENTS) == 4


@given(st.lists(st.text("ab1٣⅞.", min_size=1, max_size=4), min_size=1, max_size=20))
def test_masked_digits_are_counts_of_masked_units(words: list[str]) -> None:
    counts = count(TOKENS, documents([" ".join(words)]))
    masked = digits_masked(counts)
    expected: dict[str, int] = {}
    for row in counts.table.to_pylist():
        key = "".join("0" if unicodedata.category(c)[0] == "N" else c for c in row["unit"])
        expected[key] = expected.get(key, 0) + row["count"]
    assert {row["unit"]: row["count"] for row in masked.table.to_pylist()} == expected
    assert masked.table["unit"].to_pylist() == sorted(expected)
    assert set(masked.table["documents"].to_pylist()) == {1}
    assert (masked.total(), digits_masked(masked)) == (counts.total(), masked)
