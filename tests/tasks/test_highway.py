"""EnvPool's highway against highway-env: the same law, and from the same state the same episode.

EnvPool 1.2.5 is about a thousand times faster than highway-env 1.12.1. Do they agree? On highway-fast-v0:

1. From the same state they drive the same episode, with equal observations, rewards and flags, but for one
   rule: where a car could overtake on either side, EnvPool's goes left and highway-env's right. This parts 77
   of 360 episodes under random actions, at densities from 0.5 to 2.5. Once highway-env is told to prefer the
   left, none of 268 parts, nor any of 8 on highway-v0.
2. Open-loop episodes have the same law. Mean length, and crashes in percent, of 200 episodes of highway-env
   and 2000 of EnvPool; no difference of length, return or crashes exceeds 2.4 standard errors:

   ========  =============  ===============  ===============  ===============
   density   engine         idle             always faster    random
   ========  =============  ===============  ===============  ===============
   0.5       highway-env    27.9 ± 0.4, 22   20.0 ± 0.6, 85   22.2 ± 0.6, 55
   0.5       EnvPool        27.5 ± 0.1, 26   19.6 ± 0.2, 82   22.1 ± 0.2, 56
   1         highway-env    15.2 ± 0.5, 96   8.3 ± 0.3, 100   11.4 ± 0.5, 98
   1         EnvPool        14.8 ± 0.2, 94   8.0 ± 0.1, 100   11.3 ± 0.2, 95
   2         highway-env    4.8 ± 0.2, 100   3.3 ± 0.1, 100   3.9 ± 0.2, 100
   2         EnvPool        4.9 ± 0.1, 100   3.4 ± 0.0, 100   4.1 ± 0.1, 100
   ========  =============  ===============  ===============  ===============

3. A crash in the very last second is a truncation to EnvPool and both an end and a truncation to highway-env;
   here it is both.
"""

import sys
from typing import Any

import numpy as np
import pytest

from gradex.tasks import TaskSuite
from gradex.tasks.highway import EnvPoolHighway, GymnasiumHighway

from .families import actions

OBJECTIVES = ("high_speed_reward", "right_lane_reward", "collision_reward")
IDLE, FASTER = 1, 3


def transplant(pools: EnvPoolHighway, original: GymnasiumHighway) -> None:
    """Put the cars of every EnvPool environment into its highway-env."""
    for pool, (_, indices) in zip(pools._pools, pools._members, strict=True):
        for index, state in zip(indices, pool.debug_states(), strict=True):
            cars = original.envs[index].unwrapped.road.vehicles
            for car, seen in zip(cars, state.vehicles, strict=True):
                car.position = np.array([seen.x, seen.y])
                car.heading, car.speed, car.target_speed = seen.heading, seen.speed, seen.target_speed
                car.on_state_update()
                car.target_lane_index = car.lane_index
                if hasattr(car, "speed_index"):  # the agent
                    car.speed_index = seen.speed_index
                else:
                    car.timer, car.DELTA = seen.timer, seen.idm_delta


