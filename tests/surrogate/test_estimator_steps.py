"""Back in parameter space: where the solutions of a surrogate lead, and how far first order holds."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gradex.surrogate import SurrogateEstimator


def test_adapted_policy_stands_at_the_lifted_step(meta, surrogate) -> None:
    theta = torch.from_numpy(surrogate.solve([(0, 2)]).theta)
    expected = meta.parameters + surrogate.projection_.lift(theta).numpy()[0]
    np.testing.assert_allclose(surrogate.adapted((0, 2)).parameters, expected, rtol=1e-5, atol=1e-6)


def test_steps_lead_to_the_adapted_policy_or_get_the_length_of_a_divergence(meta, surrogate) -> None:
    [free], [fixed] = surrogate.steps([(0, 2)]), surrogate.steps([(0, 2)], divergence=0.02)
    np.testing.assert_allclose(
        meta.parameters + free, surrogate.adapted([0, 2]).parameters, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(fixed / np.linalg.norm(fixed), free / np.linalg.norm(free), atol=1e-5)
    factor = np.linalg.norm(fixed) / np.linalg.norm(free)
    change = (
        factor * surrogate.features[np.isin(surrogate.tasks, [0, 2])] @ surrogate.solve([(0, 2)]).theta[0]
    )
    assert 0.5 * np.mean(change**2) == pytest.approx(0.02, rel=1e-4)
    with pytest.raises(ValueError, match="divergence is 0: choose a positive number, or None"):
        surrogate.steps([(0, 2)], divergence=0)


def test_adapted_policy_can_be_put_at_a_distance(meta, surrogate) -> None:
    step = surrogate.adapted((0, 2)).parameters - meta.parameters
    near = surrogate.adapted((0, 2), distance=0.05).parameters - meta.parameters
    assert np.linalg.norm(near) / np.linalg.norm(meta.parameters) == pytest.approx(0.05, rel=1e-3)
    cosine = near @ step / np.linalg.norm(near) / np.linalg.norm(step)
    assert cosine == pytest.approx(1, abs=1e-4)


def test_adapted_policy_raises_the_objective_of_its_subset(meta, transitions, surrogate) -> None:
    rows = np.isin(transitions.tasks, [0, 2])
    batch = (
        torch.from_numpy(x[rows])[None]
        for x in (transitions.observations, transitions.tasks, transitions.actions)
    )
    policy, batch = meta.agent_.policy, tuple(batch)
    log_prob = [
        policy.log_prob(m.agent_.actors, *batch)[0] for m in (meta, surrogate.adapted((0, 2), distance=1e-3))
    ]
    ratio = (log_prob[1] - log_prob[0]).exp().numpy()
    assert np.mean((ratio - 1) * transitions.advantages[rows]) > 0


def test_first_order_error_is_tidy_and_grows_with_the_distance(surrogate) -> None:
    table = surrogate.first_order_error(distances=(0.001, 0.01, 0.1), subsets=[(0,), (1, 2)], samples=50)
    assert list(table.columns) == [
        "distance",
        "direction",
        "subset",
        "relative_to_output",
        "relative_to_change",
    ]
    assert len(table) == 3 * 2 * 2
    assert set(table.direction) == {"random", "surrogate"} and set(table.subset) == {0, 1}
    for _, rows in table.groupby(["direction", "subset"]):
        assert rows.sort_values("distance").relative_to_change.is_monotonic_increasing
    assert table.equals(
        surrogate.first_order_error(distances=(0.001, 0.01, 0.1), subsets=[(0,), (1, 2)], samples=50)
    )


def test_first_order_error_chooses_subsets_by_itself(surrogate) -> None:
    table = surrogate.first_order_error()
    assert table.subset.nunique() == 8 and table.distance.nunique() == 6
    assert np.isfinite(table[["relative_to_output", "relative_to_change"]]).all(axis=None)


@pytest.mark.wrong_types
@pytest.mark.parametrize("distances", [[0.0], [0], (-1,), (0.1, np.inf), (), 0.1])
def test_distances_are_positive(surrogate: SurrogateEstimator, distances: Any) -> None:
    with pytest.raises(ValueError, match=r"distances are .*: give positive numbers, at least one"):
        surrogate.first_order_error(distances)


@pytest.mark.wrong_types
@pytest.mark.parametrize("distances", [(1, 2), np.array([1, 2]), torch.tensor([1, 2])])
def test_distances_may_be_whole_numbers(surrogate: SurrogateEstimator, distances: Any) -> None:
    expected = surrogate.first_order_error((1.0, 2.0), [(0,)], samples=50)
    pd.testing.assert_frame_equal(surrogate.first_order_error(distances, [(0,)], samples=50), expected)
