"""What documents of a profile are like, each as a whole: the mean embedding of their features, for the discrepancy of documents.

A corpus of documents of short sentences and of documents of long ones has the lengths of one in which every document mixes both. Corpus
marginals cannot tell them apart, a kernel on document features can: squared maximum mean discrepancy (Gretton et al. 2012), here with the
random Fourier features of the Gaussian kernel (Rahimi and Recht 2007), of which a profile need publish no more than the mean.
"""

from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from dft_stats.text import PROSE_MARKS

Floats = NDArray[np.float64]

RATES = tuple(f"{mark}_per_1000_words" for mark in PROSE_MARKS)
FEATURES = ("sentence_length_mean", "sentence_length_cv", "sentence_length_lag1", *RATES)
"""Of `dft_stats.features`, those that can be read off tokens; of rates of marks, the square root."""

STORED = "document_embeddings"
"""Entry of the manifest of a profile that is to be published: mean embeddings, in place of the documents."""
_MOST_ENTRIES, _MOST_SIZE, _MOST_FEATURES = 16, 1024, 64
_FAR = 1e12  # no mean, scale or distance comes near


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


def is_stored(value: Any) -> bool:
    """Whether an entry of a manifest has the shape that embeddings are read from: readers make arrays of these sizes."""
    return isinstance(value, list) and len(value) <= _MOST_ENTRIES and all(map(_is_entry, value))


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    names, words, size = entry.get("features"), entry.get("words"), entry.get("size")
    if not (isinstance(names, list) and 1 <= len(names) <= _MOST_FEATURES and all(isinstance(name, str) for name in names)):
        return False
    if not (isinstance(words, list) and len(words) == 2 and all(map(_is_whole, words)) and words[0] <= words[1]):
        return False
    correlation, width = entry.get("correlation"), entry.get("median_distance")
    return (
        _is_whole(size)
        and 1 <= size <= _MOST_SIZE
        and all(_is_whole(entry.get(key)) for key in ("documents", "seed"))
        and _is_number(width)
        and width > 0
        and all(_is_row(entry.get(key), len(names)) for key in ("mean", "scale"))
        and all(number >= 0 for number in entry["scale"])
        and _is_row(entry.get("embedding"), size)
        and isinstance(correlation, list)
        and len(correlation) == len(names)
        and all(_is_row(row, len(names)) for row in correlation)
    )


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_FAR < value < _FAR


def _is_row(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length and all(map(_is_number, value))
