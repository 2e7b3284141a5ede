"""What the five terms have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dft_stats.loss.family import Family
from dft_stats.loss.probabilities import Pairs, Probabilities
from dft_stats.loss.reading import Stream

TERMS = ("token_frequency", "ngram_frequency", "sentence_length", "punctuation_rhythm", "entropy")
"""Names of the five terms."""
SoftCounts = Mapping[str, tuple[Tensor, Tensor]]
"""Family -> (numerator, denominator), one element a feature each; numerators are linear in the probabilities."""


class Term(nn.Module, ABC):
    """A statistic of the model's predictions: expected counts, given the tokens before."""

    families: nn.ModuleDict  # name -> Family

    def __init__(self, families: Mapping[str, Family]) -> None:
        super().__init__()
        self.families = nn.ModuleDict(families)

    def pairs(self, stream: Stream) -> Pairs:
        """The single probabilities that the term needs, and what else it finds in the text."""
        nothing = torch.zeros(0, dtype=torch.long, device=stream.age.device)
        return Pairs(nothing, nothing)

    @abstractmethod
    def chances(self, stream: Stream, weights: Mapping[str, Tensor]) -> Tensor:
        """Of each row, `weights` times the denominators that it adds, summed over families and features, (rows,)."""

    def given(self, stream: Stream, weights: Mapping[str, Tensor]) -> Tensor:
        """Likewise of the numerators, as far as the text itself has them, whatever is predicted."""
        return torch.zeros(len(stream.age), dtype=torch.float32, device=stream.age.device)

    @abstractmethod
    def soft_count(self, probabilities: Probabilities, stream: Stream) -> SoftCounts:
        """Expected counts. With all probability on the token itself they are what `dft_stats.stream` counts."""


def expand(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Entries of ragged lists: for each list i, the indices starts[i] .. starts[i] + lengths[i] - 1, and beside each index its i."""
    owner = torch.repeat_interleave(lengths)
    offset = lengths.cumsum(0) - lengths
    return starts[owner] + torch.arange(len(owner), device=starts.device) - offset[owner], owner


def bucket(edges: Tensor, values: Tensor) -> Tensor:
    """As `dft_stats.stream.bucket`."""
    return (torch.searchsorted(edges, values.contiguous(), right=True) - 1).clamp_max(len(edges) - 2)
