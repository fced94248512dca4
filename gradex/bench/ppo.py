"""PPO end to end against stable-baselines3."""

import time
from collections.abc import Iterator

from gradex.learners import PPO, ActorCritic
from gradex.tasks import TaskSuite


def rows() -> Iterator[dict[str, object]]:
    """PPO end to end on CartPole: 10 tasks × 8 copies, equal rollouts, epochs and networks on both sides."""
    try:
        import stable_baselines3
        from stable_baselines3.common.env_util import make_vec_env
    except ImportError:
        raise ValueError("the peer stable-baselines3 is not installed: pip install 'gradex[bench]'") from None
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
        peer = stable_baselines3.PPO(
            "MlpPolicy",
            make_vec_env("CartPole-v1", environments, seed=0),
            n_steps=ours.steps,
            batch_size=batch,
            n_epochs=ours.epochs,
            seed=0,
            device="cpu",
            policy_kwargs={"net_arch": [64, 64, 64]},
        )
        start = time.perf_counter()
        peer.learn(rollouts * ours.steps * environments)
        theirs = rollouts * ours.steps * environments / (time.perf_counter() - start)
        yield {
            "peer": f"stable-baselines3 {stable_baselines3.__version__}",
            "setting": f"{environments} environments, {ours.epochs} epochs, {setting}",
            "gradex": speed,
            "peer_value": theirs,
            "unit": "steps/s",
            "ratio": speed / theirs,
        }
