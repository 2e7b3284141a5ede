"""Token rows read in parallel: what `dft_stats.stream` says one token at a time, without a loop over positions.

Words never fall along a row, so whatever counts words since the last of some events is a difference to a running maximum.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dft_stats import doubts
from dft_stats.compiled import CompiledProfile, TokenTable
from dft_stats.loss.rows import Rows, largest, of_last, of_next
from dft_stats.stream import COLON, LINE_END, NO_END, OPENING, OTHER_STOP, PERIOD, SEMICOLON


@dataclass(frozen=True, slots=True)
class Stream:
    """The state before each predicted token, and what that token does. Tensors (rows,), one row per row of the probabilities."""

    predicted: Tensor  # bool: the token is an outcome, also one that is no text: numerators
    counted: Tensor  # bool: it is text besides: denominators
    age: Tensor  # int64: words since the last sentence end
    other_age: Tensor  # int64: if the token shows that the last stop was to be read the other way
    doubt: Tensor  # int64: row of doubts.TURNS, flattened
    previous: Tensor  # int64: class of the last mark, OPENING
    gap: Tensor  # int64: words since that mark
    link: Tensor  # int64: row of doubts.CONTINUES
    previous_behind: Tensor  # int64: the mark before the last, if the token shows that this one stood inside a word
    gap_behind: Tensor  # int64: words since that mark
    open_before: Tensor  # int64, 1: the token before ended inside a word
    excused: Tensor  # bool: a period ends no sentence
    read_age: Tensor  # int64: `age` or `other_age`, as the token itself shows
    before: Tensor  # int64: word beginnings before the marks of the token
    after: Tensor  # int64: and behind them
    ends: Tensor  # bool: the token ends a sentence, or would if there were words
    context: Tensor  # int64 (n_max - 1, rows): folded ids of the tokens before, nearest first, -1 beyond the document's opening
    windows: Tensor  # int64 (most windows, entropy_window): rows of the counted word beginnings of each full window, -1: no window
    types: Tensor  # int64: entropy type of the word that the token begins, -1: none

    @property
    def words(self) -> Tensor:
        """Number of counted word beginnings, a scalar."""
        return ((self.before + self.after) * self.counted).sum()


class TokenReader(nn.Module):
    """The token table of a compiled profile on a device."""

    words_after: Tensor
    word_begins: Tensor
    head: Tensor
    tail: Tensor
    joiner: Tensor
    abbreviation: Tensor
    pair_keys: Tensor
    pair_abbreviation: Tensor
    pair_numbering: Tensor
    numbering: Tensor
    first_mark: Tensor
    mark_behind: Tensor
    end: Tensor
    special: Tensor
    fold: Tensor
    types: Tensor
    trails: Tensor
    turns: Tensor  # doubts.TURNS, flattened to (doubts * 2, heads)
    continues: Tensor
    links: Tensor
    period_doubts: Tensor

    def __init__(self, compiled: CompiledProfile) -> None:
        super().__init__()
        self.n_max, self.window, self.vocab_size = compiled.ngrams.shape[1], compiled.entropy_window, compiled.vocab_size
        pairs = compiled.tokens.pairs
        tables = {
            "pair_keys": np.append(pairs[:, 0] * self.vocab_size + pairs[:, 1], np.iinfo(np.int64).max),
            "pair_abbreviation": np.append(pairs[:, 2], doubts.NO_ABBREVIATION),
            "pair_numbering": np.append(pairs[:, 3], doubts.NO_NUMBERING),
            "turns": doubts.TURNS.reshape(-1, doubts.HEADS),
            "continues": doubts.CONTINUES,
            "links": doubts.LINKS,
            "period_doubts": doubts.PERIOD_DOUBTS,
        }
        for name, array in (table_arrays(compiled) | tables).items():
            self.register_buffer(name, torch.from_numpy(array.copy()), persistent=False)

    def read_otherwise(self, table: TokenTable) -> int:
        """How many ids another table reads otherwise, or does not have; what is special in one of them, such as padding, is left out."""
        mine = {name: getattr(self, name).cpu().numpy() for name in arrays_of(table)}
        size = min(self.vocab_size, len(table.fold))
        alike = np.ones(size, bool)
        for name, other in arrays_of(table).items():
            alike &= (mine[name][..., :size] == other[..., :size]).reshape(-1, size).all(0)
        return self.vocab_size - int((alike | mine["special"][:size] | table.special[:size]).sum())

    def forward(self, tokens: Tensor, predicted: Tensor, starts: Tensor | None = None, *, shifted: bool = True) -> Stream:
        """Read `tokens` int64 [B, T]; -1 is an unknown token, which opens a document.

        Args:
            tokens: every token, also those that are not predicted.
            predicted: bool [B, T]; unknown tokens never are.
            starts: bool [B, T], where a document opens before the token.
            shifted: row t of the result is about token t; False: about token t + 1, and the last row predicts nothing.
        """
        ids = tokens.clamp_min(0)
        breaks = (tokens < 0) | self.special[ids]
        opens = of_last(breaks, False)  # before a special token, such as the end of the text, stands the document that it ends
        row = Rows(ids, ~breaks, opens if starts is None else opens | starts)
        text, reset, position, within = row.text, row.reset, row.position, row.within

        # Words: the mark before stood inside one if the token continues it.
        head = self.head[ids]
        tail = of_last(self.tail[ids], 0) * within
        link = of_last(self.links[self.joiner[ids], tail], 0) * within
        continues = self.continues[link, head] & text
        begun = torch.where((tail > 0) | continues, self.word_begins[1][ids], self.word_begins[0][ids])
        before, after = begun * text, self.words_after[ids] * text
        words = (before + after).cumsum(1)
        here = words - before - after  # words of the row before this token

        # Marks: those up to the token before last are settled.
        marked = (self.first_mark[ids] >= 0) & text
        stands = marked & ~of_next(continues, False)
        start, zero = torch.where(reset, here, -1), torch.where(marked, words - after, -1)
        settled = torch.maximum(of_last(of_last(torch.where(stands, zero, -1), -1), -1), start).clamp_min(0).cummax(1).values
        gap = here - torch.maximum(settled, torch.where(within, of_last(zero, -1), -1))
        mark_behind = of_last(row.latest(stands), -1)
        mark_behind = torch.where(mark_behind >= row.opening.clamp_min(0), mark_behind, -1)
        mark = torch.where(within & of_last(marked, False), position - 1, mark_behind)

        stops = self._stops(row, before, after, continues, tail)
        ages = _ages(row, stops, self.turns, head, here, words - after)
        types = torch.where((before + after > 0) & text, self.types[ids], -1)
        predicted = predicted & (tokens >= 0)
        if not shifted:
            predicted[:, 0] = False  # nothing predicts the first token
        counted = predicted & text
        begins = counted & (types >= 0)
        number = begins.cumsum(1)
        rank = number - begins.long() - largest(torch.full_like(number, -1), torch.where(reset, number - begins.long(), -1))
        reach = position - row.opening.clamp_min(0)  # tokens of the document before this one: at the opening none
        folded = self.fold[ids]
        context = torch.stack(
            [torch.where(reach >= n, folded.roll(n, 1), -1) for n in range(1, self.n_max)] or [torch.full_like(folded, -1)]
        )

        def rows(field: Tensor) -> Tensor:
            return (field if shifted else field.roll(-1, 1)).reshape(-1)

        def mark_at(place: Tensor) -> Tensor:
            return rows(torch.where(place >= 0, self.mark_behind[ids.gather(1, place.clamp_min(0))], OPENING))

        return Stream(
            predicted=rows(predicted),
            counted=rows(counted),
            age=rows(ages.age),
            other_age=rows(ages.other_age),
            doubt=rows(ages.doubt),
            previous=mark_at(mark),
            gap=rows(gap),
            link=rows(link),
            previous_behind=mark_at(mark_behind),
            gap_behind=rows(here - settled),
            open_before=rows((tail > 0).long()),
            excused=rows(stops.excused),
            read_age=rows(ages.read_age),
            before=rows(before),
            after=rows(after),
            ends=rows(stops.ends),
            context=(context if shifted else context.roll(-1, 2)).flatten(1),
            windows=self._windows(rows(begins), rows(rank)),
            types=rows(types),
        )

    def _stops(self, row: "Rows", before: Tensor, after: Tensor, continues: Tensor, tail: Tensor) -> "_Stops":
        ids, text, within = row.ids, row.text, row.within
        head, numbering, end = self.head[ids], self.numbering[ids], torch.where(text, self.end[ids], NO_END)
        stop, line_end = (end == PERIOD) | (end == OTHER_STOP), end == LINE_END

        # Abbreviations, in one token or in two.
        lengthens = (head >= doubts.GLUED_LOWER) & (head <= doubts.GLUED_DIGIT) & (before == 0) & ~continues
        key = torch.where(of_last(before + after > 0, False) & within, of_last(ids, 0) * self.vocab_size + ids, -1)
        place = torch.searchsorted(self.pair_keys, key)
        is_pair = lengthens & (self.pair_keys[place] == key)
        of_pair = torch.where(is_pair, self.pair_abbreviation[place], doubts.NO_ABBREVIATION)
        abbreviation = of_last(torch.where(lengthens, of_pair, self.abbreviation[ids]), 0) * within
        kind = torch.where(end == PERIOD, self.period_doubts[abbreviation, tail], torch.where(stop, doubts.STOP, doubts.NO_DOUBT))

        # Footnotes: digits right behind a stop.
        note = (head == doubts.GLUED_DIGIT) & (numbering == doubts.NUMBER) & text
        noted = row.at(kind, row.latest(~note)) == doubts.STOP_OF_WORD

        # Numbers in front of what they number: words, captions apart, since a line, an item or a sentence may have begun.
        marks = self.first_mark[ids]
        opens = line_end | (kind == doubts.STOP) | (kind == doubts.STOP_OF_WORD) | (marks == COLON) | (marks == SEMICOLON)
        opens = opens & text & ~of_next(continues, False)
        is_item = numbering != doubts.CAPTION
        late = is_pair & (self.pair_numbering[place] == doubts.CAPTION) & of_last(is_item, False)  # its first token was counted
        counting = (before + after) * is_item - late.long()
        items = counting.cumsum(1)
        since = items - counting - largest(torch.where(opens, items - after * is_item, -1), torch.where(row.reset, items - counting, -1))
        numbers = (of_last(numbering, 0) == doubts.NUMBER) & within & (since == 1) & ~noted

        excused = (abbreviation >= doubts.SHORT) | numbers
        return _Stops(
            line_end=line_end,
            stop=stop,
            kind=torch.where((end == PERIOD) & numbers, doubts.NO_DOUBT, kind),
            ends=line_end | (end == OTHER_STOP) | ((end == PERIOD) & ~excused),
            excused=excused,
            apart=head == doubts.STAYS_APART,
            trails=self.trails[ids],
            stays=(head == doubts.STAYS) | (head == doubts.STAYS_APART) | (noted & note),
        )

    def _windows(self, begins: Tensor, rank: Tensor) -> Tensor:
        """Rows of the word beginnings of each full window, [rows // window, window], -1 where there are fewer windows."""
        size, rows = self.window, len(begins)
        most = rows // size
        if not most:
            return torch.full((0, size), -1, device=begins.device)
        starts = begins & (rank % size == 0)
        index = (starts.long().cumsum(0) - 1).clamp_min(0)
        length = torch.zeros(rows, dtype=torch.long, device=begins.device).index_add_(0, index, begins.long())
        full = begins & (length[index] == size)
        number = (starts & full).long().cumsum(0) - 1
        place = torch.where(full, number * size + rank % size, most * size)  # the last place takes what belongs to no window
        members = torch.full((most * size + 1,), -1, device=begins.device)
        members.scatter_(0, place, torch.arange(rows, device=begins.device))
        return members[:-1].view(most, size)


@dataclass(frozen=True, slots=True)
class _Stops:
    """What a token is as a stop, [B, T]."""

    line_end: Tensor
    stop: Tensor  # any other that may end a sentence
    kind: Tensor  # what is doubtful about it
    ends: Tensor  # as it looks where it stands
    excused: Tensor  # a period here would end nothing
    apart: Tensor  # white space or the like, which leaves a doubt as it is
    trails: Tensor  # it ends in a space
    stays: Tensor  # apart, or anything else that does


@dataclass(frozen=True, slots=True)
class _Ages:
    age: Tensor
    other_age: Tensor
    read_age: Tensor
    doubt: Tensor


def _ages(row: Rows, stops: _Stops, turns: Tensor, head: Tensor, here: Tensor, behind: Tensor) -> _Ages:
    """Words since the last sentence end. A doubtful one is settled by the next token that does not leave the doubt as it is.

    Args:
        row: the tokens.
        stops: of these.
        turns: `TokenReader.turns`.
        head: of the tokens, [B, T].
        here: words of the row before each token.
        behind: words before each token or in it, but those behind its marks.
    """
    hard = row.latest(~stops.stays | stops.line_end)
    stopped, ended = row.latest(stops.stop), row.latest(stops.stop & stops.ends)
    kind = torch.where(stopped >= hard, row.at(stops.kind, stopped), doubts.NO_DOUBT)
    spaced = (row.latest(stops.apart) > stopped) | (row.latest(stops.trails) >= stopped)
    doubt = 2 * kind + ((kind > 0) & spaced)
    turned = turns[doubt, head] & row.text
    in_doubt = (ended >= 0) & (ended >= hard)
    an_end = torch.where(kind == doubts.NO_STOP, turned, in_doubt & ~turned)
    settled = row.text & (~stops.stays | stops.line_end) & an_end
    zero = torch.maximum(torch.where(stops.line_end, behind, -1), torch.where(settled, here, -1))
    length = here - largest(zero, torch.where(row.reset, here, -1))
    age = torch.where(in_doubt, 0, length)
    other_age = torch.where(in_doubt & (kind != doubts.NO_DOUBT), length, 0)
    return _Ages(age, other_age, torch.where(turned, other_age, age), doubt)


def table_arrays(compiled: CompiledProfile) -> dict[str, np.ndarray]:
    """As `arrays_of` the token table of a compiled profile."""
    return arrays_of(compiled.tokens)


def arrays_of(table: TokenTable) -> dict[str, np.ndarray]:
    """The token table in the types that torch indexes with; special tokens are made void.

    `word_begins` (2, vocab) are the beginnings before the marks, after a token that did not (0) or did (1) end inside a word.
    """
    text = ~table.special
    before = np.where(text, table.words_before, 0).astype(np.int64)
    types = np.where(text, table.entropy_type[table.fold], -1).astype(np.int64)
    return {
        "words_after": np.where(text, table.words_after, 0).astype(np.int64),
        "word_begins": np.stack([before, np.maximum(before - table.glues, 0)]),
        "trails": table.trails & text,
        "head": np.where(text, table.head, doubts.APART).astype(np.int64),
        "tail": np.where(text, table.tail, doubts.NO_TAIL).astype(np.int64),
        "joiner": np.where(text, table.joiner, doubts.NO_JOINER).astype(np.int64),
        "abbreviation": np.where(text, table.abbreviation, doubts.NO_ABBREVIATION).astype(np.int64),
        "numbering": np.where(text, table.numbering, doubts.NO_NUMBERING).astype(np.int64),
        "first_mark": np.where(text, table.first_mark, -1).astype(np.int64),
        "last_mark": np.where(text, table.last_mark, -1).astype(np.int64),
        "mark_behind": np.where(table.last_mark >= 0, table.last_mark, table.first_mark).astype(np.int64),
        "end": np.where(text, table.end, NO_END).astype(np.int64),
        "special": table.special.copy(),
        "fold": table.fold.astype(np.int64),
        "types": types,
    }
