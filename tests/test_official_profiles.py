"""What is known of English by genre, asked of the embedded profiles: a profile that gets these wrong was built wrong.

Most can be looked up in Biber et al., Longman Grammar of Spoken and Written English (1999): registers differ in pronouns, past tense,
modals and passives as below.
"""

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dft_stats import list_profiles, load
from dft_stats.compare import compared_counts, discrepancies, floor_at
from dft_stats.profile import Profile
from dft_stats.text import WORD, unit_kind

NAMES = ("academic", "fiction", "legal", "news")
every = pytest.mark.parametrize("name", NAMES)


@cache
def profile(name: str) -> Profile:
    return load(name)


@cache
def summary(name: str) -> dict[str, Any]:
    return profile(name).summary()


@cache
def units(name: str) -> dict[str, int]:
    table = profile(name).table("token_frequency")
    return dict(zip(table["unit"].to_pylist(), table["count"].to_pylist(), strict=True))


def per_1000(name: str, *words: str) -> float:
    return 1000 * sum(units(name).get(word, 0) for word in words) / profile(name).exposure.words


def marks(name: str, mark: str) -> float:
    return float(summary(name)["marks_per_1000_words"][mark])


def ranked(values: dict[str, float]) -> list[str]:
    """Names, the highest value first."""
    return sorted(values, key=lambda name: -values[name])


def by_name(function: Any, *arguments: str) -> list[str]:
    return ranked({name: function(name, *arguments) for name in NAMES})


# --- what holds of all English prose --------------------------------------------------------------------------------------------


def test_these_are_the_embedded_profiles() -> None:
    assert {found.name for found in list_profiles()} == set(NAMES)


@every
def test_the_leads_the_words(name: str) -> None:
    words = ranked({unit: count for unit, count in units(name).items() if unit_kind(unit) == WORD})
    assert words[0] == "the"
    assert {"of", "and", "to", "a", "in"} < set(words[:12])
    assert 40 < per_1000(name, "the", "The") < 90


@every
def test_of_the_leads_the_pairs_of_words(name: str) -> None:
    rows = profile(name).counts("ngram_frequency").rows(2)
    pairs = {text: count for text, count in zip(rows["ngram"].to_pylist(), rows["count"].to_pylist(), strict=True) if text[0].isalpha()}
    assert next(text for text in ranked(pairs) if text[-1].isalpha()) == "of the"


@every
def test_zipf(name: str) -> None:
    assert summary(name)["tokens"]["zipf_exponent"] == pytest.approx(1, abs=0.12)


@every
def test_almost_half_of_the_types_occur_once(name: str) -> None:
    tokens = summary(name)["tokens"]
    assert 0.35 < tokens["hapax"] / tokens["types"] < 0.6


@every
def test_the_comma_and_the_period_lead_the_marks_of_prose(name: str) -> None:
    found = ranked(dict(summary(name)["marks_per_1000_words"]))
    assert {"comma", "period"} <= set(found[:3])  # the third is the quote of fiction, the parenthesis of law


@every
def test_brackets_close(name: str) -> None:
    opened, closed = per_1000(name, "("), per_1000(name, ")")
    assert closed == pytest.approx(opened, rel=0.02)  # "1)" closes what was not opened, ":-)" too


@every
def test_context_tells(name: str) -> None:
    bits = [value for key, value in sorted(summary(name)["entropies_bits"].items()) if key.startswith("conditional")]
    assert all(a > b > 0 for a, b in pairwise(bits))
    assert bits[0] < summary(name)["entropy_bits"]


@every
def test_a_window_has_no_more_bits_than_it_has_words(name: str) -> None:
    for window in (32, 128, 1024):
        assert summary(name)["entropies_bits"][f"window_{window}"] < math.log2(window)


@every
def test_sentence_lengths_are_skewed_and_follow_each_other(name: str) -> None:
    rows = profile(name).counts("sentence_length").rows("words").sort_by("length")
    length, count = rows["length"].to_numpy(), rows["count"].to_numpy()
    median = length[np.searchsorted(np.cumsum(count), count.sum() / 2)]
    found = summary(name)["sentence_length"]
    assert found["mean"] > median
    assert found["lag1"] > 0.05
    assert 0.3 < found["cv"] < 1.2


# --- what tells one kind of writing from another --------------------------------------------------------------------------------


