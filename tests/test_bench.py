from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gradex import bench
from gradex.bench import features, ground_truth, logistic, ppo, reaching, sac, timing, trace
from gradex.learners import PPO, ActorCritic
from gradex.learners.recipes import Recipe
from gradex.tasks import TaskSuite

# Whole runs; the shapes of their parts are checked where they are tested.
pytestmark = pytest.mark.usefixtures("without_shape_checks")

COLUMNS = ["part", "peer", "setting", "gradex", "peer_value", "unit", "ratio", "processor"]


def test_features_are_compared_with_three_batches_of_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trak")
    monkeypatch.setattr(features, "_SIZES", (3, 8, 3, 2))
    monkeypatch.setattr(features, "_SAMPLES", 1000)
    monkeypatch.setattr(features, "_SLICE", 100)
    monkeypatch.setattr(features, "_DIMENSION", 10)
    monkeypatch.setattr(features, "_LARGE", (3, 16, 3, 2))
    table = bench.run("features")
    assert list(table.columns) == COLUMNS
    assert (table.part == "features").all()
    assert (table.peer == "traker BasicProjector on vmap(grad)").sum() == 6
    np.testing.assert_allclose(table.ratio, table.peer_value / table.gradex)
    assert (table[table.unit == "s"].gradex > 0).all()


def test_logistic_regressions_reach_a_smaller_residual_than_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_SUBSETS": 20, "_TASKS": 20, "_SAMPLES": 2000, "_DIMENSION": 60}.items():
        monkeypatch.setattr(logistic, name, value)
    table = bench.run("logistic")
    assert list(table.columns) == COLUMNS
    rows = table.groupby("peer").size()
    assert rows["scikit-learn lbfgs in a loop, 1 thread"] == 4 and (rows == 4).all()
    np.testing.assert_allclose(table.ratio, table.peer_value / table.gradex)
    residuals = table.setting.str.extract(r"KKT residuals (\S+) against (\S+);").astype(float)
    assert (residuals[0] <= 1e-6).all() and (residuals[0] < residuals[1]).all()


def test_ground_truth_is_compared_with_two_minibatches_of_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")
    _, _, make, _ = ground_truth._FAMILIES["cartpole"]
    monkeypatch.setattr(ground_truth, "_FAMILIES", {"cartpole": (2, 1_000, make, 1)})
    table = bench.run("ground_truth")
    assert list(table.columns) == COLUMNS and len(table) == 2
    assert (table[["gradex", "peer_value"]] > 0).all(axis=None)
    np.testing.assert_allclose(table.ratio, table.gradex / table.peer_value)


def test_ppo_is_compared_on_meta_world(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")
    if not reaching.installed():
        pytest.skip("Meta-World is not installed")
    monkeypatch.setattr(ppo, "_cartpole", lambda: iter(()))
    monkeypatch.setattr(ppo, "recipe", lambda _: Recipe(learner=PPO(steps=32, epochs=1)))
    for name, value in {"_COPIES": 2, "_ROLLOUTS": 2, "_TIMES": 1}.items():
        monkeypatch.setattr(ppo, name, value)
    table = bench.run("ppo")
    assert list(table.columns) == COLUMNS and len(table) == 4
    np.testing.assert_allclose(table.ratio, table.gradex / table.peer_value)
    assert table.setting.str.contains("only collecting").tolist() == [False, False, True, True]
    monkeypatch.setattr(ppo, "installed", lambda: False)
    assert len(bench.run("ppo")) == 0


def test_both_engines_show_the_same_task() -> None:
    if not reaching.installed():
        pytest.skip("Meta-World is not installed")
    ours, theirs = reaching.reaching(horizon=3), reaching.original_reaching(horizon=3)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    theirs.reset(seed=0)
    ends = [theirs.step(np.zeros(4, np.float32))[3] for _ in range(3)]
    assert ends == [False, False, True]


def test_sac_is_compared_alone_and_as_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")
    monkeypatch.setattr(sac, "_SETTINGS", ((3, 8, 1), (3, 8, 2)))
    monkeypatch.setattr(sac, "_STEPS", 80)
    monkeypatch.setattr(sac, "_START", 40)
    monkeypatch.setattr(sac, "_TIMES", 1)
    monkeypatch.setattr(sac, "installed", lambda: False)
    table = bench.run("sac")
    assert list(table.columns) == COLUMNS and len(table) == 2 * len({1, torch.get_num_threads()})
    assert (table[["gradex", "peer_value"]] > 0).all(axis=None)
    np.testing.assert_allclose(table.ratio, table.gradex / table.peer_value)


#: Forward mode compiles something in a way that torch itself deprecates.
FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


@FORWARD
def test_traces_are_compared_in_seconds_and_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("curvlinops")
    for name, value in {"_LAYERS": (3,), "_WIDTH": 8, "_SAMPLES": 200, "_TIMED": 2}.items():
        monkeypatch.setattr(trace, name, value)
    for name, value in {"_SMALL_WIDTH": 8, "_SMALL_SAMPLES": 100, "_ESTIMATED": (30,)}.items():
        monkeypatch.setattr(trace, name, value)
    table = bench.run("trace")
    assert list(table.columns) == COLUMNS and table.unit.value_counts().to_dict() == {
        "s": 4,
        "relative error": 3,
    }
    np.testing.assert_allclose(table.ratio, table.peer_value / table.gradex)
    errors = table[table.unit == "relative error"]
    # The same algorithms with the same number of products, up to chance and a refinement of XTrace.
    assert errors.ratio.between(0.6, 1.8).all()


@FORWARD
def test_curvlinops_multiplies_by_the_same_hessian() -> None:
    curvlinops = pytest.importorskip("curvlinops")
    hessian = trace._hessian(3, 5, 50)
    identity = torch.eye(hessian.size, dtype=torch.float64)
    theirs = (trace._peer_operator(curvlinops, hessian) @ identity).detach().numpy()
    ours = (hessian @ identity.unsqueeze(0))[0].numpy()
    np.testing.assert_allclose(np.trace(theirs), np.trace(ours), rtol=1e-9)
    np.testing.assert_allclose(np.linalg.eigvalsh(theirs), np.linalg.eigvalsh(ours), atol=1e-12)


def test_speeds_are_measured_in_turn_and_from_the_first_round_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, values = [], iter([3.0, 30.0, 1.0, 10.0, 2.0, 90.0])

    def measured(name: str) -> float:
        calls.append(name)
        return next(values)

    assert timing.alternately(3, lambda: measured("ours"), lambda: measured("theirs")) == [2.0, 30.0]
    assert calls == ["ours", "theirs"] * 3
    clock = iter([100.0, 101.0, 103.0])
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    pace, suite = timing.Pace(), TaskSuite.make("navigation", n=1, groups=1)
    for steps in (50, 80, 110):
        pace(steps, ActorCritic.initial(suite, [0]))
    assert pace.speed == 20.0
