"""A text that has a denied name has it masked, however it is typed."""

import re
import sys
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dft_stats.denied import LOOSE_LETTERS, ROW, canonical, find, letters
from dft_stats.masking import EMAIL, NAME, URL, Masks, mask
from dft_stats.text import normalise

CASES = (str.upper, str.lower, str.title, str.casefold, str.swapcase)
OWN = "qzwkQZWKßẞİıſﬃǆŉςΣé"  # letters of names: what stands around them, and masks, have none of these
written = st.lists(
    st.one_of(st.text(OWN, min_size=1, max_size=3), st.sampled_from([*"-–—―…'’“”.,_&!™²> ", "--", "``", " - ", "...", "\u00ad"])),
    min_size=1,
    max_size=8,
).map("".join)
names = written.filter(lambda name: canonical(name) != "")
before = st.sampled_from(["", " ", "_", "__", "> ", "(", "a\n", "“", "a--", "…", "'", "/", "a@", "b. ", "a&", "x://a.b/", "\ufeff"])
behind = st.sampled_from(["", " ", "_", ".", "'d", "\nb", "”", "…", ".docx", "_b", "@b.org", " - b", "™", "²", "’d", ";", "\u0302"])
typographies = pytest.mark.parametrize("typography", ["fold", "keep"])


def told(name: str, text: str, typography: str) -> str:
    """What is left of the letters of a name beside masks."""
    own = {c for case in (str, *CASES) for c in unicodedata.normalize("NFD", case(name)) if c.isalpha()} - set("abʼ")
    (masked,), _ = Masks((name,)).apply([text], typography=typography)
    rest = re.sub(f"{NAME}|{EMAIL}|{URL}|.docx|.org|x://", "", masked)
    return "".join(c for c in unicodedata.normalize("NFD", rest) if c in own)


@typographies
@given(name=names, before=before, behind=behind)
@example(name="“Qz” Wk", before="", behind="")
@example(name="Zq–Wk", before="_", behind="_")
@example(name="Zq - W", before="", behind="")
@example(name="ZqQ…", before="", behind="")
def test_a_name_as_it_is_written(typography: str, name: str, before: str, behind: str) -> None:
    assert told(name, before + name + behind, typography) == ""


@typographies
@given(name=names, case=st.sampled_from(CASES))
@example(name="Großkreutzheim", case=str.upper)
@example(name="İlkergum", case=str.lower)
@example(name="Yıldız", case=str.upper)
def test_a_name_in_any_case(typography: str, name: str, case: Callable[[str], str]) -> None:
    assert told(name, f"({case(name)})", typography) == ""


def test_every_letter_in_any_case() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if character.isalpha() and len({character, *(case(character) for case in CASES)}) > 1:
            assert len({canonical(case(character)) for case in (str, *CASES)}) == 1, hex(code)


words = st.lists(st.text("qzwk", min_size=1, max_size=5), min_size=1, max_size=4)
GAPS = (
    *" \t\n\r\v\f\x85\u2028\u2029\u00a0\u200b-‐–—_'’`´ʼ＇.&",
    "\r\n",
    "\n\n",
    "\n> ",
    "\n> > ",
    "-\n",
    "‐\n",
    " - ",
    ", ",
    "&#39;",
    "&#x27;",
)
GAPS += ("&amp;", "&amp;#39;", "&apos;", "&rsquo;", "&nbsp;", "&ndash;")
UNSEEN = (
    "\u00ad",
    "\u200b",
    "\u200c",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\ufe0f",
    "\u0301",
    "\u034f",
    "\u00ad\n",
    "-\n",
    "-\n> ",
    "&shy;",
    "&#8203;",
)


@typographies
@given(words=words, data=st.data(), line=st.sampled_from(["", "a line of words that is as long as a wrapped line "]))
@example(words=["zorblat", "quinsey"], data=None, line="")
def test_a_name_with_anything_between_its_words_and_unseen_in_them(
    typography: str, words: list[str], data: st.DataObject | None, line: str
) -> None:
    def typed(word: str) -> str:
        place = data.draw(st.integers(1, len(word))) if data else 1
        return word if place == len(word) else word[:place] + (data.draw(st.sampled_from(UNSEEN)) if data else "\u200d") + word[place:]

    text = line + typed(words[0])
    for word in words[1:]:
        text += (data.draw(st.sampled_from(GAPS)) if data else "-") + typed(word)
    for name in (" ".join(words), "-".join(words), "'".join(words)):
        (masked,), number = Masks((name,)).apply([text + " b"], typography=typography)
        assert not set("qzk") & set(masked), text  # "w" is in what stands before
        assert number["names"] == number["names/0"] == 1


@given(words)
def test_full_width_letters(words: list[str]) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) for c in "".join(words))
    assert mask(wide, Masks(("".join(words),)).names)[0] == "Anonym"


@given(st.lists(st.text("abA'_& ", min_size=1, max_size=6), max_size=8), st.text("abA'_&. \n", max_size=30))
def test_what_is_masked_is_what_a_plain_search_finds(given_names: list[str], text: str) -> None:
    """Words of their own, the longest name first, from the left; and nothing else."""
    text, masks = normalise(text), Masks(tuple(given_names))
    found = [(match.group().lower(), *match.span()) for match in re.finditer("[abA]+", text)]
    expected, at, i = "", 0, 0
    while i < len(found):
        own = [size for name in masks.names for size in [len(name.split())] if [w for w, _, _ in found[i : i + size]] == name.split()]
        size = max(own, default=0)
        if size:
            expected, at = f"{expected}{text[at : found[i][1]]}Anonym", found[i + size - 1][2]
        i += max(size, 1)
    assert mask(text, masks.names)[0] == expected + text[at:]


def test_of_names_in_ordinary_words_nothing_is_masked() -> None:
    text = "Joann Annlee, asa and as a; the new man. Bo-\nok. O Neil's x_o_neils, Bärbel"
    assert mask(normalise(text), Masks(("Ann", "Asa x", "Newman", "O'Neils x", "Boo", "Barb")).names)[0] == normalise(text)


def test_many_names_are_one_search() -> None:
    many = tuple(f"{a}{b}{c} {d}" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz" for d in "abcdefghijklmnopqrst")
    masks = Masks(many)
    masked, number = mask("Bku A, jtz t; jtz u", masks.names)
    assert (masked, number["names"]) == ("Anonym, Anonym; jtz u", 2)
    assert len(masks.unseen(many, number)) == len(many) - 2


def test_names_that_no_text_has() -> None:
    masks = Masks(("Jane Roe", "Roe", "jane-roe", "Nobody", "JaneRoe"))
    _, number = masks.apply(["Jane Roe and jane_roe."])
    assert masks.unseen(["Nobody", "Jane Roe", " ", "Roe", "jane-roe"], number) == ["Nobody", "Roe"]


@given(st.lists(st.lists(st.text("qz", min_size=1, max_size=4), max_size=4), max_size=6), st.text("qz", min_size=1, max_size=8))
def test_a_loose_search_joins_the_words_of_each_row(rows: list[list[str]], name: str) -> None:
    def has(row: list[str]) -> bool:
        ends = range(len(row) + 1)
        return any("".join(row[i:j]) == name for i in ends for j in ends if j == i + 1 or (i < j and len(name) >= LOOSE_LETTERS))

    text = "".join(" ".join(row) + ROW for row in rows)
    found = {text.count(ROW, 0, begin) for begin, _, _ in find(text, (name,), is_loose=True)}
    assert found == {i for i, row in enumerate(rows) if has(row)}
    assert letters(canonical(f"{name}!")) == name
