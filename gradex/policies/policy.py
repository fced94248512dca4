"""A policy: a network that ends in a distribution over actions; and gradients of log π of every sample.

`gradex.surrogate.gradients` tells how the inputs and sensitivities of the layers make up a gradient.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from gradex.policies.action_distribution import ActionDistribution
from gradex.policies.stack import Network, Observations, Outputs, Rows, Tape, Tasks, by_name
from gradex.seeds import Streams
from gradex.surrogate.gradients import Affine, Dense, FactoredGradients, Part
from gradex.tensors import without_autocast

#: Samples whose gradients are projected together: enough for fast products, few enough for the cache.
_BATCH = 2048


@dataclass(frozen=True)
class Policy:
    """π_θ(a | s) for every row θ of a parameter matrix.

    The distribution's own parameters stand at the end of a row.

    Attributes
    ----------
    network : Network
    distribution : ActionDistribution

    Examples
    --------
    >>> import torch
    >>> from gradex.policies import MLP, Categorical, Policy
    >>> policy = Policy(MLP(features=4, outputs=2, layers=2, width=8), Categorical(2))
    >>> parameters = torch.zeros(1, policy.size)  # a policy that prefers nothing
    >>> observations, tasks = torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.int64)
    >>> actions = torch.ones(1, 1, dtype=torch.int64)
    >>> round(policy.log_prob(parameters, observations, tasks, actions).exp().item(), 6)
    0.5
    """

    network: Network
    distribution: ActionDistribution

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each named parameter, in the order in which a row holds them."""
        return {**self.network.shapes, **self.distribution.parameters}

    @property
    def size(self) -> int:
        """Number of parameters p of one policy."""
        return sum(prod(shape) for shape in self.shapes.values())

    def initial(self, streams: Streams) -> Rows:
        """Draw one row of parameters per stream."""
        network = self.network.initial(streams)
        return torch.cat([network, network.new_zeros(len(streams), self.size - self.network.size)], dim=1)

    def outputs(
        self, parameters: Rows, observations: Observations, tasks: Tasks, tape: Tape | None = None
    ) -> tuple[Outputs, dict[str, Tensor]]:
        """Give the network's outputs and the distribution's own parameters [policies, *shape]."""
        network, own = parameters.tensor_split([self.network.size], dim=1)
        outputs = self.network.forward(network, observations, tasks, tape)
        return outputs, by_name(own, self.distribution.parameters)

    def log_prob(
        self,
        parameters: Rows,
        observations: Observations,
        tasks: Tasks,
        actions: Shaped[Tensor, "policies batch *a"],
    ) -> Float[Tensor, "policies batch"]:
        """Log π_θ(a | s) of each sample."""
        outputs, own = self.outputs(parameters, observations, tasks)
        return self.distribution.log_prob(outputs, own, actions)


def gradient_layout(policy: Policy) -> list[tuple[int, int]]:
    """Give the shapes of the matrices that make up a gradient, in the order of the parameters.

    (inputs + 1, outputs) for each affine layer, (inputs, outputs) for each layer without bias, and (1, size)
    for each of the distribution's own parameters.
    """
    layout = []
    for layer, biased in _layers(policy.network).items():
        inputs, outputs = policy.network.shapes[f"{layer}.weight"]
        layout.append((inputs + biased, outputs))
    return layout + [(1, prod(shape)) for shape in policy.distribution.parameters.values()]


def _layers(network: Network) -> dict[str, bool]:
    """Say of each layer by its name whether it has a bias, in the order of the parameters."""
    layers = {}
    for before, name in pairwise(["", *network.shapes]):
        layer, _, kind = name.rpartition(".")
        if kind == "weight":
            layers[layer] = False
        elif kind == "bias" and before == f"{layer}.weight":
            layers[layer] = True
        else:
            raise ValueError(
                f"parameter {name!r} is in no affine layer: "
                "apply it through `affine`, with the bias right after the weight"
            )
    return layers


