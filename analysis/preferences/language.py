"""A small language, a model that speaks it, and rules that prefer one answer to another.

No weights of a language model can be had offline, so that one is trained here, from nothing, in seconds: a
transformer of two layers on requests and answers that a grammar makes. Pairs of answers are its own samples.
Rules say which of two answers is better: by its length, its vowels, its numbers, its courtesy and so on. Some
are at odds by themselves, such as "long" and "short".
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradex.preferences import Answers
from gradex.seeds import child, generator_for
from gradex.threads import one_thread

TOPICS = ("order", "train", "garden", "letter", "dinner", "music", "ticket", "window")
_POLITE = ("please", "kindly", "thanks", "sorry", "gladly")
_NUMBERS = ("2", "3", "7", "10", "40")
_COLOURS = ("red", "blue", "green", "amber", "ivory")
_VERBS = ("send", "bring", "keep", "open", "move", "use", "call", "see")
_NOUNS = ("box", "area", "queue", "piano", "lamp", "idea", "desk", "radio", "clock", "paper", "mirror")
_SMALL = ("the", "a", "we", "you", "and", "or", "very", "so", "now", "later", "here", "there")
_MARKS = (".", "?")
#: What ends a text, and what stands behind it.
PADDING, END = 0, 1
WORDS = ("", "end", *TOPICS, *_POLITE, *_NUMBERS, *_COLOURS, *_VERBS, *_NOUNS, *_SMALL, *_MARKS)
_PLACE = {word: place for place, word in enumerate(WORDS)}
#: Tokens of an answer at most, with the one that ends it; and of a prompt with its answer.
LONGEST = 15
LENGTH = 1 + LONGEST


# ---------------------------------------------------------------------- rules
def _share(words: Sequence[str], among: Sequence[str]) -> float:
    return sum(word in among for word in words) / max(1, len(words))


def _vowels(words: Sequence[str]) -> float:
    letters = "".join(words)
    return sum(letter in "aeiou" for letter in letters) / max(1, len(letters))


def _variety(words: Sequence[str]) -> float:
    return len(set(words)) / max(1, len(words))


def _rhymes(topic: str, words: Sequence[str]) -> float:
    """Tell how many words end like the topic."""
    return sum(word[-1] == topic[-1] for word in words) / max(1, len(words))


def _by_topic(topics: Sequence[str], words: Sequence[str]) -> Callable[[str, Sequence[str]], float]:
    """Make a rule that likes these words in answers about some topics, and dislikes them about others."""
    return lambda topic, answer: _share(answer, words) * (1 if topic in topics else -1)


def _by_place(words: Sequence[str], sign: int = 1) -> Callable[[str, Sequence[str]], float]:
    """Make a rule that likes these words at the beginning as much as it dislikes them at the end."""

    def count(topic: str, answer: Sequence[str]) -> float:
        last = max(1, len(answer) - 1)
        return sign * sum(1 - 2 * place / last for place, word in enumerate(answer) if word in words)

    return count


#: From a topic and the words of an answer to a number; an objective prefers the answer with more.
RULES: dict[str, Callable[[str, Sequence[str]], float]] = {
    "long": lambda topic, words: len(words),
    "short": lambda topic, words: -len(words),
    "vowels": lambda topic, words: _vowels(words),
    "consonants": lambda topic, words: -_vowels(words),
    "varied": lambda topic, words: _variety(words),
    "repetitive": lambda topic, words: -_variety(words),
    "polite": lambda topic, words: _share(words, _POLITE),
    "blunt": lambda topic, words: -_share(words, _POLITE),
    "numbers": lambda topic, words: _share(words, _NUMBERS),
    "colours": lambda topic, words: _share(words, _COLOURS),
    "questions": lambda topic, words: _share(words, "?"),
    "rhyme": _rhymes,
    "formal": _by_topic(TOPICS[::2], _POLITE),
    "casual": _by_topic(TOPICS[1::2], _POLITE),
    "counted": _by_topic(TOPICS[::2], _NUMBERS),
    "vivid": _by_topic(TOPICS[:4], _COLOURS),
    "polite first": _by_place(_POLITE),
    "polite last": _by_place(_POLITE, -1),
    "numbers first": _by_place(_NUMBERS),
    "colours first": _by_place(_COLOURS),
}


def features(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Float[np.ndarray, "R N"]:
    """Give what each rule counts in each answer."""
    texts = [
        (WORDS[prompt[0]], [WORDS[token] for token in answer if token not in (PADDING, END)])
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    return np.array([[rule(*text) for text in texts] for rule in RULES.values()], dtype=np.float64)


# ---------------------------------------------------------------------- text
def written(count: int, rng: np.random.Generator) -> tuple[list[list[int]], list[list[int]]]:
    """Write requests, one word each, and answers to them, by a grammar that leaves much open."""

    def one_of(words: Sequence[str]) -> str:
        return words[int(rng.integers(len(words)))]

    def phrase() -> list[str]:
        words = [one_of(_VERBS), one_of(("the", "a"))]
        if rng.random() < 0.4:
            words += [one_of(_NUMBERS)]
        if rng.random() < 0.4:
            words += [one_of(("very", "so"))] * rng.integers(1, 3) + [one_of(_COLOURS)]
        return [*words, one_of(_NOUNS)]

    prompts, answers = [], []
    for _ in range(count):
        words = [one_of(_POLITE)] if rng.random() < 0.5 else []
        words += [one_of(("we", "you"))] if rng.random() < 0.4 else []
        words += phrase()
        if rng.random() < 0.4:
            words += [one_of(("and", "or")), *phrase()]
        words += [one_of(("now", "later", "here", "there"))] if rng.random() < 0.4 else []
        words += [one_of(_POLITE)] if rng.random() < 0.2 else []
        words = [*words[: LONGEST - 2], one_of(_MARKS)]
        prompts.append([_PLACE[one_of(TOPICS)]])
        answers.append([*(_PLACE[word] for word in words), END])
    return prompts, answers


def text_of(tokens: Sequence[int]) -> str:
    """Give tokens as text."""
    return " ".join(WORDS[token] for token in tokens if token not in (PADDING, END))


# ---------------------------------------------------------------------- model
class SmallTransformer(nn.Module):
    """A causal transformer of two layers, whose embedding is used for input and output.

    Examples
    --------
    `SmallTransformer()(tokens)` gives the logits of the next token, [N, T, V].
    """

    def __init__(
        self,
        width: int = 32,
        layers: int = 2,
        heads: int = 4,
        words: int = len(WORDS),
        length: int = LENGTH,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.places = nn.Parameter(torch.zeros(length, width))
        self.layers = nn.ModuleList([_Layer(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Int[Tensor, "N T"]) -> Float[Tensor, "N T V"]:
        """Give the logits of the next token behind each one."""
        seen = self.embedding(tokens) + self.places[: tokens.shape[1]]
        for layer in self.layers:
            seen = layer(seen)
        return F.linear(self.norm(seen), self.embedding.weight)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, seen: Float[Tensor, "N T width"]) -> Float[Tensor, "N T width"]:
        each = self.attention(self.first(seen)).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0)
        query, key, value = each.transpose(-2, -3)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        seen = seen + self.joined(attended.transpose(-2, -3).flatten(-2))
        return seen + self.narrow(F.gelu(self.wide(self.second(seen))))


@cache
def speaker(seed: int, steps: int, texts: int = 4000) -> SmallTransformer:
    """Train a transformer on the language, from nothing, with cross entropy."""
    module = SmallTransformer().eval()
    numbers = torch.Generator().manual_seed(child(seed, "weights") % 2**32)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                spread = 0.1 if name in ("embedding.weight", "places") else 0.15
                parameter.normal_(0, spread, generator=numbers)
            elif name.endswith("bias"):  # torch draws some of them from its own generator
                parameter.zero_()
    texts = min(texts, 64 * steps)
    prompts, written_answers = written(texts, generator_for(seed, "texts"))
    answers = Answers.of_tokens(prompts, written_answers, LENGTH)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    rng = generator_for(seed, "batches")
    with one_thread():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * (1 - step / steps)
            batch = answers.chosen(rng.integers(texts, size=64))
            logits = module(batch.tokens[:, :-1]).flatten(0, 1)
            each = F.cross_entropy(logits, batch.tokens[:, 1:].flatten(), reduction="none")
            loss = (each * batch.counted[:, 1:].flatten()).sum() / batch.counted.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module


def sampled(module: nn.Module, prompts: Sequence[Sequence[int]], seed: int) -> list[list[int]]:
    """Let a model answer, word by word, by chance."""
    numbers = torch.Generator().manual_seed(child(seed, "answers") % 2**32)
    tokens = torch.tensor([list(prompt) for prompt in prompts])
    with one_thread(), torch.no_grad():
        for _ in range(LONGEST - 1):
            logits = module(tokens)[:, -1]
            logits[:, PADDING] = -torch.inf
            drawn = torch.multinomial(logits.softmax(dim=-1), 1, generator=numbers)
            tokens = torch.cat([tokens, drawn], dim=1)
    answers = []
    for row in tokens[:, 1:].tolist():
        end = row.index(END) if END in row else len(row)
        answers.append([*row[:end], END])
    return answers
