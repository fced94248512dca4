"""PPO end to end against stable-baselines3."""

import time
from collections.abc import Iterator

import gymnasium

from gradex.bench.peers import stable_baselines3_speed
from gradex.learners import PPO, ActorCritic
from gradex.tasks import TaskSuite


def rows() -> Iterator[dict[str, object]]:
    """PPO end to end on CartPole: 10 tasks × 8 copies, equal rollouts, epochs and networks on both sides."""
    ours = PPO()
    environments = 10 * ours.copies
    suite = TaskSuite.make("cartpole", n=10)
    steps = 20 * ours.steps * environments
    agent = ActorCritic.initial(suite, [0])
    start = time.perf_counter()
    ours.train(agent, suite, [range(10)], steps, [0])
    speed = steps / (time.perf_counter() - start)
    same = ours.steps * environments // ours.minibatches
    for setting, batch, rollouts in (
        ("its own minibatch of 64", 64, 2),
        (f"our minibatch of {same}", same, 5),
    ):
        theirs = stable_baselines3_speed(
            lambda: gymnasium.make("CartPole-v1"),
            environments,
            ours,
            batch,
            rollouts * ours.steps * environments,
        )
        yield {
            "peer": "stable-baselines3 PPO",
            "setting": f"{environments} environments, {ours.epochs} epochs, {setting}",
            "gradex": speed,
            "peer_value": theirs,
            "unit": "steps/s",
            "ratio": speed / theirs,
        }
