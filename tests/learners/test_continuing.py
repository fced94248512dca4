"""Trainings that were cut off and go on, by every learner; replay and temperatures are with SAC's tests."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gradex import MetaPolicy
from gradex.learners import MAML, PPO, SAC, ActorCritic, Learner, train_each
from gradex.learners import subsets as training_on_subsets
from gradex.learners.continuation import Continuation
from gradex.store import Store, write_tensors
from gradex.tasks import TaskSuite
from tests.environments import Scripted, scripted_suite
from tests.learners.test_sac import hover
from tests.tasks.families import drift

LEARNERS = {
    "ppo": PPO(steps=12, copies=2, epochs=2, minibatches=1),
    "maml": MAML(trajectories=2, tasks=2, epochs=2),
    "sac": SAC(steps=12, copies=2, updates=2, batch=8, start=24),
}


class CutOffError(Exception):
    pass


@pytest.fixture
def suite() -> TaskSuite:
    # Every episode is one rollout long, with the step that resets it.
    return TaskSuite.make("navigation", n=4, groups=2, horizon=11)


@pytest.fixture(params=LEARNERS.values(), ids=LEARNERS)
def learner(request: pytest.FixtureRequest) -> Learner:
    return request.param


def fresh(learner: Learner, suite: TaskSuite) -> ActorCritic:
    return learner.initial(suite, [0, 1], layers=2, width=8)


def rows(agent: ActorCritic) -> list[torch.Tensor]:
    return [agent.actors, agent.critics, agent.return_mean, agent.return_scale, *agent.more.values()]


def same(one: ActorCritic, other: ActorCritic) -> bool:
    return all(torch.equal(*pair) for pair in zip(rows(one), rows(other), strict=True))


def cut_off(learner: Learner, suite: TaskSuite, rounds: int, after: int, folder: Path) -> ActorCritic:
    """Begin a training of so many rounds, and give what it was like when it was last kept."""
    seen: list[ActorCritic] = []

    def stop(_: int, agent: ActorCritic) -> None:
        if len(seen) == after:
            raise CutOffError
        seen.append(agent)

    subsets = [[0, 1], [3, 2]]
    steps = rounds * learner.round_steps(suite, subsets)
    with pytest.raises(CutOffError):
        learner.train(
            fresh(learner, suite), suite, subsets, steps, [0, 1], None, stop, folder, checkpoint_steps=1
        )
    return seen[-1]


def go_on(
    learner: Learner, suite: TaskSuite, rounds: int, folder: Path | None, **more: Any
) -> tuple[ActorCritic, pd.DataFrame]:
    subsets = [[0, 1], [3, 2]]
    steps = rounds * learner.round_steps(suite, subsets)
    return learner.train(fresh(learner, suite), suite, subsets, steps, [0, 1], folder=folder, **more)


def failing(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """Give a function that does the same, but fails when it is called for the time `at`."""
    calls = itertools.count(1)

    def fails(*arguments: Any) -> Any:
        if next(calls) == at:
            raise CutOffError
        return function(*arguments)

    return fails


def test_a_training_that_was_cut_off_goes_on(learner: Learner, suite: TaskSuite, tmp_path: Path) -> None:
    last = cut_off(learner, suite, 5, 3, tmp_path)
    per_round = learner.round_steps(suite, [[0, 1], [3, 2]])
    seen: list[int] = []
    trained, history = go_on(learner, suite, 5, tmp_path, observe=lambda steps, _: seen.append(steps))
    assert seen == [4 * per_round, 5 * per_round]
    assert not torch.equal(trained.actors, last.actors)
    assert sorted(set(history.steps)) == [number * per_round for number in range(1, 6)]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "curve.csv"), history, check_dtype=False)


def test_a_finished_training_is_given_back(learner: Learner, suite: TaskSuite, tmp_path: Path) -> None:
    trained, history = go_on(learner, suite, 2, tmp_path)
    again, told = go_on(learner, suite, 2, tmp_path)
    assert same(again, trained)
    pd.testing.assert_frame_equal(told, history, check_dtype=False)


def test_a_folder_changes_nothing_else(learner: Learner, suite: TaskSuite, tmp_path: Path) -> None:
    kept, history = go_on(learner, suite, 2, tmp_path)
    plain, told = go_on(learner, suite, 2, None)
    assert same(kept, plain)
    pd.testing.assert_frame_equal(told, history)


@pytest.mark.parametrize("horizon", [11, 17])  # as long as a rollout, and ending within one
def test_going_on_gives_the_same_bits_as_never_stopping(
    learner: Learner, horizon: int, tmp_path: Path
) -> None:
    suite = TaskSuite.make("navigation", n=4, groups=2, horizon=horizon)
    cut_off(learner, suite, 5, 3, tmp_path)
    pieces, history = go_on(learner, suite, 5, tmp_path)
    whole, told = go_on(learner, suite, 5, None)
    assert same(pieces, whole)
    pd.testing.assert_frame_equal(history, told)


#: With rollouts that end in the middle of episodes, where these do not all end together.
SUITES = {
    "cartpole": lambda: TaskSuite.make("cartpole", n=4, reversed="half"),
    "lunarlander": lambda: TaskSuite.make("lunarlander", n=4, reversed="half", wind=10.0, turbulence=1.0),
    "highway": lambda: TaskSuite.make("highway", n=4),
    "halfcheetah": lambda: TaskSuite.make("halfcheetah", n=4, horizon=17),
    "ant-goal": lambda: TaskSuite.make("ant-goal", n=4, horizon=17),
    "mt10": lambda: TaskSuite.make("mt10", n=4, horizon=24),
    "custom": lambda: TaskSuite.from_gymnasium({str(each): drift(each) for each in (0.1, 0.2, 0.5, 0.9)}),
    "own actions": lambda: TaskSuite.from_gymnasium(
        {str(goal): hover(goal) for goal in (0.0, 0.3, 0.6, 0.9)}
    ),
}


@pytest.mark.parametrize("name", SUITES)
def test_simulators_come_back_to_where_they_were(name: str, tmp_path: Path) -> None:
    ours, suite = PPO(steps=24, copies=2, epochs=1, minibatches=2), SUITES[name]()
    cut_off(ours, suite, 5, 3, tmp_path)
    pieces, history = go_on(ours, suite, 5, tmp_path)
    whole, told = go_on(ours, suite, 5, None)
    assert same(pieces, whole)
    pd.testing.assert_frame_equal(history, told)
    if name == "own actions":  # these are continuous, which soft actor-critic needs
        ours, place = LEARNERS["sac"], tmp_path / "sac"
        cut_off(ours, suite, 5, 3, place)
        assert same(go_on(ours, suite, 5, place)[0], go_on(ours, suite, 5, None)[0])


def test_an_environment_that_is_not_where_it_was_is_named(tmp_path: Path) -> None:
    clock = itertools.count()

    class Clock(Scripted):
        def _observe(self) -> np.ndarray:
            return super()._observe() + (next(clock) if len(self.actions) > 3 else 0)

    learner, suite = LEARNERS["ppo"], scripted_suite(**dict.fromkeys("abcd", lambda: Clock([1.0] * 7)))
    cut_off(learner, suite, 5, 3, tmp_path)
    with pytest.warns(
        UserWarning, match="task 'a' is not where it was: its environment depends on more than"
    ):
        go_on(learner, suite, 5, tmp_path)


def test_a_longer_training_is_not_taken_for_a_shorter_one(
    learner: Learner, suite: TaskSuite, tmp_path: Path
) -> None:
    go_on(learner, suite, 3, tmp_path)
    with pytest.raises(
        ValueError, match=r"(holds another training, with steps \d+ instead of \d+:|more than the).*folder"
    ):
        go_on(learner, suite, 2, tmp_path)


def test_a_training_that_cannot_go_on_is_refused(suite: TaskSuite, tmp_path: Path) -> None:
    go_on(LEARNERS["ppo"], suite, 2, tmp_path)
    store = Store(tmp_path, "training", json.loads((tmp_path / "config.json").read_text()))
    state, told = store.read("training")
    store.write(
        "training", {**state, "optimiser.mean": torch.full_like(state["optimiser.mean"], torch.nan)}, told
    )
    with pytest.raises(
        ValueError, match=r"cannot go on from .*, its optimiser.mean is not finite: choose another"
    ):
        go_on(LEARNERS["ppo"], suite, 2, tmp_path)


def test_a_meta_policy_goes_on(suite: TaskSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = LEARNERS["ppo"]
    policy = MetaPolicy(suite, learner=learner, layers=2, width=8)
    whole = MetaPolicy(suite, learner=learner, layers=2, width=8).fit(1000)
    with monkeypatch.context() as patch:
        patch.setattr(PPO, "_improve", failing(PPO._improve, 4))
        # Kept after every round.
        patch.setattr(
            "gradex.learners.learner.Continuation", lambda *settings: Continuation(*settings[:-1], 1)
        )
        with pytest.raises(CutOffError):
            policy.fit(1000, folder=tmp_path)
    kept = pd.read_csv(tmp_path / "4-tasks-from-0" / "curve.csv")
    policy.fit(1000, folder=tmp_path)
    assert policy.history_.steps.max() == whole.history_.steps.max() == 1056
    assert not kept.empty
    # Of eight snapshots two were taken before the cut.
    per_round = learner.round_steps(suite, [range(4)])
    assert [each.steps // per_round for each in policy.path_] == [1, 2, 3, 4, 5, 6, 8, 11]
    assert policy.path_[-1] is policy
    for one, other in zip(policy.path_, whole.path_, strict=True):
        assert same(one.agent_, other.agent_)
        assert one.config == other.config
        pd.testing.assert_frame_equal(one.history_, other.history_, check_dtype=False)
    earlier = whole.history_[whole.history_.steps <= kept.steps.max()].drop(columns="policy")
    pd.testing.assert_frame_equal(earlier, kept.drop(columns="policy"), check_dtype=False)
    # What was adapted from it goes on by stacks of one size.
    adapted = policy.adapt_each([[0], [1, 2], [3]], 500, folder=tmp_path / "groups")
    assert {path.name for path in (tmp_path / "groups").iterdir()} == {"1-tasks-from-0", "2-tasks-from-0"}
    again = policy.adapt_each([[0], [1, 2], [3]], 500, folder=tmp_path / "groups")
    for one, other in zip(adapted, again, strict=True):
        assert same(one.agent_, other.agent_)
        pd.testing.assert_frame_equal(one.history_, other.history_, check_dtype=False)


def test_snapshots_stay_where_a_training_goes_on(
    learner: Learner, suite: TaskSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot before the cut is the one that was seen, and the last is what the training gives."""
    subsets = [[0, 1], [3, 2]]
    steps = 6 * learner.round_steps(suite, subsets)

    def train(folder: Path | None, snapshots: int = 3) -> list[list[tuple[ActorCritic, pd.DataFrame]]]:
        return train_each(
            learner, lambda _: fresh(learner, suite), suite, subsets, steps, [0, 1], snapshots, folder
        )

    whole = train(None)
    with monkeypatch.context() as patch:
        patch.setattr(training_on_subsets, "write_tensors", failing(write_tensors, 2))
        patch.setattr(Continuation, "due", lambda *_: True)
        with pytest.raises(CutOffError):
            train(tmp_path)
    for _ in range(2):  # goes on, and gives back what is finished
        for policies, expected in zip(train(tmp_path), whole, strict=True):
            for (agent, curve), (same_agent, same_curve) in zip(policies, expected, strict=True):
                assert same(agent, same_agent)
                pd.testing.assert_frame_equal(curve, same_curve, check_dtype=False)
    with pytest.raises(ValueError, match=r"without a snapshot after .* steps: choose another folder"):
        train(tmp_path, snapshots=2)


