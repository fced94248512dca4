"""Adaptation to many targets: in one stack, and one target after the other."""

from collections.abc import Iterator
from functools import partial

from analysis.speed.comparison import Comparison
from analysis.speed.timing import fastest
from gradex.learners import ActorCritic, Adaptation
from gradex.tasks import TaskSuite

#: No package is missing for this.
WITHOUT: dict[str, str] = {}

#: Targets, updates, times measured.
_AMOUNTS = {"smoke": (3, 1, 1), "laptop": (50, 5, 3), "paper": (50, 20, 3)}
_HORIZON = 200
#: Of the networks that `meta_rl` adapts.
_LAYERS, _WIDTH = 3, 32


def compare(scale: str) -> Iterator[Comparison]:
    """Adapt a policy to poles of unseen lengths, on five trajectories for each update."""
    count, updates, times = _AMOUNTS[scale]
    targets = TaskSuite.make("cartpole", horizon=_HORIZON).unseen(count, seed=0)
    start, ours = ActorCritic.initial(targets, [0], _LAYERS, _WIDTH), Adaptation()

    def one_by_one() -> None:
        for target in range(count):
            ours.returns(start, targets, [target], [target], updates)

    together = partial(ours.returns, start, targets, range(count), range(count), updates)
    yield Comparison(
        "adaptation of CartPole",
        "one target after the other",
        f"{count} targets, {_LAYERS} layers of {_WIDTH}, "
        f"{updates} updates on {ours.trajectories} trajectories; least of {times}",
        fastest(together, times),
        fastest(one_by_one, times),
        "s",
    )
