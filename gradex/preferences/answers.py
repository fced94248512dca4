"""Answers behind their prompts: one row of tokens each."""

import reprlib
from array import array
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor


class Answers(NamedTuple):
    """Answers behind their prompts, as a causal language model reads them.

    Attributes
    ----------
    tokens : int Tensor [N, T]
        Prompt, answer, and padding behind it.
    counted : bool Tensor [N, T]
        Which tokens are the answer's.

    Examples
    --------
    >>> from gradex.preferences import Answers
    >>> answers = Answers.of_tokens(prompts=[[5], [5, 6]], answers=[[7, 8], [9]])
    >>> answers.tokens.tolist(), answers.counted.int().tolist()
    ([[5, 7, 8], [5, 6, 9]], [[0, 1, 1], [0, 0, 1]])
    """

    tokens: Int[Tensor, "N T"]
    counted: Bool[Tensor, "N T"]

    @classmethod
    def of_tokens(
        cls,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        length: int | None = None,
        padding: int = 0,
    ) -> "Answers":
        """Put prompts and answers one after the other, and fill up to the same length.

        Parameters
        ----------
        prompts, answers : N sequences of int
        length : int, optional
            T; by default that of the longest.
        padding : int
            A token. It stands behind the answer, where a causal model does not look back from.

        Raises
        ------
        ValueError
            If there is not one prompt per answer, an answer or a prompt is empty or has something else than
            tokens, or one is longer than T.
        """
        if len(prompts) != len(answers) or len(answers) == 0:
            raise ValueError(f"{len(prompts)} prompts have {len(answers)} answers: give one each, at least 1")
        for name, each in (("prompts", prompts), ("answers", answers)):
            empty = [place for place, tokens in enumerate(each) if len(tokens) == 0]
            if empty:
                raise ValueError(f"{name}[{empty[0]}] is empty: give at least one token")
        sizes = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
        length = max(sizes) if length is None else length
        if max(sizes) > length:
            raise ValueError(f"a prompt with its answer has {max(sizes)} tokens: give length={max(sizes)}")
        tokens = np.full((len(answers), length), padding, dtype=np.int64)
        counted = np.zeros((len(answers), length), dtype=bool)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            tokens[row, : sizes[row]] = _tokens(row, prompt, answer)
            counted[row, len(prompt) : sizes[row]] = True
        return cls(torch.from_numpy(tokens), torch.from_numpy(counted))

    def chosen(self, rows: Int[np.ndarray, " k"] | Bool[np.ndarray, " N"]) -> "Answers":
        """Give some of them."""
        places = torch.from_numpy(rows)
        return Answers(self.tokens[places], self.counted[places])

    def filled(self, length: int) -> "Answers":
        """Give them with more padding, T = length."""
        missing = (0, length - self.tokens.shape[1])
        return Answers(*(torch.nn.functional.pad(each, missing) for each in self))


def _tokens(row: int, prompt: Sequence[int], answer: Sequence[int]) -> "array[int]":
    """Give the tokens of both, or refuse what is none."""
    both = [*prompt, *answer]
    try:
        return array("Q", both)
    except (TypeError, OverflowError):  # refused below, but for floats without a fraction
        pass
    for name, text in (("prompts", prompt), ("answers", answer)):
        wrong = [each for each in text if not (isinstance(each, Real) and each >= 0 and each % 1 == 0)]
        if wrong:
            told = f"{name}[{row}] has {reprlib.repr(wrong)} among its tokens"
            raise ValueError(f"{told}: give whole numbers from 0, as `tokenizer.encode` does")
    return array("Q", map(int, both))
