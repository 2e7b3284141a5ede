"""How often each token is predicted, per counted token."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dft_stats.compiled import CompiledProfile
from dft_stats.loss.family import Family
from dft_stats.loss.probabilities import Probabilities
from dft_stats.loss.reading import Stream, table_arrays
from dft_stats.loss.term import SoftCounts, Term


class TokenFrequency(Term):
    """Rates of token ids with plain typography; special tokens count nothing."""

    fold: Tensor  # (vocab,)
    text: Tensor  # (vocab,) bool

    def __init__(self, compiled: CompiledProfile) -> None:
        super().__init__(
            {
                "token_frequency": Family(
                    compiled.token_frequency,
                    compiled.token_sd,
                    compiled.token_tracked,
                    per_word=compiled.tokens_per_word,
                    tokens_per_word=compiled.tokens_per_word,
                    window_words=compiled.window_words,
                )
            }
        )
        table = table_arrays(compiled)
        self.register_buffer("fold", torch.from_numpy(table["fold"]), persistent=False)
        self.register_buffer("text", torch.from_numpy(~table["special"]), persistent=False)

    def chances(self, stream: Stream, weights: Mapping[str, Tensor]) -> Tensor:
        """One for each counted token."""
        return weights["token_frequency"].sum() * stream.counted

    def soft_count(self, probabilities: Probabilities, stream: Stream) -> SoftCounts:
        """Expected counts of ids, (vocab,)."""
        mass = probabilities.tokens * self.text
        count = torch.zeros_like(mass).index_add(0, self.fold, mass)
        return {"token_frequency": (count, stream.counted.sum().to(count.dtype).expand(len(count)))}
