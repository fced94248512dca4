"""First-order interactions of tasks, with exact standard errors (after PolicyGradEx, Sec. 3.1, Eq. (4)).

With the means over the samples of task i, gᵢ of (Â⁺ - |Â| σ(z₀)) g̃ (½ Â g̃ without offsets) and Hᵢ of
|Â| σ'(z₀) g̃g̃ᵀ, and g_S, H_S the same over a subset S, the fit near θ = 0 is a ridge regression,
θ̂_S = (H_S + λI)⁻¹ g_S. For tasks with equally many samples the score of S then gains over that of no step, up
to a relative error of order 1/λ,

    g_Sᵀ (H + λI)⁻¹ g_S = |S|⁻² Σ_{i, j in S} gᵢᵀ (H + λI)⁻¹ gⱼ

with H the curvature of all tasks: a sum over pairs, whose coefficients are inner products of the tasks'
policy gradients as the natural gradient (Amari 1998) takes them. They tell what a step for task j does to
task i: helps it, where positive, or harms it. `python -m analysis closed_form` compares them with subsets.

The mean over the episodes of one task times the mean over those of another is a U-statistic (Hoeffding 1948):
unbiased if no product has two factors from the same episodes, and its variance has an unbiased estimate in
closed form. So is the diagonal, over pairs of different episodes of one task: how far a task gets alone.

H counts as known, though it comes from the same samples: one that pulls harder makes H larger, too. So errors
are too large, by up to a half, where gradients explain most of the advantages; where advantages are mostly
noise, as those of policies are, intervals cover (`python -m analysis coverage`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular
from scipy.sparse import csr_array

from gradex.seeds import generator_for
from gradex.settings import check_subsets
from gradex.surrogate.samples import Samples
from gradex.tensors import from_torch
from gradex.threads import one_thread

#: Clusters of a task at most; more are put together, which costs hardly any precision.
_MOST = 256


@dataclass(frozen=True, eq=False)
class Interactions:
    """Interactions gᵢᵀ (H + λI)⁻¹ gⱼ of n tasks, estimated from independent clusters of episodes.

    Interactions of several models, such as the snapshots along a training, add up: see `joined`.

    Attributes
    ----------
    vectors : tuple of n arrays [clusters, d]
        Of each task the pulls of its clusters in the metric of (H + λI)⁻¹: their mean is (H + λI)^(-½) gᵢ.
    common : bool
        Whether cluster c of one task and cluster c of another may depend on each other, as their episodes
        began alike or are the same. All tasks then have equally many.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.surrogate import Interactions
    >>> rng = np.random.default_rng(0)
    >>> friends = [rng.normal((2.0, 0.0), 1.0, size=(30, 2)) for task in range(2)]
    >>> foe = rng.normal((-2.0, 0.0), 1.0, size=(30, 2))
    >>> interactions = Interactions((*friends, foe), common=False)
    >>> interactions.matrix.round()
    array([[ 4.,  4., -4.],
           [ 4.,  4., -5.],
           [-4., -5.,  4.]])
    >>> bool((interactions.stderr < 1).all())
    True
    """

    vectors: tuple[Float[np.ndarray, "_ d"], ...]
    common: bool

    def __post_init__(self) -> None:
        own = [np.asarray(from_torch(each)) for each in self.vectors]
        own = [each if each.dtype.kind == "f" else each.astype(np.float64) for each in own]
        object.__setattr__(self, "vectors", tuple(own))
        if len({each.shape[1:] for each in own}) != 1 or own[0].ndim != 2:
            shapes = ", ".join(dict.fromkeys(str(each.shape) for each in own)) or "none"
            raise ValueError(f"vectors have the shapes {shapes}: give [clusters, d] for each task, of one d")
        sizes = [len(each) for each in own]
        if (fewest := min(sizes)) < 4:
            raise ValueError(
                f"a task has {fewest} independent episodes: give at least 4, or no variance can be estimated"
            )
        if self.common and max(sizes) > fewest:
            raise ValueError(f"tasks have {fewest} to {max(sizes)} common clusters: give equally many")
        for task, each in enumerate(own):
            if not np.isfinite(each.sum()):
                raise ValueError(f"vectors of task {task} are not finite: check its advantages and gradients")

    @staticmethod
    def joined(
        parts: Sequence["Interactions"], weights: Sequence[Float[np.ndarray, " n"]] | None = None
    ) -> "Interactions":
        """Add up the interactions of the same tasks at several models.

        Cluster c of one and cluster c of another may depend on each other.

        Parameters
        ----------
        parts : sequence of Interactions
        weights : sequence of arrays [n], optional
            How much each part counts for each task, from 0 on; that of a pair is the geometric mean of both
            tasks' weights. 1 by default.

        Raises
        ------
        ValueError
            If they have other numbers of clusters, or there are none, or weights do not fit.
        """
        if not parts:
            raise ValueError("there are no interactions to add up: give those of one model at least")
        first = parts[0]
        sizes = [[len(each) for each in part.vectors] for part in parts]
        if any(own != sizes[0] for own in sizes) or any(part.common != first.common for part in parts):
            raise ValueError("interactions from other numbers of episodes cannot be added: take equally many")
        each = [part.vectors for part in parts]
        if weights is not None:
            if np.shape(weights) != (len(parts), len(first)) or not np.all(np.isfinite(weights)):
                raise ValueError(
                    f"weights have the shape {np.shape(weights)} for {len(parts)} parts of {len(first)} "
                    "tasks: give a finite one for each"
                )
            if np.min(weights) < 0:
                raise ValueError(f"weights go down to {np.min(weights)}: give none below 0")
            each = [_scaled(part, weight) for part, weight in zip(parts, weights, strict=True)]
        # Inner products of concatenated vectors are sums of inner products.
        vectors = zip(*each, strict=True)
        return Interactions(tuple(np.concatenate(own, axis=1) for own in vectors), first.common)

    def pooled(self, groups: Sequence[Sequence[int]]) -> "Interactions":
        """Take the tasks of each group together, as if they were one task.

        Raises
        ------
        ValueError
            If a task is in two groups, unless clusters are common: its episodes would meet themselves.

        Examples
        --------
        >>> import numpy as np
        >>> from gradex.surrogate import Interactions
        >>> rng = np.random.default_rng(0)
        >>> interactions = Interactions(tuple(rng.normal(size=(4, 20, 3))), common=True)
        >>> pooled = interactions.pooled([(0, 1), (2, 3)])
        >>> bool(np.isclose(pooled.matrix[0, 1], interactions.matrix[:2, 2:].mean()))
        True
        """
        check_subsets(groups, len(self))
        twice = [task for task, times in Counter(chain(*groups)).items() if times > 1]
        if twice and not self.common:
            raise ValueError(f"task {twice[0]} is in more than one group: its episodes would meet themselves")
        own = [[self.vectors[task] for task in group] for group in groups]
        if self.common:
            return Interactions(tuple(np.stack(each).mean(axis=0) for each in own), common=True)
        return Interactions(tuple(np.concatenate(each) for each in own), common=False)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the standard errors: clusters of the task with the fewest, less one."""
        return min(map(len, self.vectors)) - 1

    @cached_property
    def matrix(self) -> Float[np.ndarray, "n n"]:
        """Estimate all interactions, the diagonal from pairs of different clusters."""
        sums = np.stack([own.sum(axis=0) for own in self.vectors])
        return (sums @ sums.T - self._met_itself) / self._pairs

    @cached_property
    def stderr(self) -> Float[np.ndarray, "n n"]:
        """Standard error of each interaction, exact but for estimation.

        With h the product of two clusters, symmetrised where both tasks have the same, var U = E[U²] - E[h]²,
        and the mean of products of two h without a cluster in common is an unbiased estimate of the latter
        (Hoeffding 1948). It is at least half of the part that is there even without any interaction.
        """
        n = len(self)
        variance = np.zeros((n, n))
        with one_thread():
            for i in range(n):
                for j in range(i, n):
                    variance[i, j] = variance[j, i] = self._variance(i, j)
        return np.sqrt(variance)

    def noise(self, count: int, seed: int = 0) -> Float[np.ndarray, "draws n n"]:
        """Estimate the interactions again with the pulls of clusters turned around at random.

        All that remains is noise: no task has a gradient any more. Clusters of different tasks that may
        depend on each other turn around together.
        """
        rng = generator_for(seed, "noise of interactions")
        drawn = np.empty((count, len(self), len(self)))
        for each in drawn:
            sizes = [len(self.vectors[0])] if self.common else [len(own) for own in self.vectors]
            signs = [rng.choice([-1.0, 1.0], size) for size in sizes]
            signs = signs * len(self) if self.common else signs
            sums = np.stack([sign @ own for sign, own in zip(signs, self.vectors, strict=True)])
            # What a cluster makes with itself stays the same, whichever way it is turned.
            each[:] = (sums @ sums.T - self._met_itself) / self._pairs
        return drawn

    def draws(self, count: int, seed: int = 0) -> Float[np.ndarray, "draws n n"]:
        """Estimate the interactions again from clusters drawn with replacement (Efron 1979).

        Clusters of different tasks that may depend on each other are drawn together. A cluster that is drawn
        twice makes no pair with itself.
        """
        rng = generator_for(seed, "draws of interactions")
        drawn = np.zeros((count, len(self), len(self)))
        sizes = [len(self.vectors[0])] if self.common else [len(own) for own in self.vectors]
        if self.common:  # products of clusters that may depend on each other: [clusters, n, n]
            alike = np.stack([own @ own.T for own in np.stack(self.vectors, axis=1)])
        lengths = [np.square(own).sum(axis=1) for own in self.vectors]
        for each in drawn:
            times = [rng.multinomial(size, np.full(size, 1 / size)).astype(np.float64) for size in sizes]
            squares = [own**2 for own in times]
            times = times * len(self) if self.common else times
            sums = np.stack([own_times @ own for own_times, own in zip(times, self.vectors, strict=True)])
            if self.common:
                met, pairs = np.tensordot(squares[0], alike, 1), sizes[0] ** 2 - squares[0].sum()
            else:
                met = np.diag([square @ own for square, own in zip(squares, lengths, strict=True)])
                pairs = np.outer(sizes, sizes) - np.diag([square.sum() for square in squares])
            # Of very few clusters a draw may be one of them alone, which makes no pair.
            np.divide(sums @ sums.T - met, pairs, out=each, where=pairs > 0)
        return drawn

    @cached_property
    def _met_itself(self) -> Float[np.ndarray, "n n"]:
        """Sum the products of clusters that may depend on each other."""
        if self.common:
            flat = np.stack([own.ravel() for own in self.vectors])
            return flat @ flat.T
        return np.diag([np.vdot(own, own) for own in self.vectors])

    @cached_property
    def _pairs(self) -> Float[np.ndarray, "n n"]:
        """Count the products of clusters that do not."""
        sizes = np.array([len(own) for own in self.vectors], dtype=np.float64)
        return np.outer(sizes, sizes) - (sizes[0] if self.common else np.diag(sizes))

    def _variance(self, i: int, j: int) -> float:
        """Estimate the variance of one interaction."""
        first, second = self.vectors[i], self.vectors[j]
        h = first @ second.T
        pairs = self._pairs[i, j]
        if i == j or self.common:
            h = (h + h.T) / 2
            np.fill_diagonal(h, 0.0)
            rows = columns = h.sum(axis=1)
            # A cluster in common: first with first or second, second with first or second.
            shared, times, others = 4, 1, (len(h) - 2) * (len(h) - 3)
        else:
            rows, columns = h.sum(axis=1), h.sum(axis=0)
            shared, times, others = 2, 2, (len(h) - 1) * (len(h.T) - 1)
        total, squares = h.sum(), np.vdot(h, h)
        overlaps = shared / 2 * (rows @ rows + columns @ columns) - shared / 2 * squares
        apart = (total**2 - overlaps) / (pairs * others)
        least = max(squares / pairs - apart, 0.0) / (times * pairs)
        return max((total / pairs) ** 2 - apart, least)


