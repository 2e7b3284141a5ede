"""What another segmenter may change, and what it may not: the laws that the benchmark of segmenters rests on."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from runpy import run_path

from hypothesis import given
from hypothesis import strategies as st

from dft_stats.counts import count
from dft_stats.sentences import RULE, documents, rule_sentences
from dft_stats.statistics import COUNTED
from dft_stats.text import normalise, units
from tests.strategies import nasty_texts, texts

# By its path: a peer that the benchmark runs brings a package of the name `benchmarks` along.
BENCHMARK = run_path(str(Path(__file__).parents[1] / "benchmarks" / "segmenters.py"))
OF_UNITS, with_ends_of = BENCHMARK["OF_UNITS"], BENCHMARK["with_ends_of"]

any_texts = st.one_of(texts, nasty_texts).map(normalise)


def ends_of_rule(text: str) -> list[int]:
    return [sentence[-1].end for sentence in rule_sentences(text)]


@given(any_texts)
def test_the_ends_of_the_rule_give_the_sentences_of_the_rule(text: str) -> None:
    assert with_ends_of("same", "1", ends_of_rule).sentences(text) == rule_sentences(text)


@given(any_texts, st.lists(st.integers(0, 200)))
def test_sentences_end_at_breaks_and_behind_the_unit_of_an_end_and_nowhere_else(text: str, ends: Sequence[int]) -> None:
    sentences = with_ends_of("any", "1", lambda _: ends).sentences(text)
    found = [unit for sentence in sentences for unit in sentence]
    assert all(sentences)
    assert found == units(text)
    lasts = {sentence[-1] for sentence in sentences[:-1]}
    for unit, following in pairwise(found):
        is_end = following.break_before or any(unit.start < end <= following.start for end in ends)
        assert (unit in lasts) == is_end


@given(st.lists(any_texts, min_size=1, max_size=3), st.lists(st.integers(0, 200)))
def test_ends_change_no_statistic_of_units(given_texts: Sequence[str], ends: Sequence[int]) -> None:
    by_rule, by_ends = documents(given_texts, RULE), documents(given_texts, with_ends_of("any", "1", lambda _: ends))
    for statistic in COUNTED:
        if statistic.name in OF_UNITS:
            assert count(statistic, by_rule).table.equals(count(statistic, by_ends).table), statistic.name


def test_ends_change_the_statistics_of_sentences() -> None:
    text, whole = "It rained. We went home.", with_ends_of("whole", "1", lambda text: [len(text)])
    for statistic in COUNTED:
        if statistic.name not in OF_UNITS:
            by_rule, by_ends = (count(statistic, documents([text], segmenter)).table for segmenter in (RULE, whole))
            assert not by_rule.equals(by_ends), statistic.name
