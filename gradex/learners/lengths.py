"""How long episodes are, of which a simulation may have cut off many."""

import numpy as np
from jaxtyping import Bool, Int


def mean_length(
    real: Bool[np.ndarray, "steps environments"],
    ended: Bool[np.ndarray, "steps environments"],
    horizon: int | None = None,
) -> float:
    """Estimate the mean number of steps of an episode.

    How many episodes reach an age is told by all that were simulated so far (Kaplan and Meier 1958). Beyond
    the oldest one they are taken to end as often as on average.

    Parameters
    ----------
    real : bool array [steps, environments]
        False in steps that only reset. The first step begins an episode.
    ended : bool array [steps, environments]
        Whether the episode ended with this step.
    horizon : int, optional
        No episode is longer.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.learners.lengths import mean_length
    >>> ended = np.array([[False, True], [False, False], [True, False]])
    >>> round(mean_length(np.ones_like(ended), ended, horizon=3), 2)  # of 3 and 1 steps, and one cut off
    2.33
    """
    at_ages = _ages(real, ended)
    begun = np.bincount(at_ages[real])
    hazard = np.bincount(at_ages[ended], minlength=len(begun)) / begun
    reached = np.cumprod(np.concatenate([[1.0], 1 - hazard]))
    average = ended.sum() / real.sum()
    if horizon is None:
        rest = 1 / average if average > 0 else 0.0
    else:
        left = horizon - len(begun)
        rest = (1 - (1 - average) ** left) / average if average > 0 else left
    return float(reached[:-1].sum() + reached[-1] * rest)


def _ages(
    real: Bool[np.ndarray, "steps environments"], ended: Bool[np.ndarray, "steps environments"]
) -> Int[np.ndarray, "steps environments"]:
    """Count the steps of each episode before this one."""
    ages = np.zeros(real.shape, dtype=np.int64)
    for step in range(1, len(real)):
        ages[step] = np.where(ended[step - 1], 0, ages[step - 1] + real[step - 1])
    return ages
