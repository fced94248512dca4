"""Stacked SAC against separate runs, and against the slow version."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium import spaces

from gradex import MetaPolicy, SurrogateEstimator
from gradex.learners import SAC, ActorCritic, Collector, Rollout, evaluate
from gradex.tasks import TaskSuite
from tests.environments import scripted, scripted_suite
from tests.oracles.sac import OnePolicySAC
from tests.test_determinism import disturb, states


class Hover(gymnasium.Env):
    """Starts at random, pays for being at `goal`, falls down below -1; the second action only costs."""

    def __init__(self, goal: float) -> None:
        self.goal = goal
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Box(np.array([-2, 0], np.float32), np.array([1, 5], np.float32))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = float(self.np_random.uniform(-0.5, 0.5))
        return self._observe(), {}

    def _observe(self) -> np.ndarray:
        return np.array([self.place, self.place - self.goal], np.float32)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.place += 0.2 * float(action[0])
        reward = -abs(self.place - self.goal) - 0.01 * float(action[1])
        return self._observe(), reward, self.place < -1, False, {}


def hover(goal: float) -> Callable[[], gymnasium.Env]:
    spec = gymnasium.envs.registration.EnvSpec("Hover-v0", Hover, max_episode_steps=7)
    return lambda: gymnasium.make(spec, goal=goal)


SUITES = {
    "navigation": lambda: TaskSuite.make("navigation", n=4, groups=2, horizon=5),
    # Episodes that are truncated too, random starts, and intervals that are not [-1, 1].
    "hover": lambda: TaskSuite.from_gymnasium({str(goal): hover(goal) for goal in (0.0, 0.3, 0.6, 0.9)}),
}
# The rings overflow, and start does not divide a round.
SETTINGS = SAC(
    steps=3, copies=2, updates=2, batch=8, learning_rate=3e-3, tau=0.1, start=10,
    capacity=14, temperature=0.5, reward_scale=0.7, max_norm=0.5,
)  # fmt: skip


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> TaskSuite:
    return SUITES[request.param]()


def fresh(suite: TaskSuite, seeds: list[int], settings: SAC = SETTINGS) -> ActorCritic:
    """Make untrained policies, small and in float64, whose last layers are not close to 0."""
    agent = settings.initial(suite, seeds, layers=3, width=8)._each(torch.Tensor.double)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(agent.actors.shape[1], generator=generator, dtype=torch.float64)
    return replace(agent, actors=agent.actors + 0.2 * noise)


def rows(agent: ActorCritic, index: int = 0) -> dict[str, torch.Tensor]:
    named = {"actors": agent.actors, "critics": agent.critics, **agent.more}
    return {name: tensor[index] for name, tensor in named.items()}


def close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("subset", [[2], [2, 0]], ids=str)
@pytest.mark.parametrize(
    "settings",
    [SETTINGS, replace(SETTINGS, max_norm=None, target_entropy=-0.3, batch=7)],
    ids=["clipped", "free"],
)
def test_equals_the_slow_version(suite: TaskSuite, settings: SAC, subset: list[int]) -> None:
    rounds, seed = 6, 3
    start = fresh(suite, [seed], settings)
    slow = OnePolicySAC(start, suite, subset, seed, settings)
    slow.train(rounds)
    steps = rounds * settings.round_steps(suite, [subset])
    fast, history = settings.train(start, suite, [subset], steps, [seed])
    close(rows(fast), slow.rows(), 1e-8)
    assert (fast.actors - start.actors).abs().max() > settings.learning_rate
    assert history.episodes.sum() > 0  # or ends of episodes would not have been compared


def test_a_stack_trains_to_the_parameters_of_separate_runs(suite: TaskSuite) -> None:
    subsets, seeds = [[1, 3], [2, 0], [1, 3]], [5, 0, 7]
    start = fresh(suite, seeds)
    per_policy = 6 * SETTINGS.steps * SETTINGS.copies * 2
    stack, history = SETTINGS.train(start, suite, subsets, 3 * per_policy, seeds)
    for index, (subset, seed) in enumerate(zip(subsets, seeds, strict=True)):
        alone, own = SETTINGS.train(start[index], suite, [subset], per_policy, [seed])
        close(rows(stack, index), rows(alone), 1e-9)
        assert (stack.actors[index] - start.actors[index]).abs().max() > SETTINGS.learning_rate
        ours = history[history.policy == index].drop(columns=["policy", "steps"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, own.drop(columns=["policy", "steps"]))
    before, after = (agent.more["log_temperature"][0] for agent in (start, stack))
    assert (after != before).tolist() == [False, True, False, True]  # of its own tasks alone


def test_training_leaves_its_start_alone(suite: TaskSuite) -> None:
    start = fresh(suite, [0, 1])
    before = start.clone()
    trained, _ = SETTINGS.train(start, suite, [[0], [1]], 72, [0, 1])
    for index in range(2):
        close(rows(start, index), rows(before, index), 0)
    tensors = [trained.actors, trained.critics, *trained.more.values()]
    assert all(tensor.is_contiguous() for tensor in tensors)
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)


def test_nothing_is_learnt_before_the_start(tmp_path: Path) -> None:
    suite = SUITES["hover"]()
    start = fresh(suite, [0])
    waiting = replace(SETTINGS, start=13, capacity=20)  # two rounds of 6 steps are too few, three are enough
    for rounds, moves in ((2, False), (3, True)):
        trained, _ = waiting.train(start, suite, [[0]], rounds * 6, [0], folder=tmp_path)
        assert torch.equal(trained.actors, start.actors) != moves
        assert torch.equal(trained.more["target_critics"], start.more["target_critics"]) != moves


def test_fresh_policies_act_nearly_uniformly() -> None:
    suite = SUITES["hover"]()
    agent = SETTINGS.initial(suite, [0], layers=3, width=8)
    collector = Collector(suite, [[0, 1, 2, 3]], 50, [0])
    actions = collector.collect(agent, 20).actions[:, 0].flatten(0, 1).double().numpy()
    collector.close()
    for column, (low, high) in zip(actions.T, ((-2.0, 1.0), (0.0, 5.0)), strict=True):
        counts, _ = np.histogram(column, np.linspace(low, high, 5))
        assert counts.sum() == len(column)
        assert (np.abs(counts / len(column) - 0.25) < 0.05).all()


def test_a_seed_gives_the_same_run_whatever_happens_to_global_generators(suite: TaskSuite) -> None:
    trained = []
    for global_seed in (1, 2):
        disturb(global_seed)
        before = states()
        agent, _ = SETTINGS.train(fresh(suite, [4]), suite, [[1, 2]], 60, [4])
        assert states() == before
        trained.append(agent)
    assert torch.equal(trained[0].actors, trained[1].actors)
    other, _ = SETTINGS.train(fresh(suite, [4]), suite, [[1, 2]], 60, [5])
    assert not torch.equal(trained[0].actors, other.actors)


def test_an_observer_sees_every_round_and_may_keep_it() -> None:
    suite = SUITES["navigation"]()
    seen: list[tuple[int, ActorCritic]] = []
    start = fresh(suite, [0, 1])
    trained, _ = SETTINGS.train(
        start, suite, [[0], [1]], 48, [0, 1], observe=lambda steps, agents: seen.append((steps, agents))
    )
    assert [steps for steps, _ in seen] == [12, 24, 36, 48]
    assert torch.equal(seen[-1][1].actors, trained.actors)
    assert not torch.equal(seen[-2][1].actors, trained.actors)


def test_a_policy_learns() -> None:
    suite = TaskSuite.make("navigation", n=2, groups=2, horizon=10, radius=0.6)
    settings = SAC(
        copies=4,
        updates=2,
        batch=64,
        learning_rate=3e-3,
        tau=0.02,
        start=60,
        temperature=0.05,
    )
    subsets, seeds = [[0], [1]], [0, 1]
    start = settings.initial(suite, seeds, layers=3, width=32)
    trained, _ = settings.train(start, suite, subsets, 4_800, seeds)
    before, after = (evaluate(agent, suite, subsets, 16, [5, 6], "mode") for agent in (start, trained))
    # Straight to the goal pays -(0.5 + 0.4 + ... ) + 5; staying where one is, -6.
    assert (before.return_mean < -4).all() and (after.return_mean > 2).all()
    assert (after.success == 1).all()


def test_the_unit_of_rewards_changes_nothing() -> None:
    def trained(unit: float) -> ActorCritic:
        # Whole numbers, which a unit does not round.
        rewards = [[-2.0, 1.0, 3.0], [0.0, 4.0, 1.0, 2.0]]
        space = spaces.Box(-1, 1, (1,), np.float32)
        tasks = {
            str(task): scripted([unit * reward for reward in own], action_space=space)
            for task, own in enumerate(rewards)
        }
        suite = scripted_suite(**tasks)
        return SETTINGS.train(fresh(suite, [0]), suite, [[0, 1]], 120, [0])[0]

    one, other = trained(1.0), trained(2.0**-30)
    close(rows(other), rows(one), 1e-9)
    torch.testing.assert_close(2.0**30 * other.return_scale, one.return_scale)


def test_a_task_that_comes_with_a_scale_keeps_it(suite: TaskSuite) -> None:
    known = torch.tensor([[3.5, 0.0, 0.0, 0.0]], dtype=torch.float64)
    start = replace(fresh(suite, [0]), return_scale=known)
    trained, history = SETTINGS.train(start, suite, [[0, 1]], 120, [0])
    assert float(trained.return_scale[0, 0]) == pytest.approx(3.5)
    assert trained.return_scale[0, 1] > 0 and not trained.return_scale[0, 2:].any()
    assert history.explained_variance.max() <= 1


def test_values_are_those_of_the_lesser_critic_for_the_mode(suite: TaskSuite) -> None:
    agent = replace(fresh(suite, [0]), return_scale=torch.tensor([[1.0, 3.0, 1, 1]], dtype=torch.float64))
    observations, tasks = torch.rand(1, 5, suite.observation_space.shape[0]).double(), torch.ones(1, 5).long()
    outputs, _ = agent.policy.outputs(agent.actors, observations, tasks)
    mode = torch.tanh(outputs[..., : outputs.shape[-1] // 2])
    both = agent.critic.forward(agent.critics, torch.cat([observations, mode], dim=-1), tasks)
    torch.testing.assert_close(agent.values(observations, tasks), 3 * both.amin(dim=-1))


def test_a_meta_policy_goes_the_whole_way(tmp_path: Path) -> None:
    suite = SUITES["hover"]()
    settings = replace(SETTINGS, max_norm=None)
    assert isinstance(MetaPolicy(suite, learner="sac").learner, SAC)
    policy = MetaPolicy(suite, learner=settings, seed=1, layers=3, width=8).fit(200)
    adapted = policy.adapt([0, 2], 48)
    assert not np.array_equal(adapted.parameters, policy.parameters)
    assert len(policy.evaluate(episodes=2)) == 4
    transitions = policy.transitions(40, copies=4)
    assert len(transitions) == 160 and np.isfinite(transitions.advantages).all()
    assert (transitions.actions >= suite.action_space.low).all()
    assert (transitions.actions <= suite.action_space.high).all()
    surrogate = SurrogateEstimator(projection_dim=20, seed=0).fit(policy, transitions)
    assert np.isfinite(surrogate.features).all() and (np.abs(surrogate.features).max(axis=1) > 0).all()
    path = tmp_path / "policy.safetensors"
    policy.save(path)
    again = MetaPolicy.load(path, suite)
    assert again.learner == settings
    close(rows(again.agent_), rows(policy.agent_), 0)
    different = policy.fit_each([[0], [1, 2], [3]], 72)
    assert [len(snapshots) for snapshots in different] == [1, 1, 1]


def test_the_simulator_gets_the_actions_that_are_remembered() -> None:
    """A squashed action is inside its interval, so handing it over does not clip it."""
    suite = SUITES["hover"]()
    agent = fresh(suite, [0])
    saturated = replace(agent, actors=20 * agent.actors)
    collector = Collector(suite, [[0]], 4, [0])
    sent: list[np.ndarray] = []
    step = collector.simulator.step

    def spy(actions: np.ndarray) -> Any:
        sent.append(actions)
        return step(actions)

    collector.simulator.step = spy  # type: ignore[method-assign]
    rollout: Rollout = collector.collect(saturated, 10)
    collector.close()
    np.testing.assert_allclose(np.stack(sent), rollout.actions[:, 0].numpy(), rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------------- long runs
class CutOffError(Exception):
    pass


def test_a_training_that_was_cut_off_goes_on(
    suite: TaskSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, subsets, seeds = fresh(suite, [0, 1]), [[0, 1], [3, 2]], [0, 1]
    keywords: dict[str, Any] = {"folder": tmp_path / "run", "checkpoint_steps": 48}
    kept: dict[int, ActorCritic] = {}

    def stop(steps: int, agent: ActorCritic) -> None:
        kept[steps] = agent
        if steps == 120:
            raise CutOffError

    with pytest.raises(CutOffError):
        SETTINGS.train(start, suite, subsets, 240, seeds, observe=stop, **keywords)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"config.json", "training.safetensors", "curve.csv"}
    # What was saved last is what there was after 96 steps.
    unmoved, curve = SETTINGS.train(start, suite, subsets, 96, seeds, **keywords)
    close(rows(unmoved, 1), rows(kept[96], 1), 0)
    assert curve.steps.max() <= 96
    seen: list[int] = []
    resumed, history = SETTINGS.train(
        start, suite, subsets, 240, seeds, observe=lambda steps, _: seen.append(steps), **keywords
    )
    assert seen == [120, 144, 168, 192, 216, 240]
    assert not torch.equal(resumed.actors, unmoved.actors)
    pd.testing.assert_frame_equal(history[history.steps <= 96].reset_index(drop=True), curve)
    assert history.steps.max() > 96
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run" / "curve.csv"), history)
    # A finished training is given back as it is, and one that asks for more goes on.
    finished, same = SETTINGS.train(start, suite, subsets, 240, seeds, **keywords)
    close(rows(finished), rows(resumed), 0)
    pd.testing.assert_frame_equal(same, history)
    further, _ = SETTINGS.train(start, suite, subsets, 288, seeds, **keywords)
    assert not torch.equal(further.actors, finished.actors)


def test_another_training_is_refused(tmp_path: Path) -> None:
    suite = SUITES["navigation"]()
    start = fresh(suite, [0])
    SETTINGS.train(start, suite, [[0]], 6, [0], folder=tmp_path)
    for settings, agent, subset, seed, differs in (
        (replace(SETTINGS, tau=0.2), start, [0], 0, "learner"),
        (SETTINGS, start, [1], 0, "subsets"),
        (SETTINGS, start, [0], 1, "seeds"),
        (SETTINGS, replace(start, actors=2 * start.actors), [0], 0, "start"),
    ):
        with pytest.raises(ValueError, match=f"another training, with {differs} .*: choose another folder"):
            settings.train(agent, suite, [subset], 12, [seed], folder=tmp_path)


def test_folders_that_do_not_serve_are_named(tmp_path: Path) -> None:
    suite = SUITES["navigation"]()
    start = fresh(suite, [0])
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to .*file.*: choose another folder"):
        SETTINGS.train(start, suite, [[0]], 6, [0], folder=tmp_path / "file")
    (tmp_path / "training.safetensors").write_text("not tensors")
    with pytest.raises(ValueError, match=r"cannot read a training from .*: choose another folder"):
        SETTINGS.train(start, suite, [[0]], 6, [0], folder=tmp_path)


# ---------------------------------------------------------------------- bad settings
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0: it must be positive"),
        ({"updates": -1}, "updates is -1: it must be positive"),
        ({"temperature": 0.0}, "temperature is 0.0: it must be positive"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001: it must be positive"),
        ({"max_norm": 0.0}, "max_norm is 0.0: it must be positive"),
        ({"tau": 0.0}, "tau is 0.0: choose above 0 and at most 1"),
        ({"capacity": 100}, "capacity=100 is too small for start=500 and rounds of 8 steps"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SAC(**settings)


def test_bad_trainings_are_named() -> None:
    suite = SUITES["navigation"]()
    start = fresh(suite, [0, 1])
    with pytest.raises(ValueError, match="cannot train for 0 environment steps: ask for at least 1"):
        SETTINGS.train(start, suite, [[0], [1]], 0, [0, 1])
    for subsets in ([], [[0]], [[], []]):
        with pytest.raises(
            ValueError, match=f"2 policies have {len(subsets)} subsets, of .* give each policy"
        ):
            SETTINGS.train(start, suite, subsets, 6, [0, 1])
    with pytest.raises(
        ValueError, match=r"12 environment steps end before the first update.* at least 24, or"
    ):
        SETTINGS.train(start, suite, [[0], [1]], 12, [0, 1])
    with pytest.raises(ValueError, match="checkpoint_steps=0 is too few: give at least 1"):
        SETTINGS.train(start, suite, [[0], [1]], 24, [0, 1], checkpoint_steps=0)
    with pytest.raises(
        ValueError, match="of 1 and of 2 tasks do not train in one stack: make a stack for each"
    ):
        SETTINGS.train(start, suite, [[0], [1, 2]], 6, [0, 1])
    with pytest.raises(ValueError, match=r"these policies are of another learner: make them by SAC.initial"):
        SETTINGS.train(ActorCritic.initial(suite, [0]), suite, [[0]], 6, [0])
    with pytest.raises(
        ValueError, match=r"action space Discrete\(2\) is not one that a squashed Gaussian can cover"
    ):
        MetaPolicy(TaskSuite.make("cartpole", n=2), learner="sac").fit(10)
