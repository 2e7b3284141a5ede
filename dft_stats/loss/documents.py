"""How whole texts differ from the documents of a profile: unbiased squared MMD on their features, and what each text adds to it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dft_stats.document_embedding import FEATURES, RATES, DocumentEmbedding
from dft_stats.loss.reading import Stream
from dft_stats.text import MARK_CLASSES, PROSE_MARKS

LEAST_SENTENCES = 3


class Documents(nn.Module):
    """Embeddings of texts, centred on the mean of the profile's documents."""

    mean: Tensor
    scale: Tensor
    frequencies: Tensor
    phases: Tensor
    embedding: Tensor
    covariance: Tensor

    def __init__(self, embedding: DocumentEmbedding) -> None:
        super().__init__()
        for name in ("mean", "scale", "frequencies", "phases", "embedding", "covariance"):
            self.register_buffer(name, torch.from_numpy(getattr(embedding, name)).float(), persistent=False)
        self.register_buffer("classes", torch.tensor([MARK_CLASSES.index(mark) for mark in PROSE_MARKS]), persistent=False)

    def centred(self, values: Tensor) -> Tensor:
        """Embeddings [n, size] of feature values [n, features], less their mean over the profile's documents."""
        angles = (values - self.mean) / self.scale @ self.frequencies + self.phases
        found: Tensor = (2 / len(self.phases)) ** 0.5 * torch.cos(angles) - self.embedding
        return found

    def z(self, total: Tensor, squares: Tensor, number: Tensor) -> Tensor:
        """Unbiased squared MMD in standard errors of as many human documents; 0 of fewer than two texts.

        Args:
            total: sum of the centred embeddings, [..., size].
            squares: sum of their squared norms, [...].
            number: of texts, [...].
        """
        pairs = number * (number - 1)
        discrepancy = (total.square().sum(-1) - squares) / pairs.clamp_min(1)
        noise = (2 * self.covariance.square().sum() / pairs.clamp_min(1)).sqrt()  # of a degenerate U-statistic
        return torch.where(number >= 2, discrepancy / noise, 0)

    def typicality(self, direction: Tensor, centred: Tensor) -> Tensor:
        """How far texts [n, size] lie in the direction [n or 1, size] in which others are off, in human standard deviations, (n,)."""
        spread = ((direction @ self.covariance) * direction).sum(-1).clamp_min(1e-20).sqrt()
        lengths: Tensor = (direction * centred).sum(-1)
        return lengths / spread


def text_features(stream: Stream, marks: Tensor, closed: bool) -> list[float] | None:
    """Features of one text as `dft_stats.document_embedding.FEATURES`, off its tokens; None if it has too few sentences.

    Args:
        stream: of the text alone.
        marks: number of marks of each class in it, (classes,).
        closed: the text is whole, so that its end ends its last sentence.
    """
    lengths = sentence_lengths(stream, closed)
    words = float(stream.words)
    if len(lengths) < LEAST_SENTENCES or not words:
        return None
    values = np.asarray(lengths, np.float64)
    first, second = values[:-1], values[1:]
    lag = float(np.corrcoef(first, second)[0, 1]) if first.std() > 0 and second.std() > 0 else 0.0
    rates = (1000 * marks.double() / words).clamp_min(0).sqrt()
    by_name = dict(zip(RATES, rates[[MARK_CLASSES.index(mark) for mark in PROSE_MARKS]].tolist(), strict=True))
    by_name |= {"sentence_length_mean": values.mean(), "sentence_length_cv": values.std() / values.mean(), "sentence_length_lag1": lag}
    return [float(by_name[name]) for name in FEATURES]


def sentence_lengths(stream: Stream, closed: bool) -> Sequence[int]:
    """Lengths in words of the sentences of one text, in their order; what a later token took back is no end."""
    text = stream.counted
    if not bool(text.any()):
        return []
    before, after = (stream.before * text)[text], (stream.after * text)[text]
    words = (before + after).cumsum(0)
    starts = words - before - after - stream.read_age[text]  # words before the sentence that a token finds itself in
    total = int(words[-1])
    last = total if closed else int(words[-1] - after[-1]) if bool(stream.ends[text][-1]) else None
    settled = torch.cat([starts, starts.new_tensor([] if last is None else [last])])
    settled = settled.flip(0).cummin(0).values.flip(0)
    bounds = torch.unique_consecutive(torch.cat([settled.new_zeros(1), settled]))
    lengths: list[int] = bounds.diff().tolist()
    return lengths
