"""Policies on disk: one safetensors file with a JSON description in its header, and nothing pickled."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gradex.files import writing_to, written_whole
from gradex.learners.actor_critic import ActorCritic
from gradex.policies import Network, Policy

_FORMAT = "gradex.ActorCritic/2"


def save(path: str | Path, agent: ActorCritic, description: Mapping[str, Any]) -> None:
    """Write an agent and what is to be said about it; the file appears whole or not at all.

    Tensors are named ("policy.0.weight", ...) and shaped as the networks use them, so that other programs can
    read them.
    """
    path = Path(path)
    tensors = {f"policy.{name}": tensor for name, tensor in _named(agent.policy, agent.actors).items()}
    tensors |= {f"critic.{name}": tensor for name, tensor in _named(agent.critic, agent.critics).items()}
    tensors |= {f"more.{name}": tensor for name, tensor in agent.more.items()}
    tensors |= {"return_mean": agent.return_mean, "return_scale": agent.return_scale}
    header = {"format": _FORMAT, "description": json.dumps(description)}
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as temporary:
            save_file({name: each.contiguous() for name, each in tensors.items()}, temporary, metadata=header)


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the named tensors and the description.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or not one of ours.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"cannot read a policy from {str(path)!r}: {error}; was it written by save()?"
        ) from None
    if header.get("format") != _FORMAT:
        raise ValueError(f"{str(path)!r} was not written by gradex: its format is {header.get('format')!r}")
    try:
        description = json.loads(header["description"])
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{str(path)!r} has a damaged description: {error}; save it again") from None
    return tensors, description


def restore(shape: ActorCritic, tensors: Mapping[str, Tensor]) -> ActorCritic:
    """Put named tensors back into an agent of this architecture.

    Raises
    ------
    ValueError
        If a tensor is missing or has another shape than the architecture asks for.
    """
    return replace(
        shape,
        actors=_rows(shape.policy, tensors, "policy"),
        critics=_rows(shape.critic, tensors, "critic"),
        return_mean=_checked(tensors, "return_mean", shape.return_mean.shape[1:]),
        return_scale=_checked(tensors, "return_scale", shape.return_scale.shape[1:]),
        more={name: _checked(tensors, f"more.{name}", rows.shape[1:]) for name, rows in shape.more.items()},
    )


def _rows(
    part: Network | Policy, tensors: Mapping[str, Tensor], prefix: str
) -> Float[Tensor, "policies parameters"]:
    """Put named tensors back into rows of parameters."""
    rows = [_checked(tensors, f"{prefix}.{name}", shape).flatten(1) for name, shape in part.shapes.items()]
    return torch.cat(rows, dim=1)


def _checked(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None or tuple(tensor.shape[1:]) != tuple(shape):
        found = "missing" if tensor is None else f"of shape {tuple(tensor.shape[1:])}"
        raise ValueError(f"the checkpoint does not fit: {name} is {found}, expected {tuple(shape)}")
    return tensor


def _named(part: Network | Policy, parameters: Float[Tensor, "policies parameters"]) -> dict[str, Tensor]:
    sizes = [torch.Size(shape).numel() for shape in part.shapes.values()]
    pieces = parameters.split(sizes, dim=1)
    return {
        name: piece.unflatten(1, shape)
        for (name, shape), piece in zip(part.shapes.items(), pieces, strict=True)
    }
