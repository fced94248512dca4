"""From scores of task subsets to groups of tasks: affinities, the clustering relaxation, rivals."""

from gradex.affinity.affinities import MeanAffinity, PairwiseAffinity, named_affinity
from gradex.affinity.affinity import Affinity, InteractionsLike, SubsetScoresLike
from gradex.affinity.affinity_matrix import AffinityMatrix
from gradex.affinity.bootstrap import Bootstrap
from gradex.affinity.certificate import certified_upper_bound
from gradex.affinity.conflict import ConflictTest, fewest_groups
from gradex.affinity.correlation import CorrelationGrouping, correlated_labels
from gradex.affinity.factors import AffinityFactors
from gradex.affinity.found_groups import FoundGroups, find_groups
from gradex.affinity.graph import AffinityGraph
from gradex.affinity.group_count import GroupCountPath
from gradex.affinity.groupings import (
    ExhaustiveGrouping,
    Grouping,
    KMeansGrouping,
    RandomGrouping,
    SemidefiniteGrouping,
)
from gradex.affinity.kernel_kmeans import KernelKMeans
from gradex.affinity.nested import nested
from gradex.affinity.partition import Agreement, Partition
from gradex.affinity.relaxation import Relaxation, solve_relaxation
from gradex.affinity.rounding import local_search, propose_groups, round_relaxation
from gradex.affinity.subsets import pair_coverage, sample_subsets
from gradex.affinity.unrelated import CosineLinkage, UnrelatedTest, unrelated_test

__all__ = [
    "Affinity",
    "AffinityFactors",
    "AffinityGraph",
    "AffinityMatrix",
    "Agreement",
    "Bootstrap",
    "ConflictTest",
    "CorrelationGrouping",
    "CosineLinkage",
    "ExhaustiveGrouping",
    "FoundGroups",
    "GroupCountPath",
    "Grouping",
    "InteractionsLike",
    "KMeansGrouping",
    "KernelKMeans",
    "MeanAffinity",
    "PairwiseAffinity",
    "Partition",
    "RandomGrouping",
    "Relaxation",
    "SemidefiniteGrouping",
    "SubsetScoresLike",
    "UnrelatedTest",
    "certified_upper_bound",
    "correlated_labels",
    "fewest_groups",
    "find_groups",
    "local_search",
    "named_affinity",
    "nested",
    "pair_coverage",
    "propose_groups",
    "round_relaxation",
    "sample_subsets",
    "solve_relaxation",
    "unrelated_test",
]
