"""How many groups: a path over k with a criterion, and the choice that it suggests.

Where scores of subsets are at hand, a number of groups is as good as the groups are stable: fitted to other
draws of subsets they should come out the same (Ben-Hur, Elisseeff and Guyon 2002; Lange et al. 2004). A
matrix alone tells only how far its eigenvalues fall after the k-th (von Luxburg 2007, Sec. 8.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Num
from sklearn.metrics import adjusted_mutual_info_score

from gradex.affinity.affinities import Affinity
from gradex.affinity.bound import check_group_count, project
from gradex.affinity.rounding import propose_groups
from gradex.affinity.subsets import Subsets, membership

_SHARE_KEPT = 0.8


@dataclass(frozen=True, eq=False)
class GroupCountPath:
    """A criterion for each number of groups, higher is better, and the number that it suggests."""

    counts: tuple[int, ...]
    """Numbers of groups k."""
    criterion: str
    """"stability" or "eigengap"."""
    values: Float[np.ndarray, " counts"]
    """Stability: mean adjusted mutual information of two draws. Eigengap: share of the spectrum's range."""
    errors: Float[np.ndarray, " counts"]
    """Standard error of the values; 0 for the eigengap."""
    k: int
    """The number chosen."""

    def to_frame(self) -> pd.DataFrame:
        """Return the path as a table: k, the criterion, its standard error, whether chosen."""
        return pd.DataFrame(
            {
                "k": self.counts,
                self.criterion: self.values,
                "stderr": self.errors,
                "chosen": [count == self.k for count in self.counts],
            }
        )


def group_counts(n: int, k_max: int | None) -> tuple[int, ...]:
    """Return the numbers of groups to try, from 2 to ``k_max``; by default 10, or sqrt(n) if it is more.

    Raises
    ------
    ValueError
        If ``k_max`` is outside 2..n.
    """
    if k_max is None:
        k_max = max(2, min(n - 1, max(10, round(np.sqrt(n)))))
    check_group_count(n, k_max, None)
    if k_max < 2:
        raise ValueError(f"k_max={k_max} leaves no number of groups to choose; give at least 2")
    return tuple(range(2, k_max + 1))


def eigengap_path(matrix: Float[np.ndarray, "n n"], counts: Sequence[int]) -> GroupCountPath:
    """Choose k where the eigenvalues w of QUQ fall most from the (k-1)-th to the k-th, over k = ``counts``.

    k groups make k - 1 large eigenvalues on the complement of e.
    """
    falling = np.linalg.eigvalsh(project(matrix))[::-1]
    # e, of eigenvalue 0, stands somewhere among them and has to go.
    falling = np.delete(falling, np.abs(falling).argmin())
    following = np.append(falling[1:], falling[-1])
    gaps = (falling - following) / ((falling[0] - falling[-1]) or 1.0)
    values = gaps[np.array(counts) - 2]
    return GroupCountPath(
        tuple(counts), "eigengap", values, np.zeros(len(counts)), counts[int(values.argmax())]
    )


def stability_path(
    subsets: Subsets,
    score: Num[np.ndarray, " m"],
    n: int,
    affinity: Affinity,
    counts: Sequence[int],
    *,
    resamples: int,
    seed: int,
) -> GroupCountPath:
    """Choose the k whose groups change least from one draw of the subsets to another.

    Each draw keeps four fifths of the subsets at random, and of the others those without which a pair of
    tasks would be in none; its affinities are grouped by `propose_groups`. The stability of k is the mean
    adjusted mutual information of two draws, which is 0 for unrelated groups whatever their number. Of the k
    within a standard error of the most stable, the one with the largest eigengap is chosen: where scores are
    nearly free of noise, merging groups and splitting them can be as stable as the groups.

    Parameters
    ----------
    subsets, score, n, affinity
        m subsets, their scores [m], the number of tasks and the `Affinity` to estimate.
    counts
        Numbers of groups to try.
    resamples
        Number of draws.
    seed
        Seed of the draws.

    Raises
    ------
    ValueError
        If there are fewer than 2 draws.
    """
    if resamples < 2:
        raise ValueError(f"resamples={resamples} cannot be compared; draw at least 2")
    rng = np.random.default_rng(seed)
    rows = [tuple(map(int, subset)) for subset in subsets]
    labels = np.empty((resamples, len(counts), n), dtype=np.int64)
    for draw in range(resamples):
        kept = np.flatnonzero(_kept(rows, n, rng))
        matrix = affinity.matrix([rows[row] for row in kept], np.asarray(score)[kept], n)
        labels[draw] = [propose_groups(matrix, count) for count in counts]
    values, errors = np.array([_agreement(labels[:, column]) for column in range(len(counts))]).T
    best = int(values.argmax())
    gaps = eigengap_path(affinity.matrix(rows, np.asarray(score), n), counts).values
    chosen = int(np.where(values >= values[best] - errors[best], gaps, -np.inf).argmax())
    return GroupCountPath(tuple(counts), "stability", values, errors, counts[chosen])


def _agreement(labels: Int[np.ndarray, "draws n"]) -> tuple[float, float]:
    """Return the mean agreement of two draws and its standard error, by the jackknife over draws."""
    draws = len(labels)
    agreement = np.zeros((draws, draws))
    for i, j in combinations(range(draws), 2):
        agreement[i, j] = agreement[j, i] = adjusted_mutual_info_score(labels[i], labels[j])
    per_draw = agreement.sum(axis=1) / (draws - 1)
    return float(per_draw.mean()), float(2 * per_draw.std(ddof=1) / np.sqrt(draws))


def _kept(subsets: list[tuple[int, ...]], n: int, rng: np.random.Generator) -> Bool[np.ndarray, " m"]:
    """Draw which subsets to keep, at random but so that every pair of tasks stays in one."""
    m = len(subsets)
    order = rng.permutation(m)
    kept = np.zeros(m, dtype=bool)
    kept[order[: int(np.ceil(_SHARE_KEPT * m))]] = True
    members = membership([subsets[row] for row in np.flatnonzero(kept)], n)
    covered = (members.T @ members).toarray() > 0
    for row in order[~kept[order]]:
        pairs = np.ix_(subsets[row], subsets[row])
        if not covered[pairs].all():
            kept[row] = True
            covered[pairs] = True
    return kept
