"""What documents of a profile are like, each as a whole: the mean embedding of their features, for the discrepancy of documents.

A corpus of documents of short sentences and of documents of long ones has the lengths of one in which every document mixes both. Corpus
marginals cannot tell them apart, a kernel on document features can: squared maximum mean discrepancy (Gretton et al. 2012), here with the
random Fourier features of the Gaussian kernel (Rahimi and Recht 2007), of which a profile need publish no more than the mean.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dft_stats.text import PROSE_MARKS

Floats = NDArray[np.float64]

RATES = tuple(f"{mark}_per_1000_words" for mark in PROSE_MARKS)
FEATURES = ("sentence_length_mean", "sentence_length_cv", "sentence_length_lag1", *RATES)
"""Of `dft_stats.features`, those that can be read off tokens; of rates of marks, the square root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentEmbedding:
    """Mean of `sqrt(2 / size) cos(standardised features @ frequencies + phases)` over the documents, and their covariance."""

    profile: str
    documents: int
    words: tuple[int, int]  # least and most of a document
    features: tuple[str, ...]
    mean: Floats  # (features,)
    scale: Floats  # (features,): standard deviation
    frequencies: Floats  # (features, size)
    phases: Floats  # (size,)
    embedding: Floats  # (size,)
    covariance: Floats  # (size, size)

    def embed(self, values: Floats) -> Floats:
        """Random features [n, size] of feature values [n, features]."""
        angles = (values - self.mean) / self.scale @ self.frequencies + self.phases
        found: Floats = np.sqrt(2 / len(self.phases)) * np.cos(angles)
        return found


def transformed(values: Floats) -> Floats:
    """Feature values [..., features] with the square root of rates, whose noise then does not grow with them."""
    is_rate = np.array([name in RATES for name in FEATURES])
    return np.where(is_rate, np.sqrt(np.maximum(values, 0)), values)