@pytest.fixture
def left_before_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let highway-env's cars overtake on the left where both sides would do, as EnvPool's do.

    This is the only rule in which the two differ: highway-env asks left, then right, and the last yes wins.
    """
    road = pytest.importorskip("highway_env.road.road")
    sides = road.RoadNetwork.side_lanes
    monkeypatch.setattr(road.RoadNetwork, "side_lanes", lambda self, lane: sides(self, lane)[::-1])


@pytest.mark.parametrize("vary", ["density", "objective"])
@pytest.mark.usefixtures("left_before_right")
def test_same_state_same_episode(vary: str) -> None:
    suite = TaskSuite.make("highway", n=4, vary=vary, seed=1)
    pools = suite.simulator(2, seed=5)
    original = TaskSuite.make("highway", n=4, vary=vary, seed=1, engine="gymnasium").simulator(2, seed=5)
    pools.reset()
    original.reset()
    transplant(pools, original)
    live = np.ones(pools.num_envs, dtype=bool)
    crashes = compared = 0
    for chosen in actions(suite, 12, pools.num_envs):
        ours, theirs = pools.step(chosen), original.step(chosen)
        assert ours[4].keys() == theirs[4].keys()
        pairs = zip(
            (*ours[:4], *ours[4].values()), (*theirs[:4], *(theirs[4][key] for key in ours[4])), strict=True
        )
        for mine, other in pairs:
            np.testing.assert_allclose(mine[live].astype(float), other[live].astype(float), atol=1e-5)
        compared += live.sum()
        crashes += (ours[2] & live).sum()
        live &= ~(ours[2] | ours[3])
    assert compared > 50
    assert crashes >= 4


def pooled_episodes(density: float, copies: int, action: int) -> np.ndarray:
    """Length, return and crash of one EnvPool episode per copy, array [copies, 3]."""
    simulator = TaskSuite.make("highway", n=1, density=density).simulator(copies, seed=0)
    simulator.reset()
    rows, live = np.zeros((copies, 3)), np.ones(copies, dtype=bool)
    while live.any():
        _, reward, terminated, truncated, _ = simulator.step(np.full(copies, action))
        rows += np.stack([live, reward * live, terminated & live], axis=1)
        live &= ~(terminated | truncated)
    return rows


def original_episodes(density: float, copies: int, action: int) -> np.ndarray:
    """The same of highway-env, one environment after the other, so that nobody drives on after an end."""
    simulator = TaskSuite.make("highway", n=1, density=density, engine="gymnasium").simulator(copies, seed=0)
    simulator.reset()
    rows = []
    for environment in simulator.envs:
        row, over = np.zeros(3), False
        while not over:
            _, reward, terminated, truncated, _ = environment.step(action)
            row += [1, reward, terminated]
            over = terminated or truncated
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(("density", "action", "copies"), [(1.0, FASTER, 16), (2.0, IDLE, 24)])
def test_same_law(density: float, action: int, copies: int) -> None:
    pytest.importorskip("highway_env")
    ours, theirs = pooled_episodes(density, 1000, action), original_episodes(density, copies, action)
    error = np.sqrt(ours.var(axis=0) / len(ours) + theirs.var(axis=0) / len(theirs))
    # Nearly all of these episodes end in a crash: its rate may have no variance at all.
    error[2] = max(error[2], 0.5 / np.sqrt(copies))
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= 4 * error).all()


def test_same_law_of_starts() -> None:
    pytest.importorskip("highway_env")

    def starts(engine: str, copies: int) -> np.ndarray:
        return TaskSuite.make("highway", n=1, density=2.0, engine=engine).simulator(copies, seed=0).reset()[0]

    ours, theirs = starts("envpool", 2000), starts("gymnasium", 80)
    error = np.sqrt(ours.var(axis=0) / len(ours) + theirs.var(axis=0) / len(theirs))
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= 4 * error + 1e-6).all()
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.4, atol=1e-6)


def test_densities_are_geometric_and_crowd_the_road() -> None:
    suite = TaskSuite.make("highway", n=5)
    density = [task.parameters["vehicles_density"] for task in suite.tasks]
    np.testing.assert_allclose(density, np.geomspace(0.5, 2.5, 5))
    observation, _ = suite.simulator(200, seed=0).reset()
    # The position of the nearest car ahead, relative to the agent.
    gaps = observation[:, 6].reshape(5, 200).mean(axis=1)
    assert (np.diff(gaps) < 0).all()


def test_rewards_and_flags_of_the_default_reward() -> None:
    suite = TaskSuite.make("highway", n=2, density=(0.3, 0.3))
    simulator = suite.simulator(60, seed=0)
    simulator.reset()
    returns, live, last_second = np.zeros(120), np.ones(120, dtype=bool), 0
    for t in range(30):
        _, reward, terminated, truncated, info = simulator.step(np.full(120, IDLE))
        assert ((reward >= 0) & (reward <= 1)).all()
        np.testing.assert_array_equal(terminated, info["crashed"])
        np.testing.assert_array_equal(info["success"], truncated & ~info["crashed"])
        assert truncated[live].all() == truncated[live].any() == (t == 29)
        last_second += (terminated & truncated).sum()
        returns += reward * live
        live &= ~(terminated | truncated)
    assert not live.any()
    best = (1 + 0.4 * 0.5 + 0.1) / 1.5  # on the rightmost lane at 25 m/s
    assert returns.max() == pytest.approx(30 * best, abs=1e-4)
    # EnvPool itself does not call a crash in the last second a termination; one of these seeds has one.
    assert last_second > 0


@pytest.mark.parametrize("scenario", ["highway-fast-v0", "highway-v0"])
def test_objectives_are_taken_apart_correctly(scenario: str) -> None:
    """The weighted sums equal those of pools that were given the weights."""
    suite = TaskSuite.make("highway", n=4, vary="objective", scenario=scenario)
    envpool = pytest.importorskip("envpool")
    simulator = suite.simulator(5, seed=0)
    observation, _ = simulator.reset()
    seeds, weights = simulator._seeds, [dict(task.parameters) for task in suite.tasks]
    pools = [
        envpool.make(
            scenario, env_type="gymnasium", num_envs=5, num_threads=1, normalize_reward=False,
            env_seed=seeds[5 * i : 5 * i + 5].tolist(), **weights[i],
        )
        for i in range(4)
    ]  # fmt: skip
    for pool in pools:
        pool.reset()
    lanes = 3 if scenario == "highway-fast-v0" else 4
    for chosen in actions(suite, 60, 20):
        observation, reward, *_, info = simulator.step(chosen)
        rows = [pool.step(each) for pool, each in zip(pools, chosen.reshape(4, 5), strict=True)]
        np.testing.assert_allclose(observation, np.concatenate([row[0].reshape(5, 25) for row in rows]))
        np.testing.assert_allclose(reward, np.concatenate([row[1] for row in rows]), atol=2e-6)
        speed, lane, crashed = info["objectives"].T
        assert ((speed >= -1e-6) & (speed <= 1 + 1e-6)).all()
        assert set(np.round(lane * (lanes - 1), 6)) <= set(range(lanes))
        np.testing.assert_array_equal(crashed, info["crashed"])


def test_objectives_share_their_dynamics() -> None:
    suite = TaskSuite.make("highway", n=6, vary="objective")
    assert suite.shared_dynamics
    assert not TaskSuite.make("highway", n=2).shared_dynamics
    simulator = suite.simulator(2, seed=0)
    simulator.reset()
    table = suite.to_frame()
    for chosen in actions(suite, 40, 2):
        observation, reward, *_, info = simulator.step(np.tile(chosen, 6))
        observation, objectives = observation.reshape(6, 2, 25), info["objectives"].reshape(6, 2, 3)
        assert (observation == observation[0]).all()
        assert (objectives == objectives[0]).all()
        # So one set of transitions gives the rewards of all tasks.
        np.testing.assert_allclose(reward.reshape(6, 2), table[list(OBJECTIVES)].to_numpy() @ objectives[0].T)


def test_camps_oppose_each_other() -> None:
    suite = TaskSuite.make("highway", n=9, vary="objective", seed=3)
    np.testing.assert_array_equal(np.bincount(suite.labels), [5, 4])
    table = suite.to_frame()
    fast = table["group"] == 0
    assert ((table["high_speed_reward"] > 0) == fast).all()
    assert ((table["right_lane_reward"] < 0) == fast).all()
    assert (table["collision_reward"] < 0).all()
    others = [TaskSuite.make("highway", n=9, vary="objective", seed=other).labels for other in (4, 5)]
    assert any((labels != suite.labels).any() for labels in others)


def test_horizons() -> None:
    assert TaskSuite.make("highway", n=1).horizon == 30
    assert TaskSuite.make("highway", n=1, scenario="highway-v0").horizon == 40
    simulator = TaskSuite.make("highway", n=1, density=0.1, scenario="highway-v0").simulator(20, seed=0)
    simulator.reset()
    cut = [simulator.step(np.full(20, IDLE))[3].sum() for _ in range(40)]
    assert cut[-1] > 10
    assert not any(cut[:-1])


def test_unseen_densities_stay_inside_the_range() -> None:
    drawn = TaskSuite.make("highway", n=3, density=(0.6, 1.2)).unseen(100, seed=0).to_frame()
    assert drawn["vehicles_density"].between(0.6, 1.2).all()
    assert drawn["vehicles_density"].nunique() == 100


def test_stepping_before_a_reset_is_named() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    simulator = TaskSuite.make("highway", n=1).simulator(2)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset before step"):
        simulator.step(np.zeros(2, dtype=int))


def test_a_missing_original_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highway_env", None)
    suite: Any = TaskSuite.make("highway", n=1, engine="gymnasium")
    with pytest.raises(ValueError, match=r"needs highway-env: pip install 'gradex\[highway\]'"):
        suite.simulator(1)
