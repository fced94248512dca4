"""Tasks in groups that were found by estimates of their interactions, and how far to rely on them."""

from gradex.affinity import AffinityGraph, Bootstrap, CorrelationGrouping
from gradex.affinity.partition import listed
from gradex.group_policies import GroupPolicies
from gradex.plan import Plan, make_plan
from gradex.rollout_scores import RolloutScore
from gradex.surrogate import Interactions, Score, SurrogateEstimator

#: Stages of an estimate whose time grows with the transitions.
_STAGES = ("transitions", "gradients", "subset scores", "uncertainty")
#: Groups are split where a conflict within is a matter of chance with no more than this probability, and
#: gradients are told from noise likewise.
CONFLICT_LEVEL = 0.05


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
        names = [task.name for task in self.suite_.tasks]
        conflict = self.conflicts_[0] <= CONFLICT_LEVEL
        if conflict and (found := self.partition_.verdict_naming(names)) is None:
            return None
        p_values = self.interactions_.noise_p_values(seed=self._plain().seed)
        unknown = [name for name, p_value in zip(names, p_values, strict=True) if p_value > CONFLICT_LEVEL]
        silent = f"nothing is known of {listed(unknown)}, as their gradients are no more than noise"
        if conflict:
            return f"{found}; {silent}" if unknown else found
        given = f"; do not rely on these {self.partition_.k}" if self.partition_.k > 1 else ""
        if unknown and self.interactions_.noise_p_value(seed=self._plain().seed) > CONFLICT_LEVEL:
            return (
                "no groups: nothing is known of these tasks, as their gradients are no more than noise; give "
                f"more steps_per_task, which also see later steps of an episode{given}"
            )
        if unknown:
            return f"no groups: no tasks are in conflict that counts, but {silent}{given}"
        return f"no groups: one policy for all, as no tasks are in conflict that counts{given}"

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
