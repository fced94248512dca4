"""CARE: a mixture of encoders, to which the context of a task attends."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from gradex.policies.layers import Layer, TaskNetwork, affine, chain, embed, embedding, mix, perceptron
from gradex.policies.stack import Observations, Outputs, Rows, Tape, Tasks
from gradex.policies.tanh import tanh


@dataclass(frozen=True)
class CARE(TaskNetwork):
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
    features, outputs, tasks, layers, width, gain
        As for `MLP`; layers include those of an encoder, encodings and context are as wide.
    encoders : int
        k; the paper uses 6 for MT10.
    encoder_layers : int
        Number of affine layers of each encoder.

    Examples
    --------
    >>> from gradex.policies import CARE
    >>> net = CARE(features=4, outputs=2, tasks=10, width=8, encoders=3)
    >>> net.shapes["embedding.weight"], net.shapes["policy.0.weight"]
    ((10, 8), (16, 8))
    """

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
        self, parameters: Rows, observations: Observations, tasks: Tasks, tape: Tape | None = None
    ) -> Outputs:
        named = self.split(parameters)
        context = affine("context", named, tanh(embed("embedding", named, tasks, tape)), tape)
        encoders = (f"encoder.{number}." for number in range(self.encoders))
        encodings = torch.stack(
            [perceptron(each, self.encoder_layers, named, observations, tape) for each in encoders], dim=2
        )
        scores = (encodings * context.unsqueeze(2)).sum(dim=-1) / self.width**0.5
        mixture = mix(torch.softmax(scores, dim=-1), encodings)
        both = torch.cat([mixture, context], dim=-1)
        return perceptron("policy.", self.layers - self.encoder_layers, named, both, tape)
