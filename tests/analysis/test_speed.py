"""Speed against peers: each part at smoke scale, with its peers and without."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from analysis import speed, study
from analysis.speed import comparison, features, peers, reaching, timing, trace
from gradex.learners import ActorCritic
from gradex.tasks import TaskSuite

#: Forward mode compiles something in a way that torch itself deprecates.
FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], pd.DataFrame]:
    """Render a part at smoke scale, and give its rows as they were written."""

    def measure(part: str) -> pd.DataFrame:
        monkeypatch.chdir(tmp_path)
        told = study.run("speed", "smoke", 1, tmp_path / "figures", resume=False, part=part)
        assert len(speed.summary(told)) == len(told)
        assert (tmp_path / "figures" / "speed.png").stat().st_size > 1000
        table = pd.read_csv(tmp_path / "figures" / "speed.csv")
        assert list(table.columns) == ["part", *speed._COLUMNS, "seconds"]
        assert (table.part == part).all() and table.processor.str.endswith("threads").all()
        assert (table[["gradex", "peer_value"]] > 0).all(axis=None)
        ours_over_theirs = table.gradex / table.peer_value
        more_is_better = table.unit == "steps/s"
        expected = ours_over_theirs.where(more_is_better, 1 / ours_over_theirs)
        np.testing.assert_allclose(table.ratio, expected, rtol=1e-4)
        return table

    return measure


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Hide a module."""
    find = peers.find_spec

    def hide(hidden: str) -> None:
        monkeypatch.setattr(peers, "find_spec", lambda name: None if name == hidden else find(name))

    return hide


