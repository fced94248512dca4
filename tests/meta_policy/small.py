"""Policies that train in no time."""

from collections.abc import Sequence

import pandas as pd

from gradex import PPO, MetaPolicy, TaskSuite

LEARNER = PPO(steps=32, copies=2, minibatches=4)
#: Environment steps of one rollout in one task.
ROLLOUT = 64


def small(suite: TaskSuite, seed: int = 0) -> MetaPolicy:
    return MetaPolicy(suite, learner=LEARNER, seed=seed, layers=3, width=8)


def assert_same_path(ours: Sequence[MetaPolicy], theirs: Sequence[MetaPolicy]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.agent_.fingerprint == other.agent_.fingerprint
        assert one.config == other.config
        pd.testing.assert_frame_equal(one.history_, other.history_)
