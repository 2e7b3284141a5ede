"""Differentially private tables, by OpenDP's Gaussian threshold mechanism (Rogers 2023). Needs the extra [privacy].

Every table is a map of keys to counts that owners change within a `Bound`. The mechanism adds discrete Gaussian noise to each count and
tells those above a threshold, so high that a key which one owner brings along hardly ever passes. The cost of each is in zero-concentrated
differential privacy, where costs add up; OpenDP turns the sum into epsilon at the delta that is left.
"""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil, inf, sqrt
from typing import Any

from dft_stats.build.clamping import TOTALS, Bound
from dft_stats.statistics import ENTROPY, NGRAM_FREQUENCY, PUNCTUATION_RHYTHM, SENTENCE_LENGTH, SURFACE, TOKEN_FREQUENCY

DELTA, MOST = 1e-6, 100
OWNERS = "documents"
"""How many owners there are: the one number beside the tables that is told, with noise."""
_SHARES = {
    TOKEN_FREQUENCY.name: 20,
    f"{NGRAM_FREQUENCY.name}/2": 15,
    f"{NGRAM_FREQUENCY.name}/3": 10,
    f"{NGRAM_FREQUENCY.name}/4": 5,
    f"{NGRAM_FREQUENCY.name}/5": 5,
    SURFACE.name: 15,
    f"{SENTENCE_LENGTH.name}/words": 5,
    f"{SENTENCE_LENGTH.name}/units": 4,
    f"{SENTENCE_LENGTH.name}/pairs": 4,
    f"{PUNCTUATION_RHYTHM.name}/marks": 3,
    f"{PUNCTUATION_RHYTHM.name}/gaps": 5,
    ENTROPY.name: 4,
    TOTALS: 4,
    OWNERS: 1,
}
"""Of the budget, in parts: more for what the loss steers by."""


@dataclass(frozen=True, slots=True)
class Released:
    """What may be told, and what it cost."""

    tables: Mapping[str, Mapping[Any, int]]
    documents: int
    accounting: Mapping[str, Any]


def check(epsilon: float, delta: float) -> None:
    """Refuse budgets of no meaning, and say so if OpenDP is missing."""
    if not (0 < epsilon <= MOST and 0 < delta < 0.1):
        raise ValueError(
            f"epsilon is a number above 0, of more than {MOST} nothing is hidden, and delta one above 0 and far below 1; {epsilon} and "
            f"{delta} were given, try 1.0 and 1e-6"
        )
    if find_spec("opendp") is None:
        raise ImportError("--epsilon needs OpenDP: pip install 'dft-stats[privacy]'")


def release(sums: Mapping[str, Mapping[Any, int]], owners: int, bounds: Mapping[str, Bound], epsilon: float, delta: float) -> Released:
    """Noisy tables of clamped sums; (epsilon, delta)-differentially private with respect to one owner more or less.

    Args:
        sums: by table, of `clamping.sums`; the bounds hold for them.
        owners: how many there are.
        bounds: by table.
        epsilon: of all tables together.
        delta: of all tables together; half of it goes to the thresholds.
    """
    import opendp.prelude as dp

    dp.enable_features("contrib")
    wanted = {**bounds, OWNERS: Bound(1, 1, 1)}
    parts = {name: _SHARES[name] / sum(_SHARES[own] for own in wanted) for name in wanted}
    rho = _rho(dp, epsilon, delta / 2)
    tables: dict[str, dict[Any, int]] = {}
    split: dict[str, dict[str, Any]] = {}
    for name, bound in wanted.items():
        scale = bound.norm / sqrt(2 * rho * parts[name])
        change = bound.rows, bound.norm, bound.per_row
        is_known = name in (TOTALS, OWNERS)  # which rows there are is no secret
        threshold = None if is_known else _threshold(dp, scale, change, delta / 2 * parts[name])
        given = {"documents": owners} if name == OWNERS else sums[name]
        keys = sorted(given, key=repr)
        if is_known:
            vector = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="i64")
            noisy = dp.m.make_gaussian(*vector, scale=scale)
            tables[name] = dict(zip(keys, noisy([given[key] for key in keys]), strict=True)) if keys else {}
            spent, lost = noisy.map(bound.norm), 0.0
        else:
            mechanism = dp.m.make_gaussian_threshold(*_space(dp), scale=scale, threshold=threshold)
            found = mechanism({i: given[key] for i, key in enumerate(keys)}) if keys else {}
            tables[name] = {keys[i]: number for i, number in sorted(found.items())}
            spent, lost = mechanism.map(change)
        split[name] = {"rho": spent, "delta": lost, "scale": scale, "threshold": threshold}
        split[name] |= {"rows": bound.rows, "norm": bound.norm, "per_row": bound.per_row}
    total, lost = sum(row["rho"] for row in split.values()), sum(row["delta"] for row in split.values())
    spent = _epsilon(dp, total, delta - lost)
    if spent > epsilon * (1 + 1e-6):
        raise AssertionError(f"the tables cost epsilon {spent}, more than {epsilon}; please report this")
    accounting = {
        "epsilon": epsilon,
        "delta": delta,
        "spent": {"rho": total, "epsilon": spent, "delta": delta},
        "mechanism": f"discrete Gaussian with thresholds, opendp {importlib.metadata.version('opendp')}",
        "split": split,
    }
    return Released(tables, max(1, int(tables.pop(OWNERS)["documents"])), accounting)


def _space(dp: Any) -> tuple[Any, Any]:
    return dp.map_domain(dp.atom_domain(T="i64"), dp.atom_domain(T="i64")), dp.l02inf_distance(dp.absolute_distance(T="i64"))


def _threshold(dp: Any, scale: float, change: tuple[int, int, int], delta: float) -> int:
    """The lowest threshold whose cost in delta is no more."""

    def costs(threshold: int) -> float:
        try:
            return float(dp.m.make_gaussian_threshold(*_space(dp), scale=scale, threshold=threshold).map(change)[1])
        except dp.OpenDPException:  # so low that it hides nothing
            return inf

    low, high = change[2], change[2] + ceil(4 * scale) + 4
    while costs(high) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if costs(middle) <= delta else (middle, high)
    return high


def _epsilon(dp: Any, rho: float, delta: float) -> float:
    """Of zero-concentrated differential privacy."""
    noise = dp.m.make_gaussian(dp.atom_domain(T=float, nan=False), dp.absolute_distance(T=float), scale=1 / sqrt(2 * rho))
    return float(dp.c.make_zCDP_to_approxDP(noise).map(1.0).epsilon(delta))


def _rho(dp: Any, epsilon: float, delta: float) -> float:
    """The largest that costs no more."""
    low, high = 0.0, 1.0
    while _epsilon(dp, high, delta) < epsilon:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _epsilon(dp, middle, delta) <= epsilon else (low, middle)
    return low
