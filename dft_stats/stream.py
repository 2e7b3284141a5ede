"""How a stream of token ids is read: the reference, one token at a time. `dft_stats.loss` reads the same in parallel.

A token is `words_before` word beginnings, its marks, a sentence end perhaps, then `words_after` word beginnings (see `TokenTable`). What is
read depends on four things that stand before it: the age of the sentence in words, the previous mark, the gap in words since that mark,
and whether the previous token ended inside a word or was an abbreviation.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2

import numpy as np
from numpy.typing import NDArray

from dft_stats.compiled import CompiledProfile, TokenTable
from dft_stats.text import MARK_CLASSES

OPENING = len(MARK_CLASSES)
"""Index of the mark that every document begins with."""
NO_END, PERIOD, FULL_END = 0, 1, 2  # values of TokenTable.end


@dataclass(slots=True)
class State:
    """What a reader knows before a token."""

    age: int = 0  # words since the last sentence end
    previous: int = OPENING  # class of the last mark
    gap: int = 0  # words since that mark
    token: int = -1  # the token before, -1 at the opening of a document
    context: tuple[int, ...] = ()  # folded ids since the opening of the document


@dataclass(frozen=True, slots=True)
class Effect:
    """What one token does at one state."""

    before: int  # word beginnings before its marks
    after: int  # and behind them
    events: tuple[tuple[int, int, int], ...]  # (previous mark, gap in words, mark)
    length: int  # words of the sentence that it ends, 0: it ends none


def effect(table: TokenTable, state: State, token: int) -> Effect:
    """What `token` does after `state`. Special tokens do nothing."""
    if table.special[token]:
        return Effect(0, 0, (), 0)
    follows_open = state.token >= 0 and bool(table.open_ended[state.token])
    before = max(0, int(table.words_before[token]) - int(bool(table.glues[token]) and follows_open))
    first, last = int(table.first_mark[token]), int(table.last_mark[token])
    events: tuple[tuple[int, int, int], ...] = ()
    if first >= 0:
        events = ((state.previous, state.gap + before, first),)
        if last != first:
            events += ((first, 0, last),)
    excused = table.end[token] == PERIOD and state.token >= 0 and bool(table.abbreviation[state.token])
    ends = table.end[token] != NO_END and not excused
    return Effect(before, int(table.words_after[token]), events, state.age + before if ends else 0)


def advance(table: TokenTable, state: State, token: int) -> State:
    """The state behind `token`. A special token opens a document."""
    if table.special[token]:
        return State()
    done = effect(table, state, token)
    excused = table.end[token] == PERIOD and state.token >= 0 and bool(table.abbreviation[state.token])
    ends = table.end[token] != NO_END and not excused
    return State(
        age=(0 if ends else state.age + done.before) + done.after,
        previous=int(table.last_mark[token]) if done.events else state.previous,
        gap=done.after if done.events else state.gap + done.before + done.after,
        token=token,
        context=(*state.context, int(table.fold[token])),
    )


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
    for previous, gap, mark in done.events:
        found.marks[mark] += 1
        found.rhythm[previous, bucket(compiled.gap_edges, gap), mark] += 1
    found.ends[done.length] += done.length > 0
    found.words += done.before + done.after
    found.reached[state.age + 1 : state.age + done.before + 1] += 1
    behind = advance(compiled.tokens, state, token).age
    found.reached[behind - done.after + 1 : behind + 1] += 1
