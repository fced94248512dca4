"""The scale of observations that nobody has described, and who keeps it."""

import copy
import json
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from gradex import PPO, MetaPolicy
from gradex.policies import MLP, Standardised
from gradex.tasks import TaskSuite
from gradex.tasks.scale import scale_of

RNG = np.random.default_rng(0)
UNIFORM = RNG.uniform(-1, 1, 4000)


@pytest.mark.parametrize(
    ("column", "centre", "spread"),
    [
        # Of order one, also where it never varies or seldom.
        (UNIFORM, 0.0, 1.0),
        (2 * UNIFORM + 3, 0.0, 1.0),
        (0.1 * UNIFORM, 0.0, 1.0),
        (np.zeros(4000), 0.0, 1.0),
        (np.full(4000, -4.0), 0.0, 1.0),
        (np.eye(1, 4000)[0], 0.0, 1.0),
        (1e-9 * UNIFORM, 0.0, 1.0),
        # By deviation: that of a uniform number is 0.577.
        (UNIFORM + 100, 100.0, 0.58),
        (1e-3 * UNIFORM, 0.0, 5.8e-4),
        (1 + 1e-3 * UNIFORM, 1.0, 5.8e-4),
        (20 * UNIFORM + 150, 150.0, 12.0),
        # Never, but large; rounding is no variation.
        (np.full(4000, 1e4), 1e4, 1e4),
        (np.float32(1e4) * (1 + 1e-7 * UNIFORM), 1e4, 1e4),
        (UNIFORM + 1e6, 1e6, 0.58),
        # Seldom and large: nothing is farther than five spreads.
        (1e3 * np.eye(1, 4000)[0], 0.0, 200.0),
    ],
)
def test_order_one_is_left_alone_and_the_rest_brought_to_it(
    column: np.ndarray, centre: float, spread: float
) -> None:
    beside = np.stack([column, 1e3 * UNIFORM], axis=1)
    found = scale_of(beside)
    assert found is not None
    assert found[1][0] == pytest.approx(spread, rel=0.03)
    assert found[0][0] == pytest.approx(centre, abs=0.05 * spread)
    assert np.abs((beside - found[0]) / found[1]).max() <= 6
    alone = scale_of(beside[:, :1])
    assert alone == (None if (centre, spread) == (0, 1) else (found[0][:1], found[1][:1]))


def test_what_is_not_finite_is_left_out() -> None:
    seen = np.stack([UNIFORM + 100, UNIFORM], axis=1)
    seen[::2, 1] = np.nan
    assert scale_of(seen) == scale_of(seen[1::2])
    assert scale_of(seen[::2]) is None


class Shifted(gymnasium.Env):
    """Shows a random number far from 0, a large constant, and the time."""

    looks = 0

    def __init__(self, shift: float = 100.0) -> None:
        self.observation_space, self.action_space = Box(-np.inf, np.inf, (3,), np.float32), Discrete(2)
        self.shift = shift

    def _observe(self) -> np.ndarray:
        return np.array([self.np_random.uniform(-1, 1) + self.shift, 1e4, self.time / 10], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        type(self).looks += 1
        self.time = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.time += 1
        return self._observe(), float(action), self.time >= 10, False, {}


def shifted(*shifts: float) -> TaskSuite:
    return TaskSuite.from_gymnasium({str(shift): lambda shift=shift: Shifted(shift) for shift in shifts})


def test_a_suite_looks_once_when_it_is_asked_and_always_sees_the_same() -> None:
    suite = shifted(100, 101, 102)
    before = Shifted.looks
    part = suite[[0, 2]]
    assert Shifted.looks == before
    scale = part.typical_observation
    assert scale is not None
    assert scale[0] == (101.0, 1e4, 0.0) and scale[1] == (1.0, 1e4, 1.0)
    looks = Shifted.looks
    assert suite.typical_observation is suite[:1].typical_observation is scale
    assert Shifted.looks == looks
    assert shifted(100, 101, 102).typical_observation == scale
    assert shifted(100).typical_observation != scale
    assert TaskSuite.from_gymnasium({"a": "CartPole-v1"}).typical_observation is None


@pytest.mark.parametrize("second", [100.0, 130.0, 1e4])
def test_a_number_that_moves_from_task_to_task_alone_is_told(second: float) -> None:
    suite, far = shifted(100, second), second > 200
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert suite.typical_observation is not None
    told = [str(each.message) for each in caught]
    assert len(told) == far
    assert all("number 0 of the observations moves by 0.5" in each for each in told)


class Huge(Shifted):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float64)

    def _observe(self) -> np.ndarray:
        return np.array([1e200, 0.0, 0.0])


def test_numbers_beyond_single_precision_are_refused() -> None:
    suite = TaskSuite.from_gymnasium({"a": Shifted, "b": Shifted})
    assert suite.typical_observation is not None
    with pytest.raises(ValueError, match=r"task 'a' observes numbers as large as 1e\+200, .* divide them"):
        _ = TaskSuite.from_gymnasium({"a": Huge}).typical_observation


@pytest.mark.parametrize("again", [copy.deepcopy, lambda suite: pickle.loads(pickle.dumps(suite))])
def test_copies_of_a_suite_keep_its_scale(again: Callable[[Any], Any]) -> None:
    suite = TaskSuite.from_gymnasium({"a": "Pendulum-v1", "b": "Pendulum-v1"}, groups=[0, 1])
    scale = suite.typical_observation
    assert scale is not None and scale[1][2] > 2
    same = again(suite)
    assert vars(same._family)["observation_scale"] == scale  # not measured again
    assert same.config == suite.config and same[0] == suite[0] and same.horizon == 200
    assert same.simulator(1).num_envs == 2
    policy = MetaPolicy(suite, layers=2, width=4, learner=PPO(steps=16, copies=1)).fit(32)
    np.testing.assert_array_equal(again(policy).parameters, policy.parameters)


