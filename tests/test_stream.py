"""The reference reader of tokens: closed forms, parity with the text's own definitions, and the parallel reader."""

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.compiled import CompiledProfile
from dft_stats.loss.reading import Stream, TokenReader
from dft_stats.sentences import documents
from dft_stats.statistics import entropy, ngram_frequency, punctuation_rhythm, sentence_length
from dft_stats.stream import (
    OPENING,
    PERIOD,
    State,
    StreamCounts,
    advance,
    bucket,
    count_stream,
    effect,
    is_excused,
    plug_in_bits,
    reread,
    word_type,
)
from dft_stats.text import MARK_CLASSES
from tests.compiled_for_tests import KINDS, SPELT, compiled, handmade, ids_of, token_rows

COMMA, FULL_STOP, QUOTE, PARENTHESIS, DASH = (MARK_CLASSES.index(name) for name in ("comma", "period", "quote", "parenthesis", "dash"))


def counted(*surfaces: str, **arguments: list[bool]) -> StreamCounts:
    return count_stream(handmade(), ids_of(*surfaces), **arguments)


def lengths(found: StreamCounts) -> dict[int, int]:
    return {length: number for length, number in enumerate(found.ends.tolist()) if number}


def equal(one: StreamCounts, other: StreamCounts) -> bool:
    both = one + other  # pads to the same longest age
    ends, reached = (np.pad(a, (0, len(both.ends) - len(a))) for a in (one.ends, one.reached))
    return (
        np.array_equal(one.tokens, other.tokens)
        and (one.total, one.words) == (other.total, other.words)
        and np.array_equal(one.ngrams, other.ngrams)
        and np.array_equal(2 * ends, both.ends)
        and np.array_equal(2 * reached, both.reached)
        and np.array_equal(one.marks, other.marks)
        and np.array_equal(one.rhythm, other.rhythm)
        and sorted(one.entropies) == pytest.approx(sorted(other.entropies))
    )


# --- closed forms


def test_a_sentence_counted_by_hand() -> None:
    found = counted(" The", " cat", " ran", ",", " the", " cat", ".")
    assert (found.total, found.words) == (7, 5)
    assert lengths(found) == {5: 1}
    assert found.reached.tolist() == [0, 1, 1, 1, 1, 1]
    assert found.marks[COMMA] == found.marks[FULL_STOP] == 1
    assert found.marks.sum() == found.rhythm.sum() == 2
    edges = handmade().gap_edges
    assert found.rhythm[OPENING, bucket(edges, 3), COMMA] == 1
    assert found.rhythm[COMMA, bucket(edges, 2), FULL_STOP] == 1
    assert found.ngrams.tolist() == [1, 0]  # " the cat" once (" The" is another token), " the cat ran" never
    assert found.entropies == [1.5]  # the, cat, ran, the: 2 - 2 log2(2) / 4
    assert found.tokens[ids_of(" cat")] == 2


