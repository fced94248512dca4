"""Networks for one sample at a time, written from their papers' formulas with NumPy in float64."""

import numpy as np
import torch
from torch import Tensor

from gradex.policies import CARE, MLP, MultiHead, Network, PaCo, SoftModularization

Parameters = dict[str, np.ndarray]


def forward(network: Network, parameters: Tensor, observations: Tensor, tasks: Tensor) -> Tensor:
    """Evaluate policy after policy, sample after sample."""
    evaluate = {
        MLP: mlp, MultiHead: multi_head, SoftModularization: soft_modularization, PaCo: paco, CARE: care,
    }[type(network)]  # fmt: skip
    results = [
        [
            evaluate(network, by_name(network, row.double().numpy()), state.double().numpy(), int(task))
            for state, task in zip(states, indices, strict=True)
        ]
        for row, states, indices in zip(parameters, observations, tasks, strict=True)
    ]
    return torch.from_numpy(np.array(results))


def by_name(network: Network, row: np.ndarray) -> Parameters:
    """Cut one row into its parameters."""
    named, start = {}, 0
    for name, shape in network.shapes.items():
        named[name] = row[start : start + int(np.prod(shape))].reshape(shape)
        start += int(np.prod(shape))
    return named


def affine(named: Parameters, layer: str, x: np.ndarray) -> np.ndarray:
    return x @ named[f"{layer}.weight"] + named[f"{layer}.bias"]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


def mlp(network: MLP, named: Parameters, state: np.ndarray, task: int) -> np.ndarray:
    x = np.concatenate([state, np.eye(network.tasks)[task]]) if network.tasks else state
    for layer in range(network.layers - 1):
        x = np.tanh(affine(named, str(layer), x))
    return affine(named, str(network.layers - 1), x)


def multi_head(network: MultiHead, named: Parameters, state: np.ndarray, task: int) -> np.ndarray:
    x = state
    for layer in range(network.layers - 1):
        x = np.tanh(affine(named, f"trunk.{layer}", x))
    own = slice(task * network.outputs, (task + 1) * network.outputs)
    return x @ named["heads.weight"][:, own] + named["heads.bias"][own]


def soft_modularization(
    network: SoftModularization, named: Parameters, state: np.ndarray, task: int
) -> np.ndarray:
    n, levels = network.modules, network.module_layers
    f = affine(named, "state.0", state)
    for layer in range(1, network.layers - levels):
        f = affine(named, f"state.{layer}", relu(f))
    h = named["task.weight"][task]
    p = [affine(named, "routing.0.down", relu(f * h))]
    for level in range(1, levels - 1):
        p.append(
            affine(
                named, f"routing.{level}.down", relu(affine(named, f"routing.{level}.up", p[-1]) * (f * h))
            )
        )
    g = [relu(f) for _ in range(n)]
    for level in range(levels - 1):
        following = []
        for i in range(n):
            shares = softmax(p[level].reshape(n, n)[i])
            following.append(
                sum(shares[j] * relu(affine(named, f"module.{level}.{j}", g[j])) for j in range(n))
            )
        g = following
    last = named["output.weight"].reshape(n, network.width, network.outputs)
    return sum(g[j] @ last[j] for j in range(n)) + named["output.bias"]


def paco(network: PaCo, named: Parameters, state: np.ndarray, task: int) -> np.ndarray:
    """Compose θ_τ = Φ w_τ first, then evaluate an ordinary network with it."""
    w, x = named["composition.weight"][task], state
    for layer in range(network.layers):
        sets = named[f"sets.{layer}.weight"].reshape(len(x), network.sets, -1)
        weight = sum(w[k] * sets[:, k] for k in range(network.sets))
        bias = sum(
            w[k] * named[f"sets.{layer}.bias"].reshape(network.sets, -1)[k] for k in range(network.sets)
        )
        x = x @ weight + bias
        if layer < network.layers - 1:
            x = np.tanh(x)
    return x


def care(network: CARE, named: Parameters, state: np.ndarray, task: int) -> np.ndarray:
    context = affine(named, "context", np.tanh(named["embedding.weight"][task]))
    encodings = []
    for i in range(network.encoders):
        z = affine(named, f"encoder.{i}.0", state)
        for layer in range(1, network.encoder_layers):
            z = affine(named, f"encoder.{i}.{layer}", np.tanh(z))
        encodings.append(z)
    attention = softmax(np.array([z @ context for z in encodings]) / np.sqrt(network.width))
    x = np.concatenate([sum(a * z for a, z in zip(attention, encodings, strict=True)), context])
    depth = network.layers - network.encoder_layers
    for layer in range(depth - 1):
        x = np.tanh(affine(named, f"policy.{layer}", x))
    return affine(named, f"policy.{depth - 1}", x)
