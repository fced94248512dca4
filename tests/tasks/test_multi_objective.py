"""Suites of preferences over MO-Gymnasium's vectors of rewards."""

import json
import pickle
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest

from gradex import MetaPolicy, TaskSuite
from gradex.tasks import preferences, vector_rewards

from .families import actions

pytest.importorskip("mo_gymnasium")

FEW = ["deep-sea-treasure", "fruit-tree", "lunar-lander", "mountaincar", "reacher", "halfcheetah"]


def make(name: str, **options: Any) -> TaskSuite:
    """Make a suite without measuring a scale, which takes a second."""
    count = len(vector_rewards.OBJECTIVES[name])
    return TaskSuite.make(f"mo-{name}", **{"scale": np.arange(1, count + 1), **options})


def test_only_environments_that_are_stepped_in_turn_are_limited_in_number() -> None:
    assert make("lunar-lander", n=2, engine="gymnasium").most_environments == 2_000
    assert make("lunar-lander", n=2, engine="envpool").most_environments is None


@pytest.mark.parametrize("name", FEW)
def test_tasks_pay_the_weighed_and_scaled_vector(name: str) -> None:
    """MO-Gymnasium itself, from the same starts and by the same actions, gives the vectors."""
    suite = make(name, n=3, engine="gymnasium")
    simulator = suite.simulator(1, seed=[5, 5, 5])
    simulator.reset()
    [seed, *_] = simulator._seeds.tolist()
    original = vector_rewards.make(suite.options["environment"], suite.horizon).unwrapped
    original.reset(seed=seed)
    for chosen in np.repeat(actions(suite, 40, 1), 3, axis=1):
        _, paid, terminated, truncated, info = simulator.step(chosen)
        vector = np.asarray(original.step(chosen[0])[1], dtype=np.float64)
        np.testing.assert_array_equal(info["objectives"], np.tile(vector / suite.scale, (3, 1)))
        np.testing.assert_allclose(paid, suite.weights @ (vector / suite.scale))
        told = suite.rewards(info["objectives"])  # [tasks, environments]
        np.testing.assert_array_equal(told.diagonal(), paid)
        if (terminated | truncated).any():
            break
    simulator.close()


def test_a_reset_pays_nothing_and_keeps_its_place() -> None:
    suite = make("fruit-tree", n=2)
    simulator = suite.simulator(1)
    simulator.reset()
    rewards, objectives = [], []
    for chosen in actions(suite, 14, 2):
        _, paid, _, _, info = simulator.step(chosen)
        rewards.append(paid)
        objectives.append(info["objectives"])
    assert np.shape(objectives) == (14, 2, 6)
    assert [step for step in range(14) if np.any(rewards[step])] == [5, 12]  # after six steps, and a reset
    assert not np.any(objectives[6])


def test_a_suite_comes_back_from_its_config_with_its_scale() -> None:
    suite = TaskSuite.make("mo-mountaincar", n=4, seed=3)
    kept = json.loads(json.dumps(suite.config))
    again = TaskSuite.from_config(kept)
    assert again.config == suite.config
    assert again.family == "mo-mountaincar"
    assert kept["options"]["environment"] == "mo-mountaincar-v0"
    np.testing.assert_array_equal(again.scale, suite.scale)
    np.testing.assert_array_equal(again.weights, suite.weights)
    assert again.typical_observation == suite.typical_observation
    assert pickle.loads(pickle.dumps(suite)).config == suite.config


def test_the_measured_scale_is_that_of_a_random_policy() -> None:
    """By a slow loop of its own: the mean of Σ γᵗ |rᵗ| over episodes that earn any."""
    found = vector_rewards.measure_scale("mo-mountaincar-v0", 200, 0.99)
    rng = np.random.default_rng(1)
    environment = vector_rewards.make("mo-mountaincar-v0", 200)
    sums = np.zeros((100, 3))
    for episode in range(100):
        environment.reset(seed=episode)
        for step in range(200):
            vector, terminated = environment.step(int(rng.integers(3)))[1:3]
            sums[episode] += 0.99**step * np.abs(vector)
            if terminated:
                break
    np.testing.assert_allclose(found, sums.mean(axis=0), rtol=0.05)
    assert found == vector_rewards.measure_scale("mo-mountaincar-v0", 200, 0.99)


