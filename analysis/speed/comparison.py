"""What a part of the study gives: gradex and a peer, measured on the same matter."""

from dataclasses import asdict, dataclass
from typing import Any

#: Units of which more is better.
_SPEEDS = ("steps/s",)


@dataclass(frozen=True)
class Comparison:
    """Two measurements.

    Attributes
    ----------
    case : str
        What is done, in a few words: a line of the figure.
    peer : str
        Who else does it.
    setting : str
        Amounts, and how it was measured; the same in every run.
    gradex, peer_value : float
        In `unit`.
    unit : str
    remark : str
        What was measured beside it.
    """

    case: str
    peer: str
    setting: str
    gradex: float
    peer_value: float
    unit: str
    remark: str = ""

    @property
    def ratio(self) -> float:
        """Above 1 in our favour."""
        ratio = self.gradex / self.peer_value
        return ratio if self.unit in _SPEEDS else 1 / ratio

    def row(self) -> dict[str, Any]:
        """Give a row of the table."""
        told = asdict(self)
        remark = told.pop("remark")
        return {**told, "ratio": self.ratio, "remark": remark}