def _scaled(part: Interactions, weights: Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, "_ d"], ...]:
    return tuple(np.sqrt(weight) * own for weight, own in zip(weights, part.vectors, strict=True))


def first_order_interactions(
    features: Float[np.ndarray, "N d"],
    samples: Samples,
    hessian: Float[np.ndarray, "d d"],
    regularization: float,
) -> Interactions:
    """Estimate gᵢᵀ (H + λI)⁻¹ gⱼ for all pairs of tasks."""
    factor = np.linalg.cholesky(hessian + regularization * np.eye(len(hessian)))
    clusters = samples.clusters if samples.clusters is not None else samples.episodes
    clusters = np.arange(len(features)) if clusters is None else clusters
    vectors, names = [], []
    for block in samples.blocks():
        name, which = np.unique(clusters[block.rows], return_inverse=True)
        size = min(len(name), _MOST)
        whitened = solve_triangular(factor, features[block.rows].T, lower=True).T
        for pull in block.pulls():
            shares = csr_array((pull, (which % size, np.arange(len(which)))), (size, len(which)))
            vectors.append(shares @ whitened * (size / len(which)))
            names.append(name)
    common = len(names) > 1 and all(np.array_equal(name, names[0]) for name in names)
    if not common and len(np.unique(np.concatenate(names))) < sum(map(len, names)):
        raise ValueError(
            "some tasks share clusters of episodes and others do not: let all share them, or none"
        )
    return Interactions(tuple(vectors), common)
