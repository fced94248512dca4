import numpy as np
import pytest

from gradex.affinity.certificate import (
    block_margins,
    centred,
    certified_upper_bound,
    partition_multiplier,
)
from gradex.affinity.partition import canonical_labels, group_objective


def planted(n, k, noise, seed):
    rng = np.random.default_rng(seed)
    labels = canonical_labels(rng.integers(k, size=n))
    matrix = rng.standard_normal((n, n))
    return centred((labels[:, None] == labels) + noise * (matrix + matrix.T)), labels


@pytest.mark.parametrize("seed", range(5))
def test_margins_make_any_groups_stationary(seed):
    """With block sums as stated there is an a for which M = p I + a e^T + e a^T - U - Z has M v_c = 0."""
    matrix, labels = planted(12, 3, 1.0, seed)
    members = np.eye(labels.max() + 1)[labels]
    margins = block_margins(matrix, labels)
    for price in (-1.0, 0.0, 2.0):
        sums = np.where(members == 0, margins.constant - price * margins.slope, 0.0)
        # M v_c = 0 for all c is linear in a: solve it in least squares, and no residual may stay.
        identity = np.eye(12)
        rows, right = [], []
        for c, size in enumerate(members.sum(axis=0)):
            rows.append(size * identity + np.outer(np.ones(12), members[:, c]))
            right.append(matrix @ members[:, c] + sums[:, c] - price * members[:, c])
        rows, right = np.concatenate(rows), np.concatenate(right)
        a = np.linalg.lstsq(rows, right)[0]
        np.testing.assert_allclose(rows @ a, right, atol=1e-10)


@pytest.mark.parametrize(("n", "k", "noise"), [(10, 2, 0.05), (40, 4, 0.1), (90, 3, 0.3), (120, 5, 0.3)])
def test_clear_groups_are_certified_and_no_others(n, k, noise):
    matrix, labels = planted(n, k, noise, seed=n)
    margins = block_margins(matrix, labels)
    assert margins.lowest_price < margins.highest_price
    price = (margins.lowest_price + margins.highest_price) / 2
    Z = partition_multiplier(matrix, labels, margins, price)
    assert Z.min() >= 0
    assert not Z[labels[:, None] == labels].any()
    np.testing.assert_allclose(Z, Z.T, atol=1e-12)
    optimum = group_objective(matrix, labels)
    assert certified_upper_bound(matrix, k, multiplier=Z) == pytest.approx(optimum, rel=1e-6)
    penalised = certified_upper_bound(matrix, trace_penalty=price, multiplier=Z)
    assert penalised == pytest.approx(optimum - k * price, rel=1e-6)
    worse = labels.copy()
    worse[[0, np.flatnonzero(labels != labels[0])[0]]] = worse[[np.flatnonzero(labels != labels[0])[0], 0]]
    margins = block_margins(matrix, worse)
    assert margins.highest_price < margins.lowest_price


def test_unclear_groups_have_no_certificate_but_a_multiplier_that_bounds():
    matrix, labels = planted(60, 4, 2.0, seed=0)
    margins = block_margins(matrix, labels)
    assert margins.highest_price < margins.lowest_price
    Z = partition_multiplier(matrix, labels, margins, 0.0)
    assert Z.min() >= 0
    assert certified_upper_bound(matrix, 4, multiplier=Z) > group_objective(matrix, labels)
