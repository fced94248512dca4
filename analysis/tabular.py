"""Small environments of MO-Gymnasium as tables, where the best policy of any preference is exactly known."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gradex import TaskSuite
from gradex.tasks.vector_rewards import bare, make

#: Of environments with chance: what their one random number may be, and how likely. All others have none.
_CHANCES: dict[str, tuple[tuple[float, float], ...]] = {"resource-gathering": ((0.0, 0.1), (0.5, 0.9))}
#: Policies are as good as the best where no action is worth more by this.
_TOLERANCE = 1e-10
#: Steps of an episode that a table knows nothing of.
_LONGEST = 1000


@dataclass(frozen=True, eq=False)
class TabularProblem:
    """States and actions, what follows with which probability, and what it pays in each objective.

    Attributes
    ----------
    following : int array [states, actions, outcomes]
        State 0 is where episodes begin; the last one is the end, which pays nothing.
    paid : float array [states, actions, outcomes, K]
    chance : float array [outcomes]
    discount : float
    """

    following: Int[np.ndarray, "states actions outcomes"]
    paid: Float[np.ndarray, "states actions outcomes K"]
    chance: Float[np.ndarray, " outcomes"]
    discount: float

    def values(self, weights: Float[np.ndarray, "m K"]) -> Float[np.ndarray, "m K"]:
        """Give the discounted return, in each objective, of the best policy of each preference.

        By policy iteration (Howard 1960), of all preferences side by side.
        """
        expected = np.einsum("sabk,b->sak", self.paid, self.chance)
        rewards = np.einsum("mk,sak->msa", weights, expected)
        actions = rewards.argmax(axis=2)
        while True:
            vectors = self._values_of(actions)
            value = np.einsum("msk,mk->ms", vectors, weights)
            after = np.einsum("msab,b->msa", value[:, self.following], self.chance)
            returns = rewards + self.discount * after
            better = returns.max(axis=2) > value + _TOLERANCE
            if not better.any():
                return vectors[:, 0]
            actions = np.where(better, returns.argmax(axis=2), actions)

    def _values_of(self, actions: Int[np.ndarray, "m states"]) -> Float[np.ndarray, "m states K"]:
        """Solve for the values of policies in every state."""
        count, states = actions.shape
        every = np.arange(states)
        moves = np.zeros((count, states, states))
        for outcome, probability in enumerate(self.chance):
            following = self.following[every, actions, outcome]
            np.add.at(moves, (np.arange(count)[:, None], every, following), probability)
        moves[:, -1] = 0.0  # the end
        paid = np.einsum("msbk,b->msk", self.paid[every, actions], self.chance)
        return np.linalg.solve(np.eye(states) - self.discount * moves, paid)


def tabulate(suite: TaskSuite) -> TabularProblem:
    """Visit every state of the environment of a suite of preferences, by every action.

    Parameters
    ----------
    suite : TaskSuite
        Of an environment with few states and discrete actions.
    """
    environment: str = suite.options["environment"]
    made: Any = make(environment, _LONGEST).unwrapped
    chances = _CHANCES.get(bare(environment), ((0.0, 1.0),))
    first, _ = made.reset(seed=0)
    known, queue = {_key(first): 0}, [_copied(made)]
    following, paid = [], []
    for state in queue:  # which grows meanwhile
        row, rewards = [], []
        for action in range(made.action_space.n):
            for number, _ in chances:
                copy = _copied(state)
                copy._np_random = _Fixed(number)
                seen, reward, ended, *_ = copy.step(action)
                rewards.append(np.asarray(reward, dtype=np.float64) / suite.scale)
                if not ended and _key(seen) not in known:
                    known[_key(seen)] = len(queue)
                    queue.append(copy)
                row.append(-1 if ended else known[_key(seen)])
        following.append(row)
        paid.append(rewards)
    shape = (len(queue), made.action_space.n, len(chances))
    ends = np.full((1, *shape[1:]), len(queue))
    steps = np.array(following).reshape(shape)
    each = np.array(paid).reshape(*shape, -1)
    return TabularProblem(
        np.concatenate([np.where(steps < 0, len(queue), steps), ends]),
        np.concatenate([each, np.zeros_like(each[:1])]),
        np.array([probability for _, probability in chances]),
        suite.discount,
    )


class _Fixed:
    """A generator that draws one number."""

    def __init__(self, number: float) -> None:
        self._number = number

    def random(self) -> float:
        return self._number


def _key(observation: Any) -> bytes:
    return np.asarray(observation).tobytes()


def _copied(environment: Any) -> Any:
    """Copy an environment with its state; its own way of being copied makes it anew."""
    copy = object.__new__(type(environment))
    state = vars(environment).items()
    vars(copy).update({name: deepcopy(of) if isinstance(of, np.ndarray | list) else of for name, of in state})
    return copy
