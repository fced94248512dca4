"""Pictures of a comparison: they take tables of differences and draw on given axes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from gradex.display import literal


def draw_differences(table: pd.DataFrame, rows: str, label: str, ax: Axes | None = None) -> Axes:
    """Draw differences as dots with intervals, beside a line at 0.

    The table has columns arm, difference, low, high, and `rows`, whose values are the rows of the picture,
    from top to bottom. Where it is not the arm, arms lie beside each other in every row, and a legend names
    them.
    """
    names, arms = (list(dict.fromkeys(table[column])) for column in (rows, "arm"))
    beside = rows != "arm"
    if ax is None:
        each = 0.35 + 0.1 * len(arms) * beside
        _, ax = plt.subplots(figsize=(5.0 + 1.2 * beside, 1.0 + each * len(names)), layout="constrained")
    ax.axvline(0.0, color="0.5", linewidth=1, zorder=1)
    shifts = np.linspace(-0.25, 0.25, len(arms)) if beside else np.zeros(len(arms))
    for arm, shift, colour in zip(arms, shifts, sns.color_palette("deep"), strict=False):
        own = table[table.arm == arm]
        places = [names.index(name) + shift for name in own[rows]]
        reach = [own.difference - own.low, own.high - own.difference]
        style = {"fmt": "o", "color": colour, "markersize": 5, "capsize": 2, "zorder": 2}
        ax.errorbar(own.difference, places, xerr=reach, label=arm, **style)
    ax.set(xlabel=label, ylim=(len(names) - 0.5, -0.5))
    ax.set_yticks(range(len(names)), [literal(name) for name in names])
    ax.grid(axis="x", color="0.92")
    ax.set_axisbelow(True)
    sns.despine(ax=ax)
    if beside:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax
