"""Soft modularization: modules that all tasks share, routed softly by state and task."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.functional import relu

from gradex.policies.layers import Layer, TaskNetwork, affine, chain, embed, embedding, mix
from gradex.policies.stack import Observations, Outputs, Rows, Tape, Tasks


@dataclass(frozen=True)
class SoftModularization(TaskNetwork):
    """Base network of modules, with a routing network (Yang, Xu, Wu and Wang 2020, NeurIPS, Sec. 4).

    The base network has L layers of n modules. From the embeddings f(s) of the state and h(z_τ) of the
    one-hot task, both of dimension D, the routing network gives L - 1 matrices p^l, n x n,

        p^1     = W_d^1 ReLU(f(s) ∘ h(z_τ)),
        p^{l+1} = W_d^{l+1} ReLU((W_u^l p^l) ∘ f(s) ∘ h(z_τ)),

    whose rows become probabilities p̂_ij^l, the share of module j of layer l in what enters module i of layer
    l + 1, by a softmax over the source j. The modules compute, with g_j^1 = f(s),

        g_i^{l+1} = Σ_j p̂_ij^l ReLU(W_j^l g_j^l),

    and the result is Σ_j W_j^L g_j^L. ReLU as in the paper, here and inside f.

    Departures:

    1. f ends in ReLU before it enters the modules, as in the authors' code: W_j^1 f(s) would otherwise be two
       linear maps in a row. The product with h has f as it is.
    2. Layers have biases, which the paper does not write: one for Σ_j W_j^L g_j^L together, none for h, where
       it would do nothing that the embedding does not.
    3. The bias of W_u starts at 1, so that every p^l starts like p^1; without it a small p^l would switch
       p^{l+1} off. W_d starts small, that is, routing starts close to even.
    4. We keep to the paper where the authors' code differs from it: that mixes before the ReLU, hands W_u the
       probabilities of all earlier layers, has further layers for f(s) ∘ h(z_τ), and mixes the last modules
       by probabilities before one more affine layer.
    5. All tasks weigh the same in the loss; the paper's weights by SAC's temperatures belong to training.

    Attributes
    ----------
    features, outputs, tasks, layers, width, gain
        As for `MLP`; layers are those of f, then L of modules, and the width is also D.
    module_layers, modules : int
        L and n.

    Examples
    --------
    >>> from gradex.policies import SoftModularization
    >>> net = SoftModularization(features=4, outputs=2, tasks=10, width=8)
    >>> net.shapes["task.weight"], net.shapes["output.weight"]
    ((10, 8), (16, 2))
    """

    module_layers: int = 2
    modules: int = 2

    def __post_init__(self) -> None:
        # With one layer of modules, or one module, there is nothing to route.
        self._require(tasks=1, width=1, module_layers=2, modules=2, layers=self.module_layers + 1)

    @cached_property
    def table(self) -> Mapping[str, Layer]:
        width, pairs = self.width, self.modules**2
        table = chain("state.", [self.features, *[width] * (self.layers - self.module_layers)])
        table["task"] = embedding(self.tasks, width)
        for level in range(self.module_layers - 1):
            if level > 0:
                table[f"routing.{level}.up"] = Layer(pairs, width, bias=1.0)
            table[f"routing.{level}.down"] = Layer(width, pairs, gain=0.1)
        for level in range(self.module_layers - 1):
            table |= {f"module.{level}.{number}": Layer(width, width) for number in range(self.modules)}
        # Σ_j W_j g_j is one product with all modules beside each other.
        return table | {"output": Layer(self.modules * width, self.outputs, self.gain)}

    def forward(
        self, parameters: Rows, observations: Observations, tasks: Tasks, tape: Tape | None = None
    ) -> Outputs:
        named, state = self.split(parameters), observations
        for layer in range(self.layers - self.module_layers):
            state = affine(f"state.{layer}", named, state if layer == 0 else relu(state), tape)
        both = state * embed("task", named, tasks, tape)
        routing, inputs = relu(both), [relu(state)] * self.modules
        for level in range(self.module_layers - 1):
            logits = affine(f"routing.{level}.down", named, routing, tape)
            shares = torch.softmax(logits.unflatten(-1, (self.modules, self.modules)), dim=-1)
            active = torch.stack(
                [relu(affine(f"module.{level}.{j}", named, g, tape)) for j, g in enumerate(inputs)], dim=2
            )
            inputs = [mix(share, active) for share in shares.unbind(dim=2)]
            if level < self.module_layers - 2:
                routing = relu(affine(f"routing.{level + 1}.up", named, logits, tape) * both)
        return affine("output", named, torch.cat(inputs, dim=-1), tape)
