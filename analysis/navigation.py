"""Where a meta-policy adapts, and where it does not: source goals all around, on an arc, or mostly on it.

PolicyGradEx, Fig. 3. A point must find a goal on a circle that it does not see. MAML trains it on 200 source
goals that cover the circle evenly ("uniform"), lie on an arc of 90 degrees ("partial"), or lie there in nine
cases of ten ("biased"). Then it adapts to goals all around as in training, by one inner step on 40 episodes.

Every seed turns the circle. Directions are told from the middle of its arc, which is drawn to the right.
Settings were chosen on seeds from 100 upwards.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.study import confidence_interval, mean_with_interval
from gradex import TaskSuite
from gradex.learners import MAML, ActorCritic
from gradex.seeds import child

SEEDS = {"smoke": 1, "laptop": 5, "paper": 20}
_SOURCES = ("uniform", "partial", "biased")
_GOALS = 200
#: Half-width in degrees of the arc of "partial" and "biased", and the share of "biased" that lies on it.
_ARC, _BIAS = 45, 0.9
#: Meta-batches, and directions × independent adaptations in which the result is measured.
_AMOUNTS = {"smoke": (2, 12, 1), "laptop": (180, 36, 4), "paper": (400, 36, 10)}
#: With 20 trajectories the inner gradient was too noisy for 90 % success; with a norm of 0.5 training
#: on the partial source was less stable.
_LEARNER = MAML(
    inner_rate=0.3,
    trajectories=40,
    tasks=10,
    learning_rate=6e-3,
    gae_lambda=0.9,
    max_norm=0.1,
)
_LAYERS, _WIDTH = 3, 64
#: Points of a training curve; directions whose trajectories are kept.
_POINTS, _SHOWN = 25, 9
_COLUMNS = (
    "what", "seed", "source", "inner_steps", "steps", "direction", "return_mean", "success", "time", "x", "y",
)  # fmt: skip
_STATES = ("before adaptation", "after adaptation")
_COLORS = ("0.55", "C0")
_COLOR_SOURCE = "C1"


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Meta-train on the three sources in one stack and adapt to goals all around.

    Returns
    -------
    DataFrame
        Columns what, seed, source, inner_steps, steps, direction, return_mean, success, time, x, y, and three
        kinds of rows. "training": mean return on the source goals after so many environment steps of this
        meta-policy. "circle": return and success by direction, in degrees from the middle of the arc.
        "trajectory", of seed 0 only: the place after so many steps on the way to a goal.
    """
    batches, directions, repetitions = _AMOUNTS[scale]
    sources = [TaskSuite.make("navigation", n=_GOALS, goals=goals, seed=seed) for goals in _SOURCES]
    # Sources of one seed share the middle of their arcs.
    middle = sources[0].options["rotation"]
    circle = _suite(sources[0], middle + 2 * np.pi * np.arange(directions) / directions)
    union = _suite(sources[0], [task.parameters["angle"] for suite in sources for task in suite.tasks])
    subsets = [range(start, start + _GOALS) for start in range(0, len(union), _GOALS)]
    seeds = [seed] * len(_SOURCES)  # common random numbers
    start = ActorCritic.initial(union, seeds, layers=_LAYERS, width=_WIDTH)
    steps = batches * _LEARNER.round_steps(union, subsets)
    trained, history = _LEARNER.train(start, union, subsets, steps, seeds, description=f"seed {seed}")
    tables = [_training(history)]
    for row, source in enumerate(_SOURCES):
        tables.append(_around(trained[row], circle, repetitions, seed).assign(source=source))
    table = pd.concat(tables, ignore_index=True).assign(seed=seed)
    table = table if seed == 0 else table[table.what != "trajectory"]
    return table[list(_COLUMNS)].round(3)


def work(scale: str) -> float:
    """Count the environment steps of a seed."""
    batches, directions, repetitions = _AMOUNTS[scale]
    suite = TaskSuite.make("navigation")
    assert suite.horizon is not None  # for the type checker
    adaptation = _LEARNER.trajectories * suite.horizon * (_LEARNER.inner_steps + 1)
    return len(_SOURCES) * (
        batches * _LEARNER.round_steps(suite, [(0,)]) + directions * repetitions * adaptation
    )


