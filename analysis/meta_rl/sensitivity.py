"""What adaptation takes: episodes for each update, and a rate that falls or stays."""

import math
from dataclasses import replace

import pandas as pd

from analysis.meta_rl.adapting import adapt_all, meta_train
from analysis.meta_rl.designs import DESIGNS
from analysis.meta_rl.representatives import Chosen

#: Whose tasks, and with which representatives: one of each kind.
DESIGN = "rare"
#: Episodes of an update, and updates after which the rate is halved.
_EPISODES, _SLOWING = (1, 2, 5, 10, 20), (5.0, math.inf)
_SMOKE = (1, 2)
#: Targets and updates.
_TARGETS, _AT = 10, (0, 1, 5, 20, 100)


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Meta-train on one task of each kind, and adapt in different ways."""
    design = DESIGNS[DESIGN]
    suite, targets, amount = design.sources(seed, scale), design.targets(seed, scale), design.amount(scale)
    labels = suite.labels.tolist() if suite.labels is not None else []
    kinds = tuple(sorted(labels.index(label) for label in set(labels)))
    chosen = [Chosen("MAML, one of each kind", "none", (kinds,))]
    trained = [each for each in meta_train(suite, chosen, amount, seed) if each.method == chosen[0].method]
    amount = replace(amount, long_targets=0)
    if scale != "smoke":
        amount = replace(amount, updates=_AT[-1], at=_AT, targets=_TARGETS)
    few = targets[range(amount.targets)]
    tables = []
    for episodes in _SMOKE if scale == "smoke" else _EPISODES:
        for slowing in _SLOWING:
            own = replace(
                amount.adaptation, trajectories=episodes, slowing=None if slowing == math.inf else slowing
            )
            table = adapt_all(trained, few, replace(amount, adaptation=own), seed)
            tables.append(table.assign(episodes=episodes, slowing=slowing))
    return pd.concat(tables, ignore_index=True)
