"""How long sentences are: of the sentences that reached an age in words, how many end at it (the hazard, age by age).

A stop is predicted as the end that it looks like; the token behind it is predicted as what may take that end back. Both have a gradient.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dft_stats import doubts
from dft_stats.compiled import CompiledProfile
from dft_stats.loss.family import Family
from dft_stats.loss.probabilities import Kinds, Pairs, Probabilities
from dft_stats.loss.reading import Stream
from dft_stats.loss.term import SoftCounts, Term, bucket
from dft_stats.stream import NO_END, PERIOD

LEAST_AT_RISK = 0.005  # share of words; ages that fewer reach are measured, not steered


class SentenceLength(Term):
    """Hazards in buckets of age. Expected ends over the sentences that reached the age in the text itself."""

    edges: Tensor  # (buckets + 1,)
    columns: Tensor  # (ending kinds,): columns of Probabilities.kinds
    word_begins: Tensor  # (2, ending kinds)
    excusable: Tensor  # (ending kinds,) bool: no end after an abbreviation
    turns: Tensor  # doubts.TURNS, flattened to (doubts * 2, heads)
    continues: Tensor  # doubts.CONTINUES
    head: Tensor  # (ending kinds,)

    def __init__(self, compiled: CompiledProfile, kinds: Kinds) -> None:
        super().__init__(
            {
                "sentence_length": Family(
                    compiled.hazard,
                    compiled.hazard_sd,
                    compiled.at_risk >= LEAST_AT_RISK,
                    per_word=compiled.at_risk,
                    tokens_per_word=compiled.tokens_per_word,
                    window_words=compiled.window_words,
                )
            }
        )
        columns = (kinds.end != NO_END).nonzero()[:, 0]
        buffers = {
            "edges": torch.from_numpy(compiled.length_edges.astype(np.int64)),
            "columns": columns,
            "word_begins": kinds.word_begins[:, columns].clone(),
            "excusable": kinds.end[columns] == PERIOD,
            "turns": torch.from_numpy(doubts.TURNS.reshape(-1, doubts.HEADS).copy()),
            "continues": kinds.continues.clone(),
            "head": kinds.head[columns],
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)

    def chances(self, stream: Stream, weights: Mapping[str, Tensor]) -> Tensor:
        """One for each age that the text reaches."""
        weight = weights["sentence_length"]
        return self._reached(stream).to(weight.dtype) @ weight

    def pairs(self, stream: Stream) -> Pairs:
        """No single probabilities; where ends are predicted: by kind of end, and by head."""
        age = torch.where(self.turns[stream.doubt][:, self.head], stream.other_age[:, None], stream.age[:, None])
        inside = self.continues[stream.link][:, self.head]
        length = age + torch.where(inside, self.word_begins[1], self.word_begins[stream.open_before])
        excused = self.excusable & stream.excused[:, None]
        places = self._place(torch.where(excused, 0, length), stream), self._place(torch.maximum(stream.age, stream.other_age), stream)
        return replace(super().pairs(stream), detail=(*places, self._reached(stream).sum(0)))

    def soft_count(self, probabilities: Probabilities, stream: Stream) -> SoftCounts:
        """Expected ends, and sentences that reached the age, (buckets,)."""
        place, doubtful, reached = probabilities.single["sentence_length"][1].detail
        mass = probabilities.kinds[:, self.columns]
        sign = torch.where(stream.doubt // 2 == doubts.NO_STOP, 1, -1)
        turned = (probabilities.heads * self.turns[stream.doubt]).sum(1) * sign
        ends = mass.new_zeros(len(self.edges)).index_add(0, place.flatten(), mass.flatten()).index_add(0, doubtful, turned)
        return {"sentence_length": (ends[:-1], reached.to(mass.dtype))}

    def _place(self, length: Tensor, stream: Stream) -> Tensor:
        """Buckets of length [rows, ...]; where nothing is predicted the one behind the last."""
        place = bucket(self.edges, length)
        predicted = stream.predicted.view(-1, *[1] * (length.ndim - 1))
        return torch.where(predicted & (length >= 1) & (place >= 0), place, len(self.edges) - 1)

    def _reached(self, stream: Stream) -> Tensor:
        """Word beginnings of the text by the age that they bring the sentence to, (rows, buckets)."""
        first, last = stream.read_age, stream.read_age + stream.before
        restart = torch.where(stream.ends, 0, last)
        low = self.edges[:-1] - 1
        high = (self.edges[1:] - 1).clone()
        high[-1] = torch.iinfo(torch.int64).max

        def inside(begin: Tensor, end: Tensor) -> Tensor:
            return (torch.minimum(end[:, None], high) - torch.maximum(begin[:, None], low)).clamp_min(0)

        ages = inside(first, last) + inside(restart, restart + stream.after)
        return ages * stream.counted[:, None]
