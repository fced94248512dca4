"""Seconds and memory of a language model of ten million parameters, from its pairs to groups.

Weights, answers and tastes are drawn: what is timed does not depend on what the model has learned. Adapters
are of low rank (LoRA, Hu et al. 2022, ICLR), in the attention of every layer. Each run is a process of its
own, as memory is told by the most that it has taken, less what it took for the model and the pairs.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from analysis.preferences.language import SmallTransformer
from gradex.preferences import Answers, DPOGrouping, PreferencePairs
from gradex.seeds import child, generator_for


@dataclass(frozen=True)
class Size:
    """A model, its adapters, and how many pairs there are of how many tokens."""

    width: int
    layers: int
    heads: int
    words: int
    rank: int
    pairs: int
    length: int
    memory: int


_LAPTOP = Size(
    width=352, layers=6, heads=8, words=4096, rank=12, pairs=5000, length=32, memory=2**29
)  # fmt: skip
SIZES = {
    "smoke": Size(width=16, layers=1, heads=2, words=64, rank=1, pairs=80, length=8, memory=2**22),
    "laptop": _LAPTOP,
    "paper": _LAPTOP,
}
_OBJECTIVES, _GROUPS = 12, 3


class LowRank(nn.Module):
    """A frozen linear layer, and what an adapter of low rank adds to it."""

    def __init__(self, base: nn.Module, rank: int) -> None:
        super().__init__()
        outputs, inputs = base.get_parameter("weight").shape
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.zeros(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, seen: Float[Tensor, "*N inputs"]) -> Float[Tensor, "*N outputs"]:
        """Give both together."""
        return self.base(seen) + seen @ self.down.T @ self.up.T


def adapted(size: Size, seed: int) -> SmallTransformer:
    """Draw a model with adapters."""
    module = SmallTransformer(size.width, size.layers, size.heads, size.words, size.length)
    module.requires_grad_(False)
    for layer in module.layers:
        layer.add_module("attention", LowRank(layer.get_submodule("attention"), size.rank))
    numbers = torch.Generator().manual_seed(child(seed, "weights") % 2**32)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1 and not name.endswith("up"):
                parameter.normal_(0, parameter.shape[-1] ** -0.5, generator=numbers)
            elif name.endswith("bias"):
                parameter.zero_()
    return module


def drawn(size: Size, seed: int) -> PreferencePairs:
    """Draw pairs of answers; objectives of a group prefer the same tokens."""
    rng = generator_for(seed, "answers")
    asked = size.length // 4
    tokens = rng.integers(1, size.words, size=(2, size.pairs, size.length))
    tokens[1, :, :asked] = tokens[0, :, :asked]
    counted = np.zeros((size.pairs, size.length), dtype=bool)
    counted[:, asked:] = True
    first, second = (Answers(torch.from_numpy(each), torch.from_numpy(counted)) for each in tokens)
    liked = rng.standard_normal((_GROUPS, size.words))
    scores = (liked[:, tokens[0]] - liked[:, tokens[1]])[..., asked:].sum(axis=-1)
    labels = np.sign(np.repeat(scores, _OBJECTIVES // _GROUPS, axis=0))
    return PreferencePairs(first, second, labels)


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per stage.

    Returns
    -------
    DataFrame
        stage, stage_seconds, cpu_seconds, memory (GB, the most by the end of the stage beyond what model and
        pairs take), parameters, trained (parameters of the adapters), pairs, seed.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pd.DataFrame(pool.submit(run, seed, scale).result())


def run(seed: int, scale: str) -> Sequence[dict[str, Any]]:
    """Group the objectives, in this process."""
    size = SIZES[scale]
    module, pairs = adapted(size, seed), drawn(size, seed)
    counts = [each.numel() for each in module.parameters()]
    trained = sum(each.numel() for each in module.parameters() if each.requires_grad)
    told = {"parameters": sum(counts), "trained": trained, "pairs": len(pairs), "seed": seed}
    before, start = _gigabytes(), time.process_time()
    grouping = DPOGrouping(k=_GROUPS, steps=0, memory=size.memory, seed=seed).fit(module, pairs)
    spent, memory = time.process_time() - start, _gigabytes() - before
    stages = {**grouping.seconds_, "all": sum(grouping.seconds_.values())}
    rows = [{"stage": stage, "stage_seconds": seconds, **told} for stage, seconds in stages.items()]
    rows[-1] |= {"cpu_seconds": spent, "memory": memory}
    return rows


def _gigabytes() -> float:
    """Give the most memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
