"""MAML of one policy, task by task and sample by sample, from the formulas of the papers.

Only the random numbers are those of gradex: the simulator's, and the streams of tasks, seeds and actions.
"""

from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from gradex.learners import ActorCritic
from gradex.learners.maml import MAML
from gradex.policies import Policy
from gradex.seeds import Streams
from gradex.tasks import TaskSuite
from tests.oracles import gae


@dataclass
class Step:
    """One step of one environment; `real` is False where it only resets."""

    observation: np.ndarray
    action: np.ndarray
    reward: float
    terminated: bool
    ended: bool
    real: bool
    elapsed: int
    log_prob: float = 0.0
    advantage: float = 0.0


def distribution(policy: Policy, row: Tensor, observation: np.ndarray) -> torch.distributions.Distribution:
    """Give π_θ(. | s) of one observation or of several, differentiable in the row θ."""
    hidden, layer = torch.as_tensor(observation, dtype=torch.float64), 0
    while f"{layer}.weight" in policy.shapes:
        inputs, outputs = policy.shapes[f"{layer}.weight"]
        weight, bias, row = row.split([inputs * outputs, outputs, len(row) - (inputs + 1) * outputs])
        hidden = (torch.tanh(hidden) if layer else hidden) @ weight.reshape(inputs, outputs) + bias
        layer += 1
    if len(row):
        return torch.distributions.Independent(torch.distributions.Normal(hidden, row.exp()), 1)
    return torch.distributions.Categorical(logits=hidden)


def linear_baseline(columns: list[list[Step]], last: list[np.ndarray], discount: float) -> list[list[float]]:
    """Fit the returns of all columns by least squares; the ridge enters as samples of its own."""
    length = len(columns[0])
    seen = np.stack([step.observation for column in columns for step in column if step.real])
    seen = seen.astype(np.float64)
    middle, spread = seen.mean(axis=0), seen.std(axis=0)
    still = spread <= 1e-6 * np.abs(middle)

    def features(observation: np.ndarray, elapsed: int) -> np.ndarray:
        time = elapsed / length
        state = np.where(still, 0.0, (observation - middle) / np.where(still, 1.0, spread))
        return np.concatenate([state, state**2, [time, time**2, time**3]])

    rows, targets = [], []
    for column in columns:
        for start, step in enumerate(column):
            paid = 0.0
            for ahead, other in enumerate(column[start:]):
                paid += discount**ahead * other.reward
                if other.ended:
                    break
            if step.real:
                rows.append(features(step.observation, step.elapsed))
                targets.append(paid)
    samples = np.stack(rows)
    mean, deviation = samples.mean(axis=0), samples.std(axis=0)
    constant = deviation <= 1e-6 * np.abs(mean)

    def scaled(row: np.ndarray) -> np.ndarray:
        return np.where(constant, 0.0, (row - mean) / np.where(constant, 1.0, deviation))

    size = len(mean)
    ridge = np.sqrt(1e-5 * len(samples)) * np.eye(size)
    design = np.concatenate([np.stack([scaled(row) for row in samples]), ridge])
    centred = np.concatenate([np.array(targets) - np.mean(targets), np.zeros(size)])
    weights, *_ = np.linalg.lstsq(design, centred, rcond=None)

    def value(observation: np.ndarray, elapsed: int) -> float:
        return float(np.mean(targets) + scaled(features(observation, elapsed)) @ weights)

    return [
        [*(value(step.observation, step.elapsed) for step in column), value(final, column[-1].elapsed + 1)]
        for column, final in zip(columns, last, strict=True)
    ]


