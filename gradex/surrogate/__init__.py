"""Algorithm 1 of PolicyGradEx: gradient features, a random projection, logistic regressions on subsets."""

from gradex.surrogate.estimator import AUTO_REGULARIZATION, LEAST_REGULARIZATION, SurrogateEstimator
from gradex.surrogate.khatri_rao import KhatriRaoProjection
from gradex.surrogate.logistic import Solution, SubsetLogisticRegression
from gradex.surrogate.projection import (
    GaussianProjection,
    NoProjection,
    Projection,
    RademacherProjection,
)
from gradex.surrogate.scores import Improvement, NegativeLoss, Score, SubsetScores

__all__ = [
    "AUTO_REGULARIZATION",
    "LEAST_REGULARIZATION",
    "GaussianProjection",
    "Improvement",
    "KhatriRaoProjection",
    "NegativeLoss",
    "NoProjection",
    "Projection",
    "RademacherProjection",
    "Score",
    "Solution",
    "SubsetLogisticRegression",
    "SubsetScores",
    "SurrogateEstimator",
]
