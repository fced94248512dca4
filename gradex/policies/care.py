"""CARE: a mixture of encoders, to which the context of a task attends."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.policies.layers import Layer, LayeredNetwork, chain, embed, embedding, mix
from gradex.policies.stack import Tape, affine


@dataclass(frozen=True)
class CARE(LayeredNetwork):
    """Contextual attention-based representations (Sodhani, Zhang and Pineau 2021, ICML; Figure 3).

    A context encoder turns what is known of the task τ into z_context; k encoders turn the state s into
    z_enc^1 to z_enc^k; the context attends to them; and the policy π takes their mixture beside the context:

        α_i = softmax over i of z_enc^i · z_context / √width,
        z_enc = Σ_i α_i z_enc^i,
        network(s, τ) = π([z_enc, z_context]).

    Departures:

    1. The paper embeds a sentence that describes the task with a pretrained language model, and learns the
       feed-forward network after it. Here the embedding is learned too: a linear layer on the one-hot task,
       from which z_context = W tanh(embedding) + b.
    2. Scores are divided by √width, as in attention elsewhere (Vaswani et al. 2017), so that their spread at
       the start does not grow with the width. The paper says that the scores are between z_enc^i and
       z_context, not which product it takes; the authors' code has them from the context alone.
    3. Gradients flow from the attention into the context, which the authors' code can stop.
    4. tanh where the authors' code has ReLU, so that nothing but the representation differs from `MLP`.
    5. Actor and critic have encoders and contexts of their own, each learned from its own loss; the authors'
       code shares them, and only the critic's loss moves them.

    Attributes
    ----------
    features, outputs : int
        Size of an observation and of the result.
    tasks : int
        Number of contexts; `forward` takes indices below it.
    layers : int
        Number of affine layers from an observation to the result, those of an encoder included.
    width : int
        Size of every hidden layer, of the encodings and of the context.
    gain : float
        Scale of the last layer at the start.
    encoders : int
        k; the paper uses 6 for MT10.
    encoder_layers : int
        Number of affine layers of each encoder.

    Examples
    --------
    >>> import torch
    >>> from gradex.policies import CARE
    >>> from gradex.seeds import Streams
    >>> net = CARE(features=4, outputs=2, tasks=10, width=8, encoders=3)
    >>> parameters = net.initial(Streams(seeds=[0, 1, 2]))  # three policies in one stack
    >>> tuple(parameters.shape)
    (3, 642)
    >>> observations, tasks = torch.zeros(3, 5, 4), torch.zeros(3, 5, dtype=torch.int64)
    >>> tuple(net.forward(parameters, observations, tasks).shape)
    (3, 5, 2)
    """

    features: int
    outputs: int
    tasks: int
    layers: int = 4
    width: int = 64
    gain: float = 0.01
    encoders: int = 6
    encoder_layers: int = 2

    def __post_init__(self) -> None:
        # One encoder alone needs no attention, and the context would have no gradient from it.
        self._require(tasks=1, width=1, encoders=2, encoder_layers=1, layers=self.encoder_layers + 1)

    @cached_property
    def table(self) -> Mapping[str, Layer]:
        encoder = [self.features, *[self.width] * self.encoder_layers]
        head = [2 * self.width, *[self.width] * (self.layers - self.encoder_layers - 1), self.outputs]
        table = {"embedding": embedding(self.tasks, self.width), "context": Layer(self.width, self.width)}
        for number in range(self.encoders):
            table |= chain(f"encoder.{number}.", encoder)
        return table | chain("policy.", head, self.gain)

    def forward(
        self,
        parameters: Float[Tensor, "policies parameters"],
        observations: Float[Tensor, "policies batch features"],
        tasks: Int[Tensor, "policies batch"],
        tape: Tape | None = None,
    ) -> Float[Tensor, "policies batch outputs"]:
        named = self.split(parameters)
        context = affine("context", named, torch.tanh(embed("embedding", named, tasks, tape)), tape)

        def through(part: str, hidden: Tensor, layers: int) -> Tensor:
            for layer in range(layers - 1):
                hidden = torch.tanh(affine(f"{part}.{layer}", named, hidden, tape))
            return affine(f"{part}.{layers - 1}", named, hidden, tape)

        encodings = torch.stack(
            [through(f"encoder.{i}", observations, self.encoder_layers) for i in range(self.encoders)], dim=2
        )
        scores = (encodings * context.unsqueeze(2)).sum(dim=-1) / self.width**0.5
        mixture = mix(torch.softmax(scores, dim=-1), encodings)
        return through("policy", torch.cat([mixture, context], dim=-1), self.layers - self.encoder_layers)
