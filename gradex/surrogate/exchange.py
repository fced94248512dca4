"""A user's module, called with other tensors than its own, and left as it was."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

#: Containers whose entries are put back; others may forbid it.
_PLAIN = (dict, OrderedDict, defaultdict, set, list, deque)


@contextmanager
def as_before(module: nn.Module) -> Iterator[None]:
    """Put back whatever a module and its parts hold as attributes, and in attributes that are containers.

    A call may leave tensors of its own there, which are dead afterwards, and `torch.func.functional_call`
    puts them in place of the parameters of a layer that stands in two places.
    """
    held: list[Any] = [vars(part) for part in module.modules()]
    held += [each for own in held for each in own.values() if type(each) in _PLAIN]
    before = [(own, own.copy()) for own in held]
    try:
        yield
    finally:
        for own, was in before:
            own.clear()
            own.extend(was) if isinstance(own, list | deque) else own.update(was)


def call_with(module: nn.Module, held: Mapping[str, Tensor], *given: Any) -> Any:
    """Call a module with these tensors in place of its own of the same names."""
    with as_before(module):
        return functional_call(module, dict(held), given)


def own_copy(module: nn.Module) -> nn.Module:
    """Copy a module; tensors that are attributes, with the graph that made them, as numbers.

    They cannot be copied otherwise; `torch.nn.utils.weight_norm` makes such.
    """
    attributes = [each for part in module.modules() for each in vars(part).values()]
    made = [each for each in attributes if isinstance(each, Tensor) and not each.is_leaf]
    return deepcopy(module, {id(each): each.detach().clone() for each in made})


def written_in_calls(module: nn.Module) -> set[str]:
    """Name the parameters that a layer brings to length when it is called: embeddings with a `max_norm`."""
    layers = [part for part in module.modules() if getattr(part, "max_norm", None) is not None]
    own = {id(each) for layer in layers for each in layer.parameters(recurse=False)}
    return {name for name, each in module.named_parameters() if id(each) in own}