def test_a_known_front_gives_the_scale() -> None:
    """Concave treasures: half of all preferences want the nearest one, and half the farthest."""
    suite = TaskSuite.make("mo-deep-sea-treasure-concave", n=101, weights="lattice")
    treasures = [(1, 1), (2, 3), (3, 5), (5, 7), (8, 8), (16, 9), (24, 13), (50, 14), (74, 17), (124, 19)]
    values = np.array(
        [[0.99 ** (steps - 1) * v, -sum(0.99**t for t in range(steps))] for v, steps in treasures]
    )
    np.testing.assert_allclose(suite.scale, np.ptp(values, axis=0), rtol=1e-6)
    best = (suite.weights @ (values / suite.scale).T).argmax(axis=1)
    assert set(best) == {0, 9}
    assert abs(np.mean(best == 9) - 0.5) < 0.02


def test_what_is_never_earned_is_scaled_by_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    never = np.array([0.0, 3.0, 0.0, 0.0])
    monkeypatch.setattr(vector_rewards, "_random_size", lambda made, discount: never)
    assert vector_rewards.measure_scale("mo-lunar-lander-v3", 1000, 0.999) == [100.0, 3.0, 1.0, 1.0]
    monkeypatch.setattr(vector_rewards, "_random_size", lambda made, discount: np.zeros(2))
    assert vector_rewards.measure_scale("mo-swimmer-v5", 1000, 0.99) == [1.0, 1.0]  # without bounds


def test_weights_of_ones_own() -> None:
    suite = make("deep-sea-treasure", weights=np.array([[2, 2], [0, 3], [1e308, 1e308]]))
    assert suite.weights.tolist() == [[0.5, 0.5], [0, 1], [0.5, 0.5]]
    assert suite.labels is None
    assert [task.name for task in suite] == ["0: 0.50 0.50", "1: 0.00 1.00", "2: 0.50 0.50"]
    assert suite.tasks[1].parameters == {"treasure": 0.0, "time": 1.0}


def test_other_weights_have_the_same_scale_and_simulators() -> None:
    suite = TaskSuite.make("mo-mountaincar", n=6)
    centroids = suite.with_weights(suite.weights[:4].reshape(2, 2, 3).mean(axis=1))
    made = TaskSuite.make("mo-mountaincar", weights=centroids.weights, scale=suite.scale)
    assert made.config == centroids.config
    assert centroids.options == suite.options
    np.testing.assert_allclose(centroids.weights[0], suite.weights[:2].mean(axis=0))
    ours, theirs = suite[[0, 1]].simulator(1, seed=4), centroids.simulator(1, seed=4)
    np.testing.assert_array_equal(ours.reset()[0], theirs.reset()[0])
    for chosen in actions(suite, 30, 2):
        one, other = ours.step(chosen), theirs.step(chosen)
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[4]["objectives"], other[4]["objectives"])


