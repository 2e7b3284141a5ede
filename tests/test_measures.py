"""Closed forms, and parity with SciPy and NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import energy_distance, wasserstein_distance

from dft_stats.measures import (
    correlation,
    counts_at_ranks,
    cramer,
    entropy_bits,
    expected_entropy_bits,
    jensen_shannon_bits,
    kl_bits,
    log_likelihood,
    mean_sd,
    median_distance,
    miller_madow_bits,
    mmd2,
    wasserstein_1,
    zipf_exponent,
)

weights = st.lists(st.integers(0, 1000), min_size=4, max_size=4).filter(any)
positive = st.lists(st.integers(1, 1000), min_size=4, max_size=4)
values = st.lists(st.integers(-50, 50), min_size=4, max_size=4)


@pytest.mark.parametrize(("counts", "bits"), [([7], 0), ([1, 1], 1), ([5] * 8, 3), ([2, 1, 1], 1.5), ([3, 0, 3], 1)])
def test_entropy_closed_forms(counts: list[int], bits: float) -> None:
    assert entropy_bits(counts) == pytest.approx(bits)


def test_miller_madow_adds_its_correction() -> None:
    assert miller_madow_bits([2, 1, 1, 0]) == pytest.approx(1.5 + 2 / 8 / np.log(2))


@pytest.mark.parametrize("draws", [1, 2, 5])
def test_expected_entropy_of_a_fair_coin(draws: int) -> None:
    from math import comb

    expected = sum(comb(draws, k) * entropy_bits([k, draws - k]) for k in range(draws + 1)) / 2**draws
    assert expected_entropy_bits([1, 1], draws) == pytest.approx(expected, abs=1e-12)


def test_divergence_has_a_direction_and_sees_what_the_model_lacks() -> None:
    assert kl_bits([1, 1], [3, 1]) == pytest.approx(0.5 * np.log2(2 / 3) + 0.5 * np.log2(2))
    assert kl_bits([1, 1], [1, 0]) == float("inf")
    assert kl_bits([1, 0], [1, 1]) == pytest.approx(1)


@given(weights, weights)
def test_jensen_shannon_is_symmetric_bounded_and_that_of_scipy(p: list[int], q: list[int]) -> None:
    found = jensen_shannon_bits(p, q)
    assert 0 <= found <= 1
    assert found == pytest.approx(jensen_shannon_bits(q, p), abs=1e-12)
    assert found == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)


@given(weights, weights)
def test_jensen_shannon_is_zero_for_equal_distributions_alone(p: list[int], q: list[int]) -> None:
    equal = np.allclose(np.array(p) * sum(q), np.array(q) * sum(p))
    assert (jensen_shannon_bits(p, q) < 1e-9) == equal
    assert jensen_shannon_bits(p, 3 * np.array(p)) == pytest.approx(0, abs=1e-12)


def test_jensen_shannon_of_disjoint_distributions_is_one_bit() -> None:
    assert jensen_shannon_bits([1, 2, 0], [0, 0, 5]) == 1


@given(values, weights, values, weights)
def test_wasserstein_is_that_of_scipy(x: list[int], p: list[int], y: list[int], q: list[int]) -> None:
    assert wasserstein_1(x, p, y, q) == pytest.approx(wasserstein_distance(x, y, p, q), abs=1e-9)


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    assert wasserstein_1([1, 2, 3], [1, 2, 1], [4, 5, 6], [1, 2, 1]) == pytest.approx(3)


@given(values, values, positive)
def test_correlation_and_moments_are_those_of_numpy(x: list[int], y: list[int], counts: list[int]) -> None:
    repeated_x, repeated_y = np.repeat(x, counts), np.repeat(y, counts)
    assert mean_sd(x, counts) == pytest.approx((repeated_x.mean(), repeated_x.std()), abs=1e-9)
    if repeated_x.std() > 0 and repeated_y.std() > 0:
        assert correlation(x, y, counts) == pytest.approx(np.corrcoef(repeated_x, repeated_y)[0, 1], abs=1e-9)


def test_correlation_where_one_side_does_not_vary() -> None:
    assert correlation([1, 1], [1, 2], [1, 1]) == 0


def test_log_likelihood_by_hand() -> None:
    # 30 in 1,000 against 10 in 1,000: the expectation is 20 on each side.
    expected = 2 * (30 * np.log(30 / 20) + 10 * np.log(10 / 20))
    assert log_likelihood([30], 1000, [10], 1000) == pytest.approx([expected])
    assert log_likelihood([10], 1000, [30], 1000) == pytest.approx([-expected])
    assert log_likelihood([5], 100, [50], 1000) == pytest.approx([0], abs=1e-9)
    assert log_likelihood([0, 8], 100, [8, 0], 100) == pytest.approx([-16 * np.log(2), 16 * np.log(2)])


@given(st.floats(0.5, 1.5))
def test_zipf_exponent_of_an_exact_law(exponent: float) -> None:
    assert zipf_exponent(1e6 * np.arange(1, 2001) ** -exponent, np.ones(2000, int)) == pytest.approx(exponent)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 5)), min_size=1, max_size=30), st.data())
def test_counts_at_ranks_are_those_of_all_types_in_order(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    counts, types = zip(*rows, strict=True)
    ordered = np.sort(np.repeat(counts, types))[::-1]
    ranks = data.draw(st.lists(st.integers(1, len(ordered)), max_size=9))
    assert counts_at_ranks(counts, types, ranks).tolist() == [ordered[rank - 1] for rank in ranks]
    whole = zipf_exponent(ordered, np.ones(len(ordered), int))
    assert zipf_exponent(counts, types) == pytest.approx(whole, nan_ok=True)


def test_types_by_the_billion_take_no_memory() -> None:
    assert counts_at_ranks([1, 9], [1 << 62, 1], [1, 2, 1 << 62]).tolist() == [9, 1, 1]


def test_zipf_exponent_of_too_few_types_is_none_at_all() -> None:
    assert np.isnan(zipf_exponent([3, 2, 1], [1, 1, 7]))


@pytest.mark.parametrize("counts", [[], [0, 0]])
def test_nothing_has_no_entropy(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="empty"):
        entropy_bits(counts)


def test_negative_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        entropy_bits([1, -1])


@given(values, positive, values, positive)
def test_cramer_is_half_the_squared_energy_distance_of_scipy(a: list[int], p: list[int], b: list[int], q: list[int]) -> None:
    assert cramer(a, p, b, q) == pytest.approx(energy_distance(a, b, p, q) ** 2 / 2, abs=1e-9)


def test_mmd2_is_the_double_sum_over_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 0.5

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * 1.5**2)))

    within = [np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (x, y)]
    between = np.mean([kernel(a, b) for a in x for b in y])
    assert mmd2(x, y, bandwidth=1.5) == pytest.approx(within[0] + within[1] - 2 * between)
    with pytest.raises(ValueError, match="5 and 1"):
        mmd2(x, y[:1], bandwidth=1.5)


def test_mmd2_is_unbiased() -> None:
    """Over all pairs of samples of two from three points each: the exact discrepancy of the distributions, 0 for equal ones."""
    points = np.array([[0.0], [1.0], [3.0]])
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    gram = np.exp(-((points - points.T) ** 2) / 2)
    for other in (q, p):
        expected = 0.0
        for i, j, k, m in np.ndindex(3, 3, 3, 3):
            expected += p[i] * p[j] * other[k] * other[m] * mmd2(points[[i, j]], points[[k, m]], bandwidth=1.0)
        assert expected == pytest.approx((p - other) @ gram @ (p - other), abs=1e-12)


def test_median_distance_of_a_square() -> None:
    assert median_distance([[0, 0], [0, 1], [1, 0], [1, 1]]) == 1
