"""What a stack of policies has met, to learn from again: one ring of steps for each policy and task."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ReplayBatch:
    """Steps of a stack, each with what came before and after it.

    `terminated` is 1 where nothing follows, and 0 where an episode was only cut off: that one is continued by
    the value of `next_observations`.
    """

    observations: Float[Tensor, "policies *shape features"]
    next_observations: Float[Tensor, "policies *shape features"]
    actions: Float[Tensor, "policies *shape dimensions"]
    rewards: Float[Tensor, "policies *shape"]
    terminated: Float[Tensor, "policies *shape"]

    def packed(self) -> Float[Tensor, "policies *shape columns"]:
        """Lay each step out as one row of numbers."""
        numbers = (self.rewards.unsqueeze(-1), self.terminated.unsqueeze(-1))
        return torch.cat([self.observations, self.next_observations, self.actions, *numbers], dim=-1)


class Replay:
    """Rings of the latest steps, one for each policy and each of its tasks.

    A step is one contiguous row, so that a sample is drawn by reading one place. The capacity is that of each
    ring, in steps; precision and device are those of `like`.
    """

    def __init__(
        self, policies: int, tasks: int, capacity: int, features: int, dimensions: int, like: Tensor
    ) -> None:
        self._sizes = (features, features, dimensions, 1, 1)
        self._rows = like.new_zeros(policies, tasks, capacity, sum(self._sizes))
        self._added = torch.zeros(policies, tasks, dtype=torch.int64, device=like.device)
        rings = torch.arange(policies * tasks, device=like.device)
        self._starts = (rings * capacity).reshape(policies, tasks, 1)

    @property
    def lengths(self) -> Int[Tensor, "policies tasks"]:
        """Steps that each ring holds."""
        return self._added.clamp(max=self._rows.shape[2])

    def insert(self, steps: ReplayBatch, real: Bool[Tensor, "policies tasks new"]) -> None:
        """Put steps [policies, tasks, new, ...] into the rings, over the oldest where a ring is full.

        They come from old to new. Those that are not `real` are left out: they only reset an environment.
        """
        new, capacity = real.shape[2], self._rows.shape[2]
        if new > capacity:
            raise ValueError(f"{new} steps at once do not fit into rings of {capacity}: raise the capacity")
        places = (self._added.unsqueeze(2) + real.cumsum(dim=2) - 1) % capacity + self._starts
        self._rows.flatten(0, 2).index_copy_(0, places[real], steps.packed().to(self._rows)[real])
        self._added += real.sum(dim=2)

    def draw(self, uniforms: Float[Tensor, "policies tasks count"]) -> ReplayBatch:
        """Give `count` steps of every ring, [policies, tasks * count, ...], one for each number in [0, 1)."""
        lengths = self.lengths.unsqueeze(2)
        # A number just below 1 may be rounded up to the length.
        places = torch.minimum((uniforms * lengths).long(), lengths - 1) + self._starts
        drawn = self._rows.flatten(0, 2).index_select(0, places.flatten()).unflatten(0, (len(places), -1))
        before, after, actions, rewards, terminated = drawn.split(self._sizes, dim=-1)
        return ReplayBatch(before, after, actions, rewards.squeeze(-1), terminated.squeeze(-1))

    def state(self) -> dict[str, Tensor]:
        """Give what `restore` needs, without the places that were never filled."""
        return {"rows": self._rows[:, :, : int(self.lengths.max())].contiguous(), "added": self._added}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state` of rings of the same capacity."""
        rows = state["rows"]
        self._rows[:, :, : rows.shape[2]] = rows.to(self._rows)
        self._added.copy_(state["added"])
