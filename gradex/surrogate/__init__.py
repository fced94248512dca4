"""Algorithm 1 of PolicyGradEx: gradient features, a random projection, logistic regressions on subsets."""

from gradex.surrogate.estimator import AUTO_REGULARIZATION, SurrogateEstimator
from gradex.surrogate.logistic import Solution, SubsetLogisticRegression
from gradex.surrogate.projection import GaussianProjection, NoProjection, Projection
from gradex.surrogate.scores import Improvement, NegativeLoss, Score, SubsetScores

__all__ = [
    "AUTO_REGULARIZATION",
    "GaussianProjection",
    "Improvement",
    "NegativeLoss",
    "NoProjection",
    "Projection",
    "Score",
    "Solution",
    "SubsetLogisticRegression",
    "SubsetScores",
    "SurrogateEstimator",
]
