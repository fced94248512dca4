"""Per-sample gradients of any torch module, or of some of its parameters."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from math import prod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gradex.surrogate.gradients import Dense, FactoredGradients

#: Bytes that gradients under way may take, and how many copies of them differentiation keeps at once.
_MEMORY, _COPIES = 256 * 2**20, 4


class _Scored(nn.Module):
    """The log-probability as a module's own output, so that its parameters can be exchanged for a call."""

    def __init__(self, module: nn.Module, log_prob: Callable[[nn.Module, Any], Tensor]) -> None:
        super().__init__()
        self.module, self._log_prob = module, log_prob

    def forward(self, batch: Any) -> Tensor:
        return self._log_prob(self.module, batch)


class ModuleGradients:
    """A torch module with its samples, as the surrogate needs it: a `gradex.surrogate.model.Model`.

    Gradients come by `torch.func`, sample by sample in one batched call.

    Parameters
    ----------
    module : torch.nn.Module
        At θ*. It should be in evaluation mode where it behaves otherwise in training.
    log_prob : callable
        `log_prob(module, batch)` gives the log-probability of each sample [N], or any other number that
        should rise where the advantage is positive. A sample's must not depend on the others.
    batch : Tensor, or a tuple, list or dict of such
        The samples: every tensor has one entry per sample along its first axis.
    parameters : sequence of str, optional
        Names of the parameters that would be trained on, as `module.named_parameters()` has them, for
        instance those of an adapter; by default all that require a gradient.
    memory : int
        Bytes that gradients under way may take, about.

    Raises
    ------
    ValueError
        If there is no such parameter, or tensors of the batch differ in length.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from gradex.surrogate import ModuleGradients, Samples, SurrogateEstimator
    >>> generator = torch.Generator().manual_seed(0)
    >>> inputs = torch.randn(40, 3, generator=generator)
    >>> chosen = torch.arange(40) % 2
    >>> def log_prob(module, batch):
    ...     return module(batch[0]).log_softmax(-1).gather(-1, batch[1][:, None])[:, 0]
    >>> model = ModuleGradients(torch.nn.Linear(3, 2), log_prob, (inputs, chosen))
    >>> samples = Samples(np.sign(inputs[:, 0].numpy()), tasks=np.arange(40) // 20)
    >>> SurrogateEstimator(projection="none").fit(model, samples).scores([(0,), (0, 1)]).score.shape
    (2,)
    """

    def __init__(
        self,
        module: nn.Module,
        log_prob: Callable[[nn.Module, Any], Tensor],
        batch: Any,
        parameters: Sequence[str] | None = None,
        memory: int = _MEMORY,
    ) -> None:
        self.module, self.log_prob_of, self.batch, self.memory = module, log_prob, batch, memory
        named = dict(module.named_parameters())
        self.names = [name for name, each in named.items() if each.requires_grad]
        if parameters is not None:
            unknown = [name for name in parameters if name not in named]
            if unknown:
                raise ValueError(f"the module has no parameter {unknown[0]!r}: choose from {list(named)}")
            self.names = list(parameters)
        if not self.names:
            raise ValueError("no parameter requires a gradient: name those that would be trained on")
        self._shapes = [named[name].shape for name in self.names]
        lengths = sorted({len(leaf) for leaf in _leaves(batch)})
        if len(lengths) != 1:
            raise ValueError(f"tensors of the batch have {lengths} samples: give each as many, at least one")
        self._scored = _Scored(module, log_prob)

    def __len__(self) -> int:
        return len(next(_leaves(self.batch)))

    @property
    def parameters(self) -> Float[np.ndarray, " p"]:
        """θ*, the chosen parameters one after the other."""
        named = dict(self.module.named_parameters())
        return torch.cat([named[name].detach().flatten() for name in self.names]).cpu().numpy().copy()

    @property
    def layout(self) -> list[tuple[int, int]]:
        """Each parameter as a matrix: its first axis by all others."""
        return [_matrix(shape) for shape in self._shapes]

    def gradients(
        self, samples: Any, rows: Int[np.ndarray, " k"], dtype: torch.dtype
    ) -> Iterator[FactoredGradients]:
        """Differentiate the log-probabilities of these samples, batch by batch."""
        self._check(samples)
        named = self._named(torch.from_numpy(self.parameters).unsqueeze(0), dtype)
        own = {name: value[0] for name, value in named.items()}
        fixed = self._fixed(dtype)

        def log_prob(parameters: dict[str, Tensor], sample: Any) -> Tensor:
            alone = _each(sample, lambda leaf: leaf.unsqueeze(0))
            return functional_call(self._scored, fixed | parameters, (alone,)).sum()

        each = vmap(grad(log_prob), in_dims=(None, 0))
        size = sum(prod(shape) for shape in self._shapes)
        length = max(1, self.memory // (_COPIES * dtype.itemsize * size))
        for chosen in torch.from_numpy(rows).split(length):
            found = each(own, self._chosen(chosen, dtype))
            yield FactoredGradients(
                [
                    Dense(found[f"module.{name}"].detach().reshape(len(chosen), *shape))
                    for name, shape in zip(self.names, self.layout, strict=True)
                ]
            )

    def log_prob(
        self, parameters: Float[Tensor, "stack p"], samples: Any, rows: Int[np.ndarray, " k"]
    ) -> Float[Tensor, "stack k"]:
        """Give the log-probabilities of these samples at other parameters, one row after the other."""
        self._check(samples)
        batch, fixed = self._chosen(torch.from_numpy(rows), parameters.dtype), self._fixed(parameters.dtype)
        with torch.no_grad():
            return torch.stack(
                [
                    functional_call(
                        self._scored,
                        fixed | {name: value[0] for name, value in self._named(row[None], row.dtype).items()},
                        (batch,),
                    )
                    for row in parameters
                ]
            )

    def with_parameters(self, parameters: Float[np.ndarray, " p"]) -> "ModuleGradients":
        """Give a copy of the module at other parameters, with the same samples."""
        module = deepcopy(self.module)
        named = dict(module.named_parameters())
        rows = self._named(torch.from_numpy(np.asarray(parameters)).unsqueeze(0), torch.float64)
        with torch.no_grad():
            for name in self.names:
                named[name].copy_(rows[f"module.{name}"][0])
        return ModuleGradients(module, self.log_prob_of, self.batch, self.names, self.memory)

    # ------------------------------------------------------------------ pieces
    def _named(self, rows: Float[Tensor, "stack p"], dtype: torch.dtype) -> dict[str, Tensor]:
        """View rows of parameters by name [stack, *shape], where the module is."""
        device = next(self.module.parameters()).device
        pieces = rows.to(device, dtype).split([prod(shape) for shape in self._shapes], dim=1)
        return {
            f"module.{name}": piece.unflatten(1, shape) if shape else piece.squeeze(1)
            for name, shape, piece in zip(self.names, self._shapes, pieces, strict=True)
        }

    def _fixed(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Give everything else that the module holds, in this precision."""
        held = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        return {
            f"module.{name}": value.detach().to(dtype) if value.is_floating_point() else value.detach()
            for name, value in held.items()
            if name not in self.names
        }

    def _chosen(self, rows: Int[Tensor, " k"], dtype: torch.dtype) -> Any:
        device = next(self.module.parameters()).device

        def chosen(leaf: Tensor) -> Tensor:
            own = leaf[rows.to(leaf.device)].to(device)
            return own.to(dtype) if own.is_floating_point() else own

        return _each(self.batch, chosen)

    def _check(self, samples: Any) -> None:
        if len(samples) != len(self):
            raise ValueError(f"the batch has {len(self)} samples for {len(samples)} advantages: give as many")


def _matrix(shape: Sequence[int]) -> tuple[int, int]:
    return (shape[0], prod(shape[1:])) if len(shape) > 1 else (1, prod(shape))


def _leaves(batch: Any) -> Iterator[Tensor]:
    """Give the tensors of a nested batch."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for each in batch.values():
            yield from _leaves(each)
    elif isinstance(batch, tuple | list):
        for each in batch:
            yield from _leaves(each)
    else:
        raise TypeError(f"the batch holds {type(batch).__name__}: give tensors, in tuples, lists or dicts")


def _each(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change every tensor of a nested batch."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: _each(each, change) for name, each in batch.items()}
    made = getattr(type(batch), "_make", type(batch))  # named tuples
    return made(_each(each, change) for each in batch)
