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
closed form. So is the diagonal, over pairs of different episodes of one task: how far a task gets alone. An
episode counts by how many samples it has, as it does in the mean over all samples.

H counts as known, though it comes from the same samples: one that pulls harder makes H larger, too. So errors
are too large, by up to a half, where gradients explain most of the advantages; where advantages are mostly
noise, as those of policies are, intervals cover (`python -m analysis coverage`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular
from scipy.sparse import csr_array

from gradex.seeds import generator_for
from gradex.settings import check_subsets
from gradex.surrogate.cluster_sums import ClusterSums, moments, shares
from gradex.surrogate.samples import Samples, are_common
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
    weights : tuple of n arrays [clusters, models], optional
        Of each task how many samples its clusters have, relative to the mean. By default all count alike.
    widths : tuple of int, optional
        How many columns of `vectors` each model has; all of them by default, for a single model.

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
    weights: tuple[Float[np.ndarray, "_ models"], ...] = ()
    widths: tuple[int, ...] = ()

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
        self._fill_weights(sizes, own[0].shape[1])

    def _fill_weights(self, sizes: Sequence[int], d: int) -> None:
        """Give every cluster a weight, and see that weights fit."""
        widths = tuple(self.widths) or (d,)
        if sum(widths) != d or min(widths) < 1:
            raise ValueError(f"widths are {widths} for vectors of {d} columns: give one for each model")
        shapes = [(size, len(widths)) for size in sizes]
        object.__setattr__(
            self, "weights", shares(self.weights or [np.ones(each) for each in shapes], shapes)
        )
        object.__setattr__(self, "widths", widths)

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
            roots = np.sqrt(weights)
            each = [
                tuple(scale * own for scale, own in zip(root, part.vectors, strict=True))
                for root, part in zip(roots, parts, strict=True)
            ]
        # Inner products of concatenated vectors are sums of inner products.
        vectors, shares = zip(*each, strict=True), zip(*(part.weights for part in parts), strict=True)
        return Interactions(
            tuple(np.concatenate(own, axis=1) for own in vectors),
            first.common,
            tuple(np.concatenate(own, axis=1) for own in shares),
            tuple(chain.from_iterable(part.widths for part in parts)),
        )

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

        def together(each: Sequence[np.ndarray]) -> np.ndarray:
            return np.mean(each, axis=0) if self.common else np.concatenate(each)

        vectors, weights = (
            tuple(together([own[task] for task in group]) for group in groups)
            for own in (self.vectors, self.weights)
        )
        return Interactions(vectors, self.common, weights, self.widths)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the standard errors: clusters of the task with the fewest, less one.

        Those of unequal size count as fewer that are alike, C / mean w² (Kish 1965).
        """
        return min(len(own) / float(np.square(own).mean()) for own in self.weights) - 1

    @cached_property
    def matrix(self) -> Float[np.ndarray, "n n"]:
        """Estimate all interactions, the diagonal from pairs of different clusters."""
        (found,) = self._estimates([[np.ones(len(own)) for own in self.vectors]])
        return found

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

        def drawn(size: int) -> Float[np.ndarray, " size"]:
            return rng.choice([-1.0, 1.0], size)

        return self._estimates([self._for_all(drawn) for _ in range(count)])

    def draws(self, count: int, seed: int = 0) -> Float[np.ndarray, "draws n n"]:
        """Estimate the interactions again from clusters drawn with replacement (Efron 1979).

        Clusters of different tasks that may depend on each other are drawn together. A cluster that is drawn
        twice makes no pair with itself.
        """
        rng = generator_for(seed, "draws of interactions")

        def drawn(size: int) -> Float[np.ndarray, " size"]:
            return rng.multinomial(size, np.full(size, 1 / size)).astype(np.float64)

        return self._estimates([self._for_all(drawn) for _ in range(count)])

    def _for_all(self, draw: Callable[[int], Float[np.ndarray, " _"]]) -> list[Float[np.ndarray, " _"]]:
        """Draw a number for each cluster of each task, the same for those that may depend on each other."""
        if self.common:
            return [draw(len(self.vectors[0]))] * len(self)
        return [draw(len(own)) for own in self.vectors]

    def _models(self) -> Iterator[tuple[ClusterSums, ClusterSums]]:
        """Give pulls and weights of each model."""
        ends = np.cumsum(self.widths)
        for model, (width, end) in enumerate(zip(self.widths, ends, strict=True)):
            pulls = [own[:, end - width : end] for own in self.vectors]
            weights = [own[:, model, None] for own in self.weights]
            yield ClusterSums(pulls, self.common), ClusterSums(weights, self.common)

    def _estimates(
        self, times: Sequence[Sequence[Float[np.ndarray, " _"]]]
    ) -> Float[np.ndarray, "draws n n"]:
        """Estimate the interactions with each cluster taken so many times; -1 turns it around.

        What a cluster makes with itself is left out, and the same whichever way it is turned.
        """
        found = np.zeros((len(times), len(self), len(self)))
        for pulls, weights in self._models():
            for place, own in enumerate(times):
                pairs = weights.products([np.abs(number) for number in own])
                # Of very few clusters a draw may be one of them alone, which makes no pair.
                found[place] += np.divide(
                    pulls.products(own), pairs, out=np.zeros_like(pairs), where=pairs > 0
                )
        return found

    @cached_property
    def _factors(self) -> Float[np.ndarray, "models n n"]:
        """By what the products of two clusters of a model are multiplied for the mean over pairs."""
        once = [np.ones(len(own)) for own in self.vectors]
        alike = ClusterSums([own[:, None] for own in once], self.common).products(once)
        return np.stack([alike / weights.products(once) for _, weights in self._models()])

    def _variance(self, i: int, j: int) -> float:
        """Estimate the variance of one interaction."""
        factors, one_sample = self._factors[:, i, j], i == j or self.common
        h = (self.vectors[i] * np.repeat(factors, self.widths)) @ self.vectors[j].T
        weights = (self.weights[i] * factors / len(factors)) @ self.weights[j].T
        total, squares, disjoint = moments(h, one_sample)
        pairs, squared_pairs, disjoint_pairs = moments(weights, one_sample)
        apart = disjoint / disjoint_pairs
        least = max(squares - apart * squared_pairs, 0.0) / pairs**2 / (1 if one_sample else 2)
        return max((total / pairs) ** 2 - apart, least)


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
    vectors, weights, names = [], [], []
    for block in samples.blocks():
        name, which = np.unique(clusters[block.rows], return_inverse=True)
        size = min(len(name), _MOST)
        whitened = solve_triangular(factor, features[block.rows].T, lower=True).T
        for pull in block.pulls():
            sums = csr_array((pull, (which % size, np.arange(len(which)))), (size, len(which)))
            vectors.append(sums @ whitened * (size / len(which)))
            weights.append(np.bincount(which % size).astype(np.float64)[:, None])
            names.append(name)
    return Interactions(tuple(vectors), are_common(names), tuple(weights))
