"""The text model: what a sentence and a unit are, and that nothing of a text is lost or counted twice."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dft_stats.sentences import RULE, documents, sentence_spans
from dft_stats.text import MARK_CLASSES, NEWLINE, SPACE, SYMBOL, WORD, character_kind, normalise, unit_kind, units, unwrap
from tests.strategies import nasty_texts, texts


def is_space(character: str) -> bool:
    return character_kind(character) in (SPACE, NEWLINE)


def sentences(text: str) -> list[str]:
    return [text[begin:end] for begin, end in sentence_spans(text)]


@given(texts, st.sampled_from(["fold", "keep"]))
def test_normalise_is_idempotent(text: str, typography: str) -> None:
    once = normalise(text, typography=typography)
    assert normalise(once, typography=typography) == once


@given(nasty_texts)
def test_normalise_leaves_single_spaces_and_paragraphs_only(text: str) -> None:
    found = normalise(text)
    assert found == found.strip()
    assert "  " not in found
    assert "\n\n\n" not in found
    assert "\n" not in found.replace("\n\n", "")
    assert not set(found) & {"\r", "\t", "\x00", "\x85", "\u2028", "“", "’"}
    found.encode()  # no lone surrogate is left


def test_normalise_folds_typography_on_demand() -> None:
    text = "“It’s here” – he said… 1990–95 -- so"
    assert normalise(text) == '"It\'s here" — he said... 1990-95 — so'
    assert normalise(text, typography="keep") == text
    with pytest.raises(ValueError, match="fold"):
        normalise(text, typography="other")


def test_wrapped_lines_are_joined_and_short_lines_are_not() -> None:
    wrapped = "A line that is as long as those of a wrapped text usually are,\nand its end."
    assert normalise(wrapped) == wrapped.replace("\n", " ")
    assert normalise("Title\nText") == "Title\n\nText"
    assert unwrap("a\r\nb") == "a \nb"


@given(texts)
def test_unwrap_keeps_the_length_so_that_offsets_hold(text: str) -> None:
    assert len(unwrap(text)) == len(text)


@given(texts)
def test_units_are_ordered_disjoint_and_leave_out_white_space_alone(text: str) -> None:
    position = 0
    for unit in units(text):
        assert all(map(is_space, text[position : unit.start]))
        assert unit.text == text[unit.start : unit.end] != ""
        assert not any(map(is_space, unit.text))
        assert unit.kind in (WORD, SYMBOL, *range(len(MARK_CLASSES)))
        position = unit.end
    assert all(map(is_space, text[position:]))


@given(texts)
def test_sentence_spans_are_ordered_disjoint_and_cover_every_character_that_is_no_space(text: str) -> None:
    position = 0
    for begin, end in sentence_spans(text):
        assert position <= begin < end <= len(text)
        assert all(map(is_space, text[position:begin]))
        assert not is_space(text[begin])
        assert not is_space(text[end - 1])
        position = end
    assert all(map(is_space, text[position:]))


@given(texts)
def test_a_unit_as_text_has_the_kind_that_it_has_in_its_document(text: str) -> None:
    for document in documents([text]):
        for sentence in document:
            for unit in sentence:
                assert unit_kind(unit.text) == unit.kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t ", []),
        ("word", ["word"]),
        ("no full stop", ["no full stop"]),
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Title\n\nText.", ["Title", "Text."]),
        ("A line.\r\n\r\nNext.", ["A line.", "Next."]),
        ("Dr. Smith met Mr. Jones. They talked.", ["Dr. Smith met Mr. Jones.", "They talked."]),
        ("He lives in the U.S. The house is old.", ["He lives in the U.S.", "The house is old."]),
        ("It cost 3.14 dollars. Cheap.", ["It cost 3.14 dollars.", "Cheap."]),
        ('"Stop!" she cried. He did.', ['"Stop!" she cried.', "He did."]),
        ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
        ("So it was found.[12] Others differ.", ["So it was found.[12]", "Others differ."]),
        ("See e.g. Smith. It holds.", ["See e.g. Smith.", "It holds."]),
        ("Wait... what? Yes.", ["Wait... what?", "Yes."]),
        ("😀 Hi! 😀", ["😀 Hi!", "😀"]),
        ("a\x00day. C", ["a\x00day.", "C"]),
    ],
)
def test_sentences_of_rule_version_2(text: str, expected: list[str]) -> None:
    assert RULE.version == "2"
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't well-known U.S. 3.14 1,000 10:30", ["don't", "well-known", "U.S", ".", "3.14", "1,000", "10:30"]),
        ("end.Next", ["end", ".", "Next"]),
        ("a,b", ["a", ",", "b"]),
        ("wait... what?!", ["wait", "...", "what", "?", "!"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("👩\u200d👩 ❤\ufe0f", ["👩\u200d👩", "❤\ufe0f"]),
        ("$5 (100%)", ["$", "5", "(", "100", "%", ")"]),
    ],
)
def test_units_of_rule_version_2(text: str, expected: list[str]) -> None:
    assert [unit.text for unit in units(text)] == expected


@example("a. b")
@given(texts)
def test_a_blank_line_always_ends_a_sentence(text: str) -> None:
    both = sentence_spans("x" + "\n\n" + text)
    assert both[0] == (0, 1)


def test_a_long_line_takes_linear_time() -> None:
    text = "word, " * 20_000  # a quadratic step would take minutes
    (document,) = documents([text])
    assert sum(map(len, document)) == 40_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".…", "..."),
        ("and so on . . . . he said", "and so on ... he said"),
        ("a line as long as those of wrapped texts are -\nand its end", "a line as long as those of wrapped texts are — and its end"),
    ],
)
def test_normalise_sees_dashes_and_ellipses_whole(text: str, expected: str) -> None:
    assert normalise(text) == normalise(expected) == expected
