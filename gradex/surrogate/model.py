"""What the surrogate needs of a model: θ*, gradients of log-probabilities at θ*, and the model moved.

Any torch module is one by `ModuleGradients`, on any of its parameters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from math import prod
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call, grad, vmap

from gradex.surrogate.gradients import Dense, FactoredGradients

#: Bytes that gradients under way may take, and how many copies of them differentiation keeps at once; of what
#: layers keep for it, there is one copy, and the gradient of it.
_MEMORY, _COPIES, _KEPT = 256 * 2**20, 4, 2


@runtime_checkable
class Model(Protocol):
    """A model of which each sample has a log-probability, or any other differentiable number.

    `MetaPolicy` is one for transitions, `ModuleGradients` makes one of any torch module. A model may also
    have a `layout`: the shapes (rows, columns) of the matrices that make up a gradient, whose entries add up
    to p; the projection "khatri-rao" pays only with one.

    Examples
    --------
    A density of one parameter, the normal distribution of mean θ:

    >>> import numpy as np
    >>> import torch
    >>> from gradex.surrogate import Model, Samples, SurrogateEstimator
    >>> class Normal:
    ...     def __init__(self, mean, values):
    ...         self.parameters, self.values = np.array([mean]), torch.from_numpy(values)
    ...     def gradients(self, samples, rows, dtype):
    ...         yield (self.values[rows, None] - self.parameters[0]).to(dtype)
    ...     def log_prob(self, parameters, samples, rows):
    ...         return -((self.values[rows] - parameters) ** 2) / 2
    ...     def with_parameters(self, parameters):
    ...         return Normal(parameters[0], self.values.numpy())
    >>> values = np.random.default_rng(0).normal(size=40)
    >>> model = Normal(0.5, values)
    >>> isinstance(model, Model)
    True
    >>> samples = Samples(np.sign(values), tasks=np.arange(40) // 20)
    >>> SurrogateEstimator(projection="none").fit(model, samples).features.shape
    (40, 1)
    """

    @property
    def parameters(self) -> Float[np.ndarray, " p"]:
        """θ*."""

    def gradients(
        self, samples: Any, rows: Int[np.ndarray, " k"], dtype: torch.dtype
    ) -> Iterator[FactoredGradients | Tensor]:
        """Differentiate the log-probabilities of these samples at θ*, batch by batch and in their order."""

    def log_prob(
        self, parameters: Float[Tensor, "stack p"], samples: Any, rows: Int[np.ndarray, " k"]
    ) -> Float[Tensor, "stack k"]:
        """Give the log-probabilities of these samples at some other parameters, in their precision."""

    def with_parameters(self, parameters: Float[np.ndarray, " p"]) -> "Model":
        """Give the model at other parameters."""


class _Scored(nn.Module):
    """The log-probability as a module's own output, so that its parameters can be exchanged for a call."""

    def __init__(self, module: nn.Module, log_prob: Callable[[nn.Module, Any], Tensor]) -> None:
        super().__init__()
        self.module, self._log_prob = module, log_prob

    def forward(self, batch: Any) -> Tensor:
        return self._log_prob(self.module, batch)


class ModuleGradients:
    """A torch module with its samples, as the surrogate needs it: a `Model`.

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
        Bytes, about, that gradients under way may take with what layers keep for them.

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
        """θ*, the chosen parameters one after the other, at least in single precision."""
        pieces = [self.module.get_parameter(name).detach().flatten() for name in self.names]
        theta = torch.cat(pieces).cpu()
        return theta.to(torch.promote_types(theta.dtype, torch.float32)).numpy().copy()

    @property
    def layout(self) -> list[tuple[int, int]]:
        """Each parameter as a matrix: its first axis by all others."""
        return [(shape[0] if len(shape) > 1 else 1, prod(shape[1:] or shape)) for shape in self._shapes]

    def gradients(
        self, samples: Any, rows: Int[np.ndarray, " k"], dtype: torch.dtype
    ) -> Iterator[FactoredGradients]:
        """Differentiate the log-probabilities of these samples, batch by batch."""
        self._check(samples)
        theta, fixed = torch.from_numpy(self.parameters), self._fixed(dtype)

        def log_prob(parameters: dict[str, Tensor], sample: Any) -> Tensor:
            alone = _each(sample, lambda leaf: leaf.unsqueeze(0))
            return functional_call(self._scored, fixed | parameters, (alone,)).sum()

        differentiate = vmap(grad(log_prob), in_dims=(None, 0))
        for chosen in torch.from_numpy(rows).split(self.together(dtype)):
            found = differentiate(self._named(theta, dtype), self._chosen(chosen, dtype))
            yield FactoredGradients(
                [
                    Dense(found[f"module.{name}"].detach().reshape(len(chosen), *shape))
                    for name, shape in zip(self.names, self.layout, strict=True)
                ]
            )

    def together(self, dtype: torch.dtype = torch.float32) -> int:
        """Tell how many samples are differentiated together, so that they fit into the memory.

        What layers keep of a sample is measured on the first one.
        """
        named = self._named(torch.from_numpy(self.parameters), dtype)
        fixed, kept = self._fixed(dtype), {}
        own = {tensor.untyped_storage().data_ptr() for tensor in (*named.values(), *fixed.values())}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        learned = {name: each.detach().requires_grad_() for name, each in named.items()}
        first = self._chosen(torch.zeros(1, dtype=torch.int64), dtype)
        with torch.enable_grad(), saved_tensors_hooks(note, lambda tensor: tensor):
            # The result is held, as memory that is let go would be counted twice.
            _result = functional_call(self._scored, fixed | learned, (first,))
        sizes = sum(prod(shape) for shape in self._shapes)
        each = _COPIES * dtype.itemsize * sizes + _KEPT * sum(kept.values())
        return max(1, self.memory // each)

    def log_prob(
        self, parameters: Float[Tensor, "stack p"], samples: Any, rows: Int[np.ndarray, " k"]
    ) -> Float[Tensor, "stack k"]:
        """Give the log-probabilities of these samples at other parameters, one row after the other."""
        self._check(samples)
        dtype = parameters.dtype
        batch, fixed = self._chosen(torch.from_numpy(rows), dtype), self._fixed(dtype)
        with torch.no_grad():
            moved = (fixed | self._named(row, dtype) for row in parameters)
            return torch.stack([functional_call(self._scored, named, (batch,)) for named in moved])

    def with_parameters(self, parameters: Float[np.ndarray, " p"]) -> "ModuleGradients":
        """Give a copy of the module at other parameters, with the same samples."""
        module = deepcopy(self.module)
        moved = self._named(torch.from_numpy(np.asarray(parameters)), torch.float64)
        with torch.no_grad():
            for name in self.names:
                module.get_parameter(name).copy_(moved[f"module.{name}"])
        return ModuleGradients(module, self.log_prob_of, self.batch, self.names, self.memory)

    # ------------------------------------------------------------------ pieces
    @property
    def _device(self) -> torch.device:
        return next(self.module.parameters()).device

    def _named(self, theta: Float[Tensor, " p"], dtype: torch.dtype) -> dict[str, Tensor]:
        """View parameters by name, where the module is."""
        pieces = theta.to(self._device, dtype).split([prod(shape) for shape in self._shapes])
        return {
            f"module.{name}": piece.reshape(shape)
            for name, shape, piece in zip(self.names, self._shapes, pieces, strict=True)
        }

    def _fixed(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Give everything else that the module holds, in this precision."""
        held = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        return {
            f"module.{name}": _in_precision(value.detach(), dtype)
            for name, value in held.items()
            if name not in self.names
        }

    def _chosen(self, rows: Int[Tensor, " k"], dtype: torch.dtype) -> Any:
        """Give some samples of the batch, where the module is."""
        return _each(
            self.batch, lambda leaf: _in_precision(leaf[rows.to(leaf.device)].to(self._device), dtype)
        )

    def _check(self, samples: Any) -> None:
        if len(samples) != len(self):
            raise ValueError(f"the batch has {len(self)} samples for {len(samples)} advantages: give as many")


def _in_precision(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _leaves(batch: Any) -> Iterator[Tensor]:
    """Give the tensors of a nested batch."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping | tuple | list):
        for each in batch.values() if isinstance(batch, Mapping) else batch:
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