def test_preferences_are_uniform_on_the_simplex() -> None:
    suite = make("mountaincar", n=2000, seed=1)
    np.testing.assert_allclose(suite.weights.sum(axis=1), 1)
    # Dirichlet(1, 1, 1): mean 1/3, variance 1/18.
    np.testing.assert_allclose(suite.weights.mean(axis=0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(suite.weights.var(axis=0), 1 / 18, rtol=0.1)
    assert suite.config == make("mountaincar", n=2000, seed=1).config
    assert suite.config != make("mountaincar", n=2000, seed=2).config
    np.testing.assert_allclose(suite.unseen(2000, seed=0).weights.mean(axis=0), 1 / 3, atol=0.02)


def test_planted_groups_have_labels() -> None:
    suite = make("mountaincar", n=30, groups=3, seed=2)
    assert np.bincount(suite.labels).tolist() == [10, 10, 10]
    means = np.stack([suite.weights[suite.labels == group].mean(axis=0) for group in range(3)])
    np.testing.assert_allclose(means, suite.options["centres"], atol=0.06)
    unseen = TaskSuite.from_config(json.loads(json.dumps(suite.config))).unseen(60, seed=0)
    nearest = np.linalg.norm(unseen.weights[:, None] - means, axis=-1).argmin(axis=1)
    assert np.mean(nearest == unseen.labels) > 0.95
    assert make("mountaincar", n=30, groups=3, seed=3).options["centres"] != suite.options["centres"]
    # Other preferences of the same environment are of no group, and so are unseen ones.
    assert suite.with_weights(means).unseen(4, seed=0).labels is None


def test_a_lattice_of_preferences() -> None:
    suite = make("deep-sea-treasure", n=5, weights="lattice")
    np.testing.assert_array_equal(suite.weights[:, 0], [0, 0.25, 0.5, 0.75, 1])


def test_one_set_of_steps_serves_all_preferences() -> None:
    suite = make("deep-sea-treasure", n=3, horizon=20)
    meta = MetaPolicy(suite, layers=2, width=8).fit(1)
    shared, own = (meta.transitions(60, copies=4, sharing=sharing) for sharing in ("auto", "none"))
    assert shared.advantages.shape == (3, 60)
    assert own.advantages.shape == (180,)


def test_a_policy_on_disk_knows_its_suite(tmp_path: Any) -> None:
    suite = make("mountaincar", n=2)
    MetaPolicy(suite, layers=2, width=8).fit(1).save(tmp_path / "policy")
    assert MetaPolicy.load(tmp_path / "policy").suite.config == suite.config


def ids() -> list[str]:
    """Give every id of the installed MO-Gymnasium."""
    return sorted(
        spec.id for spec in gymnasium.registry.values() if str(spec.entry_point).startswith("mo_gymnasium.")
    )


REFUSED = {
    "mo-supermario-v0": "needs gym-super-mario-bros, for NumPy before 2",
    "minecart-rgb-v0": "shows images, which no policy here can see: take 'mo-minecart'",
    "mo-ant-2d-v4": "Gymnasium deprecates: take 'mo-ant-2obj'",
    "mo-hopper-2d-v4": "Gymnasium deprecates: take 'mo-hopper-2obj'",
} | {
    f"mo-{name}-v4": f"Gymnasium deprecates: take 'mo-{name}'"
    for name in ("ant", "halfcheetah", "hopper", "humanoid", "reacher", "swimmer", "walker2d")
}


def test_refused_ids_are_there() -> None:
    assert set(ids()) > set(REFUSED)
    assert len(ids()) - len(REFUSED) >= 29


@pytest.mark.parametrize("environment", ids())
def test_every_environment_steps_or_is_refused_with_its_reason(environment: str) -> None:
    name = "mo-" + environment.removeprefix("mo-")
    if environment in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[environment]):
            TaskSuite.make(name)
        return
    named = vector_rewards.OBJECTIVES[vector_rewards.bare(environment)]
    suite = TaskSuite.make(name, n=3, scale=np.ones(len(named)), engine="gymnasium")
    assert suite.options["environment"] == environment
    assert suite.family == name
    assert suite.objectives == named
    simulator = suite.simulator(1)
    observation = simulator.reset()[0]
    for chosen in actions(suite, 2 if "highway" in name else 30, 3):
        assert observation.dtype == np.float32
        assert np.isfinite(observation).all()
        assert all(suite.observation_space.contains(each) for each in observation)
        observation, paid, _, _, info = simulator.step(chosen)
        np.testing.assert_array_equal(suite.rewards(info["objectives"]).diagonal(), paid)
    simulator.close()


@pytest.mark.parametrize("name", ["hopper", "halfcheetah"])
def test_the_newest_version_is_taken_and_kept(name: str) -> None:
    assert make(name, n=1).options["environment"] == f"mo-{name}-v5"


@pytest.mark.parametrize(
    ("name", "steps"), [("fishwood", 200), ("fruit-tree", 6), ("water-reservoir", 100), ("reacher", 50)]
)
def test_the_horizon_is_where_episodes_end(name: str, steps: int) -> None:
    suite = make(name, n=1, engine="gymnasium")
    assert suite.horizon == steps
    simulator = suite.simulator(1)
    simulator.reset()
    ends = [simulator.step(chosen)[2:4] for chosen in actions(suite, steps, 1)]
    assert [bool(stop | cut) for stop, cut in ends] == [False] * (steps - 1) + [True]
    assert make("reacher", n=1, horizon=7).horizon == 7


def test_without_a_limit_of_its_own_an_environment_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_rewards, "_ENDS", {})
    assert make("fishwood", n=1).horizon == 500


def test_whole_numbers_are_seen_as_one_hot() -> None:
    suite = make("deep-sea-treasure", n=1)
    simulator = suite.simulator(1)
    start = simulator.reset()[0][0]
    below = simulator.step(np.array([1]))[0][0]  # down
    assert [np.flatnonzero(each).tolist() for each in (start, below)] == [[0, 12], [1, 12]]
    shown = vector_rewards._one_hot(np.array([2, -50]), parts=((1, 3, 0), (-100, 151, 3)), width=4)
    assert shown.tolist() == [0, 1, 0, -0.5]


def test_actions_are_clipped_before_they_are_paid_for() -> None:
    simulator = make("mountaincarcontinuous", n=1, weights=[[0, 1]]).simulator(1)
    simulator.reset()
    assert simulator.step(np.array([[-3.0]]))[1] == -0.5  # the square of 1, divided by 2


