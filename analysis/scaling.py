"""Seconds and memory of many preferences over one vector of rewards, by stage, against their number n.

Samples, features and rewards are drawn, and serve all tasks: what is timed begins where a policy has been run
and its gradients are known, both of which n does not matter to. Preferences lie around four centres.

Two ways lead to groups. "Factors" fits a surrogate of the rewards, whose factors give those of all
preferences, and never makes a matrix of pairs. "Transfers" fits every preference by itself, by the ridge that
was chosen for the rewards, and scores every fit in every task. Each run is a process of its own, as memory is
told by the most that a process has taken by the end of a stage, less what it had before the first.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.study import plain
from gradex import AffinityGraph, Samples, SurrogateEstimator
from gradex.affinity import KernelKMeans
from gradex.seeds import generator_for

SEEDS = {"smoke": 1, "laptop": 3, "paper": 5}
#: Numbers of tasks; of transfers up to the last of the second.
_FACTORS = {"smoke": (10, 30), "laptop": (10, 30, 100, 300, 1000, 3000, 10_000)}
_TRANSFERS = {"smoke": (10, 30), "laptop": (10, 30, 100, 300, 1000)}
#: Samples, features and rewards; samples of an episode; centres of the preferences.
_SAMPLES, _FEATURES, _REWARDS = {"smoke": 400, "laptop": 20_000}, {"smoke": 20, "laptop": 400}, 6
_EPISODE, _CENTRES, _SPREAD = 50, 4, 0.03
#: Sizes from which work outweighs what every call costs: exponents are fitted there.
_LARGE = 100

#: Imported once for all runs, each of which is a process of its own.
_LIBRARIES = ["torch", "pandas", "sklearn.cluster", "scipy.optimize", "matplotlib.figure"]

#: Seconds by stage, and GB at the end of each.
Spending = dict[str, tuple[float, float]]


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per way, n and stage.

    Returns
    -------
    DataFrame
        route ("factors" or "transfers"), n, stage, stage_seconds, memory (GB, the most by the end of the
        stage), nmi (of the groups with the preferences' centres), seed.
    """
    size = "smoke" if scale == "smoke" else "laptop"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LIBRARIES)
    rows = []
    for route, sizes in (("factors", _FACTORS[size]), ("transfers", _TRANSFERS[size])):
        for n in sizes:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                spending, nmi = pool.submit(_run, route, n, size, seed).result()
            for stage, (seconds, memory) in spending.items():
                rows.append(
                    {"route": route, "n": n, "stage": stage, "stage_seconds": seconds, "memory": memory}
                    | {"nmi": nmi, "seed": seed}
                )
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give of each stage mean seconds and memory at its largest n, and the exponent of n in seconds.

    The exponent is the slope of log seconds against log n over n of 100 and more.
    """
    rows = []
    for (route, stage), part in table.groupby(["route", "stage"], sort=False):
        means = part.groupby("n")[["stage_seconds", "memory", "nmi"]].mean()
        large = means[means.index >= _LARGE] if (means.index >= _LARGE).sum() > 1 else means
        exponent = np.polyfit(np.log(large.index), np.log(large.stage_seconds), 1)[0]
        last = means.iloc[-1]
        rows.append(
            {
                "route": route,
                "stage": stage,
                "n": means.index[-1],
                "stage_seconds": last.stage_seconds,
                "memory": last.memory,
                "exponent": exponent,
                "nmi": means.nmi.min(),
                "seeds": part.seed.nunique(),
            }
        )
    return pd.DataFrame(rows)


@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 9})
def plot(table: pd.DataFrame) -> Figure:
    """Draw seconds by stage for each way, exponents in the legend, and memory at the end of both."""
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    *panels, memory = figure.subplots(1, 3)
    told = summary(table).set_index(["route", "stage"])
    for ax, (route, part) in zip(panels, table.groupby("route", sort=False), strict=True):
        for stage, rows in part.groupby("stage", sort=False):
            label = f"{stage}: n^{told.exponent[route, stage]:.1f}"
            _line(ax, rows.groupby("n").stage_seconds.mean(), label)
        ax.set(title=f"by {route}", ylabel="seconds")
        _line(memory, part.groupby("n").memory.max(), f"by {route}")
    memory.set(title="memory", ylabel="GB")
    for ax in (*panels, memory):
        ax.set(xlabel="tasks", xscale="log", yscale="log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.legend(frameon=False)
        plain(ax)
    return figure


def _line(ax: Axes, means: pd.Series, label: str) -> None:
    ax.plot(means.index, means.to_numpy(), marker="o", markersize=3, label=label)


def _run(route: str, n: int, size: str, seed: int) -> tuple[Spending, float]:
    """Go one way to groups of n preferences; give what it took, and how they agree with the centres."""
    rng = generator_for(seed, "samples and preferences")
    samples, dimension = _SAMPLES[size], _FEATURES[size]
    features = rng.standard_normal((samples, dimension)) * np.geomspace(1.0, 0.05, dimension)
    features = features.astype(np.float32)
    signal = features @ rng.standard_normal((dimension, _REWARDS))
    rewards = (signal / signal.std(axis=0)).T + 2 * rng.standard_normal((_REWARDS, samples))
    labels = np.arange(n) % _CENTRES
    centres = rng.dirichlet(np.ones(_REWARDS), _CENTRES)
    weights = centres[labels] + _SPREAD * rng.standard_normal((n, _REWARDS))
    episodes, way = np.arange(samples) // _EPISODE, {"factors": _by_factors, "transfers": _by_transfers}
    clock = _Clock()
    graph = way[route](clock, features, rewards, weights, episodes)
    with clock.stage("groups"):
        partition = graph.partition(k=_CENTRES, method=KernelKMeans(seed))
    return clock.spending, partition.agreement(labels).nmi


class _Clock:
    """Notes seconds and memory of one stage after the other."""

    def __init__(self) -> None:
        self.spending: Spending = {}
        self._before = _most_memory()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        # A stage that takes no more than those before shows as theirs; a page stands for nothing at all.
        self.spending[name] = seconds, max(_most_memory() - self._before, 4.096e-6)


def _most_memory() -> float:
    """Give the most that this process has taken so far, in GB."""
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _by_factors(
    clock: _Clock,
    features: Float[np.ndarray, "N d"],
    rewards: Float[np.ndarray, "K N"],
    weights: Float[np.ndarray, "n K"],
    episodes: np.ndarray,
) -> AffinityGraph:
    with clock.stage("surrogate"):
        surrogate = SurrogateEstimator().fit_features(features, Samples(rewards, episodes=episodes))
    with clock.stage("factors"):
        return AffinityGraph.from_factors(weights @ surrogate.factors())


def _by_transfers(
    clock: _Clock,
    features: Float[np.ndarray, "N d"],
    rewards: Float[np.ndarray, "K N"],
    weights: Float[np.ndarray, "n K"],
    episodes: np.ndarray,
) -> AffinityGraph:
    with clock.stage("surrogate"):
        strength = SurrogateEstimator().fit_features(features, Samples(rewards, episodes=episodes))
        samples = Samples(weights @ rewards, episodes=episodes)
        surrogate = SurrogateEstimator(regularization=strength.regularization_)
        surrogate.fit_features(features, samples)
    with clock.stage("transfers"):
        return AffinityGraph.from_transfers(surrogate.transfers())
