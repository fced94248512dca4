"""How many groups: a path over k with a criterion, and the choice that it suggests.

Where affinities can be drawn again, a number of groups is as good as the groups are stable: from other draws
they should come out the same (Ben-Hur, Elisseeff and Guyon 2002; Lange et al. 2004). A matrix alone tells
only how far its eigenvalues fall after the k-th (von Luxburg 2007, Sec. 8.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.metrics import adjusted_mutual_info_score

from gradex.affinity.bootstrap import Bootstrap
from gradex.affinity.certificate import check_group_count, project
from gradex.affinity.factors import AffinityFactors


@dataclass(frozen=True, eq=False)
class GroupCountPath:
    """A criterion for each number of groups, higher is better, and the number that it suggests.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import AffinityGraph
    >>> group = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    >>> noise = np.random.default_rng(0).normal(0, 0.1, (9, 9))
    >>> path = AffinityGraph((group[:, None] == group) + noise + noise.T).path()
    >>> path.criterion, path.k
    ('eigengap', 3)
    >>> path.to_frame().columns.tolist()
    ['k', 'eigengap', 'stderr', 'chosen']
    """

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
    """Return the numbers of groups to try, from 2 to ``k_max``; by default 10, or sqrt(n) if it is more."""
    if k_max is None:
        k_max = max(2, min(n - 1, max(10, round(np.sqrt(n)))))
    check_group_count(n, k_max, None)
    if k_max < 2:
        raise ValueError(f"k_max={k_max} leaves no number of groups to choose; give at least 2")
    return tuple(range(2, k_max + 1))


def eigengap_path(
    affinities: Float[np.ndarray, "n n"] | AffinityFactors, counts: Sequence[int]
) -> GroupCountPath:
    """Choose k where the eigenvalues w of QUQ fall most from the (k-1)-th to the k-th, over k = ``counts``.

    k groups make k - 1 large eigenvalues on the complement of e.
    """
    if isinstance(affinities, AffinityFactors):
        falling = affinities.spectrum()
    else:
        falling = np.linalg.eigvalsh(project(affinities))[::-1]
        # e, of eigenvalue 0, stands somewhere among them and has to go.
        falling = np.delete(falling, np.abs(falling).argmin())
    following = np.append(falling[1:], falling[-1])
    gaps = (falling - following) / ((falling[0] - falling[-1]) or 1.0)
    values = gaps[np.array(counts) - 2]
    return GroupCountPath(
        tuple(counts), "eigengap", values, np.zeros(len(counts)), counts[int(values.argmax())]
    )


def stability_path(
    matrix: Float[np.ndarray, "n n"], bootstrap: Bootstrap, counts: Sequence[int]
) -> GroupCountPath:
    """Choose the k whose groups change least from one draw of the affinities to another.

    The stability of k is the mean adjusted mutual information of two draws, which is 0 for unrelated groups
    whatever their number. Of the k within a standard error of the most stable, the one with the largest
    eigengap is chosen: where scores are nearly free of noise, merging groups and splitting them can be as
    stable as the groups.
    """
    values, errors = np.array([_agreement(bootstrap.groups(count)) for count in counts]).T
    best = int(values.argmax())
    gaps = eigengap_path(matrix, counts).values
    chosen = int(np.where(values >= values[best] - errors[best], gaps, -np.inf).argmax())
    return GroupCountPath(tuple(counts), "stability", values, errors, counts[chosen])


def _agreement(labels: Int[np.ndarray, "draws n"]) -> tuple[float, float]:
    """Return the mean agreement of two draws and its standard error, by the jackknife over draws."""
    draws = len(labels)
    distinct, which = np.unique(labels, axis=0, return_inverse=True)  # many are alike
    between = np.eye(len(distinct))
    for i, j in combinations(range(len(distinct)), 2):
        between[i, j] = between[j, i] = adjusted_mutual_info_score(distinct[i], distinct[j])
    agreement = between[which.ravel()][:, which.ravel()]
    per_draw = (agreement.sum(axis=1) - 1) / (draws - 1)
    # The mean without a draw differs from that of all by 2 / (draws - 2) times what the draw's own differs.
    spread = np.sqrt(draws - 1) * per_draw.std() * 2 / max(draws - 2, 1)
    return float(per_draw.mean()), float(spread)
