"""From scores of task subsets to groups of tasks: affinities, the clustering relaxation, rivals."""

from gradex.affinity.affinities import Affinity, InteractionAffinity, MeanAffinity, PairwiseAffinity
from gradex.affinity.graph import AffinityGraph, SubsetScoresLike
from gradex.affinity.partition import Agreement, Partition
from gradex.affinity.relaxation import Relaxation, certified_upper_bound, solve_relaxation
from gradex.affinity.rivals import Grouping, RandomGrouping, SemidefiniteGrouping
from gradex.affinity.rounding import local_search, round_relaxation
from gradex.affinity.subsets import pair_coverage, sample_subsets

__all__ = [
    "Affinity",
    "AffinityGraph",
    "Agreement",
    "Grouping",
    "InteractionAffinity",
    "MeanAffinity",
    "PairwiseAffinity",
    "Partition",
    "RandomGrouping",
    "Relaxation",
    "SemidefiniteGrouping",
    "SubsetScoresLike",
    "certified_upper_bound",
    "local_search",
    "pair_coverage",
    "round_relaxation",
    "sample_subsets",
    "solve_relaxation",
]
