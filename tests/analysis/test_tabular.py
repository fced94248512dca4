"""Tables of small environments, against what MO-Gymnasium knows of them and against all policies."""

from itertools import product

import numpy as np
import pytest

pytest.importorskip("mo_gymnasium")

from analysis.many_objectives import reservoir
from analysis.tabular import tabulate
from gradex import TaskSuite
from gradex.tasks.vector_rewards import make

WEIGHTS = np.random.default_rng(0).dirichlet(np.ones(2), 40)


@pytest.mark.parametrize("name", ["deep-sea-treasure-v0", "deep-sea-treasure-concave-v0"])
def test_the_best_policies_are_on_the_known_front(name: str) -> None:
    problem = tabulate(TaskSuite.make(f"mo-{name}", n=2, scale=[1.0, 1.0], discount=0.97))
    front = np.array(make(name, 1000).unwrapped.pareto_front(gamma=0.97))
    best = (WEIGHTS * problem.values(WEIGHTS)).sum(axis=1)
    np.testing.assert_allclose(best, (WEIGHTS @ front.T).max(axis=1), rtol=1e-5)


def test_fruit_trees_are_searched_leaf_by_leaf() -> None:
    problem = tabulate(TaskSuite.make("mo-fruit-tree", n=2, scale=[1.0] * 6, discount=0.9))
    assert problem.following.shape == (64, 2, 1)  # 63 inner nodes and the end
    made = make("fruit-tree-v0", 6).unwrapped
    leaves = []
    for turns in product(range(2), repeat=6):
        made.reset(seed=0)
        for turn in turns:
            _, reward, *_ = made.step(turn)
        leaves.append(0.9**5 * np.asarray(reward, dtype=np.float64))
    weights = np.random.default_rng(1).dirichlet(np.ones(6), 30)
    best = (weights * problem.values(weights)).sum(axis=1)
    np.testing.assert_allclose(best, (weights @ np.transpose(leaves)).max(axis=1), rtol=1e-9)


def test_chance_is_followed_both_ways() -> None:
    """Death comes with a probability of a tenth on each visit of an enemy."""
    problem = tabulate(TaskSuite.make("mo-resource-gathering", n=2, scale=[1.0] * 3, discount=0.999999))
    assert problem.chance.tolist() == [0.1, 0.9]
    gold, safe = problem.values(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    assert gold[1] == pytest.approx(1.0, abs=1e-4)  # there is a way around the enemies
    assert safe[0] == 0.0


def test_a_reservoir_on_a_grid_is_worth_what_the_real_one_is() -> None:
    reservoir.register()
    suite = TaskSuite.make("mo-reservoir-v0", n=2, scale=[1.0] * 4, discount=0.95)
    assert suite.objectives == ("flooding above", "water deficit", "power deficit", "flooding below")
    problem = reservoir.tabulate(suite)
    always_half = np.full((1, len(problem.following)), 10)
    table = problem._values_of(always_half)[0, 0] / 0.95  # the first step, to a beginning, is none of theirs
    environment = make("reservoir-v0", 1000).unwrapped
    returns = []
    for seed in range(200):
        environment.reset(seed=seed)
        paid = [environment.step(np.array([0.5], dtype=np.float32))[1] for _ in range(150)]
        returns.append(0.95 ** np.arange(150) @ np.array(paid))
    error = np.std(returns, axis=0) / np.sqrt(len(returns))
    assert (abs(table - np.mean(returns, axis=0)) < 4 * error + 0.01 * abs(table)).all()
