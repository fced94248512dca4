"""Environments of a user's own with vectors of rewards, registered with Gymnasium."""

import json
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gradex import MetaPolicy, TaskSuite
from gradex.tasks import vector_rewards
from tests.environments import Fork, Scripted


@pytest.fixture
def register() -> Iterator[Any]:
    """Give a function that registers an environment until the test is over."""
    registered: list[str] = []

    def registering(identity: str, make: Any = Fork, **options: Any) -> None:
        gymnasium.register(identity, make, **options)
        registered.append(identity)

    yield registering
    for identity in registered:
        del gymnasium.registry[identity]


@pytest.mark.parametrize("identity", ["fork-v0", "mine/fork-v3", "fork", "mo-fork-v1"])
def test_an_id_of_ones_own_is_a_suite(register: Any, identity: str) -> None:
    register(identity, kwargs={"objectives": ("left", "right")})
    suite = TaskSuite.make("mo-" + identity, n=20)
    assert suite.family == "mo-" + identity
    assert suite.options["environment"] == identity
    assert suite.objectives == ("left", "right")
    assert suite.horizon == vector_rewards.HORIZON
    assert (len(suite), suite.linear, suite.options["engine"]) == (20, True, "gymnasium")
    # Half of three discounted steps, over the seven of eight episodes in which there is any.
    np.testing.assert_allclose(suite.scale, (1 + 0.99 + 0.99**2) / 2 / (7 / 8), atol=0.04)
    simulator = suite.simulator(1)
    simulator.reset()
    chosen = np.arange(20) % 2
    np.testing.assert_allclose(
        simulator.step(chosen)[1], suite.weights[np.arange(20), chosen] / suite.scale[chosen]
    )
    simulator.close()


def test_a_name_that_is_the_id_itself_is_enough(register: Any) -> None:
    register("mo-fork-v1")
    assert TaskSuite.make("mo-fork-v1", n=2, scale=[1, 1]).options["environment"] == "mo-fork-v1"


def test_it_comes_back_from_its_config_from_a_pickle_and_from_disk(register: Any, tmp_path: Any) -> None:
    register("mine/fork-v0", max_episode_steps=2)
    suite = TaskSuite.make("mo-mine/fork-v0", n=3)
    assert suite.horizon == 2
    assert TaskSuite.from_config(json.loads(json.dumps(suite.config))).config == suite.config
    assert pickle.loads(pickle.dumps(suite)).config == suite.config
    MetaPolicy(suite, layers=2, width=8).fit(1).save(tmp_path / "policy")
    assert MetaPolicy.load(tmp_path / "policy").suite.config == suite.config


def test_it_needs_no_mo_gymnasium(register: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mo_gymnasium", None)
    register("alone-v0")
    assert TaskSuite.make("mo-alone-v0", n=2).objectives == ("objective 0", "objective 1")
    with pytest.raises(ImportError, match=r'pip install "gradex\[mo\]", or register an .* as .alone-v1'):
        TaskSuite.make("mo-alone-v1")


def test_tables_of_mo_gymnasium_are_not_for_it(register: Any) -> None:
    """It has another version, else MO-Gymnasium's would be taken."""
    register("fishwood-v7")
    register("mo-hopper-v77")
    register("lunar-lander-v9")
    suite = TaskSuite.make("mo-fishwood-v7", n=2, horizon=300)
    assert (suite.objectives, suite.horizon) == (("objective 0", "objective 1"), 300)
    assert TaskSuite.make("mo-hopper-v77", n=2, scale=[1, 1]).options["engine"] == "gymnasium"
    assert TaskSuite.make("mo-lunar-lander-v9", n=2, scale=[1, 1]).discount == 0.99


def test_of_equal_names_and_versions_mo_gymnasium_has_its_own(register: Any) -> None:
    pytest.importorskip("mo_gymnasium")
    register("hopper-v5")
    assert vector_rewards.find("mo-hopper-v5") == "mo-hopper-v5"


@pytest.mark.parametrize("names", [["left"], ["left", "left"], "lr", ["left", 2], None])
def test_names_that_do_not_fit_are_not_taken(register: Any, names: Any) -> None:
    register("fork-v0", kwargs={"objectives": names})
    assert TaskSuite.make("mo-fork-v0", n=2, scale=[1, 1]).objectives == ("objective 0", "objective 1")


def test_actions_may_be_a_vector(register: Any) -> None:
    register("fork-v0", kwargs={"continuous": True})
    simulator = TaskSuite.make("mo-fork-v0", weights=[[1, 0], [1, 1]], scale=[1, 2]).simulator(1)
    simulator.reset()
    chosen = np.array([[0.5, 1.0], [5.0, 0.5]], np.float32)  # the 5 is clipped
    np.testing.assert_allclose(simulator.step(chosen)[1], [0.5, 0.5 + 0.125])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reward_space": None}, "'fork-v0' has reward_space None: give it a Box of one dimension, with"),
        ({"reward_space": spaces.Discrete(2)}, r"'fork-v0' has reward_space Discrete\(2\): give it a Box"),
        ({"reward_space": spaces.Box(0, 1, (2, 2))}, "'fork-v0' has reward_space Box"),
        ({"pays": np.sum}, "'fork-v0' pays 1.0 for 2 objectives: give a vector with a number for each"),
        ({"pays": lambda vector: vector[:1]}, r"'fork-v0' pays an array of shape \(1,\) for 2 objectives"),
    ],
)
def test_what_pays_no_vector_is_refused_in_one_line(
    register: Any, options: dict[str, Any], words: str
) -> None:
    register("fork-v0", kwargs=options)
    with pytest.raises(ValueError, match=words) as caught:
        TaskSuite.make("mo-fork-v0", n=2)
    assert "\n" not in str(caught.value)