class OnePolicyMAML:
    """Meta-trains the only policy of `agent` on the tasks `subset`."""

    def __init__(
        self, agent: ActorCritic, suite: TaskSuite, subset: list[int], seed: int, settings: MAML
    ) -> None:
        self.policy, self.suite, self.subset, self.settings = agent.policy, suite, subset, settings
        self.theta = nn.Parameter(agent.actors[0].clone())
        self.optimiser = torch.optim.Adam([self.theta], eps=1e-5)
        self.streams = Streams([seed], branch=2)
        self.clipped = 0

    def train(self, batches: int) -> None:
        settings = self.settings
        for iteration in range(batches):
            for group in self.optimiser.param_groups:
                group["lr"] = settings.learning_rate * (1 - 0.9 * iteration / batches)
            keys = self.streams.uniforms(len(self.subset))[0]
            order = sorted(range(len(self.subset)), key=lambda place: keys[place])
            tasks = [self.subset[order[place % len(order)]] for place in range(settings.tasks)]
            seeds = [int(number * 2**52) for number in self.streams.uniforms(settings.tasks)[0]]
            lives = [self.live(task, seed) for task, seed in zip(tasks, seeds, strict=True)]
            for _ in range(settings.epochs):
                self.optimiser.zero_grad()
                (-torch.stack([self.outer(life) for life in lives]).mean()).backward()
                nn.utils.clip_grad_norm_([self.theta], settings.max_norm)
                self.optimiser.step()

    def live(self, task: int, seed: int) -> list[list[Step]]:
        """Act and adapt in turn, from θ; give the steps of every phase."""
        stream = Streams([seed], branch=3)
        phases: list[list[Step]] = []
        row = self.theta.detach()
        for phase in range(self.settings.inner_steps + 1):
            if phase:
                row = self.inner(row.clone().requires_grad_(), phases[-1]).detach()
            phases.append(self.meet(row, task, int(stream.uniforms()[0] * 2**52)))
        return phases

    def meet(self, row: Tensor, task: int, seed: int) -> list[Step]:
        """Run one trajectory in every environment of a task."""
        trajectories, space = self.settings.trajectories, self.suite.action_space
        box = space if isinstance(space, gymnasium.spaces.Box) else None
        noise = Streams([seed], branch=1)
        length = self.suite.horizon
        assert length is not None
        shape = (trajectories, length, *(box.shape if box else ()))
        draws = torch.from_numpy((noise.normals if box else noise.uniforms)(*shape)[0].astype(np.float32))
        simulator = self.suite[[task]].simulator(trajectories, seed)
        observations = simulator.reset()[0]
        columns: list[list[Step]] = [[] for _ in range(trajectories)]
        for t in range(length):
            actions = []
            for place in range(trajectories):
                law = distribution(self.policy, row, observations[place])
                if isinstance(law, torch.distributions.Categorical):
                    actions.append((draws[place, t] > law.probs.cumsum(0)[:-1]).sum().numpy())
                else:
                    actions.append((law.mean + law.stddev * draws[place, t]).numpy())
            commands = np.stack(actions)
            if box:
                commands = np.clip(commands, box.low, box.high).astype(np.float32)
            following, rewards, terminated, truncated, _ = simulator.step(commands)
            for place, column in enumerate(columns):
                reset = bool(column) and column[-1].ended
                begins = not column or (len(column) > 1 and column[-2].ended)
                column.append(
                    Step(
                        observations[place].copy(), actions[place], float(rewards[place]),
                        bool(terminated[place]), bool(terminated[place] or truncated[place]),
                        not reset, 0 if begins else column[-1].elapsed + 1,
                    )
                )  # fmt: skip
            observations = following
        simulator.close()
        for column, values in zip(
            columns, linear_baseline(columns, list(observations), self.suite.discount), strict=True
        ):
            each = gae.advantages(
                [step.reward for step in column],
                values,
                [step.terminated for step in column],
                [step.ended for step in column],
                self.suite.discount,
                self.settings.gae_lambda,
            )
            for step, advantage in zip(column, each, strict=True):
                step.advantage = advantage
        steps = [step for column in columns for step in column if step.real]
        mean, spread = (float(f([step.advantage for step in steps])) for f in (np.mean, np.std))
        paid = [step.reward for column in columns for step in column]
        unit = float(np.std(paid) + 1e-6 * np.abs(paid).max()) or 1.0
        for step in steps:
            step.advantage = (step.advantage - mean) / (spread + 1e-8 * unit)
        for step, log_prob in zip(steps, self.log_probs(row, steps).tolist(), strict=True):
            step.log_prob = log_prob
        return steps

    def log_probs(self, row: Tensor, steps: list[Step]) -> Tensor:
        law = distribution(self.policy, row, np.stack([step.observation for step in steps]))
        return law.log_prob(torch.as_tensor(np.stack([step.action for step in steps])))

    def ratios(self, row: Tensor, steps: list[Step]) -> Tensor:
        return (
            self.log_probs(row, steps) - torch.tensor([step.log_prob for step in steps], dtype=torch.float64)
        ).exp()

    def inner(self, row: Tensor, steps: list[Step]) -> Tensor:
        """Finn et al. 2017, Eq. 4, with the surrogate of Rothfuss et al. 2019."""
        surrogate = (self.ratios(row, steps) * advantages(steps)).mean()
        second = self.settings.order == "second"
        (gradient,) = torch.autograd.grad(surrogate, row, create_graph=second)
        return row + self.settings.inner_rate * gradient

    def outer(self, phases: list[list[Step]]) -> Tensor:
        """Schulman et al. 2017, Eq. 7, at the adapted parameters."""
        *before, after = phases
        row: Tensor = self.theta
        for steps in before:
            row = self.inner(row, steps)
        ratios = self.ratios(row, after)
        clipped = ratios.clamp(1 - self.settings.clip_range, 1 + self.settings.clip_range)
        self.clipped += int((ratios != clipped).sum())
        return torch.minimum(ratios * advantages(after), clipped * advantages(after)).mean()


def advantages(steps: list[Step]) -> Tensor:
    return torch.tensor([step.advantage for step in steps], dtype=torch.float64)
