"""What is asked of a causal language model: the log-probabilities of answers to prompts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradex.preferences.answers import Answers

#: Gives the log-probability of each answer, [N].
LogProb = Callable[[Any, Answers], Tensor]

#: Bytes that a computation under way may take.
MEMORY = 2**28


def answer_log_prob(module: nn.Module, answers: Answers) -> Float[Tensor, " N"]:
    """Give log π(answer | prompt) of any causal language model: the sum over the answer's tokens.

    Parameters
    ----------
    module : torch.nn.Module
        `module(tokens)` gives the logits [N, T, V] of the next token, or has them as `logits`, as models of
        transformers do.
    answers : Answers

    Raises
    ------
    ValueError
        If the model looks a token, or its place, up in a table that has no such row.

    Examples
    --------
    >>> import torch
    >>> from gradex.preferences import Answers, answer_log_prob
    >>> model = torch.nn.Sequential(torch.nn.Embedding(4, 2), torch.nn.Linear(2, 4))
    >>> for parameter in model.parameters():
    ...     _ = torch.nn.init.zeros_(parameter)
    >>> answers = Answers.of_tokens(prompts=[[1], [1, 2]], answers=[[3, 3], [0]])
    >>> answer_log_prob(model, answers) / torch.tensor(4.0).log()
    tensor([-2., -1.], grad_fn=<DivBackward0>)
    """
    # The fused kernels of attention cannot be batched over samples.
    with sdpa_kernel(SDPBackend.MATH):
        try:
            given = module(answers.tokens)
        except IndexError as error:
            # Under vmap torch refuses to tell a number; each pair is tried alone then, and comes here again.
            most, size = int(answers.tokens.max()), answers.tokens.shape[1]
            raise ValueError(
                f"the model cannot read tokens up to {most} in texts of {size} tokens: encode them by its "
                "own tokenizer, no longer than it allows"
            ) from error
    logits = (given if isinstance(given, Tensor) else given.logits)[:, :-1]
    chosen = logits.gather(-1, answers.tokens[:, 1:, None])[..., 0] - logits.logsumexp(-1)
    return (chosen * answers.counted[:, 1:]).sum(dim=-1)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch a module to evaluation mode, and each of its parts back to what it was."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training
