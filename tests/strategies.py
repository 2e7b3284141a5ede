"""Texts that are hard to count: what hypothesis draws from."""

from hypothesis import strategies as st

NASTY = (
    *"aZé9.,;:!?'\"-–—()[]/…$%`",
    *("\n", "\r\n", "\n\n", "\r", "\t", " ", "  ", "\x00", "\x07", "\x85", "\u2028", "\u00a0", "\u200b", "\ufeff"),
    *("😀", "👩\u200d👩\u200d👧", "e\u0301", "\u0301", "\u200d", "❤\ufe0f", "日本。", "שלום", "İ", "ß", "ﬁ", "½", "٣", "\ud800"),
    *("’", "“", "”", "«", "''", "``", "--", " - ", "...", ". . .", "‑"),
    *("Dr. ", "U.S. ", "e.g. ", "3.14", "1,000", "[12]", "don't", "well-known", "end.Next", "The ", "of ", "Fig. 2. ", "1. "),
)
LINE = "a line of words as long as wrapped lines are -"
nasty_texts = st.lists(st.sampled_from((*NASTY, LINE)), max_size=40).map("".join)

WORDS = ("the", "The", "cat", "ran", "I", "Mr", "U.S", "don't", "3.5", "well-known", "of", "and", "Cats")
MARKS = ("", "", "", ",", ".", ".", "!", "?", "...", ";", ":", " —", '"', ")", ".\n\n", ". ", "'s")
plain_texts = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(MARKS)), max_size=60).map(
    lambda pairs: " ".join(word + mark for word, mark in pairs)
)
texts = st.one_of(plain_texts, nasty_texts)
corpora = st.lists(texts, max_size=4)
