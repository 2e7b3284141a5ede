"""What differs between two profiles: closed forms, what pruning must not change, the floor, keyness, and the nearest reference."""

import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats import registry
from dft_stats.build import build
from dft_stats.cells import align, domain_distances, jensen_shannon_of
from dft_stats.compare import UNITS, compare, compared_counts, discrepancies, floor_at, floor_sizes, floor_words, nearest
from dft_stats.counts import COUNTS, Counts, count, design_effect, from_rows, of_table, prune, schema
from dft_stats.errors import CompiledProfileError, IncomparableError, ProfileNotFound
from dft_stats.keyness import SIGNIFICANT
from dft_stats.measures import jensen_shannon_bits, log_likelihood
from dft_stats.profile import Profile
from dft_stats.report import show_comparison
from dft_stats.sentences import documents
from dft_stats.statistics import STATISTICS
from dft_stats.tables import FLOOR_SCHEMA
from tests.profiles import profile_of
from tests.prose import documents as prose
from tests.strategies import corpora
from tests.tokenizers_for_tests import gpt2_like

TOKENS, NGRAMS = STATISTICS[:2]


def counted(corpus: list[str]) -> dict[str, Counts]:
    segmented = documents(corpus)
    return {statistic.name: count(statistic, segmented) for statistic in STATISTICS}


def least(counts: Counts, number: int) -> Counts:
    return prune(counts, pc.greater_equal(counts.table["count"], number))


@given(corpora, corpora)
def test_discrepancies_are_symmetric_finite_and_zero_for_the_same(left: list[str], right: list[str]) -> None:
    a, b = counted(left), counted(right)
    found = discrepancies(a, b)
    assert found == pytest.approx(discrepancies(b, a), abs=1e-9)
    assert all(np.isfinite(value) and value >= 0 for value in found.values())
    assert all(value < 1e-9 for value in discrepancies(a, a).values())


def test_closed_forms() -> None:
    found = discrepancies(counted(["red fish. Blue fish"]), counted(["red fish blue fish."]))
    assert found["sentence_length"] == 2  # lengths 2 and 2 against 4
    assert found["token_frequency"] == pytest.approx(jensen_shannon_bits([1, 2, 1, 1, 0], [1, 2, 1, 0, 1]))
    bigrams = jensen_shannon_bits(
        [1, 1, 1, 0, 0], [1, 1, 0, 1, 1]
    )  # red fish, fish., Blue fish, fish blue, blue fish; no trigram is shared
    assert found["punctuation_rhythm"] == 1  # the gap is 2 words on one side and 4 on the other
    assert set(found) == {"token_frequency", "ngram_frequency", "sentence_length", "punctuation_rhythm"}
    assert found["ngram_frequency"] == pytest.approx((bigrams + 1) / 2)


def test_ngrams_are_averaged_over_the_orders_that_both_have() -> None:
    assert discrepancies(counted(["a b"]), counted(["a b c"]))["ngram_frequency"] == pytest.approx(jensen_shannon_bits([1, 0], [1, 1]))
    both = discrepancies(counted(["a b c"]), counted(["a b d"]))["ngram_frequency"]
    assert both == pytest.approx((jensen_shannon_bits([1, 1, 0], [1, 0, 1]) + 1) / 2)


def test_entropy_is_in_bits_and_by_window() -> None:
    one, two = ["a " * 128], [" ".join(f"w{i % 2}" for i in range(128))]
    found = discrepancies(counted(one), counted(two))
    assert (found["entropy"], found["entropy_32"]) == pytest.approx((1, 1))
    assert "entropy" not in discrepancies(counted(["a " * 64]), counted(two))


def test_a_statistic_without_events_is_left_out() -> None:
    assert discrepancies(counted([""]), counted(["One, two."])) == {}
    assert "punctuation_rhythm" not in discrepancies(counted(["no mark"]), counted(["One, two."]))


def test_gaps_beyond_the_longest_are_one_cell() -> None:
    long, longer = ("word " * length + "." for length in (40, 90))
    assert discrepancies(counted([long]), counted([longer]))["punctuation_rhythm"] == 0


COUNTED_A = {"a": 6, "b": 3, "c": 1}
COUNTED_B = {"a": 2, "c": 5, "d": 3}


