"""The power to find groups: bounds, interpolation, and signal without what errors add."""

import numpy as np
import pytest

from gradex.affinity.power import GroupPower, reached, shrunk

SIGNAL = np.kron([[1.0, -1.0], [-1.0, 1.0]], np.ones((3, 3)))


def errors(draws: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(draws, 6, 6))
    return (noise + noise.transpose(0, 2, 1)) / np.sqrt(2)


def test_without_errors_the_smallest_estimate_suffices() -> None:
    power = GroupPower(2, lambda size: np.zeros((5, 6, 6)), critical=-1.0)
    assert power.curve(SIGNAL, 0.9) == {4: 1.0}
    assert reached({4: 1.0}, 0.9) == 4


def test_groups_without_a_conflict_beyond_doubt_do_not_count() -> None:
    # The mean between the halves is -1: at size E the test asks for less than -100 / E.
    power = GroupPower(2, lambda size: np.zeros((5, 6, 6)), critical=-100.0)
    assert power.curve(SIGNAL, 0.9) == {4: 0, 8: 0, 16: 0, 32: 0, 64: 0, 128: 1}


def test_what_cannot_be_found_is_never_reached() -> None:
    power = GroupPower(2, lambda size: 100 * errors(20), critical=0.0)
    curve = power.curve(SIGNAL, 0.9)
    assert max(curve) == 1024 and reached(curve, 0.9) == np.inf
    assert reached(power.curve(np.zeros((6, 6)), 0.9), 0.9) == np.inf


def test_power_is_interpolated_in_the_logarithm() -> None:
    assert reached({4: 0.0, 8: 0.8, 16: 1.0}, 0.9) == pytest.approx(8 * np.sqrt(2))
    assert reached({4: 0.0, 8: 0.9}, 0.9) == 8


def test_groups_of_three_need_the_halves_too() -> None:
    three = np.kron(np.eye(3) - 0.5, np.ones((2, 2)))
    for critical, expected in ((-1.0, {4: 1.0}), (-1e9, 0.0)):
        curve = GroupPower(3, lambda size: np.zeros((2, 6, 6)), critical).curve(three, 0.9)
        assert curve == expected or set(curve.values()) == {expected}


def test_errors_alone_leave_no_signal_on_average() -> None:
    drawn = errors(300)
    left = np.array([np.abs(shrunk(matrix, drawn)).max() for matrix in drawn])
    assert 0.3 < (left == 0).mean() < 0.8
    assert not shrunk(np.zeros((6, 6)), drawn).any()


def test_signal_is_shrunk_to_its_own_size() -> None:
    drawn = errors(300)
    sizes = [(shrunk(SIGNAL + each, drawn) ** 2).sum() for each in drawn]
    assert np.mean(sizes) == pytest.approx((SIGNAL**2).sum(), rel=0.15)
    assert np.mean([((SIGNAL + each) ** 2).sum() for each in drawn]) > 1.5 * (SIGNAL**2).sum()
