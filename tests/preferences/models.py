"""A language model that is small enough for oracles, and pairs of answers for it."""

import numpy as np
import torch
from torch import Tensor, nn

from gradex.preferences import PreferencePairs

WORDS, WIDTH = 7, 6


class Speaker(nn.Module):
    """What comes next depends on all that came before: a causal mean of embeddings, then two layers."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.dropout, self.last = nn.Dropout(0.5), nn.Linear(WIDTH, WORDS)
        numbers = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.5, generator=numbers)

    def forward(self, tokens: Tensor) -> Tensor:
        seen = self.embedding(tokens).cumsum(dim=1)
        return self.last(self.dropout(torch.tanh(self.hidden(seen))))


ADAPTER = ["hidden.weight", "hidden.bias"]


def answers(count: int, seed: int = 0) -> tuple[list, list, list]:
    """Draw prompts and two answers each, of different lengths."""
    rng = np.random.default_rng(seed)

    def text(most: int) -> list[int]:
        return rng.integers(1, WORDS, size=rng.integers(1, most + 1)).tolist()

    return tuple([text(most) for _ in range(count)] for most in (2, 4, 4))  # type: ignore[return-value]


def pairs_of(count: int, n: int = 4, missing: float = 0.0, seed: int = 0) -> PreferencePairs:
    """Make pairs: objectives of even number like words 4 to 6, others do not, with noise."""
    rng = np.random.default_rng([seed, 1])
    prompts, first, second = answers(count, seed)
    liked = np.array([[sum(word > 3 for word in answer) for answer in each] for each in (first, second)])
    better = np.sign(liked[0] - liked[1] + rng.normal(size=count) / 4)
    labels = better * np.where(np.arange(n) % 2, -1, 1)[:, None]
    labels = np.where(rng.random((n, count)) < 0.1, -labels, labels)
    labels[rng.random((n, count)) < missing] = np.nan
    labels[0, np.isnan(labels).all(axis=0)] = 1.0
    return PreferencePairs.of_tokens(prompts, first, second, labels)
