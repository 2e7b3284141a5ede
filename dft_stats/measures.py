"""Entropies, divergences and distances of counts, in closed form. Units are in the names, directions in the arguments."""

from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def _distribution(weights: ArrayLike) -> Floats:
    values = np.asarray(weights, np.float64)
    if values.size and values.min() < 0:
        raise ValueError("weights of a distribution are not negative")
    total = float(values.sum())
    if not total > 0:
        raise ValueError("a distribution needs a positive weight somewhere; this one is empty")
    shares: Floats = values / total
    return shares


def entropy_bits(counts: ArrayLike, types: ArrayLike = 1) -> float:
    """Plug-in (maximum likelihood) entropy, -sum p log2 p, in bits.

    Args:
        counts: (n,).
        types: (n,), how many keys have each count.
    """
    given, number = np.asarray(counts, np.float64), np.asarray(types, np.float64)
    mass = _distribution(given * number)
    p = given[mass > 0] / float((given * number).sum())
    return float(max(0.0, -(mass[mass > 0] * np.log2(p)).sum()))


def miller_madow_bits(counts: ArrayLike, types: ArrayLike = 1) -> float:
    """Entropy in bits with the bias correction (types - 1) / (2 N) nats (Miller 1955); arguments as in `entropy_bits`."""
    values, number = np.broadcast_arrays(np.asarray(counts, np.float64), np.asarray(types, np.float64))
    return entropy_bits(values, number) + (float(number[values > 0].sum()) - 1) / (2 * float((values * number).sum()) * log(2))


def expected_entropy_bits(weights: ArrayLike, draws: int, types: ArrayLike = 1) -> float:
    """Expected plug-in entropy of `draws` independent draws: log2 N - sum_v E[c_v log2 c_v] / N, with c_v binomial. Exact.

    Args:
        weights: (n,).
        draws: N.
        types: (n,), how many keys have each weight.
    """
    given, number = np.broadcast_arrays(np.asarray(weights, np.float64), np.asarray(types, np.float64))
    there = _distribution(given * number) > 0
    p, number = given[there] / float((given * number).sum()), number[there]
    expected = 0.0
    log_choose = 0.0
    with np.errstate(divide="ignore"):
        log_p, log_q = np.log(p), np.log1p(-np.minimum(p, 1 - 1e-16))
    for c in range(1, draws + 1):
        log_choose += np.log(draws - c + 1) - np.log(c)
        expected += c * np.log2(c) * float((number * np.exp(log_choose + c * log_p + (draws - c) * log_q)).sum())
    return float(np.log2(draws) - expected / draws)


def kl_bits(reference: ArrayLike, model: ArrayLike) -> float:
    """KL(reference || model) in bits; infinite where the model gives nothing to what the reference has."""
    p, q = _distribution(reference), _distribution(model)
    seen = p > 0
    if np.any(q[seen] == 0):
        return float("inf")
    return float(max(0.0, (p[seen] * np.log2(p[seen] / q[seen])).sum()))


def jensen_shannon_bits(reference: ArrayLike, model: ArrayLike) -> float:
    """Jensen-Shannon divergence in bits, 0 to 1, symmetric (Lin 1991)."""
    p, q = _distribution(reference), _distribution(model)
    middle = (p + q) / 2
    return min(1.0, (kl_bits(p, middle) + kl_bits(q, middle)) / 2)


def wasserstein_1(reference_values: ArrayLike, reference: ArrayLike, model_values: ArrayLike, model: ArrayLike) -> float:
    """Wasserstein-1 distance of two weighted samples on the line, in the unit of the values: the area between their CDFs."""
    values = np.concatenate([np.asarray(reference_values, np.float64), np.asarray(model_values, np.float64)])
    weights = np.concatenate([_distribution(reference), -_distribution(model)])
    order = np.argsort(values, kind="stable")
    difference = np.cumsum(weights[order])[:-1]
    return float((np.abs(difference) * np.diff(values[order])).sum())


def mean_sd(values: ArrayLike, counts: ArrayLike) -> tuple[float, float]:
    """Mean and population standard deviation of weighted values."""
    x, p = np.asarray(values, np.float64), _distribution(counts)
    mean = float((x * p).sum())
    return mean, float(np.sqrt(max(0.0, ((x - mean) ** 2 * p).sum())))