def test_other_suites_have_no_objectives() -> None:
    suite = TaskSuite.make("halfcheetah", n=2)
    for ask in (
        lambda: suite.objectives,
        lambda: suite.weights,
        lambda: suite.scale,
        lambda: suite.with_weights([[1.0]]),
    ):
        with pytest.raises(ValueError, match="tasks of 'halfcheetah' are no preferences over objectives"):
            ask()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mo-lunarlander", {}, "did you mean 'mo-lunar-lander'"),
        ("mo-hopper-v9", {}, "MO-Gymnasium has 'mo-hopper' as v4, v5, not v9"),
        ("mo-mountaincar", {"weights": "even"}, "weights is 'even': give 'dirichlet', 'lattice' or an array"),
        ("mo-mountaincar", {"weights": [1, 2, 3]}, r"weights has shape \(3,\): give"),
        (
            "mo-mountaincar",
            {"weights": [[1, 2]]},
            "weights has 2 columns for 3 objectives",
        ),
        ("mo-mountaincar", {"weights": [[1, -1, 1]]}, r"row 0 of weights is \[1.0, -1.0, 1.0\]: give finite"),
        ("mo-mountaincar", {"weights": [[1, 1, 1], [0, 0, 0]]}, "row 1 of weights is"),
        ("mo-mountaincar", {"weights": [[1, 1, 1]], "n": 2}, "weights has 1 rows for n=2 tasks: leave out n"),
        ("mo-mountaincar", {"scale": [1, 1]}, "scale has 2 numbers for 3 objectives"),
        ("mo-mountaincar", {"scale": [1, 1, 0]}, "each number of scale=0 is too small: give more than 0"),
        ("mo-mountaincar", {"scale": "big"}, "scale is 'big': give 'measured' or"),
        ("mo-mountaincar", {"groups": 4, "n": 3}, "groups is 4 for 3 tasks: give 1 to 3"),
        ("mo-mountaincar", {"groups": 2, "weights": "lattice"}, "weights='lattice' has no groups: leave out"),
        ("mo-mountaincar", {"groups": 1, "weights": [[1, 1, 1]]}, "groups=1 says how weights are drawn"),
        ("mo-fruit-tree", {"horizon": 7}, "horizon=7 is too large: 'mo-fruit-tree' ends after 6 steps"),
        (
            "mo-mountaincar",
            {"velocity": 1},
            "'mo-mountaincar' has no option 'velocity': it takes n, seed",
        ),
    ],
)
def test_bad_options_are_one_line(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        TaskSuite.make(name, **({"scale": [1, 1, 1]} if name == "mo-mountaincar" else {}) | options)
    assert "\n" not in str(caught.value)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mo_gymnasium", None)
    with pytest.raises(ImportError, match=r'pip install "gradex\[mo\]"'):
        TaskSuite.make("mo-hopper")


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, gradex; gradex.TaskSuite.names(); gradex.TaskSuite.make('navigation')\n"
        "sys.exit('mo_gymnasium' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["deep-sea-treasure", "four-room", "fruit-tree"])
def test_a_step_pays_and_shows_what_plain_numpy_says(name: str) -> None:
    suite = make(name, n=1, seed=3)
    family = suite.options["environment"]
    plain = vector_rewards.make(family, suite.horizon).unwrapped
    paying = vector_rewards.make(family, suite.horizon)
    paying = vector_rewards.Scalarized(paying, suite.scale, suite.weights[0])
    low, values = plain.observation_space.low.ravel(), plain.observation_space.high.ravel() + 1
    values = (values - low).astype(int)
    rng = np.random.default_rng(0)
    plain.reset(seed=5)
    paying.reset(seed=5)
    for _ in range(30):
        action = int(rng.integers(plain.action_space.n))
        seen, vector, ended, *_ = plain.step(action)
        shown, paid, *_, told = paying.step(action)
        parts = [
            np.eye(count)[int(number - least)] if count <= 64 else [number / (least + count - 1)]
            for number, least, count in zip(np.ravel(seen), low, values, strict=True)
        ]
        np.testing.assert_array_equal(shown, np.concatenate(parts).astype(np.float32))
        objectives = np.asarray(vector, dtype=np.float64) / suite.scale
        np.testing.assert_array_equal(told["objectives"], objectives)
        assert paid == preferences.weigh(suite.weights, objectives)[0]
        if ended:
            break
