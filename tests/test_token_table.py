"""How ids are read: by hand, and of many tokens alike as of each alone."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dft_stats import sentences
from dft_stats.doubts import (
    APART,
    BOUND,
    CAPTION,
    GLUED_LOWER,
    GLUED_STARTER,
    JOINS_AS_PERIOD,
    LETTER_TAIL,
    LOWER,
    NO_ABBREVIATION,
    NO_TAIL,
    SHORT,
    STAYS,
)
from dft_stats.sentences import CAPTIONS, TABLES, unit_flags
from dft_stats.stream import LINE_END, PERIOD
from dft_stats.text import MARK_CLASSES
from dft_stats.token_table import _read, token_table
from dft_stats.tokenizer import resolve, special_ids, surfaces
from tests.tokenizers_for_tests import ALL

LISTED = sorted({word for table in TABLES for word in table if word.isalpha()})
LETTERS = st.one_of(
    st.sampled_from(LISTED),
    st.sampled_from(LISTED).map(str.upper),
    st.text("aEioOtTnNxXvVdDkK", min_size=1, max_size=9),
    st.sampled_from(["the", "Zoo", "harbour", "HARBOUR", "toString", "www", "https", "Mfg", "xiv", "internationalisation"]),
    st.text("漢字שלოთªºßñжéÉ\u01c5\u0130ς²", min_size=1, max_size=4),
)
AROUND = st.one_of(
    st.sampled_from(["", " ", ".", "_", " (", "-", "'", "’", "3", ", ", '"', "\n", ").", "é", "É", "漢"]),
    st.sampled_from(["\u212a", "\u0130", "\ufffd", "\0", "§", ":1"]),
    st.text(max_size=2),
)
TOKENS = st.lists(st.tuples(AROUND, LETTERS, AROUND).map("".join) | st.text(max_size=6), min_size=1, max_size=30)


@given(tokens=TOKENS)
@example(tokens=[" zo", " no", ".zoo", ".vol", " zoo", " the", " koo", "\u212akk", "\u212aoo"])
@example(tokens=["漢字", "2", "2\0\0", "22", " 2", "3", "oo", "oo1", "жж", "жж2"])
@example(tokens=["漢字", " 漢字", "שלום", "漢", " ש", "жест", " ñandú", "école", "École", "ж", "ªº", "漢a", "漢ж", "x²"])
@example(tokens=[".to", ".To", ".ToString", ".Harbour", ".Bathhouse", "-non", "-zoo", "bb\u212a", "cc\u212a", "", " "])
def test_how_a_token_is_read_does_not_depend_on_the_others(tokens: list[str]) -> None:
    table = token_table(tokens, [])
    first: dict[str, int] = {}
    for id, text in enumerate(tokens):
        if not text:
            assert (table.words_before[id], table.first_mark[id], table.head[id], table.entropy_type[id]) == (0, -1, APART, -1)
            continue
        row, word = _read(text)
        assert tuple(getattr(table, name)[id] for name in row._fields) == row, text
        assert table.entropy_type[id] == (first.setdefault(word, id) if word else -1), text


def test_a_special_token_is_no_text() -> None:
    table = token_table([" harbour", " bathtub"], [1])
    assert (table.words_before.tolist(), table.entropy_type.tolist(), table.special.tolist()) == ([1, 0], [0, -1], [False, True])


def test_words_marks_and_ends_of_known_tokens() -> None:
    tokenizer = resolve(ALL["llama3"](1200))
    spelt = surfaces(tokenizer)
    table = token_table(spelt, special_ids(tokenizer))
    at = {text: id for id, text in reversed(list(enumerate(spelt)))}
    comma, period = MARK_CLASSES.index("comma"), MARK_CLASSES.index("period")
    assert (table.words_before[at[" the"]], table.glues[at[" the"]], table.tail[at[" the"]]) == (1, False, LETTER_TAIL)
    assert (table.words_before[at["er"]], table.glues[at["er"]]) == (1, True)
    assert (table.first_mark[at[","]], table.end[at[","]], table.words_before[at[","]]) == (comma, 0, 0)
    assert (table.first_mark[at["."]], table.end[at["."]]) == (period, PERIOD)
    assert (table.head[at["."]], table.joiner[at["."]]) == (STAYS, JOINS_AS_PERIOD)
    assert (table.end[at[".\n\n"]], table.head[at[".\n\n"]]) == (LINE_END, APART)
    assert (table.abbreviation[at[" Dr"]], table.abbreviation[at[" the"]]) == (BOUND, NO_ABBREVIATION)
    assert (table.head[at[" the"]], table.head[at["er"]], table.head[at["The"]]) == (LOWER, GLUED_LOWER, GLUED_STARTER)
    assert table.words_before[at["-known"]] == 1
    assert table.glues[at["-known"]]
    assert table.entropy_type[at[" the"]] == table.entropy_type[at["The"]]
    assert table.special[at["<s>"]]
    assert table.special[tokenizer.token_to_id("<think>")]


def test_what_extends_a_character_is_no_word() -> None:
    """Of the letter before, or of the emoji: heart, selector; a family, joined."""
    tokens = ["\ufe0f", "\u200d", "\u0301", "\u00ad", "\ufe0f so", "\ufe0f,", "\u0e17\u0e35\u0e48", "e\u0301", "\u0301clair"]
    tokens.append("\u2764\ufe0f")
    table = token_table(tokens, [])
    assert table.words_before.tolist() == [0, 0, 0, 0, 1, 0, 1, 1, 1, 0]
    assert table.glues.tolist() == [False] * 6 + [True] * 3 + [False]
    assert table.tail.tolist() == [NO_TAIL, NO_TAIL, LETTER_TAIL, LETTER_TAIL, LETTER_TAIL, NO_TAIL, *[LETTER_TAIL] * 3, NO_TAIL]
    assert table.head[:4].tolist() == [STAYS] * 4
    assert table.first_mark[5] == MARK_CLASSES.index("comma")
    assert (table.entropy_type[[0, 1, 2, 3, 5, 9]] == -1).all()


@pytest.mark.parametrize("kind", ALL)
def test_pairs_of_tokens_spell_abbreviations_and_captions(kind: str) -> None:
    tokenizer = resolve(ALL[kind]())
    spelt = surfaces(tokenizer)
    pairs = token_table(spelt, special_ids(tokenizer)).pairs
    assert len(pairs) > 100
    assert len(np.unique(pairs[:, :2], axis=0)) == len(pairs)
    assert (np.diff(pairs[:, 0] * len(spelt) + pairs[:, 1]) > 0).all()
    for first, second, abbreviation, numbering in pairs.tolist():
        word = spelt[first].removeprefix(" ") + spelt[second]
        assert abbreviation or numbering
        assert (numbering == CAPTION) == (word in CAPTIONS)
        assert (abbreviation >= SHORT) == bool(unit_flags(word) & (sentences.BOUND | sentences.SHORT))


def test_typography_folds_where_the_vocabulary_has_the_plain_token() -> None:
    tokenizer = resolve(ALL["sentencepiece"]())
    spelt = surfaces(tokenizer)
    fold = token_table(spelt, special_ids(tokenizer)).fold
    assert spelt[fold[spelt.index("“")]] == '"'
    assert spelt[fold[spelt.index(",")]] == ","
    assert (fold[fold] == fold).all()
