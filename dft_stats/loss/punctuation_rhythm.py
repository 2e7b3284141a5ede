"""Where punctuation falls: marks of each class, and (previous mark, gap in words, mark), per word."""

import numpy as np
import torch
from torch import Tensor

from dft_stats.compiled import CompiledProfile
from dft_stats.loss.family import Family
from dft_stats.loss.probabilities import Kinds, Probabilities
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
            "inner": (first != last).nonzero()[:, 0],
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)

    def soft_count(self, probabilities: Probabilities, stream: Stream) -> SoftCounts:
        """Expected marks, (classes,), and expected rhythm events, (classes + 1, gaps, classes) flattened."""
        mass = probabilities.kinds[:, self.columns] * stream.counted[:, None]
        _, gaps, classes = self.shape
        gap = bucket(self.edges, stream.gap[:, None] + self.word_begins[stream.open_before]).clamp_min(0)
        cell = (stream.previous[:, None] * gaps + gap) * classes + self.first
        rhythm = mass.new_zeros(int(np.prod(self.shape))).index_add(0, cell.flatten(), mass.flatten())

        whole = mass.sum(0)
        first, last, within = self.first[self.inner], self.last[self.inner], whole[self.inner]
        no_gap = bucket(self.edges, torch.zeros_like(first)).clamp_min(0)
        rhythm = rhythm.index_add(0, (first * gaps + no_gap) * classes + last, within)
        marks = mass.new_zeros(classes).index_add(0, self.first, whole).index_add(0, last, within)
        words = stream.words.to(mass.dtype)
        return {"marks": (marks, words.expand(classes)), "rhythm": (rhythm, words.expand(len(rhythm)))}
