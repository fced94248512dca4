"""Suites whose observations show the preference."""

import json
import pickle
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from gradex import MetaPolicy, PreferenceGrouping, TaskSuite
from gradex.learners import PPO
from gradex.learners.evaluation import serves_all
from gradex.learners.transitions import can_share
from tests.environments import Fork

from .families import actions, roll

#: One in each engine.
ENGINES = [("mountaincar", "envpool"), ("mountaincar", "gymnasium"), ("deep-sea-treasure", "gymnasium")]


@pytest.fixture(autouse=True)
def fork() -> Iterator[None]:
    gymnasium.register("fork-v0", Fork)
    yield
    del gymnasium.registry["fork-v0"]


def forks(**options: Any) -> TaskSuite:
    return TaskSuite.make("mo-fork-v0", **{"scale": [1.0, 1.0], "conditioned": True, **options})


@pytest.mark.parametrize(("name", "engine"), ENGINES)
def test_weights_stand_behind_all_that_the_plain_suite_shows(name: str, engine: str) -> None:
    pytest.importorskip("mo_gymnasium")
    options = {"n": 3, "engine": engine, "horizon": 7}
    plain, suite = (TaskSuite.make(f"mo-{name}", conditioned=told, **options) for told in (False, True))
    k, features = len(suite.objectives), plain.observation_space.shape[0]
    ours, theirs = suite.simulator(2, seed=3), plain.simulator(2, seed=3)
    assert ours.single_observation_space == suite.observation_space
    assert suite.observation_space.shape == (features + k,)
    assert suite.observation_space.low[features:].tolist() == [0] * k
    assert suite.observation_space.high[features:].tolist() == [1] * k
    plan = actions(suite, 20, 6)  # over resets, which show them too
    one, other = roll(ours, plan), roll(theirs, plan)
    shown = np.repeat(suite.weights, 2, axis=0).astype(np.float32)
    np.testing.assert_array_equal(one.start, np.hstack([other.start, shown]))
    np.testing.assert_array_equal(one.observations[..., features:], np.broadcast_to(shown, (20, 6, k)))
    np.testing.assert_array_equal(one.observations[..., :features], other.observations)
    assert one.observations.dtype == np.float32
    for ours_, theirs_ in zip(one[2:], other[2:], strict=True):
        np.testing.assert_array_equal(ours_, theirs_)
    told = [simulator.step(plan[0])[4]["objectives"] for simulator in (ours, theirs)]
    np.testing.assert_array_equal(*told)
    assert told[0].shape == (6, k)


def test_the_scale_of_observations_leaves_weights_alone() -> None:
    pytest.importorskip("mo_gymnasium")
    plain, suite = (
        TaskSuite.make("mo-mountaincar", n=2, scale=[1, 1, 1], conditioned=told) for told in (False, True)
    )
    (centre, spread), (all_centres, all_spreads) = plain.typical_observation, suite.typical_observation
    assert all_centres == (*centre, 0, 0, 0)
    assert all_spreads == (*spread, 1, 1, 1)
    assert forks(n=2).typical_observation is None  # of order one


def test_tasks_are_preferences_but_steps_of_one_do_not_serve_others() -> None:
    suite = forks(n=4, seed=1)
    assert not suite.linear
    assert not suite.shared_dynamics
    plain = forks(n=4, seed=1, conditioned=False)
    assert plain.linear
    assert plain.shared_dynamics
    np.testing.assert_array_equal(suite.weights, plain.weights)
    assert (suite.objectives, suite.scale.tolist()) == (plain.objectives, [1, 1])
    assert suite.with_weights([[1, 3]]).weights.tolist() == [[0.25, 0.75]]
    assert suite.with_weights([[1, 3]]).simulator(1).reset()[0].tolist() == [[0, 0.25, 0.75]]
    meta = MetaPolicy(suite, layers=2, width=8).fit(1)
    assert not meta.by_objective
    assert not serves_all(meta.agent_, suite)
    assert not can_share(meta.agent_, suite)
    kept = meta.transitions(12, copies=4)
    assert kept.advantages.shape == (48,)
    np.testing.assert_array_equal(kept.observations[:, 1:], suite.weights[kept.tasks].astype(np.float32))


def test_it_comes_back_from_its_config_from_a_pickle_and_from_disk(tmp_path: Any) -> None:
    suite = forks(n=4, groups=2, seed=3)
    for again in (
        TaskSuite.from_config(json.loads(json.dumps(suite.config))),
        pickle.loads(pickle.dumps(suite)),
    ):
        assert again.config == suite.config
        assert again.observation_space == suite.observation_space
    assert suite.options["conditioned"]
    # Policies from before there was a choice have suites that do not say so.
    assert "conditioned" not in forks(n=4, conditioned=False).options
    meta = MetaPolicy(suite, layers=2, width=8).fit(1)
    meta.save(tmp_path / "policy")
    loaded = MetaPolicy.load(tmp_path / "policy")
    assert loaded.suite.config == suite.config
    assert loaded.evaluate(4).equals(meta.evaluate(4))


def test_one_policy_serves_preferences_that_it_has_not_met() -> None:
    """The best choice pays the larger weight at each of three steps; who sees no weights earns the mean."""
    learner = PPO(learning_rate=1e-2, steps=32, copies=4, minibatches=4)
    suite = forks(n=12, seed=100)
    others = suite.unseen(40, seed=0)
    best, mean = 3 * others.weights.max(axis=1), 1.5
    earned = (
        MetaPolicy(suite, layers=2, width=16, learner=learner)
        .fit(16_000)
        .evaluate(suite=others, choose="mode")
    )
    assert earned.return_mean.mean() > best.mean() - 0.1
    plain = forks(n=12, seed=100, conditioned=False)
    blind = MetaPolicy(plain, layers=2, width=16, learner=learner).fit(4000)
    unseen = blind.evaluate(suite=plain.with_weights(others.weights))
    assert abs(unseen.return_mean.mean() - mean) < 0.2
    assert best.mean() > mean + 0.5


def test_groups_of_preferences_are_refused() -> None:
    words = "policies see the preferences of 'mo-fork-v0', so that .*: leave out conditioned=True, or"
    with pytest.raises(ValueError, match=words) as caught:
        PreferenceGrouping(k=2).fit(forks(n=4))
    assert "\n" not in str(caught.value)


def test_other_observations_are_refused() -> None:
    meta = MetaPolicy(forks(n=2), layers=2, width=8).fit(1)
    with pytest.raises(ValueError, match="has other observations"):
        meta.evaluate(suite=forks(n=2, conditioned=False))
    with pytest.raises(ValueError, match="knows its own tasks only"):
        meta.on(forks(n=3))


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_it_is_true_or_false(value: Any) -> None:
    with pytest.raises(ValueError, match=f"conditioned is {value!r}: give True or False"):
        forks(conditioned=value)
