"""How a stream of token ids is read: the reference, one token at a time. `dft_stats.loss` reads the same in parallel.

A token is `words_before` word beginnings, its marks, a sentence end perhaps, then `words_after` word beginnings (see `TokenTable`). What is
read depends on four things that stand before it: the age of the sentence in words, the previous mark, the gap in words since that mark,
and whether a word is open that the token may continue.

Whether a stop ends a sentence and whether a mark stands inside a word ("3.14") only the next token tells. It is counted where it stands, as
it looks there, and the next token takes it back (see `dft_stats.doubts`): counts are sums of events of weight 1 and -1.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import log2

import numpy as np
from numpy.typing import NDArray

from dft_stats.compiled import CompiledProfile, TokenTable
from dft_stats.doubts import (
    CAPTION,
    CONTINUES,
    GLUED_DIGIT,
    GLUED_LOWER,
    JOINED,
    LETTER_TAIL,
    LINKS,
    NO_ABBREVIATION,
    NO_DOUBT,
    NO_NUMBERING,
    NO_STOP,
    NUMBER,
    PERIOD_DOUBTS,
    SHORT,
    STAYS,
    STAYS_APART,
    STOP,
    STOP_OF_WORD,
    TURNS,
)
from dft_stats.text import MARK_CLASSES

OPENING = len(MARK_CLASSES)
"""Index of the mark that every document begins with."""
COLON, SEMICOLON = MARK_CLASSES.index("colon"), MARK_CLASSES.index("semicolon")
CONTEXT = 8
"""Tokens that a state remembers: n-grams are shorter than that."""
NO_END, PERIOD, OTHER_STOP, LINE_END = range(4)  # values of TokenTable.end


@dataclass(frozen=True, slots=True)
class State:
    """What a reader knows before a token."""

    age: int = 0  # words since the last sentence end
    opening: int = 0  # words, captions apart, since a line, an item or a sentence may have begun
    previous: int = OPENING  # class of the last mark
    gap: int = 0  # words since that mark
    tail: int = 0  # of the word that is open
    abbreviation: int = NO_ABBREVIATION  # what the last word says of a period
    numbering: bool = False  # the last word is a number, or the last of one
    first: int = -1  # the last token, if a word begins in it
    context: tuple[int, ...] = ()  # folded ids since the opening of the document, the last `CONTEXT` of them

    # What the token may prove wrong.
    doubt: int = NO_DOUBT  # about a stop
    other_age: int = 0  # if it does
    spaced: bool = False  # a space stands between the stop and the token
    noted: bool = False  # nothing but the digits of a footnote may, as in "law.12"
    link: int = 0  # row of CONTINUES
    behind: tuple[int, int, int, int] = (OPENING, 0, 0, 0)  # previous mark, gap, opening and tail before the last mark


@dataclass(frozen=True, slots=True)
class Effect:
    """What one token does at one state. Last in the events: 1, or -1 where one is taken back."""

    before: int  # word beginnings before its marks
    after: int  # and behind them
    marks: tuple[tuple[int, int, int, int], ...]  # (previous mark, gap in words, mark, sign)
    ends: tuple[tuple[int, int], ...]  # (length of the sentence in words, sign)


def reread(table: TokenTable, state: State, token: int) -> State:
    """The state before `token` as it shows it to be."""
    head = table.head[token]
    if TURNS[state.doubt, int(state.spaced), head]:
        state = replace(state, age=state.other_age)
    if CONTINUES[state.link, head]:
        previous, gap, opening, tail = state.behind
        state = replace(state, previous=previous, gap=gap, opening=opening, tail=tail)
    stays = head in (STAYS, STAYS_APART) or (state.noted and _is_note(table, token))
    return state if stays else replace(state, doubt=NO_DOUBT)


def is_excused(state: State) -> bool:
    """Whether a period, as far as one can see, ends no sentence here."""
    return state.abbreviation >= SHORT or is_numbering(state)


def is_numbering(state: State) -> bool:
    """Whether the last word is a number alone in front of what it numbers."""
    return state.numbering and state.opening == 1 and not state.noted


def _is_note(table: TokenTable, token: int) -> bool:
    return bool(table.head[token] == GLUED_DIGIT and table.numbering[token] == NUMBER)


def effect(table: TokenTable, state: State, token: int) -> Effect:
    """What `token` does after `state`. Special tokens do nothing."""
    if table.special[token]:
        return Effect(0, 0, (), ())
    read, marks, ends = reread(table, state, token), list[tuple[int, int, int, int]](), list[tuple[int, int]]()
    if CONTINUES[state.link, table.head[token]]:
        marks.append((*state.behind[:2], state.previous, -1))
    if read.age != state.age:
        ends.append((max(read.age, state.age), 1 if state.doubt == NO_STOP else -1))
    before = max(0, int(table.words_before[token]) - int(bool(table.glues[token]) and read.tail > 0))
    first, last = int(table.first_mark[token]), int(table.last_mark[token])
    if first >= 0:
        marks.append((read.previous, read.gap + before, first, 1))
    if last >= 0:
        marks.append((first, 0, last, 1))
    if _ends(table, read, token) and read.age + before:
        ends.append((read.age + before, 1))
    return Effect(before, int(table.words_after[token]), tuple(marks), tuple(ends))


def _ends(table: TokenTable, read: State, token: int) -> bool:
    return bool(table.end[token] > PERIOD or (table.end[token] == PERIOD and not is_excused(read)))


def advance(table: TokenTable, state: State, token: int) -> State:
    """The state behind `token`. A special token opens a document."""
    if table.special[token]:
        return State()
    read, done = reread(table, state, token), effect(table, state, token)
    head, end, first, last = (int(row[token]) for row in (table.head, table.end, table.first_mark, table.last_mark))
    stops, ends = end in (PERIOD, OTHER_STOP), _ends(table, read, token)
    kind = int(PERIOD_DOUBTS[read.abbreviation, read.tail]) if end == PERIOD else STOP if stops else NO_DOUBT
    opens = end == LINE_END or first in (COLON, SEMICOLON) or kind in (STOP, STOP_OF_WORD)
    doubt, other_age = NO_DOUBT if end == LINE_END else read.doubt, read.other_age
    if stops:
        was_ended = read.doubt not in (NO_DOUBT, NO_STOP)
        doubt = NO_DOUBT if end == PERIOD and is_numbering(read) else kind
        other_age = 0 if not ends else read.other_age if was_ended else read.age + done.before
    abbreviation, numbering = int(table.abbreviation[token]), int(table.numbering[token])
    words = (done.before, done.after) if numbering != CAPTION else (0, 0)
    lengthens = GLUED_LOWER <= head <= GLUED_DIGIT and not done.before and not CONTINUES[state.link, head]
    if lengthens:
        abbreviation, of_pair = pair(table, state.first, token)
        if of_pair == CAPTION and table.numbering[state.first] != CAPTION:
            words = (-1, 0)  # its first token was counted
    return State(
        age=(0 if ends else read.age + done.before) + done.after,
        previous=last if last >= 0 else first if first >= 0 else read.previous,
        gap=done.after if first >= 0 else read.gap + done.before + done.after,
        opening=(0 if opens else read.opening + words[0]) + words[1],
        tail=int(table.tail[token]),
        abbreviation=abbreviation,
        numbering=numbering == NUMBER,
        first=token if done.before + done.after > 0 else -1,
        context=(*state.context, int(table.fold[token]))[-CONTEXT:],
        doubt=doubt,
        other_age=other_age,
        spaced=doubt != NO_DOUBT and bool(table.trails[token] or (not stops and (read.spaced or head == STAYS_APART))),
        noted=kind == STOP_OF_WORD or (state.noted and _is_note(table, token)),
        link=int(LINKS[table.joiner[token], read.tail]),
        behind=(read.previous, read.gap + done.before, *_before_last_mark(table, token, read, words[0])),
    )


def _before_last_mark(table: TokenTable, token: int, read: State, words: int) -> tuple[int, int]:
    """Opening and tail before the last mark of `token`, which has `words` beginnings before it."""
    if table.joiner[token] >= JOINED:
        return read.opening + words, LETTER_TAIL
    return read.opening, read.tail


def pair(table: TokenTable, first: int, second: int) -> tuple[int, int]:
    """Abbreviation and numbering of a word of two tokens."""
    keys, size = table.pairs[:, 0] * len(table.fold) + table.pairs[:, 1], len(table.fold)
    index = int(np.searchsorted(keys, first * size + second))
    found = index < len(keys) and keys[index] == first * size + second
    return (int(table.pairs[index, 2]), int(table.pairs[index, 3])) if found else (NO_ABBREVIATION, NO_NUMBERING)


def word_type(table: TokenTable, state: State, token: int) -> int:
    """Type, for windowed entropy, of the word that `token` begins after `state`; -1: it begins none."""
    done = effect(table, state, token)
    begins = not table.special[token] and done.before + done.after >= 1
    return int(table.entropy_type[table.fold[token]]) if begins else -1


def plug_in_bits(types: Sequence[int]) -> float:
    """Plug-in entropy of a window of word types, in bits: log2 N - sum c log2 c / N."""
    return log2(len(types)) - sum(c * log2(c) for c in Counter(types).values()) / len(types)


@dataclass(slots=True)
class StreamCounts:
    """What was counted in token rows. Arrays are int64 unless said otherwise; `+` adds two counts."""

    tokens: NDArray[np.int64]  # (vocab,), folded
    total: int  # counted tokens
    ngrams: NDArray[np.int64]  # (features,)
    ends: NDArray[np.int64]  # (longest age + 1,): sentences of this length in words
    reached: NDArray[np.int64]  # same shape: sentences that reached this age
    marks: NDArray[np.int64]  # (classes,)
    rhythm: NDArray[np.int64]  # (classes + 1, gaps, classes): (previous mark or opening, gap, mark)
    words: int  # word beginnings
    entropies: list[float] = field(default_factory=list)  # bits, one per full window

    def __add__(self, other: "StreamCounts") -> "StreamCounts":
        size = max(len(self.ends), len(other.ends))
        ends, reached = (
            np.pad(a, (0, size - len(a))) + np.pad(b, (0, size - len(b)))
            for a, b in ((self.ends, other.ends), (self.reached, other.reached))
        )
        return StreamCounts(
            self.tokens + other.tokens,
            self.total + other.total,
            self.ngrams + other.ngrams,
            ends,
            reached,
            self.marks + other.marks,
            self.rhythm + other.rhythm,
            self.words + other.words,
            self.entropies + other.entropies,
        )


def bucket(edges: NDArray[np.int64], value: int) -> int:
    """Index of the bucket edges[b] <= value < edges[b + 1]; what lies beyond the last edge is in the last bucket, -1: below the first."""
    return min(int(np.searchsorted(edges, value, side="right")) - 1, len(edges) - 2)


def count_stream(
    compiled: CompiledProfile, tokens: Sequence[int], mask: Sequence[bool] | None = None, *, starts: Sequence[bool] | None = None
) -> StreamCounts:
    """Count one row of token ids, all five statistics.

    Args:
        compiled: gives the token table, the tracked n-grams, the gap buckets and the entropy window.
        tokens: ids, length T; -1 stands for an unknown token, which opens a document.
        mask: length T, which of them are counted (all read); all if None.
        starts: length T, where a document opens before the token; special tokens open one anyway.
    """
    table, row = compiled.tokens, list(map(int, tokens))
    counted = [True] * len(row) if mask is None else list(map(bool, mask))
    opens = [False] * len(row) if starts is None else list(map(bool, starts))
    longest = sum(int(table.words_before[id]) + int(table.words_after[id]) for id in row if id >= 0)
    found = StreamCounts(
        np.zeros(compiled.vocab_size, np.int64),
        0,
        np.zeros(len(compiled.ngrams), np.int64),
        np.zeros(longest + 1, np.int64),
        np.zeros(longest + 1, np.int64),
        np.zeros(len(MARK_CLASSES), np.int64),
        np.zeros(compiled.rhythm.shape, np.int64),
        0,
    )
    features: dict[tuple[int, ...], list[int]] = {}
    for i, feature in enumerate(compiled.ngrams.tolist()):
        features.setdefault(tuple(id for id in feature if id >= 0), []).append(i)
    state, window = State(), list[int]()
    for id, is_counted, opens_here in zip(row, counted, opens, strict=True):
        if id < 0 or table.special[id] or opens_here:
            state, window = State(), []  # a window of words lies within one document
        if id < 0 or table.special[id]:
            continue
        if is_counted:
            _count_token(compiled, found, features, state, id)
            kind = word_type(table, state, id)
            if kind >= 0:
                window.append(kind)
                if len(window) == compiled.entropy_window:
                    found.entropies.append(plug_in_bits(window))
                    window = []
        state = advance(table, state, id)
    return found


def _count_token(
    compiled: CompiledProfile, found: StreamCounts, features: dict[tuple[int, ...], list[int]], state: State, token: int
) -> None:
    done = effect(compiled.tokens, state, token)
    folded = int(compiled.tokens.fold[token])
    found.tokens[folded] += 1
    found.total += 1
    for n in range(1, compiled.ngrams.shape[1] + 1):
        if len(state.context) >= n - 1:
            for feature in features.get((*state.context[len(state.context) - n + 1 :], folded), ()):
                found.ngrams[feature] += 1
    for previous, gap, mark, sign in done.marks:
        found.marks[mark] += sign
        found.rhythm[previous, bucket(compiled.gap_edges, gap), mark] += sign
    for length, sign in done.ends:
        found.ends[length] += sign
    found.words += done.before + done.after
    age = reread(compiled.tokens, state, token).age
    found.reached[age + 1 : age + done.before + 1] += 1
    behind = advance(compiled.tokens, state, token).age
    found.reached[behind - done.after + 1 : behind + 1] += 1
