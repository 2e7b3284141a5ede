"""What is masked, and that a masked text is a normalised one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dft_stats.masking import KINDS, Masks, mask
from dft_stats.text import normalise, units
from tests.strategies import texts

ODD = ("a@b.c", "x@y", "www.a.org/b", "http://", "foo.com", "²", "٣", "12", "\u0301", ".", "—", "Ann", "Ann Lee", "o’neil", "@", "/")
masked_texts = st.one_of(texts, st.lists(st.sampled_from((*ODD, " ", "'", "a", "\n\n")), max_size=12).map("".join))
NAMES = ("Ann Lee", "O'Neil", "Ann", "Jean-Luc")


@pytest.mark.parametrize("typography", ["fold", "keep"])
@given(text=masked_texts)
@example(text="x@e.b\u0301 www.m\u0301")
def test_a_masked_text_is_normalised_and_has_no_more_to_mask(typography: str, text: str) -> None:
    (once,), _ = Masks(NAMES).apply([text], typography=typography)
    assert normalise(once, typography=typography) == once
    (twice,), _ = Masks(NAMES).apply([once], typography=typography)
    assert twice == once
    assert not any(character.isdigit() and character != "0" for character in once)


@pytest.mark.parametrize(
    ("text", "expected", "number"),
    [
        ("Write to jane.roe+x@mail.example.co.uk, please.", "Write to name@example.com, please.", (1, 0, 0, 0)),
        ("(jane@roe.org)", "(name@example.com)", (1, 0, 0, 0)),
        ("Write jane@localhost.", "Write name@example.com.", (1, 0, 0, 0)),
        ("See https://a.b/c?d=jane_roe&e=7.", "See https://example.com.", (0, 1, 1, 0)),
        ("See www.roe.name/x, or ftp://roe.", "See https://example.com, or https://example.com.", (0, 2, 0, 0)),
        ('"janeroe.com" and roe.org/~jane!', '"https://example.com" and https://example.com!', (0, 2, 0, 0)),
        ("He left.It was 10:30 on 5 May 1987.", "He left.It was 00:00 on 0 May 0000.", (0, 0, 9, 0)),
        ("Call +44 20 7946 0018, x²", "Call +00 00 0000 0000, x0", (0, 0, 13, 0)),
        ("ANN lee's, Ann’s, Annie, O'NEIL; jean-luc", "Anonym's, Anonym's, Annie, Anonym; Anonym", (0, 0, 0, 4)),
        ("Joann Annlee", "Joann Annlee", (0, 0, 0, 0)),
        ("No. 4, e.g. that.", "No. 0, e.g. that.", (0, 0, 1, 0)),
    ],
)
def test_what_is_masked(text: str, expected: str, number: tuple[int, ...]) -> None:
    masked, found = Masks(NAMES).apply([text])
    assert masked == [expected]
    assert tuple(found[kind] for kind in KINDS) == number


@given(st.lists(st.text("ab' -", min_size=1, max_size=6), max_size=8), st.text("ab' -.", max_size=30))
def test_denied_names_are_what_a_plain_search_finds(names: list[str], text: str) -> None:
    """Words of their own, the longest first, from the left."""
    text, masks = normalise(text), Masks(tuple(names))
    expected, i = "", 0
    while i < len(text):
        starts = i == 0 or not text[i - 1].isalnum()
        own = [n for n in masks.names if starts and text.startswith(n, i) and not text[i + len(n) : i + len(n) + 1].isalnum()]
        expected += "Anonym" if own else text[i]
        i += len(max(own, key=len)) if own else 1
    assert mask(text, masks.names)[0] == expected


def test_masks_keep_the_units_of_numbers() -> None:
    before, after = "It cost $1,250.50 at 10:30.", mask("It cost $1,250.50 at 10:30.")[0]
    assert [unit.end for unit in units(before)] == [unit.end for unit in units(after)]


def test_many_names_are_one_search() -> None:
    names = tuple(f"{a}{b}{c} {d}" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz" for d in "abcdefghijklmnopqrst")
    assert mask("Bku A, jtz t; jtz u", Masks(names).names) == ("Anonym, Anonym; jtz u", {"emails": 0, "urls": 0, "digits": 0, "names": 2})