def test_features_are_compared_with_three_batches_of_the_peer(
    measured: Callable[[str], pd.DataFrame],
    without: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pytest.importorskip("trak")
    table = measured("features")
    peer = table.peer == "traker BasicProjector on vmap(grad)"
    assert table[peer].case.value_counts().to_dict() == {"khatri-rao": 3, "gaussian": 3}
    assert set(table[~peer].unit) == ({"s", "MB"} if features._RESET.exists() else {"s"})
    without("trak")
    monkeypatch.setattr(features, "_RESET", tmp_path / "nothing")  # as where there is no Linux
    assert [each.peer for each in features.compare("smoke")] == ["bare forward and backward pass"]


def test_logistic_regressions_reach_a_smaller_residual_than_the_peer(
    measured: Callable[[str], pd.DataFrame],
) -> None:
    table = measured("logistic")
    rows = table.groupby("peer").size()
    assert rows["scikit-learn in a loop, 1 thread"] == 4 and (rows == 4).all()
    residuals = table.remark.str.extract(r"KKT residuals (\S+) against (\S+)").astype(float)
    assert (residuals[0] <= 1e-6).all() and (residuals[0] < residuals[1]).all()


def test_shared_steps_are_compared_with_those_of_each_task(
    measured: Callable[[str], pd.DataFrame], without: Callable[[str], None]
) -> None:
    pytest.importorskip("envpool")
    table = measured("sharing")
    assert table.case.tolist() == ["navigation", "highway"]
    assert table.remark.str.fullmatch(r"two estimates correlate by -?\d\.\d+ against -?\d\.\d+").all()
    without("envpool")
    assert measured("sharing").case.tolist() == ["navigation"]


def test_clustering_is_compared_at_equal_gaps(measured: Callable[[str], pd.DataFrame]) -> None:
    table = measured("clustering")
    assert table.case.tolist() == ["clear groups", "noisy groups"]
    gaps = table.remark.str.extract(r"relative gap (\S+) against (\S+)").astype(float)
    assert (gaps < 1e-4).all(axis=None)


def test_ground_truth_is_compared_with_two_minibatches_of_the_peer(
    measured: Callable[[str], pd.DataFrame],
) -> None:
    pytest.importorskip("stable_baselines3")
    assert measured("ground_truth").case.tolist() == ["cartpole", "cartpole"]


def test_ppo_is_compared_on_meta_world_where_that_is_installed(
    measured: Callable[[str], pd.DataFrame], without: Callable[[str], None]
) -> None:
    pytest.importorskip("stable_baselines3")
    if not peers.installed(*reaching.ENGINES):
        pytest.skip("Meta-World is not installed")
    only = "reach-v3, ours only collecting"
    assert measured("ppo").case.tolist() == ["CartPole"] * 2 + ["reach-v3"] * 2 + [only] * 2
    without("metaworld")
    assert measured("ppo").case.tolist() == ["CartPole"] * 2


def test_both_engines_show_the_same_task() -> None:
    if not peers.installed(*reaching.ENGINES):
        pytest.skip("Meta-World is not installed")
    ours, theirs = reaching.reaching(horizon=3), reaching.original_reaching(horizon=3)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    theirs.reset(seed=0)
    ends = [theirs.step(np.zeros(4, np.float32))[3] for _ in range(3)]
    assert ends == [False, False, True]


def test_sac_is_compared_alone_and_as_a_stack_on_one_thread_and_on_all(
    measured: Callable[[str], pd.DataFrame], without: Callable[[str], None]
) -> None:
    pytest.importorskip("stable_baselines3")
    without("metaworld")
    with timing.threads(2):
        table = measured("sac")
        assert torch.get_num_threads() == 2
    assert table.setting.str.split(",").str[0].tolist() == ["1 thread"] * 2 + ["2 threads"] * 2
    alone, stack = "Pendulum, 3 layers of 8", "Pendulum, 3 layers of 8, a stack of 2 against one"
    assert table.case.tolist() == [alone, stack] * 2


@FORWARD
def test_traces_are_compared_in_seconds_and_in_errors(
    measured: Callable[[str], pd.DataFrame], without: Callable[[str], None]
) -> None:
    pytest.importorskip("curvlinops")
    table = measured("trace")
    assert table.unit.value_counts().to_dict() == {"s": 4, "relative error": 2}
    errors = table[table.unit == "relative error"]
    # The same algorithms with the same number of products, up to chance and a refinement of XTrace.
    assert errors.ratio.between(0.6, 1.8).all()
    without("curvlinops")
    assert not measured("trace").peer.str.contains("curvlinops").any()


@FORWARD
def test_curvlinops_multiplies_by_the_same_hessian() -> None:
    pytest.importorskip("curvlinops")
    hessian = trace._hessian(3, 5, 50)
    identity = torch.eye(hessian.size, dtype=torch.float64)
    theirs = (trace._peer_operator(hessian) @ identity).detach().numpy()
    ours = (hessian @ identity.unsqueeze(0))[0].numpy()
    np.testing.assert_allclose(np.trace(theirs), np.trace(ours), rtol=1e-9)
    np.testing.assert_allclose(np.linalg.eigvalsh(theirs), np.linalg.eigvalsh(ours), atol=1e-12)


def test_what_is_not_installed_is_named_once(without: Callable[[str], None]) -> None:
    without("stable_baselines3")
    line = "stable-baselines3 is not installed, which leaves out ppo, sac, ground_truth: "
    lines = speed.missing(list(speed.PARTS))
    assert [each for each in lines if "stable" in each] == [line + "pip install -e '.[speed]'"]
    assert speed.missing(["clustering", "logistic"]) == []


def test_a_part_without_its_only_peer_writes_nothing(
    measured: Callable[[str], pd.DataFrame], without: Callable[[str], None], tmp_path: Path
) -> None:
    without("stable_baselines3")
    with pytest.raises(ValueError, match="nothing to tell of ppo: nothing is written"):
        measured("ppo")
    assert not (tmp_path / "figures").exists()


def test_more_is_better_of_speeds_and_less_of_all_else() -> None:
    assert comparison.Comparison("a", "b", "", 6.0, 3.0, "steps/s").ratio == 2.0
    assert comparison.Comparison("a", "b", "", 6.0, 3.0, "s").ratio == 0.5


def test_runs_are_summed_up_by_setting() -> None:
    rows = [
        {**comparison.Comparison("a", "b", setting, 1.0, times, "s").row(), "seed": seed, "part": "c"}
        for seed, factor in enumerate((1.0, 4.0, 2.0))
        for setting, times in (("small", factor), ("large", 10 * factor))
    ]
    told = speed.summary(pd.DataFrame(rows))
    assert told.setting.tolist() == ["small", "large"]
    assert told[["ratio", "low", "high", "runs"]].to_numpy().tolist() == [[2, 1, 4, 3], [20, 10, 40, 3]]


def test_adaptation_in_a_stack_is_compared_with_one_target_at_a_time(
    measured: Callable[[str], pd.DataFrame],
) -> None:
    (row,) = measured("adaptation").itertuples()
    assert row.peer == "one target after the other"
    assert row.unit == "s"


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


def test_threads_are_as_many_as_before_even_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), timing.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError
    assert torch.get_num_threads() == before
