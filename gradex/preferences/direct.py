"""Direct preference optimisation of some parameters of a language model (Rafailov et al. 2023, NeurIPS).

An objective that prefers answer y₁ to y₂ asks for a margin z = β [D(θ) - D(θ_ref)] that is positive, with
D(θ) = log π_θ(y₁ | x) - log π_θ(y₂ | x), and pays log(1 + exp(-z)) of loss. For the surrogate a pair is a
sample with the advantage 1 or -1, gβ∇D its features, and the margin at the start its offset z₀; its loss,
Eq. (3) of PolicyGradEx, then is no model of the loss but the loss itself, linearised:

    log(1 + exp(-y (z₀ + g·δ))),    g = β ∇D.
"""

import warnings
from collections.abc import Iterable, Sequence
from copy import copy
from functools import cached_property, partial

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import vmap

from gradex.preferences.answers import Answers
from gradex.preferences.draws import PairDraws
from gradex.preferences.language_model import MEMORY, LogProb, answer_log_prob, evaluating
from gradex.preferences.pairs import PreferencePairs
from gradex.progress import bar
from gradex.seeds import child
from gradex.settings import as_seed, check_subsets, whole
from gradex.surrogate import ModuleGradients, Samples
from gradex.surrogate.exchange import call_with, own_copy
from gradex.surrogate.scored import Scored, unbatched
from gradex.tensors import without_autocast
from gradex.threads import threads_for

#: Of parameters that are trained in single precision: steps would be lost in their rounding.
_HALF = (torch.bfloat16, torch.float16)


