"""The documents of a profile, embedded: what `dft_stats.document_embedding` is made of.

A profile that is to be published has no rows of documents. It has, in its manifest, the mean embedding of those of some lengths, and what
the random features are made of: means, scales and correlations of the document features. The covariance of the embedding follows from the
correlations as if the features were normal; told in full, it would say enough to solve for the documents one by one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dft_stats.document_embedding import FEATURES, STORED, DocumentEmbedding, Floats, transformed
from dft_stats.errors import IncomparableError
from dft_stats.measures import median_distance
from dft_stats.profile import Profile

LEAST_DOCUMENTS = 100
STORED_WORDS = ((50, 1000), (50, 400))
"""Lengths of documents whose mean embedding it has, where there are enough of them."""
STORED_SIZE, STORED_SEED, STORED_DECIMALS = 256, 0, 4


def embed_documents(profile: Profile, *, words: tuple[int, int] = (50, 1000), size: int = 256, seed: int = 0) -> DocumentEmbedding:
    """Embed the documents of a profile that are about as long as those to be compared with them.

    Args:
        profile: its table of documents is read, or, where it was built to be published, the embedding that it has.
        words: least and most of a document. Features depend on length, so texts of other lengths differ by that alone.
        size: number of random features; the kernel's error is about 1 / sqrt(size).
        seed: of the random features.

    Raises:
        IncomparableError: fewer than 100 documents have these lengths; or the profile has means of documents of other lengths only.
    """
    name = f"{profile.name}@{profile.version}"
    stored = profile.manifest.get(STORED)
    if stored is not None:
        return _read(name, stored, words, size, seed)
    table = profile.table("documents")
    length = table["words"].to_numpy()
    values = _values(table, words)
    if len(values) < LEAST_DOCUMENTS:
        longer = f", half of them longer than {np.median(length):.0f} words" if len(length) else ""
        raise IncomparableError(
            f"{name} has {len(values)} documents of {words[0]} to {words[1]} words and three sentences at least, of {len(length)} in all"
            f"{longer}; {LEAST_DOCUMENTS} are needed. Give the lengths of the texts that are to be compared"
        )
    mean, scale, standard = _standard(values)
    frequencies, phases = _features(_width(standard), values.std(0) > 0, size, seed)
    embedded = _embedded(standard, frequencies, phases)
    return DocumentEmbedding(
        profile=name,
        documents=len(values),
        words=words,
        features=FEATURES,
        mean=mean,
        scale=scale,
        frequencies=frequencies,
        phases=phases,
        embedding=embedded.mean(0),
        covariance=np.cov(embedded, rowvar=False, bias=True),
    )


def stored_embeddings(table: pa.Table) -> list[dict[str, Any]]:
    """What the manifest of a published profile says of its documents, given their rows, which it does not have.

    A range of lengths is told if `LEAST_DOCUMENTS` documents have it and if as many are left of every range that it lies in: the
    difference of two means is a mean, too.
    """
    found: list[dict[str, Any]] = []
    for words in STORED_WORDS:
        values = _values(table, words)
        outside = min((entry["documents"] - len(values) for entry in found), default=LEAST_DOCUMENTS)
        if min(len(values), outside) < LEAST_DOCUMENTS:
            continue
        mean, scale, standard = _standard(values)
        width, varies = _width(standard), values.std(0) > 0
        embedded = _embedded(standard, *_features(width, varies, STORED_SIZE, STORED_SEED))
        found.append(
            {
                "words": list(words),
                "documents": len(values),
                "size": STORED_SIZE,
                "seed": STORED_SEED,
                "features": list(FEATURES),
                "median_distance": round(width, 6),
                "mean": mean.round(6).tolist(),
                "scale": (scale * varies).round(6).tolist(),
                "correlation": (standard.T @ standard / len(standard)).round(STORED_DECIMALS).tolist(),
                "embedding": embedded.mean(0).round(STORED_DECIMALS).tolist(),
            }
        )
    return found


def _read(name: str, stored: list[Mapping[str, Any]], words: tuple[int, int], size: int, seed: int) -> DocumentEmbedding:
    entries = {(*entry["words"], entry["size"], entry["seed"]): entry for entry in stored}
    entry = entries.get((*words, size, seed))
    if entry is None or tuple(entry["features"]) != FEATURES:
        has = (
            "; ".join(f"words=({least}, {most}), size={size}, seed={seed}" for least, most, size, seed in sorted(entries)) or "none at all"
        )
        raise IncomparableError(
            f"{name} was built to be published: it has no rows of documents, but mean embeddings of {has}. Ask for one of these; "
            "a corpus of your own, built with privacy none, has any"
        )
    mean, scale, correlation, embedding = (np.array(entry[key], np.float64) for key in ("mean", "scale", "correlation", "embedding"))
    varies = scale > 0
    frequencies, phases = _features(entry["median_distance"], varies, size, seed)
    return DocumentEmbedding(
        profile=name,
        documents=int(entry["documents"]),
        words=words,
        features=FEATURES,
        mean=mean,
        scale=np.where(varies, scale, 1.0),
        frequencies=frequencies,
        phases=phases,
        embedding=embedding,
        covariance=normal_covariance(correlation, frequencies, phases),
    )


def normal_covariance(correlation: Floats, frequencies: Floats, phases: Floats) -> Floats:
    """Covariance of the embedding of normal features of mean 0: E cos(u'x + t) = exp(-u'Cu / 2) cos t. (size, size)."""
    size = len(phases)
    own = frequencies.T @ correlation @ frequencies
    power = np.diag(own)
    sums, products = (power[:, None] + power[None, :]) / 2, own
    less = np.exp(products - sums) * np.cos(phases[:, None] - phases[None, :])
    more = np.exp(-products - sums) * np.cos(phases[:, None] + phases[None, :])
    mean = np.sqrt(2 / size) * np.exp(-power / 2) * np.cos(phases)
    found: Floats = (less + more) / size - np.outer(mean, mean)
    return found


def _values(table: pa.Table, words: tuple[int, int]) -> Floats:
    """Transformed features of the documents of these lengths that have all of them."""
    length = table["words"].to_numpy()
    values = np.stack([table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in FEATURES], 1)
    values = transformed(values[(length >= words[0]) & (length <= words[1])])
    found: Floats = values[np.isfinite(values).all(1)]
    return found


def _standard(values: Floats) -> tuple[Floats, Floats, Floats]:
    mean, scale = values.mean(0), np.where(values.std(0) > 0, values.std(0), 1.0)
    return mean, scale, (values - mean) / scale


def _width(standard: Floats) -> float:
    """Of the kernel: the median of the distances between documents, or 1 where most of them are copies of each other."""
    return float(median_distance(standard)) or 1.0


def _features(width: float, varies: Any, size: int, seed: int) -> tuple[Floats, Floats]:
    """(frequencies, phases) of the Gaussian kernel of this width."""
    rng = np.random.default_rng(seed)
    frequencies: Floats = rng.standard_normal((len(FEATURES), size)) / width * varies[:, None]
    return frequencies, rng.uniform(0, 2 * np.pi, size)


def _embedded(standard: Floats, frequencies: Floats, phases: Floats) -> Floats:
    found: Floats = np.sqrt(2 / len(phases)) * np.cos(standard @ frequencies + phases)
    return found
