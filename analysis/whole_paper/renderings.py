"""What is in a folder of rendered studies, and what the paper scale would cost by it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import study
from analysis.study import SCALES

#: Their seconds lack trainings that were taken over from an earlier rendering.
_TAKEN_OVER = ("nmi",)


@dataclass(frozen=True, eq=False)
class Rendering:
    """A rendered study.

    Attributes
    ----------
    name : str
    table : DataFrame
    told : dict
        Its provenance.
    """

    name: str
    table: pd.DataFrame
    told: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, name: str) -> "Rendering | None":
        """Read what was rendered last, None if nothing was."""
        table, told = (folder / f"{name}.{ending}" for ending in ("csv", "json"))
        if not (table.exists() and told.exists()):
            return None
        return cls(name, pd.read_csv(table), json.loads(told.read_text()))

    @property
    def scale(self) -> str:
        """The scale in its command."""
        words = self.told["command"].split()
        return next(scale for scale in SCALES if scale in words)

    @property
    def minutes(self) -> float:
        """Of computing, of all seeds together."""
        return self.told["seconds_of_all_seeds"] / 60

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.told["seeds"])

    @property
    def machine(self) -> str:
        """Cores and processor."""
        return (
            f"{self.told['cores']} cores of {self.told.get('processor') or 'a processor that was not noted'}"
        )

    @property
    def rest_is_unknown(self) -> bool:
        """Tell whether some of its work was done, and timed, before."""
        return self.name in _TAKEN_OVER

    def hours_at_paper_scale(self) -> float | None:
        """Give the hours of all seeds of the paper scale at the steps per second of this rendering.

        None where the study is not here or does not count its work, or smoke says nothing about its speed.
        """
        module = study.load(self.name) if self.name in study.names() else None
        if module is None or not hasattr(module, "work") or self.scale == "smoke":
            return None
        steps = module.work("paper") * module.SEEDS["paper"]
        return steps / (module.work(self.scale) * self.seeds) * self.minutes / 60