def test_a_policy_keeps_the_scale_that_it_was_trained_on(tmp_path: Path) -> None:
    suite = shifted(100, 101)
    policy = MetaPolicy(suite, layers=2, width=4, learner=PPO(steps=16, copies=1)).fit(64)
    network = policy.agent_.policy.network
    assert isinstance(network, Standardised)
    assert (network.centre, network.spread) == suite.typical_observation
    assert json.loads(json.dumps(suite.config))["typical_observation"][1] == list(network.spread)
    policy.save(tmp_path / "policy")
    # Another look would find another scale.
    others = TaskSuite.from_gymnasium({name: lambda: Shifted(300.0) for name in ("100", "101")})
    assert others.typical_observation != suite.typical_observation
    again = MetaPolicy.load(tmp_path / "policy", others)
    assert again.agent_.policy == policy.agent_.policy
    assert again.suite.typical_observation == suite.typical_observation
    assert [task.name for task in again.suite] == ["100", "101"]


def test_a_policy_from_before_there_was_a_scale_has_none(tmp_path: Path) -> None:
    suite = shifted(100)
    plain = suite.on_scale_of({"family": "custom", "options": {}, "tasks": []})
    assert plain.typical_observation is None
    policy = MetaPolicy(plain, layers=2, width=4, learner=PPO(steps=16, copies=1)).fit(32)
    assert isinstance(policy.agent_.policy.network, MLP)
    policy.save(tmp_path / "policy")
    assert MetaPolicy.load(tmp_path / "policy", suite).agent_.policy == policy.agent_.policy


def test_a_policy_tells_the_sign_of_a_number_far_from_0() -> None:
    class Sign(Shifted):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
            right = (self.shown > self.shift) == bool(action)
            return super().step(action)[0], float(right), self.time >= 10, False, {}

        def _observe(self) -> np.ndarray:
            seen = super()._observe()
            self.shown = float(seen[0])
            return seen

    policy = MetaPolicy(TaskSuite.from_gymnasium({"a": Sign}), width=32).fit(10_000)
    assert policy.evaluate(16, choose="mode").return_mean.item() > 9


@pytest.mark.parametrize(("shift", "seen"), [(0.0, True), (1e5, True), (1e9, False)])
def test_says_what_single_precision_cannot_show(
    shift: float, seen: bool, recwarn: pytest.WarningsRecorder
) -> None:
    class Precise(Shifted):
        def __init__(self) -> None:
            super().__init__(shift)
            self.observation_space = Box(-np.inf, np.inf, (3,), np.float64)

        def _observe(self) -> np.ndarray:
            return np.array([self.np_random.uniform(-1, 1) + self.shift, 1e4, self.time / 10])

    warnings.simplefilter("always")
    assert TaskSuite.from_gymnasium({"a": Precise}).typical_observation is not None
    told = [str(warning.message) for warning in recwarn]
    assert [text.partition(",")[0] for text in told] == [
        "number 0 of the observations is about 1e+09 and moves by 0.59"
    ] * (not seen)


def test_numbers_of_half_precision_are_measured_in_double_precision() -> None:
    """Sums of half precision overflow."""

    class Short(Shifted):
        def __init__(self, dtype: Any) -> None:
            super().__init__()
            self.observation_space = Box(-128, 127, (2,), dtype)

        def _observe(self) -> np.ndarray:
            return np.array([self.np_random.integers(-128, 128), self.time % 4], self.observation_space.dtype)

    half, double = (
        TaskSuite.from_gymnasium({"a": partial(Short, dtype)}).typical_observation
        for dtype in (np.float16, np.float64)
    )
    assert half == double is not None


def seen_at_random(draw: Callable[[np.random.Generator], float]) -> list[str]:
    """Give what is told of an environment that shows one number, drawn anew at every step."""

    class Shows(Shifted):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = Box(-np.inf, np.inf, (2,), np.float32)

        def _observe(self) -> np.ndarray:
            return np.array([self.np_random.uniform(-1, 1), draw(self.np_random)], np.float32)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _ = TaskSuite.from_gymnasium({"a": Shows, "b": Shows}).typical_observation
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(("value", "often"), [(1e3, 0.05), (-1e6, 0.1), (1e3, 0.2)])
def test_a_value_that_hides_how_a_number_moves_is_told(value: float, often: float) -> None:
    (told,) = seen_at_random(lambda rng: value if rng.random() < often else rng.uniform(-1, 1))
    assert told.startswith("number 1 of the observations moves by 0.")
    assert told.endswith(
        f" in task 'a', and is {value:.2g} at times, so that no policy sees how it moves: clip it, and put a "
        "flag beside it"
    )


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: 10.0 if rng.random() < 0.05 else rng.uniform(-1, 1),  # seen well enough
        lambda rng: 1e3 if rng.random() < 0.05 else 0.0,
        lambda rng: 1e3 if rng.random() < 0.05 else 7.0,
        lambda rng: 1e3 if rng.random() < 0.5 else 1.0,
        lambda rng: rng.integers(2),
        lambda rng: 1e4,
        lambda rng: 1e3 * rng.standard_cauchy(),
        lambda rng: rng.lognormal(sigma=3.0),
        lambda rng: rng.uniform(500, 1500) if rng.random() < 0.05 else rng.uniform(-1, 1),  # peaks
        lambda rng: np.clip(10 * rng.normal(), -10, 10),
    ],
)
def test_numbers_that_have_one_value_mostly_or_peaks_are_not_told_of(
    draw: Callable[[np.random.Generator], float],
) -> None:
    assert seen_at_random(draw) == []
