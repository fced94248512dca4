"""Mutual information against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from gradex.affinity.agreement import adjusted_mutual_information, normalized_mutual_information


@pytest.mark.parametrize("n", [1, 2, 5, 12, 40, 300])
def test_values_are_those_of_scikit_learn(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(15):
        one, other = (rng.integers(rng.integers(1, 7), size=n) for _ in range(2))
        kept = rng.random(n) < 0.8  # groups that have much in common, and equal ones
        for labels in (other, np.where(kept, one, other), 3 - one):
            expected = normalized_mutual_info_score(one, labels), adjusted_mutual_info_score(one, labels)
            found = normalized_mutual_information(one, labels), adjusted_mutual_information(one, labels)
            assert found == pytest.approx(expected, rel=1e-12, abs=1e-14)
