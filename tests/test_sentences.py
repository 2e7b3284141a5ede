"""The sentence rule: laws of `sentence_end`, and closed forms for law, news, fiction and academic writing."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dft_stats import sentences as sentence_module
from dft_stats.sentences import KIND_SHIFT, LABEL, REACH, TERMINATOR, rule_sentences, sentence_end, sentence_spans, unit_flags
from dft_stats.text import WORD, unit_kind, units
from tests.strategies import nasty_texts, texts

WORDS = "The a b ii said Tom I Mr no No etc U.S Inc v p.m Section Art 1 2.1 1999 law.12 end Image ; , — § [ ] ( ) \" ' ”"
PIECES = (*WORDS.split(), ". ", ".", "? ", "!", "... ", ": ", " ", " ", " ", "\n\n", ". [1", "[a ", "]\n\n", ". (", " (b) ", '." — ')
runs = st.tuples(st.sampled_from(PIECES), st.sampled_from((1, 1, 1, 2, 20))).map(lambda pair: pair[0] * pair[1])
marked_texts = st.lists(runs, max_size=60).map("".join)
any_texts = st.one_of(texts, nasty_texts, marked_texts)

Places = tuple[list[int], list[bool], list[bool]]


def places(text: str) -> Places:
    found = units(text)
    return [unit_flags(unit.text) for unit in found], [unit.space for unit in found], [unit.break_before for unit in found]


@given(any_texts)
def test_sentences_partition_the_units_and_none_crosses_a_break(text: str) -> None:
    sentences = rule_sentences(text)
    assert [unit for sentence in sentences for unit in sentence] == units(text)
    assert all(sentences)
    assert not any(unit.break_before for sentence in sentences for unit in sentence[1:])


@example("It is. [1\n\n2] It is.")
@example("It is. [a\n\n] It is.")
@given(any_texts)
def test_the_end_lies_at_the_terminator_or_behind_it_in_its_line(text: str) -> None:
    flags, space, breaks = places(text)
    for i in range(len(flags)):
        if flags[i] & TERMINATOR:
            last = sentence_end(flags, space, breaks, i, len(flags))
            before_label = flags[i] & LABEL and last == i - 1
            assert last == -1 or before_label or i <= last <= min(i + REACH, len(flags) - 1)
            assert not any(breaks[i + 1 : last + 1])


FAR = "It ended." + "')" * 3 + "' [1] [2] (" + "word " * 50 + ")"  # the longest tail that may belong to a sentence


class Watched(Sequence[int]):
    """A sequence that remembers which places were asked for."""

    def __init__(self, items: Sequence[int], asked: set[int]) -> None:
        self.items, self.asked = items, asked

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, at: Any) -> Any:
        self.asked.add(at)
        return self.items[at]


@example(FAR)
@example(FAR.replace("word ", "Word "))
@given(any_texts)
def test_the_end_depends_on_no_unit_farther_than_reach(text: str) -> None:
    flags, space, breaks = places(text)
    for i in range(len(flags)):
        if flags[i] & TERMINATOR:
            asked: set[int] = set()
            sentence_end(Watched(flags, asked), Watched(space, asked), Watched(breaks, asked), i, len(flags))
            assert max(i - REACH, 0) <= min(asked, default=i)
            assert max(asked, default=i) <= min(i + REACH, len(flags) - 1)


def test_reach_is_no_more_than_twice_what_is_used() -> None:
    flags, space, breaks = places(FAR)
    asked: set[int] = set()
    sentence_end(Watched(flags, asked), space, breaks, 2, len(flags))
    assert max(asked) > 2 + REACH // 2


@given(any_texts)
def test_flags_fit_32_bits_and_carry_the_kind(text: str) -> None:
    for unit in units(text):
        flags = unit_flags(unit.text)
        assert 0 <= flags < 1 << 31
        assert (flags >> KIND_SHIFT) + WORD - 1 == unit_kind(unit.text)


def test_sentence_end_uses_integers_of_its_module_alone_so_that_it_compiles() -> None:
    code = sentence_end.__code__
    assert code.co_freevars == ()
    assert code.co_names
    assert all(type(getattr(sentence_module, name)) is int for name in code.co_names)


def sentences(text: str) -> list[str]:
    return [text[begin:end] for begin, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "text",
    [
        "The claim fails. | See Roe v. Doe, 1 F.3d 2, 3 (9th Cir. 1999). | Id. at 12. | We affirm.",
        "The motion was timely. | Fed. R. Civ. P. 12(b)(6). | Cf. Doe v. Roe, Inc., 12 F. Supp. 2d 34 (S.D.N.Y. 1998).",
        "He sued under 42 U.S.C. § 1983 and Pub. L. No. 99-1, 100 Stat. 22 (1986). | The court dismissed.",
        "See, e.g., Roe v. Doe Corp., No. 12-345, slip op. at 6 (D.C. Cir. Mar. 3, 2001), aff'd, 5 U.S. 6 (2003); Poe v. Moe (Md. 1940).",
        "It is settled. | Roe, 1 F.3d at 4 (citing Doe v. Poe, 2 U.S. 3 (1901)) (emphasis added). | So it is here.",
        'The statute is plain. (emphasis added). | It "governs." | Doe v. Roe, 3 P.2d 4 (Tex. App. 1990).',
        "The text so provides. | (App. at 12.) | We agree.",
        "He waived the point.7 | See J. Smith et al. v. Jones, 8 F.3d 9 (1st Cir. 1993). | It was lost.",
        'The rule is "not absolute."3 | It yields.',
        "They met 35 U.S.C. 101 et seq. and moved on.",
    ],
)
def test_citations_are_sentences_of_their_own_and_hold_together(text: str) -> None:
    assert sentences(text.replace(" |", "")) == text.split(" | ")


@pytest.mark.parametrize(
    "text",
    [
        "Section 3.2. Term. | The Term begins today. | Section 3.3. Notices. | All go by post.",
        "1.1 Rent. | Tenant pays rent. | It is due monthly.",
        "2. Fees. | None are due. | 3. Law. | Ohio law governs.",
        "Art. IV. Powers. | The board may act.",
        "(a) Notices. | Notices are in writing. | (b) Waiver. | (i) No waiver binds a party. | (ii) A party may waive.",
        "(a) Powers. | — (1) In general. | — The board may act.",
        "The price is as set out in Exhibit A. | 4. Terms. | All stand.",
        "The seller shall (a) deliver the goods; (b) insure them; and (c) send an invoice. | The buyer pays.",
        "As used in Section 3.2. | The rest stands.",
        'Acme Corp. (the "Seller"), a firm of Dover, Del., and Zeta L.P. ("Buyer") agree. | Closing is on Jan. 5.',
        "The license (“License”) is granted to Acme Inc. | The License is personal.",
        "Mr. J. Smith signs for Acme Co. of Ohio.",
        "Notice goes to A. B. Poe, Esq. at 1 Main St. Dover. | He replies.",
    ],
)
def test_clauses_headings_and_enumerators_of_statutes_and_contracts(text: str) -> None:
    assert sentences(text.replace(" |", "")) == text.split(" | ")


@pytest.mark.parametrize(
    "text",
    [
        '"Why?" Tom asked. | "I left." | Tom said nothing.',
        '"Are you sure?" I ask. | "Yes!" Mr. Brown cried.',
        "He was born in Rome (b. March 1901) and died there (d. 1990). | His wife lived on.",
        "He played in Viva! (1965), and then left.",
        "It met at 5 p.m. Tuesday. | It ended at 9 p.m. | Police said so.",
        "Milk, eggs, etc. | Nobody paid.",
        "Critics used IE. | Its maker replied.",
        "Phones sell well. | iPhones sell best.",
        "It rained for a week. 8 | Yet some crops grew.",
        "So it was found. [12] [citation needed] | Others differ.",
        "I must leave. | it is late.",
        "Great . . . | This is it ! !",
        '"We will win." — Ann Smith',
        "A crowd in Rome | Image: Ann Smith.",
        "Mm. | Okay then.",
        "Vitamin C. | The other is Mfg. Co. of Ohio.",
        "The plan works.Next comes the bill.",
    ],
)
def test_speech_dates_notes_and_other_prose(text: str) -> None:
    expected = ["The plan works.", "Next comes the bill."] if ".Next" in text else text.split(" | ")
    assert sentences(text.replace(" |", "")) == expected
