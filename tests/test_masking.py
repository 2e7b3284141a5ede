"""What is masked, and that a masked text is a normalised one."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dft_stats.addresses import emails, urls
from dft_stats.denied import find
from dft_stats.masking import EMAIL, KINDS, URL, Masks, mask
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
    assert not list(find(once, Masks(NAMES).names))
    for begin, end in (*emails(once), *urls(once)):  # a mask, and what stood close behind an address
        assert EMAIL in once[begin:end] or URL in once[begin:end]
    assert not any(unicodedata.category(character)[0] == "N" and character != "0" for character in once)


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
        ("jean.luc@x.org x://a.b/Ann Lee, Ann@x.org", "name@example.com https://example.com, name@example.com", (2, 1, 0, 3)),
        ("⅞ of ⅧⅫ, ௰; 一", "0 of 00, 0; 一", (0, 0, 4, 0)),
        ("No. 4, e.g. that.", "No. 0, e.g. that.", (0, 0, 1, 0)),
    ],
)
def test_what_is_masked(text: str, expected: str, number: tuple[int, ...]) -> None:
    masked, found = Masks(NAMES).apply([text])
    assert masked == [expected]
    assert tuple(found[kind] for kind in KINDS) == number


def test_masks_keep_the_units_of_numbers() -> None:
    before, after = "It cost $1,250.50 at 10:30.", mask("It cost $1,250.50 at 10:30.")[0]
    assert [unit.end for unit in units(before)] == [unit.end for unit in units(after)]