def test_law_has_the_longest_sentences_and_fiction_the_shortest() -> None:
    found = by_name(lambda name: summary(name)["sentence_length"]["mean"])
    assert found == ["legal", "academic", "news", "fiction"]


@pytest.mark.parametrize("mark", ["quote", "question", "exclamation", "comma", "dash", "ellipsis"])
def test_fiction_talks(mark: str) -> None:
    assert by_name(marks, mark)[0] == "fiction"


def test_academic_and_legal_text_is_full_of_parentheses_and_fiction_has_none() -> None:
    found = by_name(marks, "parenthesis")
    assert set(found[:2]) == {"legal", "academic"}  # citations here, the labels of sub-clauses there
    assert found[-1] == "fiction"
    assert marks("academic", "parenthesis") > 3 * marks("news", "parenthesis") > 9 * marks("fiction", "parenthesis")


def test_law_has_the_most_semicolons_and_news_the_fewest() -> None:
    found = by_name(marks, "semicolon")
    assert (found[0], found[-1]) == ("legal", "news")


def test_law_neither_asks_nor_exclaims() -> None:
    assert by_name(marks, "question")[-1] == "legal"
    assert marks("legal", "exclamation") < 0.1


@pytest.mark.parametrize(
    ("words", "leader", "times"),
    [
        (("shall",), "legal", 5),
        (("pursuant",), "legal", 10),
        (("herein",), "legal", 10),
        (("I",), "fiction", 3),
        (("he", "He"), "fiction", 2),
        (("she", "She"), "fiction", 5),
        (("had",), "fiction", 2),
        (("We", "we"), "academic", 2),
        (("results",), "academic", 3),
        (("et",), "academic", 1.5),
        (("said",), "news", 1.5),
        (("government",), "news", 1.2),
    ],
)
def test_words_that_belong_to_one_kind_of_writing(words: tuple[str, ...], leader: str, times: float) -> None:
    found = {name: per_1000(name, *words) for name in NAMES}
    first, second = ranked(found)[:2]
    assert first == leader
    assert found[first] > times * found[second]


def test_academic_words_are_the_longest_and_those_of_fiction_the_shortest() -> None:
    found = by_name(lambda name: float(np.nanmean(profile(name).table("documents")["word_length_mean"].to_numpy().astype(float))))
    assert (found[0], found[-1]) == ("academic", "fiction")


def test_law_repeats_itself() -> None:
    assert by_name(lambda name: summary(name)["entropies_bits"]["window_128"])[-1] == "legal"
    assert by_name(lambda name: summary(name)["entropy_bits"])[-1] == "legal"


# --- what holds of the profiles -------------------------------------------------------------------------------------------------


@every
def test_the_floor_falls_as_samples_grow(name: str) -> None:
    rows = profile(name).table("floor").to_pylist()
    for statistic in {row["statistic"] for row in rows}:
        own = [row["mean"] for row in sorted(rows, key=lambda row: row["words"]) if row["statistic"] == statistic]
        assert len(own) >= 8
        assert own[-1] < 0.5 * own[0]


@every
def test_other_domains_are_farther_than_the_floor(name: str) -> None:
    own, floor = compared_counts(profile(name)), profile(name).table("floor")
    for other in set(NAMES) - {name}:
        for statistic, value in discrepancies(own, compared_counts(profile(other))).items():
            if statistic == "ngram_frequency":  # the rows known to both of two pruned tables are few: a lower bound of the distance
                continue
            assert value > 1.5 * (floor_at(floor, statistic, 256_000) or math.inf), (other, statistic)


@every
def test_what_is_not_free_is_published_as_short_counts_of_many_documents(name: str) -> None:
    found = profile(name)
    if any("counts alone" in source["licence"] for source in found.manifest["sources"]):
        assert max(found.table("ngram_frequency")["n"].to_pylist()) <= 3
        for table in ("token_frequency", "ngram_frequency", "surface"):
            assert min(found.table(table)["documents"].to_pylist()) >= 5


@every
def test_totals_are_those_of_all_rows(name: str) -> None:
    counts = profile(name).counts("token_frequency")
    number, types = counts.frequency_of_frequencies()
    assert counts.total() == (number * types).sum()
    assert counts.types() == types.sum()
    assert summary(name)["words"] < counts.total()
