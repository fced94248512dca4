"""Policies on disk: one safetensors file with a JSON description in its header, and nothing pickled."""

import hashlib
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
#: How formats begin that earlier versions wrote.
_OURS = "gradex.ActorCritic/"


def save(path: str | Path, agent: ActorCritic, description: Mapping[str, Any]) -> None:
    """Write an agent and what is to be said about it; the file appears whole or not at all.

    Tensors are named ("policy.0.weight", ...) and shaped as the networks use them, so that other programs can
    read them.

    Raises
    ------
    ValueError
        If a number is not finite, or the file cannot be written.
    """
    path = Path(path)
    tensors = _tensors(agent)
    if (name := not_finite(tensors)) is not None:
        raise ValueError(
            f"{name} is not finite, so nothing was written to {str(path)!r}: "
            "train anew with a smaller learning rate"
        )
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as temporary:
            write(temporary, tensors, _FORMAT, description)


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the named tensors and the description.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or not one of ours of this version.
    """
    place = repr(str(path))
    try:
        tensors, found, description = read(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read a policy from {place}: {error}; was it written by save()?") from None
    if found != _FORMAT:
        if str(found).startswith(_OURS):
            raise ValueError(f"{place} was written by another version of gradex ({found}): train it again")
        raise ValueError(f"{place} was not written by gradex: its format is {found!r}")
    if (name := not_finite(tensors)) is not None:
        raise ValueError(f"{name} in {place} is not finite: train the policy again")
    return tensors, description


def write(path: Path, tensors: Mapping[str, Tensor], kind: str, description: Mapping[str, Any]) -> None:
    """Write tensors with a description and a checksum of both.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    text = json.dumps(description)
    header = {"format": kind, "description": text, "sha256": fingerprint(tensors, text)}
    try:
        save_file({name: each.contiguous() for name, each in tensors.items()}, path, metadata=header)
    except SafetensorError as error:
        raise OSError(None, str(error)) from None


def read(path: str | Path) -> tuple[dict[str, Tensor], str | None, dict[str, Any]]:
    """Read tensors, format and description; what another program wrote has no description.

    Raises
    ------
    OSError, ValueError
        In one line, if the file is not there or not what was written.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    # A damaged header may name types and shapes that torch has never heard of.
    except (SafetensorError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    text = header.get("description", "")
    if "sha256" not in header:
        return tensors, header.get("format"), {}
    if header["sha256"] != fingerprint(tensors, text):
        raise ValueError("it is damaged, its checksum is another")
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it has a damaged description ({error})") from None
    if not isinstance(description, dict):
        raise ValueError("it has a damaged description")
    return tensors, header.get("format"), description


def fingerprint(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Give the SHA-256 of a text and of tensors with their names, types and shapes, in hexadecimal digits."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode("utf-8", "surrogatepass"))
        flat = tensor.detach().cpu().reshape(-1)
        # One number of a tensor that was expanded counts as contiguous, and cannot be seen as bytes.
        flat = flat if flat.stride() == (1,) else flat.clone(memory_format=torch.contiguous_format)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def agent_fingerprint(agent: ActorCritic) -> str:
    """Give the `fingerprint` of all that was trained."""
    return fingerprint(_tensors(agent))


def restore(shape: ActorCritic, tensors: Mapping[str, Tensor]) -> ActorCritic:
    """Put named tensors back into a stack of this architecture and size.

    Raises
    ------
    ValueError
        If a tensor is missing, unknown, or of another shape or type than the architecture asks for.
    """
    expected = _tensors(shape)
    for name, wanted in expected.items():
        tensor = tensors.get(name)
        if tensor is None or tensor.shape[1:] != wanted.shape[1:]:
            found = "missing" if tensor is None else f"of shape {tuple(tensor.shape[1:])}"
            raise ValueError(
                f"the checkpoint does not fit: {name} is {found}, expected {tuple(wanted.shape[1:])}"
            )
        if tensor.dim() == 0 or len(tensor) != len(wanted):
            count = 0 if tensor.dim() == 0 else len(tensor)
            raise ValueError(
                f"the checkpoint does not fit: {name} holds {count} policies, expected {len(wanted)}"
            )
        if tensor.dtype != wanted.dtype:
            raise ValueError(
                f"the checkpoint does not fit: {name} is of type {tensor.dtype}, expected {wanted.dtype}"
            )
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise ValueError(f"the checkpoint does not fit: {unknown[0]} is no part of this architecture")
    return replace(
        shape,
        actors=_rows(shape.policy, tensors, "policy"),
        critics=_rows(shape.critic, tensors, "critic"),
        return_mean=tensors["return_mean"],
        return_scale=tensors["return_scale"],
        more={name: tensors[f"more.{name}"] for name in shape.more},
    )


def _tensors(agent: ActorCritic) -> dict[str, Tensor]:
    """Give everything that was trained by name."""
    tensors = {f"policy.{name}": tensor for name, tensor in _named(agent.policy, agent.actors).items()}
    tensors |= {f"critic.{name}": tensor for name, tensor in _named(agent.critic, agent.critics).items()}
    tensors |= {f"more.{name}": tensor for name, tensor in agent.more.items()}
    return tensors | {"return_mean": agent.return_mean, "return_scale": agent.return_scale}


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Give the name of a tensor with a number that is not finite, if there is one."""
    return next((name for name, each in sorted(tensors.items()) if not each.isfinite().all()), None)


def _rows(
    part: Network | Policy, tensors: Mapping[str, Tensor], prefix: str
) -> Float[Tensor, "policies parameters"]:
    """Put named tensors back into rows of parameters."""
    return torch.cat([tensors[f"{prefix}.{name}"].flatten(1) for name in part.shapes], dim=1)


def _named(part: Network | Policy, parameters: Float[Tensor, "policies parameters"]) -> dict[str, Tensor]:
    sizes = [torch.Size(shape).numel() for shape in part.shapes.values()]
    pieces = parameters.split(sizes, dim=1)
    return {
        name: piece.unflatten(1, shape)
        for (name, shape), piece in zip(part.shapes.items(), pieces, strict=True)
    }