def _suite(like: TaskSuite, angles: Sequence[float] | np.ndarray) -> TaskSuite:
    """Make a suite of goals in these directions."""
    tasks = [
        {"name": f"goal {index}", "parameters": {"angle": float(angle)}} for index, angle in enumerate(angles)
    ]
    return TaskSuite.from_config({**like.config, "tasks": tasks})


def _training(history: pd.DataFrame) -> pd.DataFrame:
    """Average the learning curves over the tasks, and over neighbouring meta-batches."""
    batch = history.steps // history.steps.min()
    block = (batch - 1) // -(-batch.max() // _POINTS)
    # The steps are those of all policies together.
    own = history.assign(steps=history.steps / len(_SOURCES))
    table = own.groupby(["policy", block.rename("block"), "inner_steps"])[["steps", "return_mean"]].mean()
    sources = dict(enumerate(_SOURCES))
    return table.reset_index().assign(what="training", source=lambda rows: rows.policy.map(sources))


def _around(agent: ActorCritic, circle: TaskSuite, repetitions: int, seed: int) -> pd.DataFrame:
    """Adapt one meta-policy to every goal of a circle, and look at it before and after."""
    tasks = [*range(len(circle))] * repetitions
    # Every adaptation has random numbers of its own.
    seeds = [child(seed, "adaptation", number) for number in range(len(tasks))]
    _, rollouts = _LEARNER.adapt(agent, circle, tasks, seeds)
    degrees = np.arange(len(circle)) * 360 / len(circle)
    tables = []
    for inner_steps, rollout in enumerate(rollouts):
        assert rollout.success is not None  # for the type checker
        earned, success = (
            array.mean(axis=1).reshape(repetitions, -1).mean(axis=0)
            for array in (rollout.rewards.sum(axis=0), rollout.success.any(axis=0))
        )
        measured = {"what": "circle", "direction": degrees, "return_mean": earned, "success": success}
        tables.append(pd.DataFrame(measured).assign(inner_steps=inner_steps))
        places = rollout.observations[:, :, 0, :2].double().numpy()
        for task in range(0, len(circle), len(circle) // _SHOWN):
            x, y = _turned(places[:, task], circle).T
            way = {"what": "trajectory", "time": np.arange(len(x)), "x": x, "y": y}
            tables.append(pd.DataFrame(way).assign(inner_steps=inner_steps, direction=degrees[task]))
    return pd.concat(tables, ignore_index=True)


def _turned(places: Float[np.ndarray, "times 2"], circle: TaskSuite) -> Float[np.ndarray, "times 2"]:
    """Turn places so that the circle's first goal lies to the right."""
    angle = circle.tasks[0].parameters["angle"]
    return places @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give success and return after adaptation by region, and how far they lie below the uniform source.

    Means over seeds with 95 % intervals, the differences paired by seed; `lowest` is the success in the
    direction where it is lowest on average.
    """
    circle = table[table.what == "circle"]
    off = abs((circle.direction + 180) % 360 - 180) > _ARC
    regions = {"on the arc": circle[~off], "off the arc": circle[off], "all around": circle}
    rows = []
    for source, (region, part) in product(_SOURCES, regions.items()):
        last = part[part.inner_steps == part.inner_steps.max()]
        row: dict[str, Any] = {"source": source, "goals": region}
        by_seed = last.groupby(["source", "seed"])[["success", "return_mean"]].mean()
        own, uniform = by_seed.loc[source], by_seed.loc["uniform"]
        for name, values in (
            ("success", own.success),
            ("less_success", uniform.success - own.success),
            ("return", own.return_mean),
            ("less_return", uniform.return_mean - own.return_mean),
        ):
            row |= mean_with_interval(name, values)
        each = last[last.source == source].groupby("direction").success.mean()
        before = part[(part.source == source) & (part.inner_steps == 0)].success.mean()
        rows.append(row | {"lowest": each.min(), "before": before, "seeds": len(own)})
    return pd.DataFrame(rows)


@matplotlib.rc_context({"font.size": 7.5, "axes.titlesize": 8.5, "lines.linewidth": 1.2})
def plot(table: pd.DataFrame) -> Figure:
    """Draw a row per source: learning, return and success by direction, and trajectories, with 95 % bands."""
    figure = Figure(figsize=(6.6, 4.8), layout="constrained")
    grid = figure.add_gridspec(len(_SOURCES), 4, width_ratios=(1.2, 1, 1, 1))
    learning: Axes | None = None
    for row, source in enumerate(_SOURCES):
        part = table[table.source == source]
        training, circle, ways = (part[part.what == what] for what in ("training", "circle", "trajectory"))
        learning = figure.add_subplot(grid[row, 0], sharex=learning, sharey=learning)
        earned, success = (figure.add_subplot(grid[row, column], projection="polar") for column in (1, 2))
        plane = figure.add_subplot(grid[row, 3])
        _draw_training(learning, training)
        _draw_circle(earned, circle, "return_mean", (-60, 5), (-40, 0))
        _draw_circle(success, circle, "success", (0, 1.05), (0.5, 1))
        _draw_density(success, source)
        _draw_trajectories(plane, ways)
        learning.set(ylabel=f"{source} source", xlabel="environment steps, millions", ylim=(-40, 5))
        learning.label_outer()
        if row == 0:
            learning.set_title("return on source goals")
            earned.set_title("return by goal")
            success.set_title("success by goal")
            plane.set_title("episodes")
            handles, labels = success.get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _band(values: pd.DataFrame, by: str, value: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give places, means over seeds, and the ends of their 95 % intervals."""
    groups = values.groupby(by)[value]
    low, high = np.transpose([confidence_interval(group.to_numpy()) for _, group in groups])
    return np.array(list(groups.groups)), groups.mean().to_numpy(), low, high


def _draw_training(ax: Axes, table: pd.DataFrame) -> None:
    for state, color, (_, part) in zip(_STATES, _COLORS, table.groupby("inner_steps"), strict=True):
        steps, mean, low, high = _band(part, "steps", "return_mean")
        ax.fill_between(steps / 1e6, low, high, color=color, alpha=0.25, linewidth=0, antialiased=False)
        ax.plot(steps / 1e6, mean, color=color, label=state)
    ax.grid(axis="y", color="0.9")
    ax.spines[["top", "right"]].set_visible(False)


def _draw_circle(
    ax: Axes, table: pd.DataFrame, value: str, limits: tuple[float, float], ticks: tuple[float, ...]
) -> None:
    for state, color, (_, part) in zip(_STATES, _COLORS, table.groupby("inner_steps"), strict=True):
        degrees, *lines = _band(part, "direction", value)
        # Closed, and cut: beyond the centre they would come out on the other side.
        mean, low, high = (np.clip(np.append(line, line[0]), *limits) for line in lines)
        angles = np.radians(np.append(degrees, 360))
        ax.fill_between(angles, low, high, color=color, alpha=0.25, linewidth=0, antialiased=False)
        ax.plot(angles, mean, color=color, label=state)
    ax.set_xticks(np.radians([0, 90, 180, 270]), ["0°", "", "180°", ""])
    ax.set(rlim=limits, rticks=ticks, rlabel_position=67.5)
    ax.tick_params(pad=0, labelsize="small")
    ax.grid(color="0.9")


def _draw_density(ax: Axes, source: str) -> None:
    """Fill the density of source goals, per radian, on the scale of the axis."""
    angles = np.radians(np.linspace(-180, 180, 721))
    share = {"uniform": 0.0, "partial": 1.0, "biased": _BIAS}[source]
    arc = (np.abs(angles) <= np.radians(_ARC)) / (2 * np.radians(_ARC))
    density = share * arc + (1 - share) / (2 * np.pi)
    shade = ax.fill_between(angles, 0, density, color=_COLOR_SOURCE, alpha=0.35, linewidth=0, zorder=0)
    shade.set_label("density of source goals, per radian")


def _draw_trajectories(ax: Axes, table: pd.DataFrame) -> None:
    around = np.radians(np.linspace(0, 360, 361))
    ax.plot(np.cos(around), np.sin(around), color="0.9", zorder=0)
    for color, (_, part) in zip(_COLORS, table.groupby("inner_steps"), strict=True):
        for _, way in part.groupby("direction"):
            ax.plot(way.x, way.y, color=color, linewidth=0.6)
    goals = np.radians(table.direction.unique())
    ax.scatter(np.cos(goals), np.sin(goals), marker="*", s=25, color="C3", zorder=3)
    ax.set(aspect="equal", xticks=(), yticks=(), xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))
    ax.spines[:].set_visible(False)