def table(numbers: dict[str, int]) -> Counts:
    rows = [dict.fromkeys(COUNTS, number) | {"unit": unit} for unit, number in sorted(numbers.items())]
    return of_table(TOKENS, pa.Table.from_pylist(rows, schema=schema(TOKENS)))


@pytest.mark.parametrize(
    ("prune_a", "prune_b", "cells"),
    [
        (1, 1, {"a": (6, 2), "b": (3, 0), "c": (1, 5), "d": (0, 3)}),  # both whole: the union
        (2, 1, {"a": (6, 2), "b": (3, 0)}),  # c and d may or may not have been pruned from the reference
        (1, 3, {"c": (1, 5), "d": (0, 3)}),
        (2, 3, {}),  # a, b against c, d
        (2, 2, {"a": (6, 2)}),
    ],
)
def test_cells_are_those_known_to_both(prune_a: int, prune_b: int, cells: dict[str, tuple[int, int]]) -> None:
    b = {unit: number for unit, number in COUNTED_B.items()} | ({"e": 1} if prune_b == 2 else {})
    found = align(least(table(COUNTED_A), prune_a), least(table(b), prune_b))
    assert dict(zip(found.keys.to_pylist(), zip(found.reference.tolist(), found.other.tolist(), strict=True), strict=True)) == cells
    assert (found.reference_total, found.other_total) == (10, sum(b.values()))
    rest = (10 - sum(x for x, _ in cells.values()), sum(b.values()) - sum(y for _, y in cells.values()))
    columns = [[*column] for column in zip(*cells.values(), rest, strict=True)]
    assert jensen_shannon_of(found) == pytest.approx(jensen_shannon_bits(*columns))


@given(corpora, corpora, st.integers(2, 3))
def test_pooling_cells_never_adds_to_a_divergence(left: list[str], right: list[str], number: int) -> None:
    a, b = count(TOKENS, documents(left)), count(TOKENS, documents(right))
    whole, pruned = jensen_shannon_of(align(a, b)), jensen_shannon_of(align(least(a, number), b))
    assert (whole is None) == (pruned is None)
    if whole is not None and pruned is not None:
        assert pruned <= whole + 1e-9


FLOOR = pa.Table.from_pylist(
    [{"statistic": "entropy", "words": words, "mean": mean, "sd": 0.0} for words, mean in ((4000, 0.2), (1000, 0.4), (16000, 0.2))],
    schema=FLOOR_SCHEMA,
)


@pytest.mark.parametrize(
    ("words", "expected"), [(1000, 0.4), (2000, 0.4 / np.sqrt(2)), (4000, 0.2), (8000, 0.2), (10**9, 0.2), (16000, 0.2)]
)
def test_the_floor_is_interpolated_in_the_logarithm_of_both(words: int, expected: float) -> None:
    assert floor_at(FLOOR, "entropy", words) == pytest.approx(expected)


def test_no_floor_without_rows() -> None:
    assert floor_at(FLOOR, "sentence_length", 1000) is None
    assert floor_at(FLOOR_SCHEMA.empty_table(), "entropy", 1000) is None
    assert floor_at(FLOOR, "entropy", 0) is None
    single = FLOOR.filter(pc.equal(FLOOR["words"], 4000))
    assert floor_at(single, "entropy", 4000) == pytest.approx(0.2)
    assert floor_sizes(single, "entropy") == (4000, 4000)
    assert floor_sizes(FLOOR, "sentence_length") is None


@given(st.floats(0, 999.9))
def test_no_floor_below_the_smallest_samples(words: float) -> None:
    assert floor_at(FLOOR, "entropy", words) is None
    assert floor_sizes(FLOOR, "entropy") == (1000, 16000)


@given(st.floats(0, 1e12))
def test_no_floor_beyond_what_was_measured(words: float) -> None:
    """A floor lies between those of the table: no divergence can exceed its bound by being extrapolated."""
    found = floor_at(FLOOR, "entropy", words)
    assert found is None or 0.2 - 1e-12 <= found <= 0.4 + 1e-12


@pytest.mark.parametrize(
    ("size", "floor", "said"),
    [
        (1000, None, "and the smallest that were drawn of the reference have 1,000"),
        (10, 0.5, "what two samples of 10 words of the reference differ by, the most that were drawn; larger ones differ by less"),
    ],
)
def test_a_floor_says_of_which_samples_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int, floor: float | None, said: str
) -> None:
    rows = [{"statistic": name, "words": size, "mean": 0.5, "sd": 0.1} for name in UNITS]
    reference = profile_of(prose(12), tmp_path / "reference", floor=pa.Table.from_pylist(rows, schema=FLOOR_SCHEMA))
    found = compare(reference, profile_of(prose(1), tmp_path / "other"))
    first = found.differences[0]
    assert (first.floor, first.floor_sizes) == (floor, (size, size))
    assert (first.multiple is None) == (first.floor_words is None) == (floor is None)
    show_comparison(found)
    text = " ".join(capsys.readouterr().out.split())
    assert said in text
    assert ("too short" in text) == (floor is None)


def test_floor_words_of_equal_sides_and_of_a_vast_reference() -> None:
    assert floor_words(1000, 1000) == 1000
    assert floor_words(10**12, 1000) == pytest.approx(2000)
    assert floor_words(0, 1000) == 0


def test_a_comparison_is_a_multiple_of_the_floor(tmp_path: Path) -> None:
    rows = [{"statistic": name, "words": 10, "mean": 0.5, "sd": 0.1} for name in ("token_frequency", "sentence_length", "entropy_32")]
    floor = pa.Table.from_pylist(rows, schema=FLOOR_SCHEMA)
    reference = profile_of(prose(12), tmp_path / "reference", floor=floor)
    other = profile_of([" ".join("word" for _ in range(40)) + "."], tmp_path / "other", name="other")
    found = compare(reference, other)
    by_name = {difference.statistic: difference for difference in found.differences}
    assert list(by_name) == [statistic.name for statistic in STATISTICS]
    expected = discrepancies(compared_counts(reference), compared_counts(other))
    assert by_name["token_frequency"].value == expected["token_frequency"]
    assert by_name["token_frequency"].multiple == pytest.approx(expected["token_frequency"] / 0.5)
    assert by_name["entropy"].value == expected["entropy_32"]  # no window of 128 words in the other
    assert by_name["entropy"].floor == 0.5
    assert "32 words" in by_name["entropy"].unit
    assert (by_name["punctuation_rhythm"].floor, by_name["punctuation_rhythm"].multiple) == (None, None)
    assert (found.reference, found.other, found.other_words) == ("test@1.0.0", "other@1.0.0", 40)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["differences"][0]["statistic"] == "token_frequency"


def test_what_is_used_more_and_less_comes_first(tmp_path: Path) -> None:
    reference = profile_of(["the cat sat on the mat, and the dog ran. " * 20] * 2, tmp_path / "reference")
    other = profile_of(["a cat sat on a mat; a dog ran. " * 20] * 2 + ["zygote " * 20], tmp_path / "other")
    found = compare(reference, other, top=2)
    assert {item.text for item in found.overused_units} == {"a", ";"}  # "zygote" is one document's topic
    assert found.underused_units[0].text == "the"
    assert {item.text for item in compare(reference, other, top=3).underused_units} == {"the", "and", ","}
    first = found.overused_units[0]
    assert (first.text, first.count, first.reference_count, first.reference_per_1000_words) == ("a", 120, 0, 0)
    assert first.per_1000_words == pytest.approx(1000 * 120 / other.exposure.words)
    assert all(item.log_likelihood > 0 for item in found.overused_ngrams)
    assert all(item.log_likelihood < 0 for item in found.underused_ngrams)
    assert "the cat" in {item.text for item in compare(reference, other, top=50).underused_ngrams}


def _ratio_and_effect(reference: Profile, other: Profile, unit: str) -> tuple[float, float]:
    ours, theirs = (profile.counts("token_frequency") for profile in (reference, other))
    row = theirs.table.filter(pc.equal(theirs.table["unit"], unit))
    (effect,) = design_effect(theirs, other.exposure, 1024, row)
    return float(log_likelihood(row["count"][0].as_py(), theirs.total(), 0, ours.total())), float(effect)


def test_one_odd_document_makes_no_word_typical(tmp_path: Path) -> None:
    reference = profile_of(["the cat sat on the mat, and the dog ran. " * 10] * 20, tmp_path / "reference")
    plain = "the cat sat on the mat, and the dog ran. " * 9
    zebras = "the zebra saw the zebra. "
    spread = profile_of([plain + zebras] * 20, tmp_path / "spread")
    lumped = profile_of([plain + zebras, *[plain] * 18, plain + zebras * 19], tmp_path / "lumped")  # as many, nearly all in one document
    (found,) = [item for item in compare(reference, spread, top=50).overused_units if item.text == "zebra"]
    assert (found.count, found.design_effect) == (40, 1)  # in each document as often as in the others: no more than independent ones vary
    totals = [profile.counts("token_frequency").total() for profile in (spread, reference)]
    assert found.keyness == found.log_likelihood == pytest.approx(float(log_likelihood(40, totals[0], 0, totals[1])))
    ratio, effect = _ratio_and_effect(reference, lumped, "zebra")
    assert ratio > SIGNIFICANT > ratio / effect  # the ratio by itself would have said so of these as well
    assert "zebra" not in {item.text for item in compare(reference, lumped, top=50).overused_units}
    assert {item.text for item in compare(spread, lumped, top=50).overused_units} == set()
    assert "zebra" not in {item.text for item in compare(lumped, reference, top=50).underused_units}


def test_the_same_text_has_no_key_items(tmp_path: Path) -> None:
    reference = profile_of(prose(6), tmp_path / "reference")
    found = compare(reference, reference)
    assert found.overused_units == found.underused_units == found.overused_ngrams == found.underused_ngrams == ()


@pytest.mark.parametrize(
    ("part", "value"),
    [("segmenter", {"name": "spacy", "version": "3", "rule_sha256": "0" * 64}), ("normaliser", "x"), ("typography", "keep")],
)
def test_profiles_of_other_rules_are_refused(tmp_path: Path, part: str, value: object) -> None:
    reference = profile_of(["One."], tmp_path / "reference", name="ours")
    other = Profile(reference.path, {**reference.manifest, "name": "theirs", part: value})
    with pytest.raises(IncomparableError, match=rf"{part}.*16\.7 to 21\.0.*Build theirs again"):
        compare(reference, other)
    with pytest.raises(IncomparableError, match=part):
        nearest(other, [reference])


def test_a_profile_that_pruning_emptied_is_refused(tmp_path: Path) -> None:
    whole = profile_of(prose(6), tmp_path / "whole", name="whole")
    emptied = profile_of(prose(6), tmp_path / "emptied", name="emptied", min_documents=7, facts={"keep": {"min_documents": 7}})
    said = r"emptied was counted from 6 documents, and not one of its words was kept \(rows are kept by: min_documents 7\)"
    for reference, other in ((whole, emptied), (emptied, whole)):
        with pytest.raises(IncomparableError, match=said):
            compare(reference, other)
        with pytest.raises(IncomparableError, match=said):
            nearest(other, [reference])
    with pytest.raises(CompiledProfileError, match=said):
        emptied.compile(gpt2_like())
    assert not profile_of([""], tmp_path / "nothing").emptied


def test_a_text_is_nearest_to_its_own_kind_pruned_or_not(tmp_path: Path) -> None:
    sea = ["The sea was calm and the boat lay still in the bay. " * 5, "The boat and the sea: the waves, the bay. " * 5]
    law = ["The party shall indemnify the other party under this agreement. " * 5, "This agreement shall bind each party. " * 5]
    for number in (1, 2):
        references = [
            profile_of(texts, tmp_path / f"{name}-{number}", name=name, min_documents=number)
            for name, texts in (("sea", sea), ("law", law))
        ]
        for name, text in (("sea", "A boat on the sea, in the bay."), ("law", "Each party shall sign the agreement.")):
            found = nearest(profile_of([text], tmp_path / "text"), references)
            assert found[0][0] == name
            assert 0 <= found[0][1] < found[1][1]


def test_what_was_pruned_is_said_to_look_nearer(tmp_path: Path) -> None:
    exact, again = (profile_of(prose(60), tmp_path / name, name=name) for name in ("exact", "again"))
    pruned = build(prose(60), out=tmp_path / "pruned", name="pruned", privacy="none", min_documents=30)
    assert "the multiples of these two are too low" in compare(exact, pruned).note
    assert compare(exact, again).note == compare(pruned, exact).note == compare(pruned, pruned).note == ""


def test_nearest_to_itself_at_no_distance(tmp_path: Path) -> None:
    reference = profile_of(prose(6), tmp_path / "reference")
    assert nearest(reference, [reference]) == [("test", pytest.approx(0, abs=0.01))]
    assert nearest(reference, []) == []


def test_names_and_folders_do_as_well_as_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (profile_of(prose(6 + i), tmp_path / "shelf" / name / "1.0.0", name=name) for i, name in enumerate(("ours", "theirs")))
    monkeypatch.setattr(registry, "registry_path", lambda: tmp_path / "shelf")
    assert compare("ours", theirs.path) == compare(ours, "theirs@1.0.0") == compare(ours, theirs)
    expected = nearest(ours, [ours, theirs])
    assert nearest("ours") == nearest(ours.path, ["ours", theirs]) == nearest(ours) == expected
    assert nearest(ours, "theirs") == nearest(ours, theirs) == nearest(ours, [theirs])
    with pytest.raises(ProfileNotFound, match="nobody"):
        compare("ours", "nobody")
    with pytest.raises(TypeError, match=r"a list was given, expected a profile.*dft_stats\.build"):
        compare("ours", ["A text."])  # type: ignore[arg-type]


def test_a_profile_differs_from_itself_by_nothing_at_all(tmp_path: Path) -> None:
    reference = profile_of(prose(40), tmp_path / "reference")
    assert {difference.value for difference in compare(reference, reference).differences} <= {0.0, None}
    assert {difference.value for difference in compare("news", "news").differences} == {0.0}


def test_what_no_reference_lists_keeps_a_pruned_profile_from_itself(tmp_path: Path) -> None:
    """Two tenths of the units are in no table: half the rarest row's share is expected of them, by every reference alike."""
    texts = ["a b c d e f g h " + rare for rare in ("v w", "x y")]
    pruned = profile_of(texts, tmp_path / "pruned", min_documents=2)
    expected = 0.8 * np.log2(0.8 / 0.8) + 0.2 * np.log2(0.2 / 0.05)
    total = np.log2(0.85)  # of what the reference expects, which is normalised
    assert nearest(pruned, [pruned]) == [("test", pytest.approx(expected + total))]


def test_nearest_of_a_text_without_a_word(tmp_path: Path) -> None:
    references = [profile_of(["One word."], tmp_path / "b", name="b"), profile_of(["Two."], tmp_path / "a", name="a")]
    strange, empty = (nearest(profile_of([text], tmp_path / "text"), references) for text in ("Zzz", ""))
    assert {name for name, _ in empty} == {"a", "b"}
    assert all(0 < bits < 10 for _, bits in empty)
    assert empty == strange  # nothing that a reference knows


@given(st.integers(2, 50))
def test_more_rare_words_do_not_make_a_reference_nearer(rare: int) -> None:
    """Closed form: what only the larger corpus knows, below the resolution of the smaller one, counts alike for both."""
    common = {"the": 50, "sea": 50}
    small, large = (counts_of(common), counts_of({**{k: 100 * v for k, v in common.items()}, **{f"w{i}": 1 for i in range(rare)}}))
    text = counts_of({f"w{i}": 1 for i in range(rare)})
    near = domain_distances(text, [small, large])
    assert near[0] == pytest.approx(near[1], abs=0.01)


def counts_of(rows: dict[str, int]) -> Counts:
    return from_rows(TOKENS, {(unit,): (number, 1, number, number, number, number) for unit, number in rows.items()})


def test_large_tables_are_aligned_quickly() -> None:
    rows = 100_000
    names = np.array([f"unit{i:06}" for i in range(2 * rows)])
    a, b = (
        of_table(TOKENS, pa.table([pa.array(names[i : i + rows]), *[np.ones(rows, np.int64)] * len(COUNTS)], schema=schema(TOKENS)))
        for i in (0, rows // 2)
    )
    begin = time.process_time()
    assert jensen_shannon_of(align(a, b)) == pytest.approx(0.5)
    assert time.process_time() - begin < 3  # 0.1 s; a loop in Python over a list would take minutes