def log_prob_gradients(
    policy: Policy,
    parameters: Float[Tensor, " p"],
    observations: Float[Tensor, "N features"],
    tasks: Int[Tensor, " N"],
    actions: Shaped[Tensor, "N *a"],
) -> FactoredGradients:
    """Differentiate log π_θ(a | s) of every sample with respect to θ, in one forward and one backward pass.

    The result has the precision and the device of θ.
    """
    layers, tape = _layers(policy.network), Tape()
    dtype, device = parameters.dtype, parameters.device
    with torch.inference_mode(False), torch.enable_grad(), without_autocast():
        observations, tasks = observations.to(device, dtype), tasks.to(device)
        actions = actions.to(device, dtype) if actions.is_floating_point() else actions.to(device)
        theta = parameters.detach().unsqueeze(0).requires_grad_()
        outputs, own = policy.outputs(theta, observations.unsqueeze(0), tasks.unsqueeze(0), tape)
        # To the distribution every sample is a policy of its own, and so are its parameters.
        own = {
            name: value.detach().expand(len(tasks), *value.shape[1:]).requires_grad_()
            for name, value in own.items()
        }
        log_prob = policy.distribution.log_prob(outputs.transpose(0, 1), own, actions.unsqueeze(1))
        missing = next((layer for layer in layers if layer not in tape.outputs), None)
        if missing is not None:
            raise ValueError(f"layer {missing!r} is not on the tape: hand the tape on to `affine`")
        taped = [*(tape.outputs[layer] for layer in layers), *own.values()]
        gradients = torch.autograd.grad(log_prob.sum(), taped)
    parts: list[Part] = [
        Affine(tape.inputs[layer].detach().squeeze(0), delta.squeeze(0), biased)
        for (layer, biased), delta in zip(layers.items(), gradients, strict=False)
    ]
    parts.extend(Dense(gradient.flatten(1)) for gradient in gradients[len(layers) :])
    return FactoredGradients(parts)


@dataclass(frozen=True, eq=False)
class PolicyGradients:
    """A policy at θ* as the surrogate needs it: a `gradex.surrogate.model.Model`.

    Samples are anything with the arrays `observations` [N, features], `tasks` [N] and `actions` [N, ...].
    Those without tasks serve all of them, and need a policy that does not see the task. The work is done on
    the device of θ*.
    """

    policy: Policy
    theta: Float[Tensor, " p"]

    @property
    def parameters(self) -> Float[np.ndarray, " p"]:
        return self.theta.cpu().numpy().copy()

    @property
    def layout(self) -> list[tuple[int, int]]:
        return gradient_layout(self.policy)

    @torch.inference_mode(False)  # what is made in that mode cannot be differentiated later
    def gradients(
        self, samples: Any, rows: Int[np.ndarray, " k"], dtype: torch.dtype
    ) -> Iterator[FactoredGradients]:
        batches = zip(*(column.split(_BATCH) for column in self._columns(samples, rows)), strict=True)
        parameters = self.theta.to(dtype, copy=True)
        return (log_prob_gradients(self.policy, parameters, *batch) for batch in batches)

    @without_autocast()
    def log_prob(
        self, parameters: Float[Tensor, "stack p"], samples: Any, rows: Int[np.ndarray, " k"]
    ) -> Float[Tensor, "stack k"]:
        columns = (
            column.to(parameters.dtype) if column.is_floating_point() else column
            for column in self._columns(samples, rows)
        )
        batch = (column.expand(len(parameters), *column.shape) for column in columns)
        return self.policy.log_prob(parameters, *batch)

    def with_parameters(self, parameters: Float[np.ndarray, " p"]) -> "PolicyGradients":
        return PolicyGradients(self.policy, torch.from_numpy(parameters).to(self.theta))

    def _columns(self, samples: Any, rows: Int[np.ndarray, " k"]) -> list[Tensor]:
        tasks = samples.tasks
        if tasks is None:
            if self.policy.network.sees_task:
                raise ValueError("samples that serve all tasks need a policy that does not see the task")
            tasks = np.zeros(len(samples.observations), dtype=np.int64)
        columns = (samples.observations, tasks, samples.actions)
        return [torch.from_numpy(np.asarray(column)[rows]) for column in columns]