class DirectPreferences:
    """Pairs of answers as a language model sees them, whose parameters, or those of an adapter, may change.

    Everything happens in evaluation mode, without dropout, and of a module whose parameters have half
    precision in a copy of single precision.

    Parameters
    ----------
    module : torch.nn.Module
        A causal language model at its start θ*.
    pairs : PreferencePairs
    beta : float
        β, how strongly the reference holds.
    reference : torch.nn.Module, optional
        θ_ref where that is not the start itself.
    parameters : iterable of str, optional
        Names of the parameters that are trained, as `module.named_parameters()` has them; by default all that
        require a gradient, which are those of the adapter where peft has added one.
    log_prob : callable
        `log_prob(module, answers)` gives the log-probability of each answer [N].
    memory : int
        Bytes that differentiation may take at a time, about; the model itself and what is kept of each pair
        come on top.

    Attributes
    ----------
    given : torch.nn.Module
        The module as it was given.
    model : ModuleGradients
        Whose number for a pair is β D(θ). Its gradients are taken as the module is: see `evaluating`.

    Raises
    ------
    ValueError
        If β is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from gradex.preferences import DirectPreferences, PreferencePairs
    >>> model = torch.nn.Sequential(torch.nn.Embedding(4, 2), torch.nn.Linear(2, 4))
    >>> generator = torch.Generator().manual_seed(0)
    >>> for parameter in model.parameters():
    ...     _ = torch.nn.init.normal_(parameter, generator=generator)
    >>> labels = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> pairs = PreferencePairs.of_tokens([[0], [0]], [[1], [2]], [[2], [3]], labels)
    >>> preferences = DirectPreferences(model, pairs, parameters=["1.bias"])
    >>> tuned = preferences.tune([(0,), (1,)], steps=50, learning_rate=0.1)
    >>> tuned.shape, preferences.evaluate(tuned).accuracy.tolist()
    (torch.Size([2, 4]), [1.0, 0.5, 0.5, 1.0])
    """

    def __init__(
        self,
        module: nn.Module,
        pairs: PreferencePairs,
        beta: float = 0.1,
        reference: nn.Module | None = None,
        parameters: Iterable[str] | None = None,
        log_prob: LogProb = answer_log_prob,
        memory: int = MEMORY,
    ) -> None:
        if not 0 < beta < np.inf:
            raise ValueError(f"beta is {beta}: give a positive number")
        self.pairs, self.beta, self.log_prob = pairs, beta, log_prob
        batch = (pairs.first, pairs.second)
        self.given = module
        self.model = ModuleGradients(module, self._log_odds, batch, parameters, memory)
        own = (module.get_parameter(name).dtype for name in self.model.names)
        if any(dtype in _HALF for dtype in own):
            single, names = _in_single_precision(module), self.model.names
            self.model = ModuleGradients(single, self._log_odds, batch, names, memory)
        self._together: int | None = None
        self._other = None if reference is None or reference is module else self._as_precise(reference)

    @cached_property
    def reference(self) -> Float[Tensor, " N"]:
        """Give β D(θ_ref), worked out when it is first asked for."""
        return self._at_start() if self._other is None else self._log_odds_of(self._other, {})

    @property
    def module(self) -> nn.Module:
        """The language model, in the precision of `model`."""
        return self.model.module

    def samples(self) -> Samples:
        """Give the pairs as the surrogate needs them, with the margins at the start as offsets."""
        if self._other is None:
            return self.pairs.samples()
        offsets = self._at_start() - self.reference
        return self.pairs.samples(offsets.double().numpy())

    def margins(self, parameters: Float[Tensor, "stack p"]) -> Float[Tensor, "stack N"]:
        """Give z = β [D(θ) - D(θ_ref)] of every pair, for each row of parameters."""
        parameters, size = torch.as_tensor(parameters, device="cpu"), len(self.model.parameters)
        if parameters.shape[1:] != (size,):
            raise ValueError(f"parameters have the shape {tuple(parameters.shape)}: give rows of {size}")
        rows = torch.arange(len(self.pairs), device="cpu").split(self._chunk())
        with evaluating(self.module), threads_for(self._tokens(len(rows[0]))):
            found = [self.model.log_prob(parameters, self.pairs, each.numpy()) for each in rows]
        return torch.cat(found, dim=1).cpu() - self.reference

    def evaluate(self, parameters: Float[Tensor, "stack p"]) -> pd.DataFrame:
        """Tell the loss and how often the preferred answer has the larger margin, which counts half if equal.

        Returns
        -------
        pandas.DataFrame
            Columns row (of the parameters), objective (its number), loss, accuracy; over the pairs that the
            objective has labelled.
        """
        known = ~np.isnan(self.pairs.labels)
        signed = np.where(known, self.pairs.labels * self.margins(parameters).double().numpy()[:, None], 0.0)
        right, loss = (signed > 0) + 0.5 * (signed == 0), np.logaddexp(0, -signed)
        told = {"loss": (loss * known).sum(axis=-1), "accuracy": (right * known).sum(axis=-1)}
        row, objective = np.indices(signed.shape[:2]).reshape(2, -1)
        means = {name: (each / known.sum(axis=-1)).ravel() for name, each in told.items()}
        return pd.DataFrame({"row": row, "objective": objective, **means})

    def tune(
        self,
        subsets: Sequence[Sequence[int]],
        steps: int,
        batch: int = 32,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> Float[Tensor, "m p"]:
        """Train the parameters for each subset of objectives, from the start, all as one stack by Adam.

        A step sees as many pairs for each subset: for every one an objective of the subset is drawn, then one
        of the pairs that it has labelled.

        Parameters
        ----------
        subsets : m sequences of int
        steps : int
            For each subset.
        batch : int
            Pairs of a step.
        learning_rate : float
        seed : int
            Equal subsets see equal pairs, in any company.
        """
        steps, batch = whole("steps", steps, 1), whole("batch", batch, 1)
        if not 0 < learning_rate < np.inf:
            raise ValueError(f"learning_rate is {learning_rate}: give a positive number")
        check_subsets(subsets, self.pairs.n)
        side_by_side = max(1, self._chunk() // batch)
        pieces = [subsets[i : i + side_by_side] for i in range(0, len(subsets), side_by_side)]
        known = steps, batch, learning_rate, child(as_seed(seed), "direct preference optimisation")
        # Not in a mode in which nothing could be trained, or not precisely.
        with evaluating(self.module), torch.inference_mode(False), without_autocast():
            try:
                return torch.cat([self._tuned(piece, *known) for piece in pieces])
            except RuntimeError as error:
                found = torch.cat([self._tuned([subset], *known, alone=True) for subset in subsets])
                warnings.warn(unbatched("each subset is trained alone", error), stacklevel=2)
                return found

    def tune_groups(
        self,
        groups: Sequence[Sequence[int]],
        steps: int,
        batch: int = 32,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> Float[Tensor, "groups p"]:
        """Train each group for its share of the steps, by how many of all objectives it has; see `tune`.

        So all ways to group the objectives cost the same. With 0 steps it is the start.
        """
        check_subsets(groups, self.pairs.n)
        found = torch.from_numpy(self.model.parameters).repeat(len(groups), 1)
        for size in sorted({len(group) for group in groups}):
            rows = [row for row, group in enumerate(groups) if len(group) == size]
            share = round(whole("steps", steps, 0) * size / self.pairs.n)
            if share:
                own = self.tune([groups[row] for row in rows], share, batch, learning_rate, seed)
                found[rows] = own.to(found)
        return found

    def named(self, parameters: Float[Tensor, " p"], module: nn.Module) -> dict[str, Tensor]:
        """Give a row of parameters by their names, each where a module has it, and of its type."""
        own = [module.get_parameter(name) for name in self.model.names]
        pieces = parameters.split([each.numel() for each in own])
        return {
            name: piece.reshape(each.shape).to(each.device, each.dtype, copy=True)
            for name, each, piece in zip(self.model.names, own, pieces, strict=True)
        }

    def on(self, pairs: PreferencePairs, reference: nn.Module | None = None) -> "DirectPreferences":
        """Give the same start and reference for other pairs; or another reference, where one is given."""
        other = copy(self)
        other.pairs, other.model, other._together = pairs, copy(self.model), None
        other.model.batch = (pairs.first, pairs.second)
        if reference is not None:
            other._other = self._as_precise(reference)
        vars(other).pop("reference", None)
        return other

    # ------------------------------------------------------------------ pieces
    def _start(self) -> dict[str, Tensor]:
        """Give θ* by the names of `Scored`; the module itself may have been trained since."""
        own = self.named(torch.from_numpy(self.model.parameters), self.module)
        return {f"module.{name}": each for name, each in own.items()}

    def _as_precise(self, reference: nn.Module) -> nn.Module:
        """Give a reference in the precision of `model`."""
        return reference if self.module is self.given else _in_single_precision(reference)

    def _at_start(self) -> Float[Tensor, " N"]:
        return self._log_odds_of(self.module, self._start())

    def _log_odds(self, module: nn.Module, batch: tuple[Answers, Answers]) -> Float[Tensor, " N"]:
        """Give β D(θ); both answers go through the model together."""
        both = Answers(*(torch.cat(leaves) for leaves in zip(*batch, strict=True)))
        first, second = self.log_prob(module, both).chunk(2)
        return self.beta * (first - second)

    def _log_odds_of(self, module: nn.Module, held: dict[str, Tensor]) -> Float[Tensor, " N"]:
        """Give β D of every pair at a module, in which some parameters are exchanged."""
        device, scored = next(module.parameters()).device, Scored(module, self._log_odds)
        rows = torch.arange(len(self.pairs), device="cpu").split(self._chunk())
        with evaluating(module), torch.no_grad(), without_autocast(), threads_for(self._tokens(len(rows[0]))):
            found = [call_with(scored, held, self._batch(each, device)).cpu() for each in rows]
        odds = torch.cat(found)
        if wrong := int((~torch.isfinite(odds)).sum()):
            raise ValueError(f"{wrong} pairs have log-probabilities that are not finite: check the model")
        return odds

    def _batch(self, rows: Int[Tensor, "*stack k"], device: torch.device) -> tuple[Answers, Answers]:
        """Give first and second answers of some pairs, where the module is."""
        first, second = (
            Answers(*(leaf[rows].to(device) for leaf in answers))
            for answers in (self.pairs.first, self.pairs.second)
        )
        return first, second

    def _chunk(self) -> int:
        if self._together is None:
            with evaluating(self.module):
                self._together = min(self.model.together(), len(self.pairs))
        return self._together

    def _tokens(self, pairs: int) -> int:
        return 2 * pairs * self.pairs.first.tokens.shape[1]

    def _tuned(
        self,
        subsets: Sequence[Sequence[int]],
        steps: int,
        batch: int,
        learning_rate: float,
        seed: int,
        alone: bool = False,
    ) -> Float[Tensor, "m p"]:
        """Train a stack of parameters, one subset each, or those of a single subset without vmap."""
        stack = {name: each.repeat(len(subsets), *[1] * each.ndim) for name, each in self._start().items()}
        learned = [each.requires_grad_() for each in stack.values()]
        optimizer, device = torch.optim.Adam(learned, lr=learning_rate), learned[0].device
        draws = PairDraws(self.pairs.labels, subsets, seed)
        odds = partial(call_with, Scored(self.module, self._log_odds))

        def descend(signs: Tensor, reference: Tensor, odds: Tensor) -> None:
            # What else of the module requires a gradient keeps the one that it has.
            (F.softplus(-signs * (odds - reference)).sum() / batch).backward(inputs=learned)

        together = max(1, min(batch, self._chunk() // len(subsets)))
        with threads_for(self._tokens(len(subsets) * together)), torch.enable_grad():
            for _ in bar(range(steps), "preferences"):
                rows, labels = draws.batch(batch)
                optimizer.zero_grad()
                for part in torch.arange(batch, device="cpu").split(together):
                    places, signs = rows[:, part], labels[:, part].to(device)
                    then = partial(descend, signs, self.reference[places].to(device))
                    if alone:
                        own = {name: each[0] for name, each in stack.items()}
                        odds(own, self._batch(places[0], device), then)
                    else:
                        then(vmap(odds)(stack, self._batch(places, device)))
                optimizer.step()
        return torch.cat([each.detach().flatten(1) for each in learned], dim=1).cpu()


def _in_single_precision(module: nn.Module) -> nn.Module:
    """Copy a module, in evaluation mode."""
    with torch.inference_mode(False):
        return own_copy(module).float().eval()
