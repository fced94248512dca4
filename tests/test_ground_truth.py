"""Real training on subsets, against one training after the other."""

import copy
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import joblib
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from gradex import PPO, SAC, GroundTruth, MetaPolicy, TaskSuite
from gradex import ground_truth as module
from gradex.seeds import child
from tests.environments import scripted

LEARNER = PPO(steps=32, copies=2, minibatches=4)
SUBSETS = [(0, 1), (2, 3), (1, 2), (0, 3), (0, 1, 2), (3,)]


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    suite = TaskSuite.make("navigation", n=4, seed=0)
    return MetaPolicy(suite, learner=LEARNER, layers=2, width=8).fit(2_000)


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit has one or two policies, so that there are four units a replicate."""
    monkeypatch.setattr(module, "_UNIT_STEPS", 600)


def truth(**settings: object) -> GroundTruth:
    return GroundTruth(**{"steps_per_task": 128, "replicates": 2, "episodes": 4, "jobs": 1, **settings})


@pytest.fixture(scope="module")
def preferring() -> MetaPolicy:
    """One that trains on mean weights."""
    pytest.importorskip("mo_gymnasium")
    suite = TaskSuite.make("mo-deep-sea-treasure", n=4, horizon=10)
    return MetaPolicy(suite, learner=LEARNER, layers=2, width=8).fit(500)


@pytest.mark.parametrize("policy", ["meta", "preferring"])
def test_equals_adapting_and_evaluating_one_after_the_other(
    policy: str, request: pytest.FixtureRequest
) -> None:
    meta, steps = request.getfixturevalue(policy), 0
    fitted = truth(seed=2).fit(meta, SUBSETS)
    for replicate in range(2):
        training, evaluation = (
            child(2, f"{purpose} on subsets", replicate) for purpose in ("training", "evaluation")
        )
        for row, subset in enumerate(SUBSETS):
            one = meta.adapt(subset, 128 * len(subset), seed=training)
            steps += one.steps - meta.steps
            table = one.evaluate(4, seed=evaluation, subset=subset)
            own = fitted.returns_[replicate, row]
            np.testing.assert_allclose(own[list(subset)], table.return_mean, rtol=1e-4)
            assert np.isnan(np.delete(own, subset)).all()
    assert fitted.steps_ == steps


def test_a_worker_that_is_replaced_stops_nothing(meta: MetaPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Joblib warns of it from a thread of its own, which an error would end."""
    expected = truth().fit(meta, SUBSETS).returns_

    def replacing(**settings: object) -> Callable[[Iterable[Any]], Iterator[Any]]:
        def run(work: Iterable[Any]) -> Iterator[Any]:
            for function, given, named in work:
                text = "A worker stopped while some jobs were given to the executor. This can be caused by a"
                warnings.warn(text, UserWarning, stacklevel=1)
                yield function(*given, **named)

        return run

    monkeypatch.setattr(module, "Parallel", replacing)
    np.testing.assert_array_equal(truth().fit(meta, SUBSETS).returns_, expected)


