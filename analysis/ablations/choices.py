"""The choices of the method, and the affinities that each of their values gives."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from analysis.along import fit_along, refit, scores_along
from gradex import AffinityGraph, MetaPolicy, SurrogateEstimator
from gradex.affinity import sample_subsets
from gradex.learners import even_rounds
from gradex.rollout_scores import RolloutScore
from gradex.seeds import child
from gradex.surrogate import LEAST_REGULARIZATION, Improvement, NegativeLoss, Score, SubsetScores

_FEW = 50
_SCORES: dict[str, Score] = {
    "held-out loss": NegativeLoss(),
    "improvement": Improvement(),
    "loss, trust region": NegativeLoss(divergence=0.01),
    "improvement, longer": Improvement(divergence=0.01),
}


@dataclass(frozen=True)
class Base:
    """What a variant starts from: everything at its default, but for the projection, to save time."""

    meta: MetaPolicy
    subsets: tuple[tuple[int, ...], ...]
    transitions: int
    episodes: int
    dimension: int
    seed: int

    @cached_property
    def surrogates(self) -> list[SurrogateEstimator]:
        """One for each snapshot."""
        return self._fit()

    @cached_property
    def default(self) -> SubsetScores:
        """Scores of the subsets that were trained for real."""
        return scores_along(self.surrogates, self.subsets)

    def scores(self, **settings: Any) -> SubsetScores:
        """Score the subsets afresh with other settings of the surrogate."""
        return scores_along(self._fit(**settings), self.subsets)

    def _fit(
        self, transitions: int | None = None, meta: MetaPolicy | None = None, **settings: Any
    ) -> list[SurrogateEstimator]:
        own = {"projection_dim": self.dimension, "projection": "khatri-rao", "seed": self.seed}
        estimator = SurrogateEstimator(**{**own, **settings})
        return fit_along(estimator, (meta or self.meta).path_, transitions or self.transitions)


#: A variant's name on the axis, and the affinities that it gives.
_Variant = tuple[float | str, AffinityGraph]


def _dimension(base: Base) -> Iterator[_Variant]:
    for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 5 / 2):
        d = int(share * base.dimension)
        yield d, AffinityGraph.from_scores(base.scores(projection_dim=d))


def _projection(base: Base) -> Iterator[_Variant]:
    for name in ("khatri-rao", "gaussian"):
        yield name, AffinityGraph.from_scores(base.scores(projection=name))


def _of_size(base: Base, m: int, size: int) -> SubsetScores:
    """Score other subsets, and each task by itself as ever: the diagonal is measured on those."""
    n = len(base.meta.suite)
    alone = [(task,) for task in range(n)]
    return scores_along(base.surrogates, [*alone, *sample_subsets(n, m, size, base.seed)])


def _subsets(base: Base) -> Iterator[_Variant]:
    several = sum(len(subset) > 1 for subset in base.subsets)
    for m in (35, 50, 100):
        if m < several:
            yield m, AffinityGraph.from_scores(_of_size(base, m, 3))
    yield several, AffinityGraph.from_scores(base.default)


def _size(base: Base) -> Iterator[_Variant]:
    n = len(base.meta.suite)
    for size in (2, 3, 4, 5, 6):
        if size < n - 1:
            yield size, AffinityGraph.from_scores(_of_size(base, 120, size))


def _affinity(base: Base) -> Iterator[_Variant]:
    yield from _readings(base.default)


def _paper(base: Base) -> Iterator[_Variant]:
    """Compare the defaults with Algorithm 1 to the letter, each by Eq. (5) and by the default affinity."""
    letter = SurrogateEstimator.literal(min(base.dimension, len(base.meta.parameters)), base.seed)
    scores = letter.fit(base.meta, base.meta.transitions(base.transitions)).scores(base.subsets)
    yield "default", AffinityGraph.from_scores(base.default)
    yield "default, Eq. (5)", AffinityGraph.from_scores(base.default.together(), "mean")
    yield "to the letter", AffinityGraph.from_scores(scores.together(), "mean")
    yield "to the letter, pairwise", AffinityGraph.from_scores(scores)


def _few(base: Base) -> Iterator[_Variant]:
    """Vary the affinity where it matters: with all subsets of a size, all but their diagonals agree."""
    yield from _readings(_of_size(base, _FEW, 3))


def _readings(scores: SubsetScores) -> Iterator[_Variant]:
    yield "pairwise", AffinityGraph.from_scores(scores)
    yield "Eq. (5)", AffinityGraph.from_scores(scores.together(), "mean")


def _score(base: Base) -> Iterator[_Variant]:
    for name, score in _SCORES.items():
        others = [copy(each) for each in base.surrogates]  # the features are the same
        for other in others:
            other.score = score
        yield name, AffinityGraph.from_scores(scores_along(others, base.subsets))
    yield "in-sample loss", AffinityGraph.from_scores(base.scores(folds=1))
    how = RolloutScore(episodes=base.episodes)
    found = [
        how.scores(surrogate, snapshot, base.subsets, seed=child(base.seed, "rollouts", number))
        for number, (surrogate, snapshot) in enumerate(zip(base.surrogates, base.meta.path_, strict=True))
    ]
    yield "rollout", AffinityGraph.from_scores(SubsetScores.mean(found))


def _regularization(base: Base) -> Iterator[_Variant]:
    """Give every snapshot's ridge in units of its own mean eigenvalue."""
    least = refit(base.surrogates, ["least"] * len(base.surrogates))
    for share in (0.001, 0.01, 0.1, 1.0, 10.0, 100.0):
        strengths = [share / LEAST_REGULARIZATION * each.regularization_ for each in least]
        yield (
            share,
            AffinityGraph.from_scores(scores_along(refit(base.surrogates, strengths), base.subsets)),
        )


def _transitions(base: Base) -> Iterator[_Variant]:
    for steps in (base.transitions * share // 8 for share in (1, 2, 4, 8, 16)):
        yield steps, AffinityGraph.from_scores(base.scores(transitions=steps))


def _snapshots(base: Base) -> Iterator[_Variant]:
    """Take fewer moments of the same training, from equally many transitions in all."""
    path = base.meta.path_
    for count in (1, 2, 4, 8):
        if count > len(path):
            break
        chosen = [path[number - 1] for number in even_rounds(len(path), count)]
        estimator = SurrogateEstimator(base.dimension, projection="khatri-rao", seed=base.seed)
        surrogates = fit_along(estimator, chosen, base.transitions)
        yield count, AffinityGraph.from_scores(scores_along(surrogates, base.subsets))


def _convergence(base: Base) -> Iterator[_Variant]:
    steps = int(base.meta.history_.steps.max())
    for share in (0.25, 0.5, 1.0, 2.0, 4.0):
        meta = MetaPolicy(base.meta.suite, learner=base.meta.learner, seed=base.seed).fit(int(share * steps))
        yield share, AffinityGraph.from_scores(base.scores(meta=meta))


CHOICES: dict[str, tuple[str, Callable[[Base], Iterator[_Variant]]]] = {
    "dimension": ("projection dimension d", _dimension),
    "subsets": ("number of subsets m", _subsets),
    "size": ("subset size α", _size),
    "regularization": ("λ / mean eigenvalue", _regularization),
    "transitions": ("transitions per task", _transitions),
    "snapshots": ("snapshots of the training", _snapshots),
    "convergence": ("meta-training / recommended", _convergence),
    "projection": ("projection", _projection),
    "affinity": ("affinity, all subsets", _affinity),
    "few": (f"affinity, {_FEW} subsets", _few),
    "score": ("score", _score),
    "paper": ("the paper's algorithm", _paper),
}
