"""Steps of the model, and how far log π_θ is linear along them (PolicyGradEx, Sec. 3.2, Table 1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradex.surrogate.gradients import in_factors
from gradex.surrogate.model import Model
from gradex.surrogate.samples import Block
from gradex.tensors import from_torch, without_autocast


def move_model(model: Model, step: Float[np.ndarray, " p"], distance: float | None = None) -> Model:
    """Give the model a step away from θ*, or at a distance ‖Δθ‖ / ‖θ*‖ in its direction."""
    theta = model.parameters.astype(np.float64)
    if distance is not None:
        if not 0 <= distance < np.inf:
            raise ValueError(f"distance={distance} is invalid: give a finite number, at least 0")
        step = step * (distance * np.linalg.norm(theta) / (np.linalg.norm(step) or 1.0))
    return model.with_parameters(theta + step)


@without_autocast()
def first_order_error(
    model: Model,
    directions: Float[Tensor, "directions p"],
    distances: Float[Tensor, " distances"],
    samples: Any,
    rows: Int[np.ndarray, " k"],
) -> dict[str, Float[Tensor, "directions distances"]]:
    """Compare log π of some samples with its first-order expansion along directions, in float64.

    The linear term is that of the true gradients, not of the projected ones. Distances and errors are those
    of `SurrogateEstimator.first_order_error`; the length of a direction does not count.
    """
    parameters = torch.from_numpy(model.parameters).double()
    with torch.no_grad():
        unit = directions / torch.linalg.vector_norm(directions, dim=1, keepdim=True)
        length = distances * torch.linalg.vector_norm(parameters)
        gradients = model.gradients(samples, rows, parameters.dtype)
        size, dtype = parameters.shape[0], parameters.dtype
        slope = torch.cat([in_factors(batch, size, dtype) @ unit.T for batch in gradients]).T
        at = parameters + length[:, None] * unit[:, None, :]
        output = model.log_prob(at.flatten(0, 1), samples, rows).unflatten(0, (len(unit), len(length)))
        change = output - model.log_prob(parameters.unsqueeze(0), samples, rows)
        missed = (change - length[:, None] * slope.unsqueeze(1)).square().sum(dim=-1)
        return {
            "relative_to_output": missed / output.square().sum(dim=-1),
            "relative_to_change": missed / change.square().sum(dim=-1),
        }


def checked_distances(distances: Sequence[float]) -> Float[np.ndarray, " distances"]:
    """Give distances ‖θ - θ*‖ / ‖θ*‖ as an array; raise where they are none."""
    lengths = np.array(from_torch(distances), dtype=np.float64)
    if lengths.ndim != 1 or not (lengths.size and np.isfinite(lengths).all() and lengths.min() > 0):
        raise ValueError(f"distances are {lengths.tolist()}: give positive numbers, at least one")
    return lengths


def first_order_table(
    model: Model,
    members: Bool[np.ndarray, "subsets n"],
    steps: Mapping[str, Float[np.ndarray, "subsets p"]],
    distances: Float[np.ndarray, " distances"],
    samples: Any,
    blocks: Sequence[Block],
    most: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Measure subsets, each on at most so many of its own samples, along a random direction and its steps."""
    lengths = torch.from_numpy(distances)
    frames = []
    for number, inside in enumerate(members):
        candidates = np.sort(np.concatenate([block.rows for block in blocks if inside[block.tasks].any()]))
        rows = rng.choice(candidates, min(most, len(candidates)), replace=False)
        random = rng.standard_normal(len(model.parameters))
        directions = torch.from_numpy(np.stack([random, *(step[number] for step in steps.values())]))
        error = first_order_error(model, directions, lengths, samples, rows)
        columns = {name: value.flatten().numpy() for name, value in error.items()}
        where = {
            "distance": np.tile(distances, len(directions)),
            "direction": np.repeat(["random", *steps], len(lengths)),
            "subset": number,
        }
        frames.append(pd.DataFrame({**where, **columns}))
    return pd.concat(frames, ignore_index=True)