def test_scores_are_means_over_tasks_and_replicates(
    meta: MetaPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = truth(replicates=3).fit(meta, SUBSETS)
    scores = fitted.scores()
    assert scores.subsets == tuple(SUBSETS)
    row = SUBSETS.index((0, 1, 2))
    np.testing.assert_allclose(scores.score[row], fitted.returns_[:, row, :3].mean())
    np.testing.assert_allclose(scores.per_task, fitted.returns_.mean(axis=0))
    assert scores.draws.shape == (20, len(SUBSETS), 4)
    spread = np.nanmean(fitted.returns_, axis=2)
    # The draws spread as much as the mean of three trainings does.
    monkeypatch.setattr(module, "_DRAWS", 4000)
    drawn = np.nanmean(fitted.scores().draws, axis=2)
    np.testing.assert_allclose(drawn.std(axis=0), spread.std(axis=0, ddof=1) / np.sqrt(3), rtol=0.1)
    even, odd = fitted.halves()
    np.testing.assert_allclose(even.score, spread[[0, 2]].mean(axis=0))
    np.testing.assert_allclose(odd.score, spread[1])


def test_whatever_was_trained_belongs_to_the_identity(meta: MetaPolicy, tmp_path: Path) -> None:
    """Two policies of SAC that differ in a target network or a temperature only."""
    learner = SAC(copies=2, updates=1, batch=8, start=24)
    policy = MetaPolicy(meta.suite, learner=learner, layers=2, width=8).fit(400)
    small = truth(steps_per_task=32, replicates=1, episodes=2)
    small.fit(policy, [(0, 1)], tmp_path)
    for name in policy.agent_.more:
        other = copy.copy(policy)
        more = {**policy.agent_.more, name: policy.agent_.more[name] + 0.5}
        other.agent_ = dataclasses.replace(policy.agent_, more=more)
        with pytest.raises(ValueError, match="holds another ground truth"):
            small.fit(other, [(0, 1)], tmp_path)
    small.fit(policy, [(0, 1)], tmp_path)


def test_a_damaged_unit_is_named(meta: MetaPolicy, tmp_path: Path) -> None:
    truth(replicates=1).fit(meta, [(0, 1)], tmp_path)
    (tmp_path / "0-0.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"from '.*0-0.safetensors' \(.*\): remove it, and it comes again"):
        truth(replicates=1).fit(meta, [(0, 1)], tmp_path)


def test_replicates_differ_and_a_seed_repeats(meta: MetaPolicy) -> None:
    first, again, other = (truth(seed=seed).fit(meta, SUBSETS).returns_ for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first[0], first[1], equal_nan=True)
    assert not np.allclose(first, other, equal_nan=True)


@pytest.mark.usefixtures("small_units")
def test_a_crash_loses_nothing_that_was_finished(
    meta: MetaPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = truth().fit(meta, SUBSETS).returns_
    train, trained = module._train_unit, []

    def train_some(key: tuple[int, int], *arguments: object) -> object:
        if len(trained) == 4:
            raise KeyboardInterrupt
        trained.append(key)
        return train(key, *arguments)

    monkeypatch.setattr(module, "_train_unit", train_some)
    with pytest.raises(KeyboardInterrupt):
        truth().fit(meta, SUBSETS, tmp_path)
    written = len(list(tmp_path.glob("*.safetensors")))
    assert written in (3, 4)  # the last may not have been handed over

    def train_and_count(key: tuple[int, int], *arguments: object) -> object:
        trained.append(key)
        return train(key, *arguments)

    trained.clear()
    monkeypatch.setattr(module, "_train_unit", train_and_count)
    resumed = truth().fit(meta, SUBSETS, tmp_path).returns_
    assert len(trained) == 8 - written
    np.testing.assert_array_equal(resumed, whole)


@pytest.mark.usefixtures("small_units")
def test_further_replicates_go_on_from_the_first(meta: MetaPolicy, tmp_path: Path) -> None:
    two = truth().fit(meta, SUBSETS, tmp_path).returns_
    written = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.safetensors")}
    three = truth(replicates=3).fit(meta, SUBSETS, tmp_path).returns_
    np.testing.assert_array_equal(three[:2], two)
    assert len(three) == 3
    assert {file: file.stat().st_mtime_ns for file in written} == written


def test_a_folder_keeps_to_one_ground_truth(meta: MetaPolicy, tmp_path: Path) -> None:
    truth(replicates=1).fit(meta, SUBSETS[:1], tmp_path)
    with pytest.raises(
        ValueError, match="holds another ground truth, with episodes 4 instead of 5: choose another"
    ):
        truth(replicates=1, episodes=5).fit(meta, SUBSETS[:1], tmp_path)
    with pytest.raises(ValueError, match="another ground truth"):
        truth(replicates=1).fit(meta.with_parameters(0 * meta.parameters), SUBSETS[:1], tmp_path)


def test_stops_early_when_the_standard_error_is_small(meta: MetaPolicy) -> None:
    everything = truth(replicates=5).fit(meta, SUBSETS).returns_
    scores = np.nanmean(everything, axis=2)
    errors = [np.sqrt(scores[:r].var(axis=0, ddof=1).mean() / r) for r in range(2, 6)]
    for target in (1.01 * max(errors), 1.01 * errors[2], 0.5 * min(errors)):
        stopped = truth(replicates=5, target_stderr=target).fit(meta, SUBSETS).returns_
        enough = [r for r, error in zip(range(2, 6), errors, strict=True) if error <= target]
        np.testing.assert_array_equal(stopped, everything[: enough[0] if enough else 5])


def test_success_can_be_measured(meta: MetaPolicy) -> None:
    returns = truth(measure="success", replicates=1).fit(meta, [(0, 1)]).returns_
    assert 0 <= returns[0, 0, 0] <= 1


def test_success_needs_a_suite_that_reports_it() -> None:
    meta = MetaPolicy(TaskSuite.make("cartpole", n=4), learner=LEARNER, layers=2, width=8).fit(1_000)
    with pytest.raises(ValueError, match=r"task '0: .*' reports no success: choose measure='return'"):
        truth(measure="success", replicates=1).fit(meta, [(0, 1)])


def test_units_of_another_size_are_not_taken_for_ours(
    meta: MetaPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth(replicates=1).fit(meta, SUBSETS, tmp_path)
    monkeypatch.setattr(module, "_UNIT_STEPS", 600)
    with pytest.raises(ValueError, match="another ground truth"):
        truth(replicates=1).fit(meta, SUBSETS, tmp_path)


def test_counts_the_steps_of_training(meta: MetaPolicy) -> None:
    # A rollout is 64 steps of a task; 100 steps take two.
    assert truth(steps_per_task=100, replicates=1).fit(meta, [(0, 1), (2,)]).steps_ == 128 * 3


@pytest.mark.usefixtures("small_units")
def test_processes_give_the_same_numbers(meta: MetaPolicy) -> None:
    one = truth().fit(meta, SUBSETS).returns_
    two = truth(jobs=2).fit(meta, SUBSETS).returns_
    np.testing.assert_array_equal(one, two)


@pytest.mark.usefixtures("small_units")
def test_what_cannot_be_sent_to_processes_is_told() -> None:
    lock = threading.Lock()

    def make() -> gymnasium.Env:
        with lock:
            return scripted([1.0, 0.0])()

    suite = TaskSuite.from_gymnasium({"a": make, "b": make})
    meta = MetaPolicy(suite, layers=2, width=4, learner=PPO(steps=16, copies=2)).fit(32)
    with pytest.raises(ValueError, match=r"cannot be sent to other processes \(.*lock.*\): choose jobs=1"):
        truth(jobs=2).fit(meta, [(0,), (1,), (0, 1)])


@pytest.mark.usefixtures("small_units")
@pytest.mark.filterwarnings("default")  # the cluster's own, when a worker dies
def test_a_cluster_gives_the_same_numbers_though_a_worker_dies(meta: MetaPolicy, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    alone = truth(steps_per_task=256).fit(meta, SUBSETS).returns_
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        workers = client.run(os.getpid)
        dying = min(workers.values())
        first = str(tmp_path / "*.safetensors")
        watch = (
            f"import glob, os, time\nwhile not glob.glob({first!r}): time.sleep(0.02)\nos.kill({dying}, 9)"
        )
        killer = subprocess.Popen([sys.executable, "-c", watch])
        try:
            together = truth(steps_per_task=256, jobs=-1).fit(meta, SUBSETS, tmp_path).returns_
            assert killer.wait(timeout=60) == 0
        finally:
            killer.kill()
        assert dying not in client.run(os.getpid).values()
    np.testing.assert_array_equal(together, alone)


@pytest.mark.usefixtures("small_units")
def test_a_killed_run_resumes_with_identical_results(meta: MetaPolicy, tmp_path: Path) -> None:
    settings = {"steps_per_task": 256, "episodes": 4, "replicates": 2, "jobs": 1}
    script = (
        "import sys, gradex.ground_truth as g\n"
        "from gradex import GroundTruth, MetaPolicy\n"
        f"g._UNIT_STEPS = {module._UNIT_STEPS}\n"
        f"GroundTruth(**{settings}).fit(MetaPolicy.load(sys.argv[1]), {SUBSETS}, sys.argv[2])\n"
    )
    meta.save(tmp_path / "meta.safetensors")
    command = [sys.executable, "-c", script, str(tmp_path / "meta.safetensors"), str(tmp_path / "killed")]
    killed = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    while not list((tmp_path / "killed").glob("*-*.safetensors")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "killed").glob("*-*.safetensors")}
    resumed = truth(**settings).fit(meta, SUBSETS, tmp_path / "killed")
    assert {file: file.stat().st_mtime_ns for file in written} == written
    assert len(list((tmp_path / "killed").glob("*-*.safetensors"))) > len(written)
    np.testing.assert_array_equal(resumed.returns_, truth(**settings).fit(meta, SUBSETS).returns_)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps_per_task": 0}, "steps_per_task=0 is too small: give at least 1"),
        ({"replicates": 0}, "replicates=0 is too small: give at least 1"),
        ({"episodes": 1}, "episodes=1 is too small: give at least 2"),
        ({"measure": "reward"}, "unknown measure 'reward': choose 'return' or 'success'"),
        ({"target_stderr": 0.0}, "target_stderr is 0.0: choose a positive number, or None"),
        ({"target_stderr": 1.0, "replicates": 1}, "replicates=1 has no standard error: give at least 2"),
        ({"jobs": 0}, "jobs is 0: choose a number of units, or -1 for one per core"),
    ],
)
def test_refuses_settings_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GroundTruth(**settings)


def test_refuses_what_is_no_subset(meta: MetaPolicy) -> None:
    with pytest.raises(ValueError, match="no subset was given"):
        truth().fit(meta, [])
    with pytest.raises(ValueError, match=r"\[0, 4\] is not a subset of 4 tasks"):
        truth().fit(meta, [(0, 4)])


def test_says_so_when_it_is_not_fitted_or_cannot_be_halved(meta: MetaPolicy) -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        truth().scores()
    with pytest.raises(ValueError, match="replicates=1 cannot be halved"):
        truth(replicates=1).fit(meta, [(0, 1)]).halves()


def test_refuses_a_folder_that_cannot_be_written(meta: MetaPolicy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write to"):
        truth(replicates=1).fit(meta, [(0, 1)], tmp_path / "file" / "folder")
