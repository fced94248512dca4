"""Architectures by name, and widths at which they have equally many parameters."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from types import MappingProxyType

from gradex.policies.care import CARE
from gradex.policies.mlp import MLP, MultiHead
from gradex.policies.paco import PaCo
from gradex.policies.soft_modularization import SoftModularization
from gradex.policies.stack import Network

#: Architectures by name; all but "mlp" see the task.
ARCHITECTURES: Mapping[str, Callable[..., Network]] = MappingProxyType(
    {
        "mlp": MLP,
        "one_hot_mlp": MLP,
        "multi_head": MultiHead,
        "soft_modularization": SoftModularization,
        "paco": PaCo,
        "care": CARE,
    }
)


def network(
    name: str,
    features: int,
    outputs: int,
    tasks: int,
    layers: int = 4,
    width: int = 64,
    gain: float = 0.01,
    layer_norm: bool = False,
) -> Network:
    """Give an architecture by its name, with its own defaults for what only it has.

    Parameters
    ----------
    name : {"mlp", "one_hot_mlp", "multi_head", "soft_modularization", "paco", "care"}
        "mlp" does not see the task.
    features, outputs, tasks, layers, width, gain
        As for `MLP`.
    layer_norm : bool
        Normalise the hidden layers of perceptrons, with one head or many; the others stay as their papers
        have them.

    Raises
    ------
    ValueError
        If the name is unknown, or a size is too small for the architecture.

    Examples
    --------
    >>> from gradex.policies import network
    >>> network("multi_head", features=4, outputs=2, tasks=10, layers=3)
    MultiHead(features=4, outputs=2, tasks=10, layers=3, width=64, gain=0.01, layer_norm=False)
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown network {name!r}: choose {', '.join(map(repr, ARCHITECTURES))}")
    if tasks < 1:
        raise ValueError(f"tasks={tasks} is too few for a network: give at least 1")
    seen = 0 if name == "mlp" else tasks
    settings = {"tasks": seen, "layers": layers, "width": width, "gain": gain}
    if ARCHITECTURES[name] in (MLP, MultiHead):
        settings["layer_norm"] = layer_norm
    return ARCHITECTURES[name](features, outputs, **settings)


def matched_width(name: str, features: int, outputs: int, tasks: int, layers: int, parameters: int) -> int:
    """Give the width at which an architecture's number of parameters is nearest to a target.

    Among two equally near it is the smaller. The parameters of a policy's distribution are not counted.

    Parameters
    ----------
    name, features, outputs, tasks, layers
        As in `network`.
    parameters : int
        The target.

    Raises
    ------
    ValueError
        If the target is not positive, or the architecture has no hidden layer at this depth.

    Examples
    --------
    >>> from gradex.policies import matched_width, network
    >>> size = network("soft_modularization", features=4, outputs=2, tasks=10).size
    >>> width = matched_width("paco", features=4, outputs=2, tasks=10, layers=4, parameters=size)
    >>> size, network("paco", features=4, outputs=2, tasks=10, width=width).size
    (13958, 13885)
    """

    def size(width: int) -> int:
        return network(name, features, outputs, tasks, layers, width).size

    if parameters < 1:
        raise ValueError(f"parameters={parameters} is too few to match: give at least 1")
    if size(1) == size(2):
        raise ValueError(f"{name!r} with layers={layers} has no hidden layer to match: give at least 2")
    # Each unit more adds parameters, at least one, so that the target lies below this bound.
    above = bisect_left(range(parameters + 1), parameters, lo=1, key=size)
    if above == 1:
        return 1
    return min((above - 1, above), key=lambda width: abs(size(width) - parameters))
