"""How far log π_θ is linear in θ: the validity of the method (PolicyGradEx, Sec. 3.2, Table 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from gradex.learners import Transitions
from gradex.policies import Policy
from gradex.surrogate.gradients import log_prob_gradients


@dataclass(frozen=True)
class FirstOrderError:
    """Relative residual sums of squares of log π_θ* + g·Δθ against log π_θ.

    Attributes
    ----------
    relative_to_output : Tensor [directions, distances]
        Σ(log π_θ - linear)² / Σ(log π_θ)², the paper's. It is small for any small step.
    relative_to_change : Tensor [directions, distances]
        Σ(log π_θ - linear)² / Σ(log π_θ - log π_θ*)², the stricter one: what share of the change is missed.
    """

    relative_to_output: Float[Tensor, "directions distances"]
    relative_to_change: Float[Tensor, "directions distances"]


def first_order_error(
    policy: Policy,
    parameters: Float[Tensor, " p"],
    directions: Float[Tensor, "directions p"],
    distances: Float[Tensor, " distances"],
    observations: Float[Tensor, "N features"],
    tasks: Int[Tensor, " N"],
    actions: Shaped[Tensor, "N *a"],
) -> FirstOrderError:
    """Compare log π with its first-order expansion along some directions.

    The linear term is that of the true gradients, not of the projected ones.

    Parameters
    ----------
    policy : Policy
    parameters : Tensor [p]
        θ*.
    directions : Tensor [directions, p]
        Only where they point counts.
    distances : Tensor [distances]
        ‖θ - θ*‖ / ‖θ*‖.
    observations, tasks, actions : Tensors [N, ...]
        Samples on which to compare; computed in the parameters' precision.
    """
    observations = observations.to(parameters.dtype)
    actions = actions.to(parameters.dtype) if actions.is_floating_point() else actions

    def log_prob(stack: Float[Tensor, "policies p"]) -> Float[Tensor, "policies N"]:
        batch = (x.expand(len(stack), *x.shape) for x in (observations, tasks, actions))
        return policy.log_prob(stack, *batch)

    with torch.no_grad():
        unit = directions / torch.linalg.vector_norm(directions, dim=1, keepdim=True)
        length = distances * torch.linalg.vector_norm(parameters)
        slope = (log_prob_gradients(policy, parameters, observations, tasks, actions) @ unit.T).T
        moved = parameters + length[:, None] * unit[:, None, :]
        output = log_prob(moved.flatten(0, 1)).unflatten(0, (len(unit), len(length)))
        change = output - log_prob(parameters.unsqueeze(0))
        missed = (change - length[:, None] * slope.unsqueeze(1)).square().sum(dim=-1)
        return FirstOrderError(missed / output.square().sum(dim=-1), missed / change.square().sum(dim=-1))


def first_order_table(
    policy: Policy,
    parameters: Float[Tensor, " p"],
    members: Bool[np.ndarray, "subsets n"],
    steps: Mapping[str, Float[np.ndarray, "subsets p"]],
    distances: Sequence[float],
    transitions: Transitions,
    samples: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Measure subsets of tasks, each on its own samples, along a random direction and along given steps.

    Parameters
    ----------
    policy : Policy
    parameters : Tensor [p]
        θ*.
    members : bool array [subsets, n]
    steps : mapping of str to array [subsets, p]
        Named steps, one per subset each.
    distances : sequence of float
    transitions : Transitions
    samples : int
        At most so many per subset are used.
    rng : numpy.random.Generator
        Chooses the samples and the random directions.

    Returns
    -------
    pandas.DataFrame
        Columns distance, direction ("random" or the name of a step), subset (its number), relative_to_output,
        relative_to_change.
    """
    lengths = torch.tensor(distances, dtype=torch.float64)
    batch = (transitions.observations, transitions.tasks, transitions.actions)
    frames = []
    for number, inside in enumerate(members):
        candidates = np.flatnonzero(inside[transitions.tasks])
        rows = rng.choice(candidates, min(samples, len(candidates)), replace=False)
        random = rng.standard_normal(len(parameters))
        directions = torch.from_numpy(np.stack([random, *(step[number] for step in steps.values())]))
        chosen = (torch.from_numpy(np.asarray(x)[rows]) for x in batch)
        error = first_order_error(policy, parameters, directions, lengths, *chosen)
        columns = {name: value.flatten().numpy() for name, value in vars(error).items()}
        where = {
            "distance": np.tile(distances, len(directions)),
            "direction": np.repeat(["random", *steps], len(lengths)),
            "subset": number,
        }
        frames.append(pd.DataFrame({**where, **columns}))
    return pd.concat(frames, ignore_index=True)
