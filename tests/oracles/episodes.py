"""Episodes and their advantages, one step after the other, in float64."""

import numpy as np

from gradex.learners import Rollout


def used_episodes(rollout: Rollout, copies: int, steps_per_task: int) -> dict[tuple[int, int], list[int]]:
    """Give the times in the rollout of each episode that counts, by (environment, number), for one policy."""
    steps, _, environments = rollout.ended.shape
    episodes: dict[tuple[int, int], list[int]] = {}
    finished = set()
    for environment in range(environments):
        number = 0
        for t in range(steps):
            if rollout.real[t, 0, environment]:
                episodes.setdefault((environment, number), []).append(t)
            if rollout.ended[t, 0, environment]:
                finished.add((environment, number))
                number += 1
    used = {}
    for task in range(environments // copies):
        members = range(task * copies, (task + 1) * copies)
        rounds, own = 0, {}
        while sum(map(len, own.values())) < steps_per_task:
            assert all((environment, rounds) in finished for environment in members)
            own |= {(environment, rounds): episodes[environment, rounds] for environment in members}
            rounds += 1
        used |= own
    return used


def advantages(
    rollout: Rollout, used: dict[tuple[int, int], list[int]], copies: int, discount: float
) -> dict[tuple[int, int], list[float]]:
    """Give the return from each step on, less the mean over the other episodes of the task at that time."""
    returns = {
        episode: [
            sum(discount**k * rollout.rewards[t, 0, episode[0]] for k, t in enumerate(times[start:]))
            for start in range(len(times))
        ]
        for episode, times in used.items()
    }
    result = {}
    for episode, values in returns.items():
        task = episode[0] // copies
        others = [r for e, r in returns.items() if e != episode and e[0] // copies == task]
        result[episode] = [
            value - np.mean([r[time] for r in others if len(r) > time])
            if any(len(r) > time for r in others)
            else 0.0
            for time, value in enumerate(values)
        ]
    return result
