"""A reservoir with four objectives, of which a policy can hardly change two: exact values on a grid.

MO-Gymnasium's water reservoir has, beside flooding above the dam and a deficit of water, two objectives that
are left out unless asked for: a deficit of power, and flooding below. As much water leaves in the long run as
comes in, on average 40, which is between the 30 that flood the land below and the 50 that it needs: the
deficit of water and the flooding below are about as large whatever is done. Nobody planted that.
"""

from typing import Any

import gymnasium
import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis.many_objectives.exact import rows_of
from analysis.tabular import TabularProblem
from gradex import TaskSuite

_NAME, _TITLE = "reservoir-v0", "reservoir"
#: Levels of water, up to one that is hardly ever reached, and shares that may be released.
_LEVELS, _SHARES = 301, 21


def register() -> None:
    """Let Gymnasium know the environment; do it before a suite of it is made."""
    if _NAME not in gymnasium.registry:
        gymnasium.register(_NAME, entry_point=f"{__name__}:make", max_episode_steps=100)


def make(**options: Any) -> gymnasium.Env:
    """Make the reservoir with all its objectives; an action is a share of what may be released."""
    from mo_gymnasium.envs.water_reservoir.dam_env import DamEnv

    class Reservoir(DamEnv):
        """Tells the names of its objectives."""

        objectives = ("flooding above", "water deficit", "power deficit", "flooding below")

    return Reservoir(nO=4, normalized_action=True, **options)


def tabulate(suite: TaskSuite) -> TabularProblem:
    """Give the reservoir with whole levels of water, and ten inflows that are as likely as each other.

    Without an end, as the limit of time is none of the environment's own. State 0 leads to one of its ten
    beginnings, and pays nothing.
    """
    from mo_gymnasium.envs.water_reservoir.dam_env import DamEnv

    starts = np.sort(DamEnv.s_init)
    outcomes = len(starts)
    inflow = DamEnv.DAM_INFLOW_MEAN + DamEnv.DAM_INFLOW_STD * norm.ppf((np.arange(outcomes) + 0.5) / outcomes)
    level = np.arange(_LEVELS, dtype=np.float64)[:, None, None]
    least = (level - DamEnv.S_MIN_REL).clip(min=0)
    released = least + np.linspace(0, 1, _SHARES)[None, :, None] * (level - least)
    after = (level + inflow - released).clip(0, _LEVELS - 1)
    power = DamEnv.ETA * DamEnv.G * DamEnv.GAMMA_H2O * after / DamEnv.S * released / 3.6e6
    costs = [
        (after / DamEnv.S - DamEnv.H_FLO_U).clip(min=0),
        (DamEnv.W_IRR - released).clip(min=0) + 0 * after,
        (DamEnv.W_HYD - power).clip(min=0),
        (released - DamEnv.Q_FLO_D).clip(min=0) + 0 * after,
    ]
    following = np.zeros((_LEVELS + 2, _SHARES, outcomes), dtype=np.int64)
    following[0] = 1 + starts.round().astype(np.int64)
    following[1:-1] = 1 + after.round().astype(np.int64)
    following[-1] = _LEVELS + 1
    paid = np.zeros((*following.shape, len(costs)))
    paid[1:-1] = -np.stack(costs, axis=-1) / suite.scale
    return TabularProblem(following, paid, np.full(outcomes, 1 / outcomes), suite.discount)


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per k and method, as the part "exact" does."""
    register()
    return rows_of(_TITLE, f"mo-{_NAME}", tabulate, seed, scale)
