"""The table `spelling` and `surface` together are the text, and tell no more than enough documents say."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dft_stats.build import spelling as compiled
from dft_stats.build import told_parts
from dft_stats.chunks import encode_stretches, join
from dft_stats.counts import Counts, count, exposure, prune
from dft_stats.measures import jensen_shannon_bits
from dft_stats.sentences import documents
from dft_stats.spelling import SCHEMA, Known, Spelling, in_told_parts, opened, runs, spell
from dft_stats.statistics import SURFACE, TOKEN_FREQUENCY
from dft_stats.tokenizer import resolve, vocabulary_size
from tests.prose import documents as prose
from tests.tokenizers_for_tests import ALL

ODD = ["Zanzibarian,", '"Quokka-like"', "£12,345.67", "O'Brien's", "\u0301x", "İstanbul", "((!", "naïve", "ΟΔΟΣ", "Σσς", "…—…", "x²", "_a_"]
RARE = ["Zanzibar quokkas yodel at 31415926 (or 27182818?!).", "A quokka-wombat yodelled: Kookaburra's £9,876!\n\nOne yodeller."]
STRETCH = st.one_of(st.sampled_from(ODD), st.text(min_size=1, max_size=12).filter(lambda s: not any(map(str.isspace, s))))


@pytest.fixture(scope="module")
def counted() -> tuple[Counts, Counts, list[list[list[object]]]]:
    found = documents([*prose(40), *RARE])
    return count(SURFACE, found), count(TOKEN_FREQUENCY, found), found


def kept(surface: Counts, documents: int = 20) -> np.ndarray:
    return surface.table["documents"].to_numpy() >= documents


@given(text=STRETCH, space=st.booleans(), closes=st.booleans(), known=st.lists(STRETCH, max_size=5))
def test_parts_joined_are_the_stretch(text: str, space: bool, closes: bool, known: list[str]) -> None:
    stretch = " " * space + text + "\n\n" * closes
    assert "".join(Known(known).parts(stretch)) == opened(stretch)
    assert "".join(marks + word for marks, word in runs(text)) == text


@given(text=STRETCH, known=st.lists(STRETCH, max_size=5))
def test_what_is_known_is_not_cut_inside_a_word(text: str, known: list[str]) -> None:
    parts = Known([*known, text]).parts(text)
    letters = [word for _, word in runs(text) if word[:1].isalpha()]
    assert letters == [word for part in parts for _, word in runs(part.strip()) if word[:1].isalpha()]


@given(
    rows=st.lists(st.tuples(st.booleans(), STRETCH, st.booleans(), st.integers(1, 9), st.booleans()), max_size=12),
    known=st.lists(STRETCH, max_size=8),
)
def test_the_compiled_one_finds_the_same_rows(rows: list[tuple[bool, str, bool, int, bool]], known: list[str]) -> None:
    stretches = [" " * space + text + "\n\n" * closes for space, text, closes, _, _ in rows]
    counts, told = [row[3] for row in rows], [row[4] for row in rows]
    reference, fast = Spelling(known), compiled.Spelling()
    for stretch, count_, is_told in zip(stretches, counts, told, strict=True):
        reference.add(stretch, count_, is_told=is_told)
    fast.know(pa.array(known, pa.large_string()))
    for part in (slice(0, 5), slice(5, None)):
        fast.add(pa.array(stretches[part], pa.large_string()), np.array(counts[part], np.int64), np.array(told[part], bool))
    assert fast.table().equals(reference.table())
    assert len(fast) == len(reference)


def test_the_rows_of_stretches_that_were_added_are_their_parts(counted: tuple[Counts, Counts, object]) -> None:
    """Of more than are looked at together; and nothing is counted twice."""
    own = counted[0].table["surface"].to_pylist()
    stretches = [f"{text.rstrip()}{number}{text[len(text.rstrip()) :]}" for number in range(60) for text in own]
    assert len("".join(stretches)) > 100_000
    told, texts = np.arange(len(stretches)) % 7 == 0, pa.array(stretches, pa.large_string())
    fast = compiled.Spelling()
    fast.know(pa.array(own, pa.large_string()))
    fast.add(texts, np.ones(len(stretches), np.int64), told)
    before = fast.table()
    begins, rows = fast.rows_of(texts, told)
    parts = fast.rows()[0].take(pa.array(rows)).to_pylist()
    assert ["".join(parts[begin:end]) for begin, end in pairwise(begins.tolist())] == [opened(stretch) for stretch in stretches]
    assert fast.table().equals(before)
    assert sum(before["count"].to_pylist()) == len(rows)


@pytest.mark.parametrize("floor", [1, 2, 30])
def test_every_character_and_every_stretch_is_in_one_of_the_two(floor: int, counted: tuple[Counts, Counts, object]) -> None:
    surface, tokens, _ = counted
    chosen = kept(surface)
    table = spell(surface, tokens, chosen, floor)
    assert table.schema == SCHEMA
    assert table["spelling"].to_pylist() == sorted(set(table["spelling"].to_pylist()))

    def characters(rows: pa.Table, column: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for text, number in zip(rows[column].to_pylist(), rows["count"].to_pylist(), strict=True):
            for character in text.strip("\n"):
                found[character] += number
        return found

    assert characters(table, "spelling") == characters(surface.table.filter(pa.array(~chosen)), "surface")
    begins = [row["count"] for row in table.to_pylist() if row["spelling"][0] in " \n"]
    assert sum(begins) == surface.table["count"].to_numpy()[~chosen].sum()


def test_no_row_tells_what_too_few_documents_say(counted: tuple[Counts, Counts, object]) -> None:
    surface, tokens, _ = counted
    table = spell(surface, tokens, kept(surface), 2)
    common = surface.table.filter(pa.array(kept(surface, 2)))["surface"].to_pylist()
    units = tokens.table.filter(pa.array(tokens.table["documents"].to_numpy() >= 2))["unit"].to_pylist()
    said = "\n".join([*common, *units])
    for row in table["spelling"].to_pylist():
        for marks, word in runs(row.strip()):
            assert len(marks) <= 1 or marks in said, row
            assert len(word) <= 1 or word.lower() in said.lower() or (word.isdecimal() and len(word) <= 3), row
    assert "yodel" not in said
    assert "31415926" not in "".join(table["spelling"].to_pylist())
    whole = spell(surface, tokens, kept(surface), 1)["spelling"].to_pylist()
    assert " quokkas" in whole
    assert "\n\nZanzibar" in whole


@pytest.mark.parametrize("kind", ALL)
def test_pruned_with_spelling_compiles_to_the_same_tokens(kind: str, counted: tuple[Counts, Counts, object]) -> None:
    surface, tokens, found = counted
    tokenizer = resolve(ALL[kind]())
    exposed = exposure(found)  # type: ignore[arg-type]

    def frequency(kept_rows: np.ndarray, floor: int) -> np.ndarray:
        rest = spell(surface, tokens, kept_rows, floor)
        chunks = encode_stretches(join(prune(surface, pa.array(kept_rows)), rest, exposed, 128), tokenizer)
        assert chunks.variance.min() >= 0
        assert chunks.weights.sum() == pytest.approx(surface.total() + sum(
            row["count"] for row in rest.to_pylist() if row["spelling"][0] not in " \n"
        ))  # fmt: skip
        counted_tokens = np.bincount(chunks.ids, chunks.weights[chunks.owner], vocabulary_size(tokenizer))
        return counted_tokens / counted_tokens.sum()

    everything = frequency(np.ones(len(surface.table), bool), 1)
    assert np.abs(frequency(kept(surface), 1) - everything).sum() < 1e-12
    assert jensen_shannon_bits(everything, frequency(kept(surface), 2)) < 0.002


@given(st.lists(st.tuples(st.text("ab é\n0", min_size=1, max_size=9), st.booleans()), max_size=12, unique_by=lambda row: row[0]))
@example([(" abc\n\n", False), (" a", True), ("bc\n\n", True), (" ab", True), ("c\n\n", True)])
def test_parts_that_may_be_told_are_those_of_the_reference(rows: list[tuple[str, bool]]) -> None:
    texts, is_told = [text for text, _ in rows], np.array([own for _, own in rows], np.bool_)
    told = {text for text, own in rows if own}
    expected = [[text] if text in told else in_told_parts(text, told) for text in texts]
    parts, begins, found = told_parts.in_told_parts(pa.array(texts, pa.large_string()), is_told)
    spelt = parts.to_pylist()
    assert len(set(spelt)) == len(spelt)
    assert [[spelt[i] for i in found[begin:end]] for begin, end in pairwise(begins)] == expected