def correlation(x: ArrayLike, y: ArrayLike, counts: ArrayLike) -> float:
    """Pearson correlation of weighted pairs; 0 where one side does not vary."""
    x, y, p = np.asarray(x, np.float64), np.asarray(y, np.float64), _distribution(counts)
    dx, dy = x - (x * p).sum(), y - (y * p).sum()
    scale = np.sqrt((dx * dx * p).sum() * (dy * dy * p).sum())
    return float((dx * dy * p).sum() / scale) if scale > 0 else 0.0


def counts_at_ranks(counts: ArrayLike, types: ArrayLike, ranks: ArrayLike) -> Floats:
    """The counts of the types that have these ranks, from 1, the most frequent. `types`: how many have each of the `counts`."""
    values, number = np.asarray(counts, np.float64), np.asarray(types, np.int64)
    order = np.argsort(-values, kind="stable")
    found: Floats = values[order][np.searchsorted(np.cumsum(number[order]), np.asarray(ranks, np.int64))]
    return found


def zipf_exponent(counts: ArrayLike, types: ArrayLike, *, ranks: int = 5_000) -> float:
    """Exponent s of count ~ rank^-s: least squares of log count on log rank over the first `ranks`, ranks spaced evenly in the log.

    Args:
        counts: (n,), distinct or not.
        types: (n,), how many types have each.
        ranks: how many, at the most.

    Returns:
        It; nan of fewer than 10 types.
    """
    size = min(int(np.sum(types)), ranks)
    if size < 10:
        return float("nan")
    chosen = np.unique(np.geomspace(1, size, 60).astype(int))
    slope = np.polyfit(np.log(chosen), np.log(counts_at_ranks(counts, types, chosen)), 1)[0]
    return float(-slope)


def log_likelihood(count: ArrayLike, total: float, reference_count: ArrayLike, reference_total: float) -> Floats:
    """Keyness G2 of each key against a reference, signed: positive is over-use (Dunning 1993; Rayson and Garside 2000)."""
    a, b = np.asarray(count, np.float64), np.asarray(reference_count, np.float64)
    share = (a + b) / (total + reference_total)
    with np.errstate(divide="ignore", invalid="ignore"):
        g2 = 2 * (np.where(a > 0, a * np.log(a / (share * total)), 0) + np.where(b > 0, b * np.log(b / (share * reference_total)), 0))
    sign = np.where(a * reference_total >= b * total, 1.0, -1.0)
    signed: Floats = sign * np.maximum(g2, 0)
    return signed


def cramer(reference_values: ArrayLike, reference: ArrayLike, model_values: ArrayLike, model: ArrayLike) -> float:
    """Cramér's distance of two weighted samples on the line, the integral of (F - G)^2, in the unit of the values (Székely 2002)."""
    values = np.concatenate([np.asarray(reference_values, np.float64), np.asarray(model_values, np.float64)])
    weights = np.concatenate([_distribution(reference), -_distribution(model)])
    order = np.argsort(values, kind="stable")
    difference = np.cumsum(weights[order])[:-1]
    return float((difference**2 * np.diff(values[order])).sum())


def median_distance(values: ArrayLike) -> float:
    """Median of the distances between rows [n, features], the usual bandwidth of a Gaussian kernel."""
    squares = _squared_distances(np.asarray(values, np.float64), np.asarray(values, np.float64))
    return float(np.sqrt(np.median(squares[np.triu_indices(len(squares), 1)])))


def mmd2(reference: ArrayLike, model: ArrayLike, *, bandwidth: float) -> float:
    """Squared maximum mean discrepancy of two samples [n, features], [m, features], unbiased: it can be negative (Gretton et al. 2012).

    The kernel is exp(-|x - y|^2 / (2 bandwidth^2)).

    Raises:
        ValueError: a sample has fewer than two rows.
    """
    x, y = np.asarray(reference, np.float64), np.asarray(model, np.float64)
    if len(x) < 2 or len(y) < 2:
        raise ValueError(f"the unbiased estimate needs two rows of each sample at least; there are {len(x)} and {len(y)}")

    def kernel(a: Floats, b: Floats) -> Floats:
        found: Floats = np.exp(-_squared_distances(a, b) / (2 * bandwidth**2))
        return found

    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(x, x), kernel(y, y))]
    return float(sum(within) - 2 * kernel(x, y).mean())


def _squared_distances(x: Floats, y: Floats) -> Floats:
    found: Floats = np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T, 0)
    return found
