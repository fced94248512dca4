from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from gradex.learners import ActorCritic
from gradex.tasks import TaskSuite


@pytest.fixture
def fresh() -> Callable[[TaskSuite, list[int]], ActorCritic]:
    """Make untrained policies, small and in float64, so that comparisons can be sharp."""

    def make(suite: TaskSuite, seeds: list[int]) -> ActorCritic:
        agent = ActorCritic.initial(suite, seeds, layers=3, width=8)
        tensors = {
            name: getattr(agent, name).double()
            for name in ("actors", "critics", "return_mean", "return_scale")
        }
        # The last layer starts close to 0 and would make all policies act alike.
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(agent.actors.shape[1], generator=generator, dtype=torch.float64)
        return replace(agent, **{**tensors, "actors": tensors["actors"] + 0.1 * noise})

    return make


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[TaskSuite, int], list[int]]:
    """Let a suite have only so many environments at once, and note how many each simulator has."""

    def limit(suite: TaskSuite, most: int) -> list[int]:
        noted: list[int] = []
        build = type(suite).build

        def spy(self: TaskSuite, tasks: Sequence[object], seeds: object) -> object:
            noted.append(len(tasks))
            return build(self, tasks, seeds)

        monkeypatch.setattr(type(suite), "build", spy)
        monkeypatch.setattr(type(suite), "most_environments", most)
        return noted

    return limit
