"""Algorithm 1 of PolicyGradEx: gradient features, a random projection, logistic regressions on subsets."""

from gradex.surrogate.estimator import AUTO_REGULARIZATION, LEAST_REGULARIZATION, SurrogateEstimator
from gradex.surrogate.interactions import Interactions
from gradex.surrogate.logistic import Solution, SubsetLogisticRegression
from gradex.surrogate.model import Model, ModuleGradients
from gradex.surrogate.projection import (
    GaussianProjection,
    KhatriRaoProjection,
    NoProjection,
    Projection,
)
from gradex.surrogate.samples import Block, Samples
from gradex.surrogate.scores import Improvement, NegativeLoss, Score
from gradex.surrogate.subset_scores import SubsetScores

__all__ = [
    "AUTO_REGULARIZATION",
    "LEAST_REGULARIZATION",
    "Block",
    "GaussianProjection",
    "Improvement",
    "Interactions",
    "KhatriRaoProjection",
    "Model",
    "ModuleGradients",
    "NegativeLoss",
    "NoProjection",
    "Projection",
    "Samples",
    "Score",
    "Solution",
    "SubsetLogisticRegression",
    "SubsetScores",
    "SurrogateEstimator",
]
