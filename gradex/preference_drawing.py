"""Who shares a policy, drawn over the simplex of preferences."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from gradex.display import literal

#: Groups that are told apart by a colour of their own.
_COLOURS = 10


def draw_preferences(
    weights: Float[np.ndarray, "n K"],
    labels: Int[np.ndarray, " n"],
    objectives: tuple[str, ...],
    ax: Axes | None = None,
) -> Axes:
    """Draw a dot for each preference, in the colour of its group.

    Two objectives make a line, one row of it for each group. Of three or more each has a corner, and a
    preference lies at the mean of the corners by its weights: three are told exactly, of more several
    preferences may fall on one place.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from gradex.preference_drawing import draw_preferences
    >>> weights, ax = np.eye(3), Figure().subplots()
    >>> [text.get_text() for text in draw_preferences(weights, np.arange(3), ("a", "b", "c"), ax).texts]
    ['a', 'b', 'c']
    """
    n, count = weights.shape
    k = int(labels.max()) + 1
    if ax is None:
        size = (4.2, 0.9 + 0.3 * k) if count < 3 else (4.2, 4.0)
        _, ax = plt.subplots(figsize=size, layout="constrained")
    colours = np.array(sns.color_palette("deep" if k <= _COLOURS else "husl", k))[labels]
    style = {"s": 12 if n > 100 else 30, "color": colours, "edgecolors": "white", "linewidths": 0.3}
    if count < 3:
        ax.scatter(weights[:, -1], labels, **style)
        ax.set(xlabel=f"weight of {literal(objectives[-1])}", ylabel="group", yticks=range(k))
        ax.set_xlim(-0.02, 1.02)
        ax.set_ylim(k - 0.5, -0.5)
        ax.spines[["top", "right"]].set_visible(False)
        return ax
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    corners = np.column_stack([np.cos(angles), np.sin(angles)])
    ax.fill(*corners.T, facecolor="none", edgecolor="0.7", linewidth=1.0, zorder=0)
    ax.scatter(*(weights @ corners).T, **style)
    for name, (x, y) in zip(objectives, corners, strict=True):
        side = "center" if abs(x) < 0.1 else "left" if x > 0 else "right"
        ax.annotate(
            literal(name),
            (x, y),
            xytext=(5 * x, 5 * y),
            textcoords="offset points",
            ha=side,
            va="center" if abs(y) < 0.1 else "bottom" if y > 0 else "top",
        )
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.margins(0.12)
    return ax
