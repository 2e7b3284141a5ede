"""The numbers that characterise a profile, against direct computations on texts."""

import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given

from dft_stats.counts import Counts, count, exposure, prune
from dft_stats.measures import entropy_bits, miller_madow_bits
from dft_stats.sentences import documents
from dft_stats.statistics import STATISTICS
from dft_stats.summary import summarise
from dft_stats.text import MARK_CLASSES, WORD, Document, unit_kind
from tests.prose import documents as prose
from tests.strategies import corpora


def counts_of(segmented: list[Document]) -> dict[str, Counts]:
    return {statistic.name: count(statistic, segmented) for statistic in STATISTICS}


def test_sentence_lengths_are_those_of_the_texts() -> None:
    segmented = documents(prose(20))
    lengths = [[n for s in document if (n := sum(unit.kind == WORD for unit in s))] for document in segmented]
    flat = np.array([length for row in lengths for length in row])
    pairs = np.array([pair for row in lengths for pair in pairwise(row)])
    found = summarise(counts_of(segmented), exposure(segmented))
    assert found["sentence_length"] == pytest.approx(
        {"mean": flat.mean(), "sd": flat.std(), "cv": flat.std() / flat.mean(), "lag1": np.corrcoef(pairs.T)[0, 1]}
    )
    assert (found["documents"], found["sentences"], found["words"]) == (20, len(flat), flat.sum())


def test_marks_and_entropies_are_those_of_the_texts() -> None:
    segmented = documents(prose(20))
    units = [unit for document in segmented for sentence in document for unit in sentence]
    words = [unit.text for unit in units if unit.kind == WORD]
    found = summarise(counts_of(segmented), exposure(segmented))
    for i, name in enumerate(MARK_CLASSES):
        assert found["marks_per_1000_words"][name] == pytest.approx(1000 * sum(unit.kind == i for unit in units) / len(words))
    assert found["entropy_bits"] == pytest.approx(miller_madow_bits(np.unique(words, return_counts=True)[1]))
    windows = [
        row[i : i + 32]
        for document in segmented
        for row in [[unit.text.lower() for sentence in document for unit in sentence if unit.kind == WORD]]
        for i in range(0, len(row) - 31, 32)
    ]
    expected = np.mean([entropy_bits(np.unique(window, return_counts=True)[1]) for window in windows])
    assert found["entropies_bits"]["window_32"] == pytest.approx(expected, abs=0.005)
    assert found["tokens"]["types"] == len({unit.text for unit in units})
    assert found["tokens"]["hapax"] == sum(n == 1 for n in np.unique([unit.text for unit in units], return_counts=True)[1])


def test_red_fish_blue_fish() -> None:
    segmented = documents(["red fish blue fish"])
    found = summarise(counts_of(segmented), exposure(segmented))
    assert found["sentence_length"] == {"mean": 4, "sd": 0, "cv": 0, "lag1": None}
    assert set(found["marks_per_1000_words"].values()) == {0}
    assert found["entropy_bits"] == pytest.approx(1.5 + 2 / 8 / np.log(2))
    assert found["entropies_bits"] == pytest.approx(
        {"conditional_2": np.log2(3) - 1.5, "conditional_3": 1 - np.log2(3), "conditional_4": -1}
    )
    assert found["tokens"] == {
        "units": 4,
        "types": 3,
        "hapax": 2,
        "type_token_ratio": 0.75,
        "zipf_exponent": None,
        "mass_in_table": 1,
    }


def test_pruning_words_changes_no_number_that_the_spectrum_can_save() -> None:
    segmented = documents(prose(20))
    whole = counts_of(segmented)
    rare = {name: pc.less(counts.table["count"], 20) for name, counts in whole.items()}
    units = whole["token_frequency"].table["unit"].to_pylist()
    keep = {"token_frequency": pc.invert(pc.and_(rare["token_frequency"], pa.array([unit_kind(unit) == WORD for unit in units])))}
    keep["ngram_frequency"] = pc.invert(rare["ngram_frequency"])
    pruned = {name: prune(counts, keep[name]) if name in keep else counts for name, counts in whole.items()}
    expected, found = (summarise(counts, exposure(segmented)) for counts in (whole, pruned))
    assert found["tokens"].pop("mass_in_table") < expected["tokens"].pop("mass_in_table") == 1
    assert found["entropy_bits"] == pytest.approx(expected["entropy_bits"])
    assert found["tokens"] == pytest.approx(expected["tokens"])
    assert found["entropies_bits"] == pytest.approx(expected["entropies_bits"])


def test_pruning_takes_rare_symbols_for_words_and_changes_no_other_entropy() -> None:
    """What `entropy_bits` of a pruned profile is: that of the words and of every symbol and mark that was pruned."""
    segmented = documents([*prose(20), "Pay § 5, or ♥ 6?!?! No."])
    whole = counts_of(segmented)
    rare = pc.less(whole["token_frequency"].table["count"], 3)
    pruned = whole | {"token_frequency": prune(whole["token_frequency"], pc.invert(rare))}
    expected, found = (summarise(counts, exposure(segmented)) for counts in (whole, pruned))
    table = whole["token_frequency"].table
    is_word = pa.array([unit_kind(unit) == WORD for unit in table["unit"].to_pylist()])
    assert pc.any(pc.and_(rare, pc.invert(is_word))).as_py()
    taken = table.filter(pc.or_(rare, is_word))["count"].to_numpy()
    assert found["entropy_bits"] == pytest.approx(miller_madow_bits(taken))
    assert found["entropy_bits"] != pytest.approx(expected["entropy_bits"], abs=1e-6)
    assert found["entropy_bits"] == pytest.approx(expected["entropy_bits"], abs=0.1)
    assert found["entropies_bits"] == pytest.approx(expected["entropies_bits"])


@given(corpora)
def test_any_corpus_has_a_summary_without_nan(corpus: list[str]) -> None:
    segmented = documents(corpus)
    found = summarise(counts_of(segmented), exposure(segmented))
    json.dumps(found, allow_nan=False)
    assert found["documents"] == len(corpus)
