"""The environments of the study of strangers differ as it says, and answers are counted."""

import gymnasium
import numpy as np
import pandas as pd
import pytest

from analysis import strangers
from analysis.strangers import added, environments


def test_a_bandit_pays_what_its_arms_are_worth() -> None:
    worth = np.arange(12.0).reshape(4, 3)
    bandit = environments.Bandit(worth)
    errors = []
    for seed in range(400):
        seen, _ = bandit.reset(seed=seed)
        _, pays, ended, *_ = bandit.step(seed % 4)
        assert ended
        errors.append(pays - worth[seed % 4] @ seen)
    assert abs(np.mean(errors)) < 4 / 20
    assert np.std(errors) == pytest.approx(1, abs=0.15)


def test_a_grid_ends_at_its_goal() -> None:
    grid = environments.Grid((6, 6))
    grid.reset(seed=0)
    for step in range(200):
        seen, pays, ended, cut, _ = grid.step((2, 0)[step % 2])  # down, right
        assert seen.sum() == 1
        assert pays == (1.0 if ended else -0.01)
        if ended or cut:
            break
    assert ended
    assert seen.argmax() == 48


@pytest.mark.parametrize(("aim", "angle", "speed"), [("up", 0, 0), ("down", np.pi, 0), ("spin", 1, 8)])
def test_each_pendulum_pays_most_for_its_own_aim(aim: str, angle: float, speed: float) -> None:
    paid = {}
    for other in ("up", "down", "spin"):
        pendulum = environments.PendulumFor(gymnasium.make("Pendulum-v1"), other)
        pendulum.reset(seed=0)
        pendulum.unwrapped.state = np.array([angle, speed], dtype=float)
        paid[other] = pendulum.step(np.zeros(1, dtype=np.float32))[1]
    assert max(paid, key=paid.__getitem__) == aim


def test_the_other_kind_of_cart_pole_has_its_actions_exchanged() -> None:
    first, *_, last = environments.poles([0, 0, 0, 1], np.random.default_rng(0))
    plain, mirrored = first(), last()
    for environment in (plain, mirrored):
        environment.reset(seed=0)
        environment.unwrapped.length = 0.5
        environment.unwrapped.state = np.zeros(4)
    one, other = plain.step(1), mirrored.step(0)
    assert one[0][1] == pytest.approx(other[0][1], rel=0.1)  # both go to the right
    assert (one[1], environments.poles([0, 0, 0], np.random.default_rng(0))[1]().reset()[1]) == (1.0, {})


@pytest.mark.parametrize("key", [-1, 1])
def test_a_door_opens_with_the_key_alone(key: int) -> None:
    corridor = environments.Corridor(key, length=3)
    for first, opens in ((key, True), (-key, False)):
        corridor.reset(seed=0)
        ended = False
        for step in range(corridor.limit):
            _, pays, ended, cut, _ = corridor.step(1 + (first if step < 20 else -first))
            assert pays == float(ended) and cut == (step + 1 == corridor.limit)
            if ended:
                break
        assert ended == opens


def test_the_other_kind_of_lander_has_its_engines_swapped() -> None:
    plain, swapped = (make() for make in environments.landers([0, 1], np.random.default_rng(0)))
    for environment in (plain, swapped):
        environment.unwrapped.gravity = -10.0
        environment.reset(seed=3)
    turned = [environment.step(action)[0][5] for environment, action in ((plain, 1), (swapped, 3))]
    assert turned[0] == pytest.approx(turned[1], rel=0.1) and turned[0] != 0


def test_a_market_pays_for_its_own_kind_of_move() -> None:
    earned = []
    for momentum in (0.6, -0.6):
        market, total = added.Market(momentum, 1.0), 0.0
        for seed in range(20):
            seen, _ = market.reset(seed=seed)
            cut = False
            while not cut:
                seen, pays, _, cut, _ = market.step(1 + np.sign(seen[0]))
                total += pays
        earned.append(total)
    assert earned[0] > 500 and earned[1] < -500


def test_who_chases_is_done_when_it_is_there_and_who_flees_never() -> None:
    paid = {}
    for chases in (True, False):
        game = added.Tag(chases, 0.5)
        seen, _ = game.reset(seed=0)
        ended = cut = False
        while not ended and not cut:
            seen, pays, ended, cut, _ = game.step(np.clip(10 * (seen[2:4] - seen[:2]), -1, 1))
            assert np.abs(seen[:4]).max() <= 1
        assert (ended, cut) == (chases, not chases)
        paid[chases] = pays
    assert paid[True] > 4.8 and 0 <= paid[False] < 0.2


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_errands_end_at_the_last_place_of_their_order(kind: int) -> None:
    errands = added.errands([kind], np.random.default_rng(0))[0]()
    assert isinstance(errands, added.Errands)
    errands.reset(seed=0)
    total, at = 0.0, np.array([2, 2])
    for place in errands.places:
        for axis, moves in ((0, (2, 3)), (1, (0, 1))):
            while at[axis] != place[axis]:
                move = moves[0] if place[axis] > at[axis] else moves[1]
                seen, pays, ended, _, _ = errands.step(move)
                at, total = at + errands._moves[move], total + pays
                assert seen.sum() == 2
    assert ended and 12 < total < 18


def test_an_arm_is_paid_for_the_distance_of_its_hand() -> None:
    arm = added.Arm((1.0, 0.5), (0.7, 0.9))
    seen, _ = arm.reset(seed=1)
    arm.angles[:] = 0.3, 0.4
    seen, pays, *_ = arm.step(np.zeros(2))
    first, second = np.array([np.cos(0.3), np.sin(0.3)]), np.array([np.cos(0.7), np.sin(0.7)])
    assert pays == pytest.approx(-np.linalg.norm(0.7 * first + 0.9 * second - (1.0, 0.5)))
    np.testing.assert_allclose(seen[:2], np.sin([0.3, 0.4]), rtol=1e-6)


def test_units_and_kinds_take_turns() -> None:
    for part in strangers.PARTS:
        case = strangers._CASES[part]
        suite = case.suite(0)
        assert suite.labels is not None
        assert sorted(np.bincount(suite.labels).tolist()) == sorted(case.kinds)
        again = case.suite(0).labels
        assert again is not None
        assert again.tolist() == suite.labels.tolist()
    goals = environments.reaches([0, 1, 2], np.random.default_rng(0))
    paid = []
    for make in goals:
        environment = make()
        environment.reset(seed=0)
        paid.append(environment.step(np.zeros(2, dtype=np.float32))[1])
    assert paid[0] < -0.5 > paid[1] / 20 > -1.5
    assert -0.1 < paid[2] < 0


def test_summary_counts_right_answers() -> None:
    rows = [
        {
            "suite": "a",
            "kinds": 2,
            "seed": seed,
            "method": "PolicyGradEx",
            "k": k,
            "nmi": nmi,
            "right": nmi == 1,
        }
        for seed, (k, nmi) in enumerate([(2, 1.0), (1, 0.0), (2, 1.0)])
    ]
    [told] = strangers.summary(pd.DataFrame(rows)).to_dict("records")
    assert (told["right"], told["seeds"], told["k_found"]) == (2, 3, "1 (1), 2 (2)")
    assert told["low"] < 2 / 3 < told["high"]
