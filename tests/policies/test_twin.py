"""Two networks in one evaluation against two evaluations."""

import pytest
import torch

from gradex.policies import MLP, Tape, Twin
from gradex.seeds import Streams

NETWORK = MLP(features=4, outputs=2, layers=3, width=5, tasks=3, gain=1.0)


def test_both_halves_of_a_row_are_networks_of_their_own() -> None:
    twin = Twin(NETWORK)
    rows = twin.initial(Streams([0, 1]))
    assert rows.shape == (2, twin.size) and twin.size == 2 * NETWORK.size
    generator = torch.Generator().manual_seed(0)
    observations = torch.randn(2, 6, 4, generator=generator)
    tasks = torch.tensor([[0, 1, 2, 0, 1, 2], [2, 2, 2, 0, 0, 0]])
    both = twin.forward(rows, observations, tasks)
    halves = [NETWORK.forward(half, observations, tasks) for half in rows.split(NETWORK.size, dim=1)]
    torch.testing.assert_close(both, torch.cat(halves, dim=-1))
    assert not torch.equal(halves[0], halves[1])
    named = twin.split(rows)
    assert torch.equal(named["second.1.weight"], NETWORK.split(rows[:, NETWORK.size :])["1.weight"])


def test_a_tape_is_refused() -> None:
    twin = Twin(NETWORK)
    with pytest.raises(ValueError, match="put each network on a tape of its own"):
        twin.forward(
            twin.initial(Streams([0])), torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.int64), Tape()
        )
