"""How long episodes are that a simulation cuts off."""

from collections.abc import Callable

import numpy as np
import pytest

from gradex.learners.lengths import mean_length


def simulated(
    lengths: Callable[[], int], steps: int, environments: int, resets: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Run episodes of these lengths one after the other; a step between them only resets."""
    real, ended = np.zeros((2, steps, environments), dtype=bool)
    for environment in range(environments):
        step = 0
        while step < steps:
            end = step + lengths()
            real[step:end, environment] = True
            if end <= steps:
                ended[end - 1, environment] = True
            step = end + resets
    return real, ended


@pytest.mark.parametrize("length", [1, 10, 30, 60, 100])
@pytest.mark.parametrize("resets", [False, True])
def test_lengths_that_never_differ_are_known_once_one_has_ended(length: int, resets: bool) -> None:
    seen = simulated(lambda: length, 100, 4, resets)
    assert mean_length(*seen, horizon=120) == pytest.approx(length)


@pytest.mark.parametrize("mean", [5, 40, 150])
def test_ends_that_may_come_at_any_time_are_counted_on_beyond_what_was_seen(mean: int) -> None:
    rng = np.random.default_rng(0)
    seen = simulated(lambda: int(rng.geometric(1 / mean)), 100, 2000)
    assert mean_length(*seen) == pytest.approx(mean, rel=0.1)
    limited = mean * (1 - (1 - 1 / mean) ** 200)
    assert mean_length(*seen, horizon=200) == pytest.approx(limited, rel=0.1)


def test_ends_that_come_late_are_not_taken_for_rare() -> None:
    # Half of the episodes last 80 steps and half 90: steps by ends would give more than 100.
    rng = np.random.default_rng(1)
    real, ended = simulated(lambda: int(rng.choice([80, 90])), 100, 200)
    assert real.sum() / ended.sum() > 95
    assert mean_length(real, ended, horizon=500) == pytest.approx(85, rel=0.02)


def test_without_an_end_episodes_last_to_the_horizon_or_as_long_as_was_seen() -> None:
    seen = simulated(lambda: 1000, 50, 3)
    assert mean_length(*seen) == 50
    assert mean_length(*seen, horizon=200) == 200
