"""Pairs of answers to prompts, and what each of n objectives prefers.

An objective labels pairs: it says which of two answers to a prompt is the better one. Objectives may label
the same pairs, pairs of their own, or some of either. These are no `gradex.tasks.preferences`, which are
weights over a vector of rewards.
"""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from numpy.typing import ArrayLike
from torch import Tensor

from gradex.display import card, folded, table
from gradex.preferences.answers import Answers
from gradex.seeds import generator_for
from gradex.surrogate import Samples
from gradex.tensors import from_torch

#: Objectives that a notebook lists.
_LISTED = 40


@dataclass(frozen=True, eq=False, repr=False)
class PreferencePairs:
    """N pairs of answers, each labelled by one objective or more.

    Attributes
    ----------
    first, second : Answers
        To the same prompts, and equally long.
    labels : float array [n, N]
        1 where an objective prefers the first answer, -1 where it prefers the second, nan where it has not
        said so. Every objective labels some pair, every pair is labelled by some objective.
    names : tuple of str, optional
        Of the objectives; "objective 0", "objective 1", ... by default.
    episodes : array [N], optional
        Numbers or names of what is held out or drawn again together, such as all pairs with the same prompt;
        by default every pair stands for itself. Lists and tensors become arrays.

    Raises
    ------
    ValueError
        If arrays do not fit together, a label is something else, or an objective or a pair has none; or if an
        episode is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.preferences import PreferencePairs
    >>> prompts, first, second = [[5], [5], [6]], [[7], [8], [7, 7]], [[8], [9], [9]]
    >>> labels = np.array([[1, -1, np.nan], [-1, 1, 1]])
    >>> pairs = PreferencePairs.of_tokens(prompts, first, second, labels, names=("short", "long"))
    >>> len(pairs), pairs.n, pairs.shared
    (3, 2, 0.6666666666666666)
    >>> joined = PreferencePairs.joined({"mine": pairs.only([0]), "yours": pairs.only([1])})
    >>> joined.labels
    array([[ 1., -1., nan, nan, nan],
           [nan, nan, -1.,  1.,  1.]])
    """

    first: Answers
    second: Answers
    labels: Float[np.ndarray, "n N"]
    names: tuple[str, ...] = ()
    episodes: Shaped[np.ndarray, " N"] | None = None

    def __post_init__(self) -> None:
        labels = np.array(self.labels, dtype=np.float64)
        if labels.ndim != 2 or labels.shape[1] != len(self.first.tokens) or labels.size == 0:
            raise ValueError(
                f"labels have the shape {labels.shape} for {len(self.first.tokens)} pairs: give [n, N]"
            )
        if self.first.tokens.shape != self.second.tokens.shape:
            shapes = [tuple(each.tokens.shape) for each in (self.first, self.second)]
            raise ValueError(f"answers have the shapes {shapes[0]} and {shapes[1]}: give equal ones")
        wrong = labels[~(np.isnan(labels) | (np.abs(labels) == 1))]
        if wrong.size:
            raise ValueError(f"labels contain {wrong[0]}: give 1, -1, or nan where there is none")
        known = ~np.isnan(labels)
        if not known.any(axis=1).all():
            raise ValueError(f"objective {np.argmin(known.any(axis=1))} labels no pair: leave it out")
        if not known.any(axis=0).all():
            raise ValueError(f"pair {np.argmin(known.any(axis=0))} has no label: leave it out")
        names = tuple(self.names) or tuple(f"objective {number}" for number in range(len(labels)))
        if len(names) != len(labels) or len(set(names)) != len(names):
            raise ValueError(f"{len(labels)} objectives have the names {list(names)}: give one for each")
        if self.episodes is not None:
            episodes = np.asarray(from_torch(self.episodes))
            if episodes.shape != labels.shape[1:]:
                raise ValueError(
                    f"episodes have the shape {episodes.shape} for {labels.shape[1]} pairs: give [N]"
                )
            missing = pd.isna(episodes)
            if missing.any():
                raise ValueError(f"pair {missing.argmax()} has no episode: give a number or a name")
            object.__setattr__(self, "episodes", episodes)
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "names", names)

    @classmethod
    def of_tokens(
        cls,
        prompts: Sequence[Sequence[int]],
        first: Sequence[Sequence[int]],
        second: Sequence[Sequence[int]],
        labels: Float[np.ndarray, "n N"],
        names: Sequence[str] = (),
        episodes: Shaped[np.ndarray, " N"] | None = None,
        padding: int = 0,
    ) -> "PreferencePairs":
        """Make pairs of sequences of tokens, a prompt and two answers each.

        Answers should end with the token that ends a text, or their length is none of the model's choices.
        """
        both = (Answers.of_tokens(prompts, each, padding=padding) for each in (first, second))
        one, other = both
        length = max(one.tokens.shape[1], other.tokens.shape[1])
        return cls(one.filled(length), other.filled(length), labels, tuple(names), episodes)

    @classmethod
    def of_texts(
        cls,
        encode: Callable[[str], Sequence[int]],
        prompts: Sequence[str],
        first: Sequence[str],
        second: Sequence[str],
        labels: Float[np.ndarray, "n N"],
        names: Sequence[str] = (),
        episodes: Shaped[np.ndarray, " N"] | None = None,
    ) -> "PreferencePairs":
        """Make pairs of texts.

        Parameters
        ----------
        encode : callable
            From a text to its tokens, such as `functools.partial(tokenizer.encode, add_special_tokens=False)`
            of a tokenizer of transformers: special tokens, such as the one that ends a text, are those that
            are written out.
        prompts, first, second : N texts
        """
        asked, one, other = ([list(encode(text)) for text in each] for each in (prompts, first, second))
        return cls.of_tokens(asked, one, other, labels, names, episodes)

    @staticmethod
    def joined(parts: Mapping[str, "PreferencePairs"]) -> "PreferencePairs":
        """Put objectives together that bring pairs of their own, one objective each, by their names.

        Episodes stay together; those of one part are none of another's, whatever their numbers.
        """
        for name, part in parts.items():
            if part.n != 1:
                raise ValueError(f"{name!r} has {part.n} objectives: give one each, see `only`")
        sizes = [len(part) for part in parts.values()]
        labels, ends = np.full((len(parts), sum(sizes)), np.nan), np.cumsum(sizes)
        for row, (part, end) in enumerate(zip(parts.values(), ends, strict=True)):
            labels[row, end - len(part) : end] = part.labels[0]
        length = max(part.first.tokens.shape[1] for part in parts.values())
        first, second = (
            Answers(*(torch.cat(leaves) for leaves in zip(*own, strict=True)))
            for own in (
                [part.first.filled(length) for part in parts.values()],
                [part.second.filled(length) for part in parts.values()],
            )
        )
        episodes = None
        if any(part.episodes is not None for part in parts.values()):
            numbered = zip(parts.values(), ends - sizes, strict=True)
            episodes = np.concatenate([part._numbered_episodes() + before for part, before in numbered])
        return PreferencePairs(first, second, labels, tuple(parts), episodes)

    def __len__(self) -> int:
        return self.labels.shape[1]

    def __repr__(self) -> str:
        return f"PreferencePairs({len(self):,} pairs, labelled by {', '.join(self.names)})"

    @property
    def n(self) -> int:
        """Number of objectives."""
        return len(self.labels)

    @property
    def shared(self) -> float:
        """Share of the pairs that two objectives or more have labelled."""
        return float(((~np.isnan(self.labels)).sum(axis=0) > 1).mean())

    def only(
        self, objectives: ArrayLike | Tensor | None = None, rows: ArrayLike | Tensor | None = None
    ) -> "PreferencePairs":
        """Give some of the objectives, some of the pairs, or both; pairs that lose all labels go.

        Parameters
        ----------
        objectives : sequence of int or str, or bool array [n], optional
            Numbers or names, in the order that is wanted, or a mask.
        rows : sequence of int, or bool array [N], optional
            Places of pairs, or a mask.

        Raises
        ------
        ValueError
            If there is no such objective or pair, or no label is left.
        """
        chosen = _places("objectives", objectives, self.n, self.names)
        places = _places("rows", rows, len(self))
        labels = self.labels[np.ix_(chosen, places)]
        places, labels = places[kept := ~np.isnan(labels).all(axis=0)], labels[:, kept]
        episodes = None if self.episodes is None else self.episodes[places]
        names = tuple(self.names[objective] for objective in chosen)
        return PreferencePairs(self.first.chosen(places), self.second.chosen(places), labels, names, episodes)

    def samples(self, offsets: Float[np.ndarray, " N"] | None = None) -> Samples:
        """Give the labels as the surrogate needs them.

        Where objectives have labelled equally many pairs, none of them and no episode in common, every pair
        is a sample of one task. Else every pair serves all tasks, with advantage 0 where it has no label; the
        others are scaled so that an objective's loss stays the mean over the pairs that it has labelled.
        Either way all objectives of a subset count alike, as they do in `DirectPreferences.tune`.

        Parameters
        ----------
        offsets : array [N], optional
            z₀ = β [D(θ) - D(θ_ref)] of each pair, with D the log-odds of its first answer.
        """
        known = ~np.isnan(self.labels)
        episodes, owners = self._shuffled_episodes(), known.argmax(axis=0)
        apart = (known.sum(axis=0) == 1).all() and np.ptp(known.sum(axis=1)) == 0
        if apart and len(np.unique(np.stack([episodes, owners]), axis=1).T) == episodes.max() + 1:
            return Samples(self.labels[owners, np.arange(len(self))], owners, episodes, offsets)
        counted = known.mean(axis=1, keepdims=True)
        return Samples(np.nan_to_num(self.labels) / counted, episodes=episodes, offsets=offsets)

    def _shuffled_episodes(self) -> Int[np.ndarray, " N"]:
        """Give episodes numbers in random order.

        Folds are dealt in their order: were every twelfth pair of one objective, a fold would have them all.
        """
        which = self._numbered_episodes()
        return generator_for(0, "order of pairs").permutation(which.max() + 1)[which]

    def _numbered_episodes(self) -> Int[np.ndarray, " N"]:
        """Give episodes numbers from 0, as many as there are; without any, every pair is one."""
        own = np.arange(len(self)) if self.episodes is None else self.episodes
        return np.unique(own, return_inverse=True)[1]

    def _repr_html_(self) -> str:
        known = ~np.isnan(self.labels)
        first = np.nansum(self.labels > 0, axis=1) / known.sum(axis=1)
        told = {"objective": self.names, "pairs": known.sum(axis=1), "prefers the first": first}
        facts = {"objectives": self.n, "pairs that several label": f"{self.shared:.0%}"}
        by_objective = folded("by objective", table(pd.DataFrame(told)), shown=self.n <= _LISTED)
        return card(f"PreferencePairs: {len(self):,} pairs", facts, by_objective)


def _places(what: str, wanted: Any, count: int, names: tuple[str, ...] = ()) -> Int[np.ndarray, " k"]:
    """Give the places that numbers, a mask or names choose; all, where nothing is wanted."""
    if wanted is None:
        return np.arange(count)
    given = chosen = np.ravel(from_torch(wanted))
    if given.dtype.kind in "UO":
        chosen = np.array([names.index(each) if each in names else each for each in given])
    try:
        return np.arange(count)[chosen]
    except IndexError as error:
        wrong = [
            each
            for each in given.tolist()
            if each not in names and not (isinstance(each, int) and -count <= each < count)
        ]
        some = f"numbers from 0 to {count - 1}, a mask of {count}" + ", or names" * bool(names)
        raise ValueError(f"{what} are {reprlib.repr(wrong or given.tolist())}: give {some}") from error
