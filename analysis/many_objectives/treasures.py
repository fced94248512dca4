"""Deep-sea treasure with more objectives than there is anything to choose between."""

from typing import Any

import gymnasium
import numpy as np

#: Of each variant the objectives: treasure or time of MO-Gymnasium's own, or "nothing", which is always 0.
VARIANTS = {
    "dead-treasure-v0": ("treasure", "time", "nothing", "nothing", "nothing", "nothing"),
    "copied-treasure-v0": ("treasure", "treasure", "treasure", "time"),
}


def register() -> None:
    """Let Gymnasium know the variants; do it before a suite of them is made."""
    for name in VARIANTS:
        if name not in gymnasium.registry:
            entry = f"{__name__}:make"
            gymnasium.register(name, entry_point=entry, kwargs={"variant": name}, max_episode_steps=100)


def make(variant: str, **options: Any) -> gymnasium.Env:
    """Make the environment of a variant."""
    from mo_gymnasium.envs.deep_sea_treasure.deep_sea_treasure import DeepSeaTreasure

    told = VARIANTS[variant]
    places = [("treasure", "time").index(name) if name != "nothing" else None for name in told]

    class Treasures(DeepSeaTreasure):
        """Pays each objective as often as it is named."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            low, high = (self._repeated(each) for each in (self.reward_space.low, self.reward_space.high))
            self.reward_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
            self.objectives = tuple(f"{number}: {name}" for number, name in enumerate(told))

        def pareto_front(self, gamma: float) -> list[np.ndarray]:
            """Give the value vectors of the best policies."""
            return [self._repeated(np.asarray(value)) for value in super().pareto_front(gamma)]

        def step(self, action: Any) -> tuple[Any, np.ndarray, bool, bool, dict[str, Any]]:
            seen, reward, *rest = super().step(action)
            return seen, self._repeated(reward), *rest

        @staticmethod
        def _repeated(vector: np.ndarray) -> np.ndarray:
            columns = [vector[place] if place is not None else 0.0 for place in places]
            return np.array(columns, dtype=np.float32)

    return Treasures(**options)
