"""Which objectives can share an adapter: from pairs of answers to groups, and trained parameters for each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from gradex.affinity import (
    Affinity,
    PairwiseAffinity,
    find_groups,
    named_affinity,
    sample_subsets,
)
from gradex.preferences.adapters import GroupAdapters
from gradex.preferences.direct import DirectPreferences
from gradex.preferences.language_model import MEMORY, LogProb, answer_log_prob, evaluating
from gradex.preferences.pairs import PreferencePairs
from gradex.progress import timed
from gradex.settings import as_kind, check_draws, whole
from gradex.surrogate import SurrogateEstimator


@dataclass(repr=False, eq=False)
class DPOGrouping(GroupAdapters):
    """Group objectives that prefer answers, and train one adapter per group, both by their DPO loss.

    It is Algorithm 2 of PolicyGradEx for objectives in place of tasks, and for pairs of answers in place of
    transitions: gradients of log-odds at the start, the surrogate's scores of subsets of objectives, their
    affinities, groups, and parameters for each group. No objective is trained on before groups are known.

    Parameters
    ----------
    k, subsets, subset_size, affinity, folds, bootstrap
        As for `PolicyGradEx`. Folds and draws are by pair, or by the episodes of the pairs.
    beta : float
        β of the loss.
    projection_dim : int
        d of the projection, see `SurrogateEstimator`.
    projection : {"gaussian", "khatri-rao", "none"}
    steps : int
        Steps of training for all groups together, each for its share by the objectives that it has; 0 trains
        no adapters.
    batch : int
        Pairs of a step.
    learning_rate : float
        Of Adam.
    memory : int
        Bytes that gradients under way may take, about, with what layers keep for them.
    seed : int

    Attributes
    ----------
    preferences_ : DirectPreferences
        Pairs and module, as they were given.
    surrogate_ : SurrogateEstimator
        At the start, the only snapshot.
    scores_, interactions_, conflicts_, graph_, bootstrap_, partition_, groups_, labels_, seconds_
        As for `PolicyGradEx`, of objectives.
    parameters_ : float Tensor [groups, p]
        What was trained for each group; the start where `steps` is 0.

    Examples
    --------
    Of a model that knows five tokens, two objectives prefer long answers, two others short ones:

    >>> import numpy as np
    >>> import torch
    >>> from gradex.preferences import DPOGrouping, PreferencePairs
    >>> rng = np.random.default_rng(0)
    >>> first, second = ([[2] * size + [1] for size in rng.integers(1, 6, 200)] for _ in range(2))
    >>> longer = np.sign([len(one) - len(other) + 0.1 for one, other in zip(first, second)])
    >>> noise = np.where(rng.random((4, 200)) < 0.1, -1, 1)
    >>> labels = noise * longer * np.array([[1], [1], [-1], [-1]])
    >>> pairs = PreferencePairs.of_tokens([[0]] * 200, first, second, labels)
    >>> model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5))
    >>> generator = torch.Generator().manual_seed(0)
    >>> for parameter in model.parameters():
    ...     _ = torch.nn.init.normal_(parameter, generator=generator)
    >>> grouping = DPOGrouping(steps=100, bootstrap=5, learning_rate=0.05).fit(model, pairs)
    >>> grouping.groups_
    ((0, 1), (2, 3))
    >>> grouping.verdict_
    'stable: the same groups in 100% of 25 resamplings'
    >>> bool((grouping.evaluate().accuracy > 0.8).all())
    True
    """

    k: int | str = "auto"
    beta: float = 0.1
    subsets: int | None = 200
    subset_size: int = 3
    affinity: str | Affinity = "pairwise"
    projection_dim: int = 400
    projection: str = "gaussian"
    folds: int = 4
    bootstrap: int = 20
    steps: int = 1000
    batch: int = 32
    learning_rate: float = 1e-3
    memory: int = MEMORY
    seed: int = 0

    _fitting = "fit(module, pairs)"
    _results = (
        "preferences_", "surrogate_", "scores_", "interactions_", "conflicts_", "graph_", "bootstrap_",
        "partition_", "parameters_", "seconds_",
    )  # fmt: skip

    def _check(self) -> None:
        if isinstance(self.k, str) and self.k != "auto":
            raise ValueError(f"k is {self.k!r}: give a number of groups, or 'auto'")
        check_draws(self.bootstrap)
        whole("steps", self.steps, 0)
        whole("batch", self.batch, 1)

    def check(self, pairs: PreferencePairs) -> list[tuple[int, ...]]:
        """Refuse what cannot work on these pairs; give the subsets of objectives that will be scored.

        Raises
        ------
        TypeError, ValueError
            If a setting cannot be, k exceeds the number of objectives, or there is only one.
        """
        own, n = self._plain(), as_kind("pairs", pairs, PreferencePairs).n
        if n < 2:
            raise ValueError("there is 1 objective: give at least 2 to group")
        if isinstance(own.k, int) and not 1 <= own.k <= n:
            raise ValueError(f"k is {own.k} for {n} objectives: choose 1 to {n}, or 'auto'")
        few = n <= 3 and own.subset_size in (n, 3)
        chosen = sample_subsets(n, own.subsets, 2 if few else own.subset_size, own.seed)
        if n > 3 and own.subset_size == n:
            raise ValueError(f"subset_size is all {n} objectives, which tells no pair apart: choose fewer")
        alone = [(objective,) for objective in range(n)]  # what the diagonal is measured on
        return [*alone, *chosen] if isinstance(named_affinity(own.affinity), PairwiseAffinity) else chosen

    def fit(
        self,
        module: nn.Module,
        pairs: PreferencePairs,
        reference: nn.Module | None = None,
        parameters: Iterable[str] | None = None,
        log_prob: LogProb = answer_log_prob,
    ) -> "DPOGrouping":
        """Group the objectives, and train parameters for each group.

        Parameters
        ----------
        module : torch.nn.Module
            A causal language model at the start; it stays as it is.
        pairs : PreferencePairs
        reference, parameters, log_prob
            See `DirectPreferences`.

        Raises
        ------
        TypeError, ValueError
            See `check`; or if a gradient is not finite, or an objective has too few pairs for the folds.
        """
        chosen, own = self.check(pairs), self._plain()
        self._forget()
        self.seconds_ = {}
        stage = partial(timed, self.seconds_)
        given = module, pairs, own.beta, reference, parameters, log_prob, own.memory
        self.preferences_ = DirectPreferences(*given)
        with stage("gradients"), evaluating(module):
            known = self.preferences_.model, self.preferences_.samples()
            self.surrogate_ = own._estimator().fit(*known)
        with stage("subset scores"):
            scores = self.surrogate_.scores(chosen)
        drawn = partial(self.surrogate_.score_draws, chosen, own.bootstrap, own.seed)
        self.scores_ = replace(scores, drawn=drawn if own.bootstrap else None)  # read if k is given
        settings = pairs.names, own.k, own.affinity, own.bootstrap, own.seed, stage
        found = find_groups(self.scores_, self.surrogate_.interactions(), *settings)
        self.partition_, self.conflicts_ = found.partition, found.conflicts
        self.graph_, self.interactions_ = found.graph, found.interactions
        self.bootstrap_ = found.bootstrap
        with stage("adapters"):
            amounts = own.steps, own.batch, own.learning_rate, own.seed
            self.parameters_ = self.preferences_.tune_groups(self.groups_, *amounts)
        return self

    def _estimator(self) -> SurrogateEstimator:
        return SurrogateEstimator(self.projection_dim, self.projection, folds=self.folds, seed=self.seed)
