"""Several compiled profiles as one: the domain that a text comes from is drawn by chance, document by document."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from dft_stats.compiled import CompiledProfile
from dft_stats.errors import IncomparableError

Floats = NDArray[np.float64]


def mix(compiled: Sequence[CompiledProfile], shares: Sequence[float]) -> CompiledProfile:
    """The profile of a corpus that has so much of each, in words.

    Rates are means; noise follows the law of total variance, so a rate in which the domains differ is steered less. The n-grams are those
    that all profiles track, since of the others nobody knows the rate.

    Args:
        compiled: for one tokenizer.
        shares: of the words, more than 0; they are divided by their sum, so that [7, 3] and [0.7, 0.3] are the same, and [0.5, 0.9] is
            0.36 and 0.64. The words of two corpora do as well.

    Raises:
        ValueError: no profiles, or shares that cannot be.
        IncomparableError: they are for different tokenizers, or were compiled with different windows.
    """
    if not compiled or len(compiled) != len(shares):
        raise ValueError(f"mix takes as many shares as profiles, at least one; given are {len(compiled)} profiles and {len(shares)} shares")
    given = np.asarray(shares, np.float64)
    if not (np.isfinite(given).all() and (given > 0).all()):
        raise ValueError(f"shares are more than 0, not {list(shares)}")
    first = compiled[0]
    for other in compiled[1:]:
        _same_reading(first, other)
    words = given / given.sum()
    tokens = words * [c.tokens_per_word for c in compiled]
    tokens_per_word, tokens = float(tokens.sum()), tokens / tokens.sum()

    tracked = [{tuple(row): i for i, row in enumerate(c.ngrams.tolist())} for c in compiled]
    common = [gram for gram in tracked[0] if all(gram in other for other in tracked)]
    places = [np.array([found[gram] for gram in common], np.int64) for found in tracked]
    rates = [c.ngram_frequency[place] for c, place in zip(compiled, places, strict=True)]
    ngram_frequency, ngram_sd = _mixed(rates, [c.ngram_sd[place] for c, place in zip(compiled, places, strict=True)], tokens)

    token_frequency, token_sd = _mixed([c.token_frequency for c in compiled], [c.token_sd for c in compiled], tokens)
    marks, marks_sd = _mixed([c.marks for c in compiled], [c.marks_sd for c in compiled], words)
    rhythm, rhythm_sd = _mixed([c.rhythm for c in compiled], [c.rhythm_sd for c in compiled], words)
    entropy, entropy_sd = _mixed([np.array([c.entropy_bits]) for c in compiled], [np.array([c.entropy_sd]) for c in compiled], words)
    reaching = np.stack([share * c.at_risk for share, c in zip(words, compiled, strict=True)])
    at_risk = reaching.sum(0)
    chances = np.where(at_risk > 0, reaching / np.where(at_risk > 0, at_risk, 1), words[:, None])
    hazard, hazard_sd = _mixed([c.hazard for c in compiled], [c.hazard_sd for c in compiled], chances)
    parts = [f"{share:.6g} {c.profile_sha256}" for share, c in zip(words, compiled, strict=True)]
    return replace(
        first,
        profile=" + ".join(f"{share:.3g} {c.profile}" for share, c in zip(words, compiled, strict=True)),
        profile_sha256=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        tokens_per_word=tokens_per_word,
        token_frequency=token_frequency,
        token_sd=token_sd,
        token_tracked=np.logical_or.reduce([c.token_tracked for c in compiled]),
        ngrams=np.array(common, np.int32).reshape(-1, first.ngrams.shape[1]),
        ngram_frequency=ngram_frequency,
        ngram_sd=ngram_sd,
        hazard=hazard,
        hazard_sd=hazard_sd,
        at_risk=at_risk,
        marks=marks,
        marks_sd=marks_sd,
        rhythm=rhythm,
        rhythm_sd=rhythm_sd,
        entropy_bits=float(entropy[0]),
        entropy_sd=float(entropy_sd[0]),
        exactness=min(c.exactness for c in compiled),
        exactness_bits=max(c.exactness_bits for c in compiled),
        opening_bits=max(c.opening_bits for c in compiled),
        legibility=min(c.legibility for c in compiled),
    )


def _mixed(rates: Sequence[Floats], sds: Sequence[Floats], shares: Floats) -> tuple[Floats, Floats]:
    """Mean, and standard deviation: within, and between."""
    weights = np.asarray(shares).reshape(len(rates), *([1] * rates[0].ndim if np.ndim(shares) == 1 else rates[0].shape))
    each, noise = np.stack(rates), np.stack(sds)
    mean = (weights * each).sum(0)
    return mean, np.sqrt((weights * (noise**2 + (each - mean) ** 2)).sum(0))


def _same_reading(first: CompiledProfile, other: CompiledProfile) -> None:
    names = ("tokenizer_sha256", "vocab_size", "window_words", "entropy_window", "length_edges", "gap_edges")
    different = [name for name in names if not np.array_equal(getattr(first, name), getattr(other, name))]
    different += [
        f"tokens.{field.name}"
        for field in fields(first.tokens)
        if not np.array_equal(getattr(first.tokens, field.name), getattr(other.tokens, field.name))
    ]
    if different:
        raise IncomparableError(
            f"{first.profile} and {other.profile} cannot be mixed, they differ in {', '.join(different)}; compile both for one tokenizer"
            " with one version of this package"
        )
