"""Tasks in groups that were found by estimates of their interactions, and how far to rely on them."""

from gradex.affinity import AffinityGraph, Bootstrap, CorrelationGrouping
from gradex.affinity.found_groups import CONFLICT_LEVEL, verdict
from gradex.group_policies import GroupPolicies
from gradex.plan import Plan, make_plan
from gradex.rollout_scores import RolloutScore
from gradex.surrogate import Interactions, Score, SurrogateEstimator

#: Stages of an estimate whose time grows with the transitions.
_STAGES = ("transitions", "gradients", "subset scores", "uncertainty")


class GroupedTasks(GroupPolicies):
    """Groups that were found by estimates of their interactions, and how far they can be relied on."""

    surrogates_: tuple[SurrogateEstimator, ...]
    graph_: AffinityGraph
    interactions_: AffinityGraph
    bootstrap_: Bootstrap | None
    conflicts_: list[float]

    k: int | str
    score: str | Score | RolloutScore

    @property
    def surrogate_(self) -> SurrogateEstimator:
        """The surrogate at the meta-policy itself."""
        return self.surrogates_[-1]

    @property
    def verdict_(self) -> str | None:
        """What may be relied on, in a sentence; None where it takes draws and `bootstrap` is 0.

        There are "no groups" where all tasks together hold no conflict that counts: none beyond doubt, at
        `CONFLICT_LEVEL`, or too slight a one, see `gradex.affinity.fewest_groups`. Nothing of weight then
        speaks against one policy for all. It is another matter where nothing is known of the tasks, or of
        some: where their gradients are no more than noise, as in a task of which all steps pay alike.
        """
        return verdict(
            self._fitted(), self.interactions_, self.conflicts_, self._plain().seed,
            remedy="give more steps_per_task, which also see later steps of an episode",
        )  # fmt: skip

    def plan(self, power: float = 0.9) -> Plan:
        """Tell how many transitions it takes until groups can be trusted, with this run as the pilot.

        Parameters
        ----------
        power : float
            Wanted chance that another estimate finds the same groups, in conflict.

        Returns
        -------
        Plan
            Its `transitions` are what to give as `steps_per_task`.

        Raises
        ------
        ValueError
            If the power is not between 0 and 1, `bootstrap` is 0, or scores are by rollout: what these err by
            is their episodes, not the transitions.
        """
        partition, bootstrap, own = self._fitted(), self.bootstrap_, self._plain()
        if RolloutScore.named(own.score):
            raise ValueError(
                "score='rollout' errs by its episodes, not by transitions: plan with score='loss'"
            )
        if bootstrap is None:
            raise ValueError("bootstrap=0 leaves unknown how far affinities err: give at least 2 draws")
        interactions = Interactions.joined([surrogate.interactions() for surrogate in self.surrogates_])
        graph, method = self.graph_, None
        if own.k == "auto":
            graph, method = self.interactions_, CorrelationGrouping()
            bootstrap = graph.bootstrap(len(bootstrap), own.seed)
        seconds = sum(self.seconds_[stage] for stage in _STAGES)
        given = graph, partition, bootstrap, interactions, own.steps_per_task
        return make_plan(*given, power, CONFLICT_LEVEL, seconds, own.seed, method)
