"""What only the next token tells: whether a stop ended a sentence, and whether a mark stood inside a word.

A reader of tokens decides at the token, so that who predicts the token has the credit, and takes back at the next one what proves wrong:
"3." is a sentence end and a period until "14" comes. What the next token can prove depends on its *head* alone, so that all of it is two
small tables. They follow `dft_stats.sentences.sentence_end` and `dft_stats.text.units` as far as one token of lookahead goes.
"""

import numpy as np
from numpy.typing import NDArray

# Heads: how a token begins. What is glued stands behind a space `SPACED - GLUED` further on.
(
    APART,  # a line end, or nothing that can be read
    STAYS, STAYS_APART,  # nothing but quotes, brackets and stops, which leave the doubt for the next one; the latter with a space in front
    GLUED_LOWER, GLUED_STARTER, GLUED_CAPITAL, GLUED_DIGIT, GLUED_MARK,
    LOWER, STARTER, CAPITAL, DIGIT, MARK,
) = range(13)  # fmt: skip
HEADS = 13
_GLUED = (GLUED_LOWER, GLUED_STARTER, GLUED_CAPITAL, GLUED_DIGIT, GLUED_MARK)
SPACED = LOWER - GLUED_LOWER

# Tails: the last character of a token, if a word can go on behind it.
NO_TAIL, LETTER_TAIL, UPPER_TAIL, DIGIT_TAIL = range(4)

# Joiners: tokens that are one mark, and between two characters of a word part of it. From JOINED on tokens that end in such a mark, with
# the character before it ("pre-", "3,"): JOINED + row of `CONTINUES`.
NO_JOINER, JOINS_DIGITS, JOINS_AS_PERIOD, JOINS, JOINED = range(5)  # "," ":"; "." but for "end.Next"; "'" "-"

# Abbreviations: what the word before a period says of it, where that word begins in the token.
NO_ABBREVIATION, BEFORE_NUMBER, SHORT, BOUND = range(
    4
)  # an end unless a number or sign follows; only before a word that begins sentences; never

# Numberings: alone where a line, an item or a sentence begins, they are part of what they number ("II.", "Section 3.2.").
NO_NUMBERING, NUMBER, CAPTION = range(3)

# Doubts: what the last stop leaves open.
NO_DOUBT, STOP, STOP_OF_WORD, STOP_BEFORE_NUMBER, NO_STOP = range(5)
DOUBTS = 5


def _table(rows: dict[int, tuple[int, ...]], size: int) -> NDArray[np.bool_]:
    table = np.zeros((size, HEADS), bool)
    for row, heads in rows.items():
        table[row, list(heads)] = True
    return table


_GOES_ON = (*_GLUED, LOWER)
_BEHIND = _table(
    {
        STOP: _GOES_ON,
        STOP_OF_WORD: (GLUED_LOWER, GLUED_MARK, LOWER),  # "end.Next" lacks a space, "law.12" is a footnote
        STOP_BEFORE_NUMBER: (*_GOES_ON, DIGIT, MARK),  # "Id. § 5"
        NO_STOP: (STARTER,),
    },
    DOUBTS,
)
_BEHIND_SPACE = _BEHIND.copy()
_BEHIND_SPACE[:, list(_GLUED)] = _BEHIND[:, [head + SPACED for head in _GLUED]]
TURNS = np.stack([_BEHIND, _BEHIND_SPACE], 1)
"""(doubts, 2, heads): the token shows that the stop ended no sentence, or for NO_STOP that it did. Second axis: a token with a space at its
beginning stood between the stop and this one."""

CONTINUES = _table({1: (GLUED_DIGIT,), 2: (GLUED_LOWER, GLUED_DIGIT), 3: _GLUED[:4]}, 4)
"""(links, heads): the token shows that the mark before it stood inside a word."""
LINKS = np.zeros((JOINED + len(CONTINUES), 4), np.int64)
"""(joiners, tails): which row of `CONTINUES` holds behind a joiner that stands behind such a tail."""
LINKS[JOINS_DIGITS, DIGIT_TAIL] = 1
LINKS[JOINS_AS_PERIOD, LETTER_TAIL] = 2
LINKS[JOINS_AS_PERIOD, UPPER_TAIL:] = 3
LINKS[JOINS, LETTER_TAIL:] = 3
LINKS[JOINED:] = np.arange(len(CONTINUES))[:, None]

PERIOD_DOUBTS = np.full((4, 4), STOP)
"""(abbreviations, tails): the doubt about a period."""
PERIOD_DOUBTS[NO_ABBREVIATION, LETTER_TAIL] = STOP_OF_WORD
PERIOD_DOUBTS[BEFORE_NUMBER], PERIOD_DOUBTS[SHORT], PERIOD_DOUBTS[BOUND] = STOP_BEFORE_NUMBER, NO_STOP, NO_DOUBT
