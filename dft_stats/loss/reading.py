"""Token rows read in parallel: what `dft_stats.stream` says one token at a time, without a loop over positions."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dft_stats.compiled import CompiledProfile
from dft_stats.stream import FULL_END, NO_END, OPENING, PERIOD


@dataclass(frozen=True, slots=True)
class Stream:
    """The state before each predicted token, and what that token does. Tensors (rows,), one row per row of the probabilities."""

    counted: Tensor  # bool
    age: Tensor  # int64: words since the last sentence end
    previous: Tensor  # int64: class of the last mark, OPENING
    gap: Tensor  # int64: words since that mark
    open_before: Tensor  # int64, 1: the token before ended inside a word
    excused: Tensor  # bool: the token before was an abbreviation
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
    open_ended: Tensor
    first_mark: Tensor
    last_mark: Tensor
    end: Tensor
    abbreviation: Tensor
    special: Tensor
    fold: Tensor
    types: Tensor

    def __init__(self, compiled: CompiledProfile) -> None:
        super().__init__()
        self.n_max, self.window = compiled.ngrams.shape[1], compiled.entropy_window
        for name, array in table_arrays(compiled).items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def forward(self, tokens: Tensor, counted: Tensor, starts: Tensor | None = None, *, shifted: bool = True) -> Stream:
        """Read `tokens` int64 [B, T]; -1 is an unknown token, which opens a document.

        Args:
            tokens: every token, also those that are not counted.
            counted: bool [B, T].
            starts: bool [B, T], where a document opens before the token.
            shifted: row t of the result is about token t; False: about token t + 1, and the last row is not counted.
        """
        known = tokens >= 0
        ids = tokens.clamp_min(0)
        breaks = ~known | self.special[ids]
        reset = breaks if starts is None else breaks | starts
        text = ~breaks
        position = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        has_previous = _before(text, False) & ~reset

        open_before = _before(self.open_ended[ids] & text, False) & has_previous
        excused = _before(self.abbreviation[ids] & text, False) & has_previous
        begun = torch.where(open_before, self.word_begins[1][ids], self.word_begins[0][ids])
        before, after = begun * text, self.words_after[ids] * text
        ends = ((self.end[ids] == FULL_END) | ((self.end[ids] == PERIOD) & ~excused)) & text
        marked = (self.first_mark[ids] >= 0) & text

        words = (before + after).cumsum(1)
        here = words - before - after  # words of the row before this token
        # An end sets the age to the words behind it; cumulated words never fall, so the latest zero point is the largest.
        age = here - _latest(torch.where(ends, words - after, -1), torch.where(reset, here, -1))
        gap = here - _latest(torch.where(marked, words - after, -1), torch.where(reset, here, -1))
        opening = _latest(torch.full_like(position, -1), torch.where(reset, position, -1))
        last = _latest(torch.where(marked, position, -1), torch.full_like(position, -1))
        after_mark = (last >= opening) & (_before(marked.cumsum(1), 0) > 0)
        previous = torch.where(after_mark, self.last_mark[ids.gather(1, last)], OPENING)

        types = torch.where((before + after > 0) & text, self.types[ids], -1)
        counted = counted & text
        if not shifted:
            counted[:, 0] = False  # nothing predicts the first token
        begins = counted & (types >= 0)
        number = begins.cumsum(1)
        rank = number - begins.long() - _latest(torch.full_like(number, -1), torch.where(reset, number - begins.long(), -1))
        # Tokens of the document before this one: at the opening none. A special token stands before the position of the next opening.
        reach = position - torch.where(_before(breaks, False) | reset, position, -1).clamp_min(0).cummax(1).values
        folded = self.fold[ids]
        context = torch.stack(
            [torch.where(reach >= n, folded.roll(n, 1), -1) for n in range(1, self.n_max)] or [torch.full_like(folded, -1)]
        )

        def rows(field: Tensor) -> Tensor:
            return (field if shifted else field.roll(-1, 1)).reshape(-1)

        return Stream(
            counted=rows(counted),
            age=rows(age),
            previous=rows(previous),
            gap=rows(gap),
            open_before=rows(open_before.long()),
            excused=rows(excused),
            before=rows(before),
            after=rows(after),
            ends=rows(ends),
            context=(context if shifted else context.roll(-1, 2)).flatten(1),
            windows=self._windows(rows(begins), rows(rank)),
            types=rows(types),
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


def table_arrays(compiled: CompiledProfile) -> dict[str, np.ndarray]:
    """The token table in the types that torch indexes with; special tokens are made void.

    `word_begins` (2, vocab) are the beginnings before the marks, after a token that did not (0) or did (1) end inside a word.
    """
    table, text = compiled.tokens, ~compiled.tokens.special
    before = np.where(text, table.words_before, 0).astype(np.int64)
    types = np.where(text, table.entropy_type[table.fold], -1).astype(np.int64)
    return {
        "words_after": np.where(text, table.words_after, 0).astype(np.int64),
        "word_begins": np.stack([before, np.maximum(before - table.glues, 0)]),
        "open_ended": table.open_ended & text,
        "first_mark": np.where(text, table.first_mark, -1).astype(np.int64),
        "last_mark": np.where(text, table.last_mark, -1).astype(np.int64),
        "end": np.where(text, table.end, NO_END).astype(np.int64),
        "abbreviation": table.abbreviation & text,
        "special": table.special.copy(),
        "fold": table.fold.astype(np.int64),
        "types": types,
    }


def _before(values: Tensor, opening: bool | int) -> Tensor:
    """Values of the token before, [B, T]."""
    return torch.cat([torch.full_like(values[:, :1], opening), values[:, :-1]], 1)


def _latest(behind: Tensor, at: Tensor) -> Tensor:
    """Largest value so far, at least 0: of `behind` up to the token before, of `at` up to this one."""
    return torch.maximum(_before(behind, -1), at).clamp_min(0).cummax(1).values
