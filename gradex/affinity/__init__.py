"""From scores of task subsets to groups of tasks: affinities, the clustering relaxation, rivals."""

from gradex.affinity.affinities import (
    InteractionAffinity,
    MeanAffinity,
    NormalisedAffinity,
    PairwiseAffinity,
    TransferAffinity,
    named_affinity,
)
from gradex.affinity.affinity import Affinity
from gradex.affinity.bootstrap import Bootstrap
from gradex.affinity.bound import certified_upper_bound
from gradex.affinity.exhaustive import ExhaustiveGrouping
from gradex.affinity.graph import AffinityGraph, SubsetScoresLike
from gradex.affinity.group_count import GroupCountPath
from gradex.affinity.partition import Agreement, Partition
from gradex.affinity.relaxation import Relaxation, solve_relaxation
from gradex.affinity.rivals import (
    Grouping,
    RandomGrouping,
    SemidefiniteGrouping,
)
from gradex.affinity.rounding import local_search, propose_groups, round_relaxation
from gradex.affinity.subsets import pair_coverage, sample_subsets

__all__ = [
    "Affinity",
    "AffinityGraph",
    "Agreement",
    "Bootstrap",
    "ExhaustiveGrouping",
    "GroupCountPath",
    "Grouping",
    "InteractionAffinity",
    "MeanAffinity",
    "NormalisedAffinity",
    "PairwiseAffinity",
    "Partition",
    "RandomGrouping",
    "Relaxation",
    "SemidefiniteGrouping",
    "SubsetScoresLike",
    "TransferAffinity",
    "certified_upper_bound",
    "local_search",
    "named_affinity",
    "pair_coverage",
    "propose_groups",
    "round_relaxation",
    "sample_subsets",
    "solve_relaxation",
]
