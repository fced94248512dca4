"""Rings of steps against lists."""

import pytest
import torch

from gradex.learners.replay import Replay, ReplayBatch

POLICIES, TASKS, CAPACITY, FEATURES, DIMENSIONS = 2, 3, 7, 4, 2
LIKE = torch.zeros((), dtype=torch.float64)


def numbered(new: int, generator: torch.Generator) -> ReplayBatch:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(POLICIES, TASKS, new, *shape, generator=generator, dtype=torch.float64)

    return ReplayBatch(
        normal(FEATURES), normal(FEATURES), normal(DIMENSIONS), normal(), (normal() > 0).double()
    )


def empty() -> Replay:
    return Replay(POLICIES, TASKS, CAPACITY, FEATURES, DIMENSIONS, LIKE)


def test_rings_hold_what_lists_hold() -> None:
    generator = torch.Generator().manual_seed(0)
    replay = empty()
    lists: dict[tuple[int, int], list[torch.Tensor]] = {
        (policy, task): [] for policy in range(POLICIES) for task in range(TASKS)
    }
    for new in (3, 1, 5, 2, 7, 4, 1):
        steps = numbered(new, generator)
        real = torch.rand(POLICIES, TASKS, new, generator=generator) < 0.6
        real[:, :, 0] = True  # no ring is empty
        replay.insert(steps, real)
        for (policy, task), held in lists.items():
            for number in range(new):
                if real[policy, task, number]:
                    held.append(steps.packed()[policy, task, number])
        lengths = [
            [min(len(lists[policy, task]), CAPACITY) for task in range(TASKS)] for policy in range(POLICIES)
        ]
        assert replay.lengths.tolist() == lengths
        uniforms = torch.rand(POLICIES, TASKS, 30, generator=generator, dtype=torch.float64)
        drawn = replay.draw(uniforms).packed().unflatten(1, (TASKS, -1))
        for (policy, task), held in lists.items():
            # Place k holds the latest of steps k, k + capacity, k + 2 capacity, ...
            places = [held[place::CAPACITY][-1] for place in range(lengths[policy][task])]
            for number, uniform in enumerate(uniforms[policy, task]):
                expected = places[int(uniform * len(places))]
                assert torch.equal(drawn[policy, task, number], expected)


def test_drawn_steps_are_uniform_over_a_ring_and_reach_its_ends() -> None:
    replay = empty()
    replay.insert(
        numbered(5, torch.Generator().manual_seed(0)), torch.ones(POLICIES, TASKS, 5, dtype=torch.bool)
    )
    uniforms = torch.arange(1000, dtype=torch.float64).expand(POLICIES, TASKS, -1) / 1000
    rewards = replay.draw(uniforms).rewards.unflatten(1, (TASKS, -1))
    _, counts = rewards[1, 2].unique(return_counts=True)
    assert counts.tolist() == [200] * 5
    # A number that was rounded up to 1 draws the last one.
    last = replay.draw(torch.ones(POLICIES, TASKS, 1)).rewards
    assert torch.equal(last, rewards[:, :, -1])


def test_a_state_comes_back_and_goes_on_alike() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = empty(), empty()
    everything = torch.ones(POLICIES, TASKS, 5, dtype=torch.bool)
    first.insert(numbered(5, generator), everything)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    assert state["rows"].shape[2] == 5  # what was never filled is not kept
    second.restore(state)
    more = numbered(5, generator)
    for replay in (first, second):
        replay.insert(more, everything)
    uniforms = torch.rand(POLICIES, TASKS, 20, generator=generator)
    assert torch.equal(first.draw(uniforms).packed(), second.draw(uniforms).packed())


def test_more_than_a_ring_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="8 steps at once do not fit into rings of 7: raise the capacity"):
        empty().insert(
            numbered(8, torch.Generator().manual_seed(0)), torch.ones(POLICIES, TASKS, 8, dtype=torch.bool)
        )