@pytest.mark.parametrize(
    ("surfaces", "words", "ends"),
    [
        ((" cat", "s", " ran", "."), 2, {2: 1}),  # a piece goes on with the word
        ((",", "s", " ran", "."), 2, {2: 1}),  # behind a mark it begins one
        (("known", "-", "known", "!"), 1, {1: 1}),  # a joiner inside a word
        ((" the", " Dr", ".", " cat", "!"), 3, {3: 1}),  # an abbreviation excuses the period
        ((" Dr", "!", " The", "."), 2, {1: 2}),  # but no other end
        ((" Dr", "!", " cat", "."), 2, {2: 1}),  # unless a small word comes next
        ((" ran", "?", '"', " cat", "."), 2, {2: 1}),  # quotes leave that open,
        ((" ran", ".", '"', " The", "!"), 2, {1: 2}),
        ((" ran", ".", " ", "14", " cat", "!"), 3, {1: 1, 2: 1}),  # and so does a space
        ((" ran", ".", ",", " The", "!"), 2, {2: 1}),  # a mark glued to the stop goes on with the sentence
        ((" ran", ".", "The", "!"), 2, {1: 2}),  # a space is missing
        ((" Dr", " cat", "."), 2, {2: 1}),  # only directly before it
        ((" Dr", '."', " The", "."), 2, {1: 2}),  # a period with a quote is a full end
        ((" U", ".S", ".", " ran", "."), 2, {2: 1}),
        ((" The", " U", ".S", ".", " The", "."), 3, {2: 1, 1: 1}),  # such an abbreviation ends a sentence only before "The" and its kin
        ((" U", ".", "S", ".", " cat", "."), 2, {2: 1}),  # spelt otherwise
        ((" J", ".", " J", ".", " The", "!"), 3, {1: 1, 2: 1}),  # a letter in front numbers, one behind is an initial
        ((" Sup", "p", ".", " Dr", "!"), 2, {2: 1}),  # an abbreviation of two tokens
        ((" ran", " No", ".", " 5", "!"), 3, {3: 1}),  # not before a number
        ((" ran", " No", ".", " The", "!"), 3, {2: 1, 1: 1}),
        (("3", ".", "14", " cat", "."), 2, {2: 1}),  # a period inside a number
        (("3", ",", "14", ":", "12", "!"), 1, {1: 1}),
        ((" cat", ",", "14", "!"), 2, {2: 1}),  # only between digits
        (("s", "'", "S", "!"), 1, {1: 1}),
        (("II", ".", " The", "!"), 2, {2: 1}),  # a number in front of its sentence
        ((" Section", " 5", ".", "14", ".", " The", "!"), 3, {3: 1}),
        ((" Sec", "tion", " 5", ".", " The", "!"), 3, {3: 1}),
        ((" The", " Sec", "tion", " 5", ".", " The", "!"), 4, {3: 1, 1: 1}),
        ((" ran", "!", " 5", ".", " The", "!"), 3, {1: 1, 2: 1}),
        ((" ran", " 5", ".", " The", "!"), 3, {2: 1, 1: 1}),
        ((" ran", ".", "3", " The", "!"), 2, {1: 2}),  # a footnote
        ((" the", "...", " cat", "?"), 2, {2: 1}),  # an ellipsis as any other stop
        ((" the", "\n\n", " cat"), 2, {1: 1}),  # a blank line does; what is not ended is not counted
        ((".", "!", "\n\n", " cat", "."), 1, {1: 1}),  # a sentence has words
        ((" cat", "<s>", " ran", "."), 2, {1: 1}),  # a special token opens a document
        ((" (see", ")", "."), 1, {1: 1}),  # a mark, then a word
        (("\ufffd", " §", " cat", "."), 1, {1: 1}),  # neither word nor mark
        ((), 0, {}),
    ],
)
def test_words_and_sentences(surfaces: tuple[str, ...], words: int, ends: dict[int, int]) -> None:
    found = counted(*surfaces)
    assert (found.words, lengths(found)) == (words, ends)


def test_marks_inside_one_token_have_no_words_between() -> None:
    found = counted(" cat", '."', " The", " (see", " cat", ")")
    assert (found.marks[FULL_STOP], found.marks[QUOTE], found.marks[PARENTHESIS]) == (1, 1, 2)
    assert (found.rhythm[OPENING, 1, FULL_STOP], found.rhythm[FULL_STOP, 0, QUOTE]) == (1, 1)
    assert found.rhythm[QUOTE, 1, PARENTHESIS] == 1
    assert found.rhythm[PARENTHESIS, 2, PARENTHESIS] == 1  # "see cat": the word of the opening token lies behind its mark
    assert found.rhythm.sum() == 4


def test_reached_counts_every_word_at_its_age() -> None:
    found = counted(" The", " cat", ".", " (see", " the", "!", " The")
    assert found.reached.sum() == found.words == 5
    assert found.reached.tolist()[1:3] == [3, 2]


def test_what_the_next_token_proves_wrong_is_taken_back() -> None:
    """At first the period of "5.14" counts as a mark and as an end; "14" takes back exactly that, and begins no word."""
    row = (" cat", " 5", ".", "14", ",", " ran")
    stop, next = (counted(*row, mask=[i == place for i in range(6)]) for place in (2, 3))
    assert (lengths(stop), lengths(next)) == ({2: 1}, {2: -1})
    assert stop.rhythm[OPENING, bucket(handmade().gap_edges, 2), FULL_STOP] == stop.marks[FULL_STOP] == 1
    assert np.array_equal(stop.marks, -next.marks)
    assert np.array_equal(stop.rhythm, -next.rhythm)
    assert (stop.words, next.words) == (0, 0)
    assert counted(*row).rhythm[OPENING, bucket(handmade().gap_edges, 2), COMMA] == counted(*row).rhythm.sum() == 1


def test_a_row_that_ends_in_doubt_leaves_things_as_they_look() -> None:
    found = counted(" The", " cat", " 5", ".")
    assert (lengths(found), found.marks[FULL_STOP]) == ({3: 1}, 1)
    assert lengths(counted(" The", " cat", ".", "<s>", " ran")) == {2: 1}


