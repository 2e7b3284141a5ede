"""The definitions, on a text small enough to count by hand."""

from collections import Counter
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.sentences import documents
from dft_stats.statistics import COUNTED, STATISTICS, Statistic
from dft_stats.statistics.entropy import entropy_centibits
from dft_stats.statistics.ngram_frequency import ORDERS
from dft_stats.text import WORD
from tests.strategies import texts

BY_NAME = {statistic.name: statistic for statistic in COUNTED}


def events(name: str, text: str) -> Counter[tuple[object, ...]]:
    (document,) = documents([text])
    return Counter(key for key, _ in BY_NAME[name].events(document))


def test_red_fish_blue_fish_token_frequency() -> None:
    assert events("token_frequency", "red fish blue fish") == {("red",): 1, ("fish",): 2, ("blue",): 1}


def test_red_fish_blue_fish_ngram_frequency() -> None:
    assert events("ngram_frequency", "red fish blue fish") == {
        (2, "red fish"): 1,
        (2, "fish blue"): 1,
        (2, "blue fish"): 1,
        (3, "red fish blue"): 1,
        (3, "fish blue fish"): 1,
        (4, "red fish blue fish"): 1,
    }


def test_red_fish_blue_fish_has_one_sentence_no_mark_and_no_window() -> None:
    assert events("sentence_length", "red fish blue fish") == {("words", 4, -1): 1, ("units", 4, -1): 1}
    assert events("punctuation_rhythm", "red fish blue fish") == {}
    assert events("entropy", "red fish blue fish") == {}
    assert events("surface", "red fish blue fish") == {("red",): 1, (" fish",): 2, (" blue",): 1}


def test_sentence_lengths_and_their_successors() -> None:
    assert events("sentence_length", "One two. Three! ??\n\nFour, five six.") == {
        ("words", 2, -1): 1,
        ("words", 1, -1): 1,
        ("words", 3, -1): 1,
        ("units", 3, -1): 2,
        ("units", 5, -1): 1,
        ("pairs", 2, 1): 1,
        ("pairs", 1, 3): 1,
    }


def test_marks_and_the_gaps_between_them() -> None:
    assert events("punctuation_rhythm", "Well, yes and no. $5, he said") == {
        ("marks", "", -1, "comma"): 2,
        ("marks", "", -1, "period"): 1,
        ("gaps", "opening", 1, "comma"): 1,
        ("gaps", "comma", 3, "period"): 1,
        ("gaps", "period", 1, "comma"): 1,
    }


def test_ngrams_keep_the_spelling_and_stay_inside_the_sentence() -> None:
    assert events("ngram_frequency", "Go, now. Go") == {
        (2, "Go,"): 1,
        (2, ", now"): 1,
        (2, "now."): 1,
        (3, "Go, now"): 1,
        (3, ", now."): 1,
        (4, "Go, now."): 1,
    }


def test_stretches_between_white_space_carry_the_paragraph_break() -> None:
    assert events("surface", 'He said "no".\n\nShe left.') == {
        ("He",): 1,
        (" said",): 1,
        (' "no".\n\n',): 1,
        ("She",): 1,
        (" left.",): 1,
    }


@pytest.mark.parametrize(("types", "bits"), [(1, 0), (2, 1), (4, 2), (32, 5)])
def test_entropy_of_a_window_of_equally_frequent_words(types: int, bits: int) -> None:
    text = " ".join(f"w{i % types}" for i in range(32))
    assert events("entropy", text) == {(32, types, 100 * bits): 1}


def test_entropy_of_an_uneven_window() -> None:
    text = "a " * 24 + "b " * 8
    expected = -(0.75 * log2(0.75) + 0.25 * log2(0.25))
    ((_, types, centibits),) = events("entropy", text)
    assert types == 2
    assert centibits == int(100 * expected)


def test_entropy_windows_do_not_overlap_and_the_rest_is_left_out() -> None:
    (document,) = documents(["a " * 100])
    assert [position for key, position in BY_NAME["entropy"].events(document) if key[0] == 32] == [0, 32, 64]


def test_entropy_folds_case() -> None:
    assert events("entropy", "A a " * 16) == {(32, 1, 0): 1}


@given(st.lists(st.integers(1, 20), min_size=1, max_size=20))
def test_centibits_are_the_entropy_rounded_down(counts: list[int]) -> None:
    window = sum(counts)
    bits = -sum(count / window * log2(count / window) for count in counts)
    assert abs(entropy_centibits(counts, window) - (100 * bits - 0.5)) <= 0.5 + 1e-3


@pytest.mark.parametrize("statistic", COUNTED, ids=lambda statistic: statistic.name)
@given(text=texts)
def test_every_event_has_a_key_of_the_right_shape_and_a_word_position(statistic: Statistic, text: str) -> None:
    types = {"string": str, "int8": int, "int32": int}
    (document,) = documents([text])
    words = sum(unit.kind == WORD for sentence in document for unit in sentence)
    for key, position in statistic.events(document):
        assert [type(part) for part in key] == [types[kind] for kind in statistic.keys.values()]
        assert 0 <= position <= words


@given(texts)
def test_the_statistics_agree_on_how_much_text_there_is(text: str) -> None:
    (document,) = documents([text])
    sizes = [len(sentence) for sentence in document]
    lengths = events("sentence_length", text)
    words = sum(unit.kind == WORD for sentence in document for unit in sentence)
    assert events("token_frequency", text).total() == sum(sizes)
    assert sum(length * number for (series, length, _), number in lengths.items() if series == "words") == words
    for n in ORDERS:
        total = sum(number for (order, _), number in events("ngram_frequency", text).items() if order == n)
        assert total == sum(max(0, size - n + 1) for size in sizes)
    rhythm = events("punctuation_rhythm", text)
    assert sum(n for key, n in rhythm.items() if key[0] == "gaps") == sum(n for key, n in rhythm.items() if key[0] == "marks")
    assert "".join(key[0].strip() * n for key, n in sorted(events("surface", text).items())).count("\n") == 0


@pytest.mark.parametrize("text", ["", "   ", "\r\n\r\n", "\x00"])
def test_an_empty_document_has_no_event(text: str) -> None:
    assert [events(statistic.name, text) for statistic in COUNTED] == [Counter()] * len(COUNTED)


def test_there_are_five_statistics() -> None:
    names = [statistic.name for statistic in STATISTICS]
    assert names == ["token_frequency", "ngram_frequency", "sentence_length", "punctuation_rhythm", "entropy"]