def test_snapshots_that_were_not_kept_are_missed_at_once(
    suite: TaskSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the training goes on, perhaps for hours."""
    learner = LEARNERS["ppo"]
    policy = MetaPolicy(suite, learner=learner, layers=2, width=8)
    monkeypatch.setattr(Continuation, "due", lambda *_: True)
    with monkeypatch.context() as patch:
        patch.setattr(PPO, "_improve", failing(PPO._improve, 8))
        with pytest.raises(CutOffError):
            policy.fit(1000, snapshots=1, folder=tmp_path)
        rounds: list[int] = []
        patch.setattr(PPO, "_improve", lambda *_: rounds.append(1))
        with pytest.raises(
            ValueError, match=r"a snapshot after 96 steps: choose another folder, or as many snapshots as"
        ):
            policy.fit(1000, snapshots=8, folder=tmp_path)
    assert len(rounds) == 1
    assert len(policy.fit(1000, snapshots=1, folder=tmp_path).path_) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_updates_on_a_cuda_device_are_those_of_the_cpu(
    learner: Learner, suite: TaskSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, told = go_on(learner, suite, 2, None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here, expected = go_on(learner, suite, 2, None)
    for one, other in zip(rows(there), rows(here), strict=True):
        assert one.device.type == "cpu"
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    pd.testing.assert_frame_equal(told, expected, rtol=1e-3)