def test_spellings_are_counted_as_one() -> None:
    found = counted(" cat", "”", '"', ",”")
    assert found.tokens[SPELT.index('"')] == 2
    assert found.tokens[SPELT.index("”")] == 0
    assert found.marks[QUOTE] == 3


def test_masked_tokens_are_read_and_not_counted() -> None:
    found = counted(" The", " cat", ".", " Dr", ".", mask=[False, False, True, False, True])
    assert (found.total, found.words, lengths(found)) == (2, 0, {2: 1})
    assert found.rhythm[OPENING, 2, FULL_STOP] == 1
    assert found.reached.sum() == 0


def test_a_document_opens_at_starts_and_behind_the_unknown() -> None:
    row = ids_of(" Dr", ".", " cat", ".")
    opened = count_stream(handmade(), row, starts=[False, True, False, False])
    assert lengths(opened) == {1: 1}  # the "." of the new document follows no abbreviation, but ends no words either
    assert opened.rhythm[OPENING, 0, FULL_STOP] == 1
    unknown = count_stream(handmade(), [row[0], -1, *row[1:]])
    assert equal(unknown, opened)


def test_plug_in_bits_of_equal_and_of_distinct_words() -> None:
    assert plug_in_bits([7] * 8) == 0
    assert plug_in_bits(range(8)) == 3


def test_bucket_of_every_value() -> None:
    edges = np.array([1, 2, 4], np.int64)
    assert [bucket(edges, value) for value in (0, 1, 2, 3, 4, 99)] == [-1, 0, 1, 1, 1, 1]


# --- parity with the text itself, where tokens are whole units


words = st.sampled_from([" the", " cat", " ran", " of"])
inner = st.lists(st.tuples(words, st.sampled_from(["", "", "", ",", ";", ":", " —"])), max_size=9)
sentences = st.tuples(inner, st.sampled_from([(".",), ("!",), ("?",), (".", '"'), ("!", "\n\n"), ("\n\n",)]))


@given(st.lists(sentences, min_size=1, max_size=12))
def test_tokens_that_are_units_count_as_the_text_does(drawn: list) -> None:
    surfaces = [s for body, end in drawn for s in (" The", *(part for pair in body for part in pair if part), *end)]
    pairs = [(-1, SPELT.index(a), SPELT.index(b)) for a in (" the", " cat") for b in (" cat", " ran", ",")]
    made = handmade(ngrams=[*pairs, tuple(ids_of(" of", " the", " cat"))], gap_edges=range(200), entropy_window=32)
    found = count_stream(made, ids_of(*surfaces))
    (document,) = documents(["".join(surfaces)])

    assert lengths(found) == dict(Counter(key[1] for key, _ in sentence_length.events(document) if key[0] == "words"))
    marks = Counter(key[3] for key, _ in punctuation_rhythm.events(document) if key[0] == "marks")
    assert dict(zip(MARK_CLASSES, found.marks.tolist(), strict=True)) == {name: marks[name] for name in MARK_CLASSES}
    names = (*MARK_CLASSES, punctuation_rhythm.OPENING)
    rhythm = Counter({(names[p], g, names[m]): int(found.rhythm[p, g, m]) for p, g, m in np.argwhere(found.rhythm)})
    assert rhythm == Counter(key[1:] for key, _ in punctuation_rhythm.events(document) if key[0] == "gaps")
    bits = [key[2] / 100 for key, _ in entropy.events(document) if key[0] == 32]
    assert found.entropies == pytest.approx([centre + 0.005 for centre in bits], abs=0.00501)
    ngrams = Counter(key[1] for key, _ in ngram_frequency.events(document))
    phrases = ["".join(SPELT[id] for id in row if id >= 0).strip() for row in made.ngrams.tolist()]
    assert found.ngrams.tolist() == [ngrams[phrase] for phrase in phrases]
    assert found.words == sum(unit.kind == -1 for sentence in document for unit in sentence)


# --- additivity


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_documents_and_masks_add_up(kind: str, data: st.DataObject) -> None:
    made = compiled(kind)
    (special, *_) = np.flatnonzero(made.tokens.special).tolist()
    one, other = (data.draw(token_rows(kind, rows=1))[0] for _ in range(2))
    both = count_stream(made, one) + count_stream(made, other)
    assert equal(count_stream(made, [*one, special, *other]), both)
    assert equal(count_stream(made, one + other, starts=[i == len(one) for i in range(len(one + other))]), both)
    mask = data.draw(st.lists(st.booleans(), min_size=len(one), max_size=len(one)))
    parts = count_stream(made, one, mask) + count_stream(made, one, [not m for m in mask])
    whole = replace_entropies(count_stream(made, one))
    assert equal(replace_entropies(parts), whole)


