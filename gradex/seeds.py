"""Random numbers: a seed for every purpose, and a stream for each of many environments or policies.

No two purposes share a generator: whatever takes a seed names what it needs numbers for, and gets the child
of the seed with this name. NumPy alone does not keep them apart: `default_rng(7)` and `default_rng([7, 0])`
are the same.

A generator that environments share hands out numbers in the order in which they are asked for, so what one of
them sees would depend on its neighbours. Here the numbers of a stream are a function of its key and a counter
alone: a policy meets the same starts and draws the same noise in any company, which is what makes a stack of
policies equal to separate runs, and common random numbers exact.
"""

import hashlib
from collections.abc import Sequence
from math import prod

import numpy as np
from jaxtyping import Float, Float64, Int, UInt64
from scipy.special import ndtri

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """Finaliser of SplitMix64 (Steele, Lea and Flood 2014, OOPSLA)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def derive(
    keys: Int[np.ndarray, " streams"], branch: Int[np.ndarray, " streams"] | int
) -> Int[np.ndarray, " streams"]:
    """Give the key of branch number `branch` of each stream; different branches are independent."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        mixed = _mix(_mix(keys.astype(np.uint64) * _GOLDEN) + np.asarray(branch).astype(np.uint64) * _GOLDEN)
    return mixed.astype(np.int64)


def uniforms(keys: Int[np.ndarray, " streams"], size: int) -> Float64[np.ndarray, "streams size"]:
    """Give the first `size` numbers of each stream, uniform in the open interval (0, 1).

    Keys are from `derive`: neighbouring plain integers would give streams that overlap.
    """
    with np.errstate(over="ignore"):
        counter = np.arange(1, size + 1, dtype=np.uint64) * _GOLDEN
        bits = _mix(keys.astype(np.uint64)[:, None] + counter)
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def child(seed: int, purpose: str, number: int = 0) -> int:
    """Give the seed that a seed has for one purpose, from 0 to 2**62 - 1; a number tells repetitions apart.

    Different purposes have independent seeds.

    Examples
    --------
    >>> from gradex.seeds import child
    >>> child(0, "evaluation")
    4557168052262152164
    >>> child(0, "evaluation") == child(0, "evaluation", 1)
    False
    """
    named = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little", signed=True)
    return int(derive(derive(np.array([seed]), np.array([named])), number)[0]) % 2**62


def generator_for(seed: int, purpose: str, number: int = 0) -> np.random.Generator:
    """Give NumPy's generator with the `child` of a seed."""
    return np.random.default_rng(child(seed, purpose, number))


class Streams:
    """One random stream per policy, drawn from together. Policies with equal seeds draw equal numbers.

    A branch separates the purposes that one seed serves: weights, actions, minibatches. `draws` counts how
    often was drawn: all that there is to keep, and to set where work goes on.
    """

    def __init__(self, seeds: Sequence[int], branch: int = 0) -> None:
        self._keys = derive(np.asarray(seeds, dtype=np.int64), branch)
        self.draws = 0

    def __len__(self) -> int:
        return len(self._keys)

    def uniforms(self, *shape: int) -> Float[np.ndarray, "policies ..."]:
        """Draw from every stream, uniform in (0, 1), as an array [policies, *shape].

        The numbers depend on the key, on how many draws came before, and on nothing else.
        """
        # Every draw is a branch of its own: a longer draw begins with the numbers of a shorter one, and what
        # follows is the same.
        numbers = uniforms(derive(self._keys, self.draws), prod(shape))
        self.draws += 1
        return numbers.reshape(len(self), *shape)

    def normals(self, *shape: int) -> Float[np.ndarray, "policies ..."]:
        """Draw from every stream, standard normal, as an array [policies, *shape]."""
        return ndtri(self.uniforms(*shape))
