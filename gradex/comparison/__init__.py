"""A fair comparison of ways to share policies: trained on from one policy, for the same steps."""

from gradex.comparison.arms import ARMS, deal_arms, train_arms, train_policies
from gradex.comparison.comparison import Comparison, compare
from gradex.comparison.interval import Interval, scaled_difference

__all__ = [
    "ARMS",
    "Comparison",
    "Interval",
    "compare",
    "deal_arms",
    "scaled_difference",
    "train_arms",
    "train_policies",
]
