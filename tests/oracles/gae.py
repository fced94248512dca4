"""Generalised advantage estimation from its definition, one environment and one step at a time."""

from collections.abc import Sequence

import numpy as np

Column = Sequence[float] | np.ndarray


def advantages(
    rewards: Column,
    values: Column,
    terminated: Column,
    ended: Column,
    discount: float,
    gae_lambda: float,
) -> list[float]:
    """Average the advantages over n = 1, 2, 3, ... steps (Schulman et al. 2016, Eq. 16).

    Their weights are (1 - λ) λ^(n-1); what is left goes to the last one that the episode, or the rollout,
    has to offer. `values` is one entry longer than `rewards`.
    """
    result = []
    for start in range(len(rewards)):
        paid, last = 0.0, start
        each = []
        for step in range(start, len(rewards)):
            paid += discount ** (step - start) * rewards[step]
            rest = 0.0 if terminated[step] else discount ** (step - start + 1) * values[step + 1]
            each.append(paid + rest - values[start])
            last = step
            if ended[step]:
                break
        horizon = last - start + 1
        shares = [(1 - gae_lambda) * gae_lambda**n for n in range(horizon - 1)] + [
            gae_lambda ** (horizon - 1)
        ]
        result.append(sum(share * advantage for share, advantage in zip(shares, each, strict=True)))
    return result
