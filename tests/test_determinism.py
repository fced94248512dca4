"""A seed gives the same run twice, whatever happens to the global generators, which are left alone."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradex import (
    PPO,
    SAC,
    Generalization,
    MetaPolicy,
    ModuleGradients,
    PolicyGradEx,
    Samples,
    SurrogateEstimator,
    TaskSuite,
)
from gradex.generalization import XTrace
from gradex.learners import MAML, Adaptation, Learner
from tests.environments import scripted, scripted_suite

# Whole runs; the shapes of their parts are checked where they are tested.

SUITES: dict[str, Callable[[], TaskSuite]] = {
    "navigation": lambda: TaskSuite.make("navigation", n=5),
    "cartpole": lambda: TaskSuite.make("cartpole", n=4, reversed="half"),
    "highway": lambda: TaskSuite.make("highway", n=4),
    "custom": lambda: scripted_suite(**{name: scripted([float(ord(name)), 1, 0]) for name in "abcd"}),
}


def disturb(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that nothing may draw from
    torch.manual_seed(seed)


def states() -> list[Any]:
    """Give the states of NumPy's and torch's generators; Python's is used by beartype while it checks us."""
    numpy: Any = np.random.get_state()  # noqa: NPY002
    return [numpy[1].tolist(), numpy[2:], torch.get_rng_state().tolist()]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(suite: TaskSuite, seed: int = 3) -> dict[str, Any]:
    grouping = PolicyGradEx(
        k=2,
        subset_size=2,
        projection_dim=50,
        steps_per_task=200,
        meta_steps=3_000,
        group_steps=2_000,
        bootstrap=2,
        seed=seed,
    ).fit(suite)
    transitions = grouping.meta_.transitions(200)
    evaluated = grouping.evaluate(episodes=2)
    return {
        **{
            name: getattr(transitions, name)
            for name in ("observations", "actions", "advantages", "tasks", "episodes")
        },
        "meta": grouping.meta_.parameters,
        "features": grouping.surrogate_.features,
        "scores": grouping.scores_.score,
        "affinity": grouping.graph_.matrix,
        "labels": grouping.labels_,
        "policies": np.stack([policy.parameters for policy in grouping.policies_]),
        "returns": evaluated.return_mean.to_numpy(),
        "error": np.array(grouping.report()["first_order_error"]),
    }


@pytest.mark.parametrize("family", SUITES)
def test_a_seed_gives_the_same_run_twice(family: str) -> None:
    disturb(0)
    before = states()
    first = run(SUITES[family]())
    assert states() == before
    disturb(12345)
    second = run(SUITES[family]())
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_another_seed_gives_another_run() -> None:
    first, second = (run(SUITES["cartpole"](), seed) for seed in (3, 4))
    for name in ("observations", "meta", "features", "scores", "affinity", "policies"):
        assert not np.array_equal(first[name], second[name]), name


@contextmanager
def defaults(**settings: Any) -> Iterator[None]:
    """Change defaults of torch for a while."""
    before = {"dtype": torch.get_default_dtype(), "device": torch.get_default_device()}
    try:
        for name, value in settings.items():
            getattr(torch, f"set_default_{name}")(value)
        yield
    finally:
        torch.set_default_dtype(before["dtype"])
        torch.set_default_device(None)


def trained(learner: Learner, folder: Path) -> list[np.ndarray]:
    """Train, read back, adapt and evaluate."""
    suite, path = TaskSuite.make("navigation", n=2, horizon=8, goals="uniform"), folder / "policy"
    MetaPolicy(suite, learner=learner, layers=2, width=4).fit(100, folder=folder / "training").save(path)
    meta = MetaPolicy.load(path)
    adapted, steps = meta.adapt([1], 100), Adaptation(trajectories=2)
    given = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    earned = steps.returns(meta.agent_, suite, [0, 1], [0, 1], updates=1)
    assert given == (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    returns = meta.evaluate(2).return_mean.to_numpy()
    gradients = next(meta.gradients(meta.transitions(8), np.arange(4), torch.float32))
    return [meta.parameters, adapted.parameters, earned, returns, gradients.dense().numpy()]


def measured(folder: Path) -> list[np.ndarray]:
    suite = TaskSuite.make("navigation", n=2, horizon=8, goals="uniform")
    meta = MetaPolicy(suite, layers=2, width=4, learner=PPO(steps=16, copies=2)).fit(1)
    settings: dict[str, Any] = {"steps_per_task": 20, "copies": 2, "lanczos_steps": 3, "perturbations": 2}
    found = [
        Generalization(meta, suite, suite.unseen(2, seed=0), trace=trace, **settings).measure()
        for trace in ("exact", XTrace(products=6))
    ]
    return [np.array([each.trace, each.top_eigenvalue, each.gap, each.bound]) for each in found]


def grouped(folder: Path) -> list[np.ndarray]:
    suite = TaskSuite.make("navigation", n=4, horizon=8)
    found = PolicyGradEx(
        k=2, meta_steps=1, group_steps=1, snapshots=2, steps_per_task=64, projection_dim=20,
        learner=PPO(steps=16, copies=2),
    ).fit(suite)  # fmt: skip
    assert found.report()["k"] == 2
    return [found.scores_.per_task, found.graph_.matrix, found.graph_.stderr, found.evaluate().to_numpy()]


def scored_module(folder: Path) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    layer = torch.nn.Linear(3, 2, dtype=torch.float32, device="cpu")
    layer.load_state_dict({name: torch.full_like(each, 0.5) for name, each in layer.state_dict().items()})
    batch = torch.from_numpy(rng.normal(size=(40, 3)).astype(np.float32)), torch.from_numpy(np.arange(40) % 2)

    def log_prob(module: torch.nn.Module, batch: Any) -> torch.Tensor:
        inputs, chosen = batch
        return module(inputs).log_softmax(dim=-1).gather(1, chosen.unsqueeze(1)).squeeze(1)

    samples = Samples(rng.normal(size=40), tasks=np.arange(40) % 4)
    found = SurrogateEstimator(projection_dim=5).fit(ModuleGradients(layer, log_prob, batch), samples)
    return [found.task_gradients(), found.scores([[0, 1], [2, 3]]).per_task, found.interactions().matrix]


@pytest.mark.parametrize(
    "run",
    [
        partial(trained, PPO(steps=16, copies=2)),
        partial(trained, SAC(steps=8, copies=2, start=16, batch=8)),
        partial(trained, MAML(trajectories=2, tasks=2)),
        measured,
        grouped,
        scored_module,
    ],
    ids=["ppo", "sac", "maml", "generalization", "grouping", "module"],
)
def test_what_torch_is_told_elsewhere_changes_nothing(
    run: Callable[[Path], list[np.ndarray]], tmp_path: Path
) -> None:
    usual = run(tmp_path / "usual")
    modes = {
        "dtype": defaults(dtype=torch.float64),
        "device": defaults(device="meta"),
        "no_grad": torch.no_grad(),
        "inference": torch.inference_mode(),
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
    }
    for name, mode in modes.items():
        with mode:
            found = run(tmp_path / name)
        for one, other in zip(usual, found, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
