"""Scores of subsets, estimated or by real training, with those of each task and their draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from gradex.display import card, folded, table
from gradex.progress import bar
from gradex.seeds import generator_for
from gradex.tensors import from_torch

#: A spread that is a smaller share of the mean is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class SubsetScores:
    """Scores of m subsets of n tasks; its arrays are read-only.

    Attributes
    ----------
    subsets : tuple of tuple of int
        Each sorted.
    per_task : array [m, n]
        Score of task i under the surrogate fitted to subset S; nan where i is not in S.
    score : array [m]
        f̂(S), the mean over the members.
    drawn : array [draws, m, n] or function, optional
        `per_task` from data that were drawn again, or what makes these: it is called if `draws` is read.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.surrogate import SubsetScores
    >>> per_task = np.array([[0.2, 0.4, np.nan], [np.nan, 0.1, 0.3]])
    >>> SubsetScores(((0, 1), (1, 2)), per_task, np.nanmean(per_task, axis=1)).to_frame()
       subset  task  task_score  score
    0       0     0         0.2    0.3
    1       0     1         0.4    0.3
    2       1     1         0.1    0.2
    3       1     2         0.3    0.2
    """

    subsets: tuple[tuple[int, ...], ...]
    per_task: Float[np.ndarray, "m n"]
    score: Float[np.ndarray, " m"]
    drawn: Float[np.ndarray, "draws m n"] | Callable[[], Float[np.ndarray, "draws m n"]] | None = None

    def __post_init__(self) -> None:
        for name in ("per_task", "score"):
            object.__setattr__(self, name, _read_only(getattr(self, name)))

    @cached_property
    def draws(self) -> Float[np.ndarray, "draws m n"]:
        """`per_task` from data that were drawn again; none unless asked for. Reading it may take a while."""
        drawn = self.drawn() if callable(self.drawn) else self.drawn
        return _read_only(np.zeros((0, *self.per_task.shape)) if drawn is None else drawn)

    def _repr_html_(self) -> str:
        names = [", ".join(map(str, subset)) for subset in self.subsets]
        told = pd.DataFrame({"subset": names, "score": self.score}).sort_values("score", ascending=False)
        facts = {"subsets": len(self.subsets), "tasks": self.per_task.shape[1]}
        facts["draws"] = "made when read" if callable(self.drawn) else len(self.draws)
        return card("SubsetScores", facts, folded("subsets, best first", table(told), shown=len(told) <= 20))

    @staticmethod
    def mean(parts: Sequence["SubsetScores"], draws: int = 0, seed: int = 0) -> "SubsetScores":
        """Average scores of the same subsets, such as those at several moments of a training.

        Parameters
        ----------
        parts : sequence of SubsetScores
            Of equal subsets in one order; others are refused by a ValueError. Of several parts each has a
            few draws of its own, two at least, unless `draws` is 0.
        draws, seed : int
            How many draws the mean has. Each combines draws of the parts, as if these were independent, so
            that a few per part are enough. They are spread around the mean, wider by √(b / (b - 1)), with b
            the number of a part's own, as their mean takes part of their spread away.
        """
        if len({tuple(map(tuple, part.subsets)) for part in parts}) != 1:
            raise ValueError("parts have not the same subsets in one order: average scores of equal subsets")
        per_task = np.mean([part.per_task for part in parts], axis=0)
        drawn = partial(_combinations, parts, draws, seed) if draws else None
        return SubsetScores(parts[0].subsets, per_task, np.nanmean(per_task, axis=1), drawn)

    def together(self) -> "SubsetScores":
        """Give the scores of two tasks or more alone: tasks by themselves are none of Eq. (5)'s subsets."""
        rows = [row for row, subset in enumerate(self.subsets) if len(subset) > 1]
        subsets = tuple(self.subsets[row] for row in rows)
        return SubsetScores(subsets, self.per_task[rows], self.score[rows], partial(_of_rows, self, rows))

    def standardised(self) -> "SubsetScores":
        """Give each task's scores less their mean, in units of their spread over all subsets that it is in.

        For tasks that are paid in different units, as in `GroundTruth.scores`: affinities are regressions on
        the scores of all tasks, which follow the largest. A task that scores the same in all of its subsets
        has 0.

        Examples
        --------
        >>> import numpy as np
        >>> from gradex.surrogate import SubsetScores
        >>> per_task = np.array([[1.0, 100.0, np.nan], [3.0, np.nan, 7.0], [np.nan, 300.0, 7.0]])
        >>> scores = SubsetScores(((0, 1), (0, 2), (1, 2)), per_task, np.nanmean(per_task, axis=1))
        >>> scores.standardised().per_task
        array([[-1., -1., nan],
               [ 1., nan,  0.],
               [nan,  1.,  0.]])
        """
        together = np.array([len(subset) > 1 for subset in self.subsets])
        own = np.where(together[:, None], self.per_task, np.nan)
        known = ~np.isnan(own).all(axis=0)
        mean, spread = np.zeros(own.shape[1]), np.zeros(own.shape[1])
        mean[known], spread[known] = np.nanmean(own[:, known], axis=0), np.nanstd(own[:, known], axis=0)
        spread = np.where(spread > _ROUNDING * np.abs(mean), spread, np.inf)
        per_task = (self.per_task - mean) / spread
        drawn = partial(_standardised, self, mean, spread)
        return SubsetScores(self.subsets, per_task, np.nanmean(per_task, axis=1), drawn)

    def to_frame(self) -> pd.DataFrame:
        """Give a tidy table, one row per subset and member: subset (its number), task, task_score, score."""
        subset, task = np.nonzero(~np.isnan(self.per_task))
        own = {"subset": subset, "task": task, "task_score": self.per_task[subset, task]}
        return pd.DataFrame({**own, "score": self.score[subset]})


def _read_only(array: np.ndarray) -> np.ndarray:
    """Give a view that cannot be written to; an array of the caller stays as it is."""
    view = np.asarray(from_torch(array)).view()
    view.setflags(write=False)
    return view


def _combinations(parts: Sequence[SubsetScores], draws: int, seed: int) -> Float[np.ndarray, "draws m n"]:
    """Combine draws of parts, see `SubsetScores.mean`."""
    per_task = np.mean([part.per_task for part in parts], axis=0)
    combined = np.zeros((draws, *per_task.shape))
    rng = generator_for(seed, "combinations of draws")
    for part in bar(parts, "drawing episodes again"):
        own = len(part.draws)
        chosen = rng.permutation(np.arange(draws) % own)
        apart = part.draws - part.draws.mean(axis=0)
        combined += np.sqrt(own / (own - 1)) * apart[chosen] / len(parts)
    return per_task + combined


def _standardised(
    scores: SubsetScores, mean: Float[np.ndarray, " n"], spread: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "draws m n"]:
    return (scores.draws - mean) / spread


def _of_rows(scores: SubsetScores, rows: list[int]) -> Float[np.ndarray, "draws m n"]:
    return scores.draws[:, rows]
