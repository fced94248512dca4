"""How far log π_θ is linear in θ: the validity of the method (PolicyGradEx, Sec. 3.2, Table 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradex.surrogate.model import Model, in_factors
from gradex.surrogate.samples import Block


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
    model: Model,
    directions: Float[Tensor, "directions p"],
    distances: Float[Tensor, " distances"],
    samples: Any,
    rows: Int[np.ndarray, " k"],
) -> FirstOrderError:
    """Compare log π with its first-order expansion along some directions, in float64.

    The linear term is that of the true gradients, not of the projected ones.

    Parameters
    ----------
    model : Model
    directions : float64 Tensor [directions, p]
        Only where they point counts.
    distances : float64 Tensor [distances]
        ‖θ - θ*‖ / ‖θ*‖.
    samples : Samples
        Of the kind that the model knows.
    rows : int array [k]
        Those on which to compare.
    """
    parameters = torch.from_numpy(model.parameters).double()
    with torch.no_grad():
        unit = directions / torch.linalg.vector_norm(directions, dim=1, keepdim=True)
        length = distances * torch.linalg.vector_norm(parameters)
        gradients = model.gradients(samples, rows, parameters.dtype)
        slope = torch.cat([in_factors(batch) @ unit.T for batch in gradients]).T
        moved = parameters + length[:, None] * unit[:, None, :]
        output = model.log_prob(moved.flatten(0, 1), samples, rows).unflatten(0, (len(unit), len(length)))
        change = output - model.log_prob(parameters.unsqueeze(0), samples, rows)
        missed = (change - length[:, None] * slope.unsqueeze(1)).square().sum(dim=-1)
        return FirstOrderError(missed / output.square().sum(dim=-1), missed / change.square().sum(dim=-1))


def first_order_table(
    model: Model,
    members: Bool[np.ndarray, "subsets n"],
    steps: Mapping[str, Float[np.ndarray, "subsets p"]],
    distances: Sequence[float],
    samples: Any,
    blocks: Sequence[Block],
    most: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Measure subsets of tasks, each on its own samples, along a random direction and along given steps.

    Parameters
    ----------
    model : Model
    members : bool array [subsets, n]
    steps : mapping of str to array [subsets, p]
        Named steps, one per subset each.
    distances : sequence of float
    samples : Samples
        Of the kind that the model knows.
    blocks : sequence of Block
        Which of the samples serve which tasks.
    most : int
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
    frames = []
    for number, inside in enumerate(members):
        candidates = np.sort(np.concatenate([block.rows for block in blocks if inside[block.tasks].any()]))
        rows = rng.choice(candidates, min(most, len(candidates)), replace=False)
        random = rng.standard_normal(len(model.parameters))
        directions = torch.from_numpy(np.stack([random, *(step[number] for step in steps.values())]))
        error = first_order_error(model, directions, lengths, samples, rows)
        columns = {name: value.flatten().numpy() for name, value in vars(error).items()}
        where = {
            "distance": np.tile(distances, len(directions)),
            "direction": np.repeat(["random", *steps], len(lengths)),
            "subset": number,
        }
        frames.append(pd.DataFrame({**where, **columns}))
    return pd.concat(frames, ignore_index=True)
