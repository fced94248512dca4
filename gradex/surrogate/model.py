"""What the surrogate needs of a model: θ*, gradients of log-probabilities at θ*, and the model moved.

Any torch module is one by `ModuleGradients`, on any of its parameters.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import prod
from operator import itemgetter
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import grad, vmap

from gradex.settings import shown
from gradex.surrogate.exchange import call_with, own_copy, written_in_calls
from gradex.surrogate.gradients import Dense, FactoredGradients
from gradex.surrogate.independence import check_gradients, check_numbers, unsteady
from gradex.surrogate.scored import Scored, unbatched
from gradex.tensors import changed, in_precision, leaves, without_autocast

#: Bytes that gradients under way may take, and how many copies of them differentiation keeps at once; of what
#: layers keep for it, there is one copy, and the gradient of it.
_MEMORY, _COPIES, _KEPT = 256 * 2**20, 4, 2
#: How many samples are differentiated together too, to see whether that changes their gradients.
_FEW = 8


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


class ModuleGradients:
    """A torch module with its samples, as the surrogate needs it: a `Model`.

    Parameters
    ----------
    module : torch.nn.Module
        At θ*, of which a copy is kept; all else is read from the module whenever it is needed, and never
        written to. It should leave frozen parameters alone, and be in evaluation mode where that matters.
    log_prob : callable
        `log_prob(module, batch)` gives the log-probability of each sample [N], or any other number that
        should rise where the advantage is positive. A sample's must not depend on the others.
    batch : Tensor, or a tuple, list or dict of such
        The samples: every tensor has one entry per sample along its first axis. A mapping comes as a dict.
    parameters : iterable of str, optional
        Names of the parameters that would be trained on, as `module.named_parameters()` has them, for
        instance those of an adapter; by default all that require a gradient.
    memory : float
        Bytes, about, that gradients under way may take with what layers keep for them.

    Raises
    ------
    ValueError
        If there is no such parameter or one is named twice, or tensors of the batch differ in length; later,
        if `log_prob` gives no single number for each sample, or one that depends on chance or on others.

    Warns
    -----
    UserWarning
        If `torch.func.vmap` cannot batch the module, such as one with an LSTM: each sample is differentiated
        alone then, which is exact but slow.

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
        parameters: Iterable[str] | None = None,
        memory: float = _MEMORY,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(f"module is {shown(module)}: give a torch.nn.Module")
        self.module, self.log_prob_of, self.batch, self.memory = module, log_prob, batch, memory
        named = dict(module.named_parameters())
        learned = [name for name, each in named.items() if each.requires_grad]
        self.names = learned if parameters is None else list(parameters)
        if unknown := [name for name in self.names if name not in named]:
            raise ValueError(f"the module has no parameter {unknown[0]!r}: choose from {list(named)}")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"parameter {max(self.names, key=self.names.count)!r} comes twice: name it once")
        if not self.names:
            raise ValueError("no parameter requires a gradient: name those that would be trained on")
        self._shapes = [named[name].shape for name in self.names]
        theta = torch.cat([named[name].detach().flatten() for name in self.names]).cpu()
        self._theta = theta.to(torch.promote_types(theta.dtype, torch.float32)).numpy().copy()
        own = {*self.names, *written_in_calls(module), *(name for name, _ in module.named_buffers())}
        self._copied = {f"module.{name}" for name in own}
        lengths = sorted({len(leaf) for leaf in leaves(batch)})
        if len(lengths) != 1:
            raise ValueError(f"tensors of the batch have {lengths} samples: give each as many, at least one")
        self._scored = Scored(module, log_prob)

    def __len__(self) -> int:
        return len(next(leaves(self.batch)))

    @property
    def parameters(self) -> Float[np.ndarray, " p"]:
        """θ*, the parameters one after the other as they were at first, at least in single precision."""
        return self._theta.copy()

    @property
    def layout(self) -> list[tuple[int, int]]:
        """Each parameter as a matrix: its first axis by all others."""
        return [(shape[0] if len(shape) > 1 else 1, prod(shape[1:] or shape)) for shape in self._shapes]

    def gradients(
        self, samples: Any, rows: Int[np.ndarray, " k"], dtype: torch.dtype
    ) -> Iterator[FactoredGradients]:
        """Differentiate the log-probabilities of these samples, batch by batch."""
        self._check(samples)
        named, fixed = self._named(torch.from_numpy(self._theta), dtype), self._fixed(dtype)
        together = self.together(dtype)
        # Some from all over, as neighbours may be alike.
        few = torch.from_numpy(rows[:: -(-len(rows) // min(max(2, together), _FEW)) or 1])

        def log_prob(parameters: dict[str, Tensor], batch: Any) -> Tensor:
            return self._call(fixed | parameters, batch)

        def alone(parameters: dict[str, Tensor], sample: Any) -> Tensor:
            return log_prob(parameters, changed(sample, lambda leaf: leaf.unsqueeze(0))).sum()

        differentiate = vmap(grad(alone), in_dims=(None, 0))
        for place, chosen in enumerate(torch.from_numpy(rows).split(together)):
            batch = self._chosen(chosen, dtype)
            with without_autocast():
                try:
                    if place == 0 and len(few) > 1:
                        check_gradients(self.module, log_prob, differentiate, named, self._chosen(few, dtype))
                    found = differentiate(named, batch)
                except RuntimeError as error:
                    differentiate = partial(self._one_by_one, fixed)
                    found = differentiate(named, batch)  # refuses what is no fault of vmap
                    warnings.warn(unbatched("each sample is differentiated alone", error), stacklevel=2)
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
        named = self._named(torch.from_numpy(self._theta), dtype)
        learned = {name: each.detach().requires_grad_() for name, each in named.items()}
        with torch.enable_grad():
            held = self._apart(self._fixed(dtype) | learned)
        kept, own = dict[int, int](), {each.untyped_storage().data_ptr() for each in held.values()}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        first = self._chosen(torch.zeros(1, dtype=torch.int64, device="cpu"), dtype)
        with torch.enable_grad(), saved_tensors_hooks(note, lambda tensor: tensor):
            try:
                # The result is held, as memory that is let go would be counted twice.
                _result = self._score(held, first)
            except ValueError as error:
                if "when training" not in str(error):
                    raise
                raise ValueError(unsteady(self.module)) from error
        sizes = sum(prod(shape) for shape in self._shapes)
        each = _COPIES * dtype.itemsize * sizes + _KEPT * sum(kept.values())
        return max(1, int(self.memory // each))

    def log_prob(
        self, parameters: Float[Tensor, "stack p"], samples: Any, rows: Int[np.ndarray, " k"]
    ) -> Float[Tensor, "stack k"]:
        """Give the log-probabilities of these samples at other parameters, one row after the other."""
        self._check(samples)
        dtype = parameters.dtype
        batch, fixed = self._chosen(torch.from_numpy(rows), dtype), self._fixed(dtype)
        with torch.no_grad():
            moved = (fixed | self._named(row, dtype) for row in parameters)
            return torch.stack([self._call(named, batch) for named in moved])

    def with_parameters(self, parameters: Float[np.ndarray, " p"]) -> "ModuleGradients":
        """Give a copy of the module at other parameters, with the same samples."""
        module = own_copy(self.module)
        moved = self._named(torch.from_numpy(np.asarray(parameters)), torch.float64)
        with torch.no_grad():
            for name in self.names:
                module.get_parameter(name).copy_(moved[f"module.{name}"])
        return ModuleGradients(module, self.log_prob_of, self.batch, self.names, self.memory)

    # ------------------------------------------------------------------ pieces
    @property
    def _device(self) -> torch.device:
        return next(self.module.parameters()).device

    def _call(self, held: dict[str, Tensor], *given: Any) -> Any:
        """Score samples with all that the module holds exchanged."""
        return self._score(self._apart(held), *given)

    def _apart(self, held: dict[str, Tensor]) -> dict[str, Tensor]:
        """Copy what a module may write to: what is learned, buffers, and embeddings with a `max_norm`."""
        return held | {name: each.clone() for name, each in held.items() if name in self._copied}

    @without_autocast()
    def _score(self, held: dict[str, Tensor], *given: Any) -> Any:
        """Score samples, and refuse a module that writes to what is no copy: there may be too much of it."""
        shared = {name: each for name, each in held.items() if name not in self._copied}
        versions = {name: each._version for name, each in shared.items() if not each.is_inference()}
        found = call_with(self._scored, held, *given)
        for name, version in versions.items():
            if shared[name]._version != version:
                own = name.removeprefix("module.")
                raise ValueError(f"the module writes to parameter {own!r} in a call: name it in `parameters`")
        return found

    def _one_by_one(
        self, fixed: dict[str, Tensor], named: dict[str, Tensor], batch: Any
    ) -> dict[str, Tensor]:
        """Differentiate sample by sample what vmap cannot batch."""
        learned = {name: each.detach().requires_grad_() for name, each in named.items()}
        values, rows = [], []

        def differentiate(value: Tensor) -> tuple[Tensor, ...]:
            values.append(value.detach())
            found = torch.autograd.grad(value.sum(), tuple(learned.values()), materialize_grads=True)
            return tuple(each.to_dense() for each in found)  # embeddings may have sparse ones

        for place in range(len(next(leaves(batch)))):
            alone = changed(batch, itemgetter(slice(place, place + 1)))
            with torch.enable_grad():
                rows.append(self._call(fixed | learned, alone, differentiate))
        with torch.no_grad():
            together = self._call(fixed | named, batch)
        check_numbers(self.module, torch.cat(values), together)
        return dict(zip(learned, map(torch.stack, zip(*rows, strict=True)), strict=True))

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
            f"module.{name}": in_precision(value.detach(), dtype)
            for name, value in held.items()
            if name not in self.names
        }

    def _chosen(self, rows: Int[Tensor, " k"], dtype: torch.dtype) -> Any:
        """Give some samples of the batch, where the module is."""
        return changed(
            self.batch, lambda leaf: in_precision(leaf[rows.to(leaf.device)].to(self._device), dtype)
        )

    def _check(self, samples: Any) -> None:
        if len(samples) != len(self):
            raise ValueError(f"the batch has {len(self)} samples for {len(samples)} advantages: give as many")