def replace_entropies(found: StreamCounts) -> StreamCounts:
    return replace(found, entropies=[])  # windows are made of counted words, so a mask makes other windows


# --- the parallel reader


def naively(made: CompiledProfile, row: list[int], mask: list[bool], starts: list[bool]) -> list[dict[str, object]]:
    """What `Stream` says of each token, one after another."""
    table, state, rows = made.tokens, State(), []
    for id, is_counted, opens in zip(row, mask, starts, strict=True):
        if id < 0:
            state = State()
            rows.append({"predicted": False, "counted": False, "before": 0, "after": 0, "ends": False, "types": -1})
            continue
        if opens:
            state = State()
        done, read = effect(table, state, id), reread(table, state, id)
        n = made.ngrams.shape[1] - 1
        row: dict[str, object] = {
            "predicted": is_counted,
            "counted": is_counted and not table.special[id],
            "age": state.age,
            "doubt": 2 * state.doubt + state.spaced,
            "previous": state.previous,
            "gap": state.gap,
            "link": state.link,
            "open_before": int(state.tail > 0),
            "excused": is_excused(state),
            "read_age": read.age,
            "before": done.before,
            "after": done.after,
            "ends": table.end[id] > PERIOD or (table.end[id] == PERIOD and not is_excused(state)),
            "types": word_type(table, state, id),
            "context": (state.context[::-1] + (-1,) * n)[:n],
        }
        if state.doubt:
            row["other_age"] = state.other_age
        if state.link:
            row["previous_behind"], row["gap_behind"] = state.behind[:2]
        rows.append(row)
        state = advance(table, state, id)
    return rows


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_the_parallel_reader_reads_as_the_reference(kind: str, data: st.DataObject) -> None:
    made = compiled(kind)
    rows = data.draw(token_rows(kind))
    shape = (len(rows), len(rows[0]))
    flags = st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    unknown, mask, starts = (np.array(data.draw(flags)).reshape(shape) for _ in range(3))
    few = np.array(data.draw(flags)).reshape(shape)
    tokens = np.where(unknown & few, -1, np.array(rows))
    starts = starts & few & data.draw(st.booleans())
    read = TokenReader(made)(torch.tensor(tokens), torch.tensor(mask), torch.tensor(starts))
    expected = [row for given in zip(tokens.tolist(), mask.tolist(), starts.tolist(), strict=True) for row in naively(made, *given)]
    for i, row in enumerate(expected):
        for name, value in row.items():
            got = tuple(read.context[:, i].tolist()) if name == "context" else getattr(read, name)[i].item()
            assert got == value, (name, divmod(i, shape[1]))
    counts = [count_stream(made, *map(list, given[:2]), starts=list(given[2])) for given in zip(tokens, mask, starts, strict=True)]
    assert read.words.item() == sum(count.words for count in counts)
    full = [window.tolist() for window in read.windows if (window >= 0).all()]
    bits = [plug_in_bits([expected[place]["types"] for place in window]) for window in full]  # type: ignore[misc]
    assert bits == pytest.approx([b for count in counts for b in count.entropies])


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_unshifted_rows_are_about_the_next_token(kind: str, data: st.DataObject) -> None:
    rows = torch.tensor(data.draw(token_rows(kind)))
    reader, mask = TokenReader(compiled(kind)), torch.ones_like(rows, dtype=torch.bool)
    mask[:, 0] = False  # nothing predicts it
    about_this = reader(rows, mask)
    about_next = reader(rows, torch.ones_like(mask), shifted=False)
    for name in (field.name for field in fields(Stream) if field.name not in ("context", "windows")):
        this, following = (getattr(read, name).view(rows.shape) for read in (about_this, about_next))
        assert torch.equal(this[:, 1:], following[:, :-1]), name
    assert not about_next.counted.view(rows.shape)[:, -1].any()
    this, following = (read.context.view(-1, *rows.shape) for read in (about_this, about_next))
    assert torch.equal(this[:, :, 1:], following[:, :, :-1])
    assert torch.equal(torch.where(about_this.windows > 0, about_this.windows - 1, -1), about_next.windows)
