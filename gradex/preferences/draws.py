"""Which pairs a step of training sees: for each subset drawn by a stream of its own."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.seeds import Streams


class PairDraws:
    """Draws objectives of each subset, and pairs that they have labelled, by a stream for each subset."""

    def __init__(self, labels: Float[np.ndarray, "n N"], subsets: Sequence[Sequence[int]], seed: int) -> None:
        known = ~np.isnan(labels)
        self._labels = labels
        self._known = _Ragged(np.nonzero(known)[1], known.sum(axis=1))
        self._subsets = _Ragged(np.concatenate(subsets), np.array([*map(len, subsets)]))
        self._streams = Streams([seed] * len(subsets))

    def batch(self, size: int) -> tuple[Int[Tensor, "m size"], Float[Tensor, "m size"]]:
        """Give places of pairs, and their labels."""
        which, place = np.moveaxis(self._streams.uniforms(2, size), 1, 0)
        objectives = self._subsets.at(np.arange(len(which))[:, None], which)
        rows = self._known.at(objectives, place)
        labels = self._labels[objectives, rows].astype(np.float32)
        return torch.from_numpy(rows), torch.from_numpy(labels)


class _Ragged:
    """Lists of different lengths, one behind the other."""

    def __init__(self, values: Int[np.ndarray, " all"], lengths: Int[np.ndarray, " lists"]) -> None:
        self._values, self._lengths = values, lengths
        self._starts = np.cumsum(lengths) - lengths

    def at(self, lists: Int[np.ndarray, "*#m"], shares: Float[np.ndarray, "*#m"]) -> Int[np.ndarray, "*m"]:
        """Give of each list the entry that lies this share of the way, from 0 to 1, along it."""
        return self._values[self._starts[lists] + (shares * self._lengths[lists]).astype(np.int64)]