def test_actions_that_no_policy_takes_are_refused(register: Any) -> None:
    class Odd(Fork):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = spaces.MultiDiscrete([2, 2])

    register("odd-v0", Odd)
    with pytest.raises(
        ValueError, match=r"'odd-v0' has actions MultiDiscrete\(\[2 2\]\): give it Discrete\(n\)"
    ):
        TaskSuite.make("mo-odd-v0")


class Whole(Fork):
    """Shows the end of a range of whole numbers, and the third of four values."""

    def __init__(self, low: int, high: int, kind: Any) -> None:
        super().__init__()
        self.observation_space = spaces.Box(np.array([low, 0], kind), np.array([high, 3], kind), dtype=kind)

    def reset(self, **keywords: Any) -> Any:
        return np.array([self.observation_space.high[0], 2], self.observation_space.dtype), {}


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (0, 255, np.uint8),
        (-128, 127, np.int8),
        (-(2**31), 2**31 - 1, np.int32),
        (-(2**63), 2**63 - 1, np.int64),
        (0, 2**64 - 1, np.uint64),
    ],
)
def test_whole_numbers_may_be_as_large_as_their_type_allows(low: int, high: int, kind: Any) -> None:
    plain = vector_rewards.PlainVectors(Whole(low, high, kind))
    assert plain.observation_space.shape == (5,)
    np.testing.assert_array_equal(plain.reset()[0], np.float32([high / max(-low, high), 0, 0, 1, 0]))


@pytest.mark.parametrize(
    ("actions", "size"),
    [
        (spaces.Box(-1, 1, (2,), np.int64), 2 / 3 / (26 / 27)),  # none in one of 27 episodes
        (spaces.Box(-np.inf, np.inf, (2,)), np.sqrt(2 / np.pi)),
        (spaces.Box(0, np.inf, (2,)), 1),
    ],
)
def test_scales_are_measured_with_any_actions(register: Any, actions: spaces.Box, size: float) -> None:
    class Free(Fork):
        action_space = property(lambda self: actions, lambda self, given: None)

    register("free-v0", Free)
    before = repr(actions.np_random.bit_generator.state)
    scale = TaskSuite.make("mo-free-v0", n=2).scale
    np.testing.assert_allclose(scale, (1 + 0.99 + 0.99**2) * size, rtol=0.05)
    assert repr(actions.np_random.bit_generator.state) == before


def test_every_environment_is_closed(register: Any) -> None:
    made: list[Any] = []
    closed: list[Any] = []

    class Counted(Fork):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

        def close(self) -> None:
            closed.append(self)

    register("counted-v0", Counted)
    suite = TaskSuite.make("mo-counted-v0", n=2)
    assert (suite.objectives, suite.observation_space.shape) == (("objective 0", "objective 1"), (1,))
    assert len(closed) == len(made) > 0


def test_objectives_are_not_named_as_other_columns(register: Any) -> None:
    register("fork-v0", kwargs={"objectives": ("task", "energy")})
    with pytest.raises(ValueError, match="parameter or objective 'task', which names another column"):
        TaskSuite.make("mo-fork-v0", n=2, scale=[1, 1])


def test_an_ordinary_environment_is_refused(register: Any) -> None:
    register("scripted-v0", Scripted, kwargs={"rewards": [1.0, 2.0]})
    with pytest.raises(ValueError, match="'scripted-v0' has reward_space None"):
        TaskSuite.make("mo-scripted-v0")


def test_an_id_that_nobody_registered_is_told(register: Any) -> None:
    pytest.importorskip("mo_gymnasium")
    with pytest.raises(ValueError, match=r"no environment for suite 'mo-zzzz-v0': .*or register one with"):
        TaskSuite.make("mo-zzzz-v0")
    with pytest.raises(ValueError, match="engine='envpool' has no 'mo-fork-v0': give 'gymnasium'"):
        register("fork-v0")
        TaskSuite.make("mo-fork-v0", engine="envpool")
