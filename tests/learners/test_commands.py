"""What simulators are handed lies in their space."""

import numpy as np
import pytest
from gymnasium.spaces import Box

from gradex.learners.commands import commands_of

INT, UINT = np.iinfo(np.int64), np.iinfo(np.uint64)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (INT.min, INT.max, np.int64),
        (INT.min + 1, INT.max - 1, np.int64),
        (1 - 2**62, 2**62 + 1, np.int64),
        (0, UINT.max, np.uint64),
        (-(2**31), 2**31 - 1, np.int32),
        (0, 255, np.uint8),
        (3, 3, np.int8),
    ],
)
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_whole_numbers_end_where_the_space_does(
    low: int, high: int, dtype: type[np.integer], precision: type[np.floating]
) -> None:
    space = Box(low, high, (1,), dtype)
    shares = np.random.default_rng(0).normal(size=(100, 1))
    actions = (low / 2 + high / 2 + (high / 2 - low / 2) * shares).astype(precision)
    actions = np.concatenate([actions, np.array([[low], [high], [-1e30], [1e30]], precision)])
    given = commands_of(actions, space)
    assert all(space.contains(action) for action in given)
    for wanted, found in zip(actions[:, 0].tolist(), given[:, 0].tolist(), strict=True):
        assert found == (low if wanted <= float(low) else high if wanted >= float(high) else round(wanted))
