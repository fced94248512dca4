"""How likely groups are to be found again, by the size of an estimate.

Groups are found again where clustering gives them in spite of other errors, and the conflict test finds them
in conflict. From an estimate m times as large come affinities

    U(m) = B + s (U - B) + errors / √m,

U and its errors being those of size 1, and B the means of U within groups, between them, and on the diagonal
of each: there the errors of many pairs average out. How single tasks differ from that may be errors alone,
and is taken with the factor s² = 1 - E|errors - their means|² / |U - B|², or 0 if that is below 0.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity.bootstrap import Bootstrap
from gradex.affinity.groupings import Grouping
from gradex.affinity.partition import canonical_labels
from gradex.affinity.rounding import local_search

#: Sizes that are tried.
SIZES = 2.0 ** np.arange(-3, 9)
#: Share of other estimates within the interval.
_WITHIN = 0.8


@dataclass(eq=False)
class GroupPower:
    """How likely groups are to come out, in conflict, at each of the sizes.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity.power import SIZES, GroupPower
    >>> labels = np.array([0, 0, 0, 1, 1, 1])
    >>> errors = np.random.default_rng(0).normal(size=(40, 6, 6))
    >>> truth = np.where(labels[:, None] == labels, 1.0, -1.0)
    >>> sure = np.ones(len(SIZES))
    >>> power = GroupPower(truth, errors + errors.transpose(0, 2, 1), labels, sure, others=sure[None])
    >>> 1 < power.needed(0.9) < 4
    True
    """

    truth: Float[np.ndarray, "n n"]
    """Affinities without errors, see `truth_behind`."""
    errors: Float[np.ndarray, "draws n n"]
    """Of an estimate of size 1."""
    labels: Int[np.ndarray, " n"]
    conflict: Float[np.ndarray, " sizes"]
    """How likely the groups are found in conflict."""
    others: Float[np.ndarray, "estimates sizes"]
    """The same, as other estimates of size 1 would tell; one for each that is simulated for an interval."""
    method: Grouping | None = None
    """How groups are found, as in `Bootstrap.groups`."""
    _known: dict[int, float] = field(default_factory=dict)

    def groups(self, place: int) -> float:
        """Give the share of draws in which the groups come out."""
        if place not in self._known:
            drawn = (self.truth + own / np.sqrt(SIZES[place]) for own in self.errors)
            self._known[place] = float(np.mean([self._come_out(matrix) for matrix in drawn]))
        return self._known[place]

    def power(self, place: int) -> float:
        """Give the chance that they come out and are found in conflict, the smaller of both."""
        return min(self.groups(place), float(self.conflict[place]))

    def needed(self, power: float) -> float:
        """Give the size from which on the power is reached; between two sizes by the logarithm."""
        # It grows with the size, so that few sizes have to be looked at.
        place = bisect_left(range(len(SIZES)), power, key=self.power)
        if place in (0, len(SIZES)):
            return float(SIZES[0]) if place == 0 else np.inf
        below, above = self.power(place - 1), self.power(place)
        part = (power - below) / (above - below)
        return float(SIZES[place - 1] * (SIZES[place] / SIZES[place - 1]) ** part)

    def needed_by_others(self, power: float) -> tuple[float, float]:
        """Give the sizes between which 80 % of other estimates would place it, were this the truth."""
        told, count = [], len(self.others)
        for own, conflict in zip(self.errors[:count], self.others, strict=True):
            other = self.truth + own
            labels = self._grouped(other)
            truth, errors = truth_behind(other, self.errors, labels), self.errors[count:]
            told.append(GroupPower(truth, errors, labels, conflict, self.others, self.method).needed(power))
        low, high = np.quantile(told, [(1 - _WITHIN) / 2, (1 + _WITHIN) / 2], method="nearest")
        return float(low), float(high)

    def _grouped(self, matrix: Float[np.ndarray, "n n"]) -> Int[np.ndarray, " n"]:
        [labels] = Bootstrap(matrix[None]).groups(int(self.labels.max()) + 1, self.method)
        return canonical_labels(labels)

    def _come_out(self, matrix: Float[np.ndarray, "n n"]) -> bool:
        # Groups that a move or a swap improves are not the best, and this is seen much faster.
        if self.method is None and not np.array_equal(local_search(matrix, self.labels), self.labels):
            return False
        return np.array_equal(self._grouped(matrix), canonical_labels(self.labels))


def truth_behind(
    matrix: Float[np.ndarray, "n n"], errors: Float[np.ndarray, "draws n n"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n n"]:
    """Take what errors add out of affinities, but for their means over groups."""
    means = _means_of_groups(matrix, labels)
    apart = errors - np.array([_means_of_groups(own, labels) for own in errors])
    measured, added = np.square(matrix - means).sum(), np.square(apart).sum(axis=(1, 2)).mean()
    return means + np.sqrt(max(0.0, 1 - added / measured) if measured > 0 else 0.0) * (matrix - means)


def _means_of_groups(
    matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n n"]:
    """Replace affinities by their means within and between groups, and on the diagonal of each group."""
    members = np.eye(int(labels.max()) + 1)[labels]
    others = 1 - np.eye(len(labels))
    total, count = (members.T @ each @ members for each in (matrix * others, others))
    means = members @ np.divide(total, count, out=np.zeros_like(total), where=count > 0) @ members.T
    return means * others + np.diag(members @ (members.T @ np.diag(matrix) / members.sum(axis=0)))
