"""Where punctuation falls: marks of each class, and (previous mark, gap in words, mark), per word.

A mark is predicted where it stands, and the token behind it is predicted as what may show that it stood inside a word ("3.14").
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dft_stats.compiled import CompiledProfile
from dft_stats.loss.family import Family
from dft_stats.loss.probabilities import Kinds, Pairs, Probabilities
from dft_stats.loss.reading import Stream
from dft_stats.loss.term import SoftCounts, Term, bucket

LEAST_COUNT = 0.05  # expected in a window; what is rarer is measured, not steered


class PunctuationRhythm(Term):
    """Two families of rates. A token with two marks, such as `."`, has a first and a last one, no words apart."""

    edges: Tensor  # (gaps + 1,)
    columns: Tensor  # (marked kinds,): columns of Probabilities.kinds
    word_begins: Tensor  # (2, marked kinds)
    first: Tensor  # (marked kinds,): class
    last: Tensor
    head: Tensor
    continues: Tensor  # doubts.CONTINUES
    inner: Tensor  # (kinds with two marks,): which of the marked kinds

    def __init__(self, compiled: CompiledProfile, kinds: Kinds) -> None:
        def family(rate: np.ndarray, sd: np.ndarray) -> Family:
            return Family(
                rate,
                sd,
                rate * compiled.window_words >= LEAST_COUNT,
                per_word=1.0,
                tokens_per_word=compiled.tokens_per_word,
                window_words=compiled.window_words,
            )

        super().__init__({"marks": family(compiled.marks, compiled.marks_sd), "rhythm": family(compiled.rhythm, compiled.rhythm_sd)})
        self.shape = compiled.rhythm.shape
        columns = (kinds.first_mark >= 0).nonzero()[:, 0]
        first, last = kinds.first_mark[columns], kinds.last_mark[columns]
        buffers = {
            "edges": torch.from_numpy(compiled.gap_edges.astype(np.int64)),
            "columns": columns,
            "word_begins": kinds.word_begins[:, columns].clone(),
            "first": first,
            "last": last,
            "head": kinds.head[columns],
            "continues": kinds.continues.clone(),
            "inner": (last >= 0).nonzero()[:, 0],
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)

    def chances(self, stream: Stream, weights: Mapping[str, Tensor]) -> Tensor:
        """One for each counted word."""
        return (weights["marks"].sum() + weights["rhythm"].sum()) * (stream.before + stream.after) * stream.counted

    def pairs(self, stream: Stream) -> Pairs:
        """No single probabilities; where marks are predicted: by kind of mark, and the mark before, that a token may take back."""
        inside = self.continues[stream.link][:, self.head]
        previous = torch.where(inside, stream.previous_behind[:, None], stream.previous[:, None])
        gap = torch.where(inside, stream.gap_behind[:, None], stream.gap[:, None])
        begun = torch.where(inside, self.word_begins[1], self.word_begins[stream.open_before])
        mark = stream.previous.clamp_max(self.shape[2] - 1)
        places = self._cell(previous, gap + begun, self.first), self._cell(stream.previous_behind, stream.gap_behind, mark)
        return replace(super().pairs(stream), detail=(*places, mark))

    def soft_count(self, probabilities: Probabilities, stream: Stream) -> SoftCounts:
        """Expected marks, (classes,), and expected rhythm events, (classes + 1, gaps, classes) flattened."""
        place, place_behind, mark = probabilities.single["punctuation_rhythm"][1].detail
        mass = probabilities.kinds[:, self.columns] * stream.predicted[:, None]
        classes = self.shape[2]
        rhythm = mass.new_zeros(int(np.prod(self.shape))).index_add(0, place.flatten(), mass.flatten())

        whole = mass.sum(0)
        first, last, within = self.first[self.inner], self.last[self.inner], whole[self.inner]
        rhythm = rhythm.index_add(0, self._cell(first, torch.zeros_like(first), last), within)
        marks = mass.new_zeros(classes).index_add(0, self.first, whole).index_add(0, last, within)

        # The mark before, where the predicted token goes on with the word: `continues` holds only behind a mark.
        back = (probabilities.heads * self.continues[stream.link]).sum(1) * stream.predicted
        rhythm = rhythm.index_add(0, place_behind, -back)
        marks = marks.index_add(0, mark, -back)
        words = stream.words.to(mass.dtype)
        return {"marks": (marks, words.expand(classes)), "rhythm": (rhythm, words.expand(len(rhythm)))}

    def _cell(self, previous: Tensor, gap: Tensor, mark: Tensor) -> Tensor:
        """Place of an event in the flattened rhythm."""
        _, gaps, classes = self.shape
        place: Tensor = (previous * gaps + bucket(self.edges, gap).clamp_min(0)) * classes + mark
        return place
