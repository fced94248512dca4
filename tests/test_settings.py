"""Settings: plain Python values whatever they come as, refused by name, and told as scikit-learn does."""

import copy
import copyreg
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from gradex import (
    PPO,
    SAC,
    AffinityGraph,
    Generalization,
    GroundTruth,
    MetaPolicy,
    PolicyGradEx,
    SurrogateEstimator,
    TaskSuite,
)
from gradex.affinity import MeanAffinity, PairwiseAffinity
from gradex.comparison import compare
from gradex.cross_evaluation import cross_evaluate
from gradex.learners import MAML
from gradex.settings import described, plain
from gradex.surrogate.scores import Improvement, NegativeLoss

LEARNER = PPO(steps=32, copies=2, minibatches=4)

#: As users give settings, not as annotations say.


@pytest.fixture(scope="module")
def suite() -> TaskSuite:
    return TaskSuite.make("navigation", n=4, horizon=10)


@pytest.fixture(scope="module")
def meta(suite: TaskSuite) -> MetaPolicy:
    return MetaPolicy(suite, learner=LEARNER, layers=2, width=8).fit(640)


@pytest.fixture
def with_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let read-only mappings be copied and pickled, whatever tasks do about their own."""
    monkeypatch.setitem(copyreg.dispatch_table, MappingProxyType, lambda each: (read_only, (dict(each),)))


def read_only(values: dict) -> MappingProxyType:
    return MappingProxyType(values)


# ---------------------------------------------------------------------- numbers of other kinds
@pytest.mark.wrong_types
def test_numpy_numbers_are_saved_and_read_back(suite: TaskSuite, tmp_path: Path) -> None:
    learner = PPO(
        steps=np.int32(32), copies=np.int8(2), minibatches=np.uint8(4), learning_rate=np.float32(0.5) / 256
    )
    settings = {"seed": np.int8(3), "layers": np.int64(2), "width": 8.0, "learner": learner}
    policy = MetaPolicy(suite, **settings).fit(np.float64(640))
    expected = MetaPolicy(
        suite, seed=3, layers=2, width=8, learner=PPO(32, 2, minibatches=4, learning_rate=0.5 / 256)
    ).fit(640)
    np.testing.assert_array_equal(policy.parameters, expected.parameters)
    [[fitted]] = policy.fit_each([[np.int64(1)]], 1e2, seeds=np.arange(4, 5, dtype=np.int8))
    adapted = policy.adapt([0], np.int64(64), seed=np.int64(5))
    for each in (policy, fitted, adapted):
        each.save(tmp_path / "policy.safetensors")
        assert MetaPolicy.load(tmp_path / "policy.safetensors").config == each.config
    assert (fitted.seed, fitted.start, adapted.seed, adapted.start) == (4, 4, 5, 3)
    assert {type(each.seed) for each in (policy, fitted, adapted)} == {int}
    assert len(policy.evaluate(np.int64(2), seed=np.int8(1))) == 4


@pytest.mark.wrong_types
def test_numpy_numbers_work_as_plain_ones_do(meta: MetaPolicy, suite: TaskSuite) -> None:
    few = {"projection_dim": np.int16(10), "steps_per_task": np.int8(100), "bootstrap": 0.0}
    run = PolicyGradEx(k=np.int64(2), subset_size=np.int8(2), group_steps=np.int64(0), seed=np.int8(1), **few)
    plainly = PolicyGradEx(2, subset_size=2, group_steps=0, seed=1, projection_dim=10, steps_per_task=100)
    plainly.set_params(bootstrap=0)
    assert run.config == plainly.config
    one, other = run.fit(suite, meta), plainly.fit(suite, meta)
    np.testing.assert_array_equal(one.graph_.matrix, other.graph_.matrix)
    assert json.loads(json.dumps(one.report()))["labels"] == other.labels_.tolist()
    truth = GroundTruth(np.int8(64), np.int8(1), np.int64(2), seed=np.int8(100), jobs=np.int64(1))
    again = GroundTruth(64, 1, 2, seed=100, jobs=1)
    np.testing.assert_array_equal(
        truth.fit(meta, [[0, 1]]).returns_, again.fit(meta, [[np.int64(0), 1]]).returns_
    )
    numbers = {"steps_per_task": 32, "copies": 2, "lanczos_steps": 3, "perturbations": 2, "seed": 1}
    measured = [
        Generalization(meta, suite, suite, **{name: kind(value) for name, value in numbers.items()}).measure()
        for kind in (int, np.int8, float)
    ]
    assert len({found.bound for found in measured}) == 1


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda s, m: MetaPolicy("cartpole"), "suite is 'cartpole': give a TaskSuite"),
        (lambda s, m: MetaPolicy(s, width="64"), "width is '64': give a whole number"),
        (lambda s, m: MetaPolicy(s, layers=0), "layers=0 is too small: give at least 1"),
        (lambda s, m: MetaPolicy(s, layers=True), "layers is True: give a whole number"),
        (lambda s, m: MetaPolicy(s, seed=-1), "seed=-1 is too small: give at least 0"),
        (lambda s, m: MetaPolicy(s, seed=1.5), "seed is 1.5: give a whole number"),
        (lambda s, m: MetaPolicy(s, seed=np.float32(np.nan)), "seed is nan: give a whole number"),
        (
            lambda s, m: MetaPolicy(s, seed=10**30),
            f"seed={10**30} is too large: give at most 461",
        ),
        (lambda s, m: MetaPolicy(s, seed=None), "seed is None: give a whole number"),
        (lambda s, m: MetaPolicy(s, learner=3), "learner is 3: give a name, or a Learner"),
        (lambda s, m: MetaPolicy(s, network=s), "network is a TaskSuite: give a name"),
        (lambda s, m: MetaPolicy(s).fit(steps="many"), "steps is 'many': give a whole number"),
        (lambda s, m: MetaPolicy(s).fit(steps=0.5), "steps is 0.5: give a whole number"),
        (
            lambda s, m: MetaPolicy(s).fit_each([[0]], 10, seeds=[-1]),
            r"seeds\[0\]=-1 is too small: give at",
        ),
        (lambda s, m: MetaPolicy(s).fit_each([0], 10), "0 is not a subset of 4 tasks"),
        (lambda s, m: MetaPolicy(s).fit_each(["a"], 10), "a is not a subset of 4 tasks"),
        (lambda s, m: MetaPolicy(s).fit_each([[0]], 10, seeds=3), "seeds is 3: give a sequence of whole"),
        (lambda s, m: m.adapt_each(1, 10), "subsets are 1: give a sequence of sequences of indices"),
        (lambda s, m: GroundTruth().fit(m, 1), "subsets are 1: give a sequence of sequences of indices"),
        (lambda s, m: compare(m, [0, 1, 2, 3], 10), "0 is not a subset of 4 tasks"),
        (lambda s, m: cross_evaluate(m, 2, 0), "policies is a MetaPolicy: give a Sequence"),
        (lambda s, m: m.adapt([0.5], 10), r"\[0.5\] is not a subset of 4 tasks"),
        (lambda s, m: m.adapt([0], 10, seed="one"), r"seeds\[0\] is 'one': give a whole number"),
        (lambda s, m: m.evaluate(suite="cartpole"), "suite is 'cartpole': give a TaskSuite"),
        (lambda s, m: m.evaluate("all"), "episodes is 'all': give a whole number"),
        (lambda s, m: m.transitions(2.5), "steps_per_task is 2.5: give a whole number"),
        (lambda s, m: PPO(steps="long"), "steps is 'long': give a whole number"),
        (lambda s, m: PPO(clip_range=np.nan), "clip_range is nan: give a number"),
        (lambda s, m: PPO(learning_rate="fast"), "learning_rate is 'fast': give a number"),
        (lambda s, m: SAC(batch=2.5), "batch is 2.5: give a whole number"),
        (lambda s, m: MAML(tasks="all"), "tasks is 'all': give a whole number"),
        (lambda s, m: PolicyGradEx().fit("cartpole"), "suite is 'cartpole': give a TaskSuite"),
        (lambda s, m: PolicyGradEx(k="three").fit(s), "k is 'three' for 4 tasks: choose 1 to 4, or 'auto'"),
        (lambda s, m: PolicyGradEx(k=None).fit(s), "k is None: give a whole number, or a name"),
        (lambda s, m: PolicyGradEx(subsets="all").fit(s), "subsets is 'all': give a whole number, or None"),
        (lambda s, m: PolicyGradEx(folds=1.5).fit(s), "folds is 1.5: give a whole number"),
        (
            lambda s, m: PolicyGradEx(2, subset_size=2).fit(s, meta=s),
            "meta is a TaskSuite: give a MetaPolicy",
        ),
        (lambda s, m: PolicyGradEx(affinity=3).fit(s), "affinity is 3: give a name, or an Affinity"),
        (lambda s, m: SurrogateEstimator("many"), "projection_dim is 'many': give a whole number"),
        (lambda s, m: SurrogateEstimator(regularization=None), "regularization is None: give a number, or"),
        (lambda s, m: SurrogateEstimator().fit(s), "model is a TaskSuite: give a MetaPolicy"),
        (lambda s, m: SurrogateEstimator().set_params(folds=0).fit(m), "folds=0 is too few: give at least 2"),
        (lambda s, m: GroundTruth(seed=2**63), f"seed={2**63} is too large: give at most {2**62}"),
        (lambda s, m: GroundTruth(episodes="few"), "episodes is 'few': give a whole number"),
        (lambda s, m: GroundTruth().fit(s, [[0]]), "meta is a TaskSuite: give a MetaPolicy"),
        (lambda s, m: Generalization(m, s, "unseen"), "test is 'unseen': give a TaskSuite"),
        (lambda s, m: Generalization(m, s, s, copies=0), "copies=0 is too small: give at least 2"),
        (lambda s, m: AffinityGraph(s), "a TaskSuite is not an affinity matrix; give numbers, one row and"),
        (lambda s, m: AffinityGraph.from_interactions(None), "a NoneType holds no interactions; give a"),
        (lambda s, m: AffinityGraph.from_gradients([1.0, 2.0]), r"gradients of shape \(2,\) are no rows of"),
        (lambda s, m: AffinityGraph.from_scores(s), "a TaskSuite holds no scores of subsets; give those"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_training(
    suite: TaskSuite, meta: MetaPolicy, monkeypatch: pytest.MonkeyPatch, use: Callable[..., Any], message: str
) -> None:
    monkeypatch.setattr(PPO, "train", None)
    with pytest.raises((TypeError, ValueError), match=f"^{message}") as caught:
        use(suite, meta)
    assert "\n" not in str(caught.value)


def test_a_value_that_is_plain_already_stays_the_same_object() -> None:
    given = {"k": 3, "affinity": MeanAffinity(), "learner": "ppo", "subsets": None}
    for name, value in plain(PolicyGradEx, given).items():
        assert value is given[name]


def test_switches_of_numpy_are_switches() -> None:
    [value] = plain(PolicyGradEx, {"recursive": np.False_}).values()
    assert value is False


# ---------------------------------------------------------------------- before a fit
@pytest.mark.parametrize(
    ("made", "names", "call"),
    [
        (MetaPolicy, ("history_", "agent_", "parameters"), r"fit\(steps=...\)"),
        (
            lambda s: PolicyGradEx(),
            ("groups_", "labels_", "meta_", "policies_", "seconds_", "graph_", "bootstrap_", "suite_"),
            r"fit\(suite\)",
        ),
        (
            lambda s: SurrogateEstimator(),
            ("features", "projection_", "regularization_"),
            r"fit\(meta\)",
        ),
        (lambda s: GroundTruth(), ("returns_", "subsets_", "steps_"), r"fit\(meta, subsets\)"),
    ],
    ids=["MetaPolicy", "PolicyGradEx", "SurrogateEstimator", "GroundTruth"],
)
@pytest.mark.usefixtures("with_proxies")
def test_results_before_a_fit_say_what_to_call(
    suite: TaskSuite, made: Callable[[TaskSuite], Any], names: tuple[str, ...], call: str
) -> None:
    one = made(suite)
    for each in (one, copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        for name in names:
            with pytest.raises(NotFittedError, match=f"is not fitted: call {call} first"):
                getattr(each, name)
            assert not hasattr(each, name)
        with pytest.raises(AttributeError, match="has no attribute 'absent'") as caught:
            _ = each.absent
        assert not isinstance(caught.value, NotFittedError)


# ---------------------------------------------------------------------- copies
@pytest.mark.usefixtures("with_proxies")
def test_fitted_objects_are_copied_and_pickled(suite: TaskSuite, meta: MetaPolicy) -> None:
    few = {"subset_size": 2, "projection_dim": 10, "steps_per_task": 100, "bootstrap": 2}
    run = PolicyGradEx(2, group_steps=512, **few).fit(suite, meta)
    for duplicate in (copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))):
        other, policy = duplicate(run), duplicate(meta)
        np.testing.assert_array_equal(policy.parameters, meta.parameters)
        assert (policy.start, policy.steps, policy.config) == (meta.start, meta.steps, meta.config)
        assert other.groups_ == run.groups_ and other.config == run.config
        assert other.evaluate(2).equals(run.evaluate(2))


@pytest.mark.usefixtures("with_proxies")
def test_estimators_are_those_of_scikit_learn(suite: TaskSuite, meta: MetaPolicy) -> None:
    estimators = [
        PolicyGradEx(k=2, affinity=MeanAffinity(), learner=LEARNER),
        SurrogateEstimator(folds=2, score=Improvement()),
        GroundTruth(replicates=3, target_stderr=0.5),
        Generalization(meta, suite, suite, copies=2),
    ]
    for estimator in estimators:
        given = estimator.get_params(deep=False)
        copied = clone(estimator)
        assert type(copied) is type(estimator) and copied is not estimator
        assert copied.get_params(deep=False).keys() == given.keys()
        assert copied.set_params(seed=7) is copied and copied.seed == 7 and estimator.seed == 0
        with pytest.raises(ValueError, match="Invalid parameter 'absent'"):
            copied.set_params(absent=1)
        assert estimator._repr_html_()
    assert repr(PolicyGradEx(k=2, seed=3)) == "PolicyGradEx(k=2, seed=3)"
    assert repr(SurrogateEstimator(folds=2)) == "SurrogateEstimator(folds=2)"
    assert repr(clone(GroundTruth(replicates=3))) == "GroundTruth(replicates=3)"
    assert SurrogateEstimator(score="loss").get_params()["score"] == "loss"


def test_a_policy_is_told_in_one_line(suite: TaskSuite, meta: MetaPolicy) -> None:
    assert repr(meta) == (
        "<MetaPolicy on 4 tasks of 'navigation': network='mlp', learner='ppo', seed=0, fitted>"
    )
    assert repr(MetaPolicy(suite, "care", "maml", 3)).endswith("learner='maml', seed=3, not fitted>")


# ---------------------------------------------------------------------- settings in JSON
SETTINGS = """PolicyGradEx(
    affinity=PairwiseAffinity(0.5, normalise=None), score=Improvement(clip=0.3), learner=SAC(tau=0.2)
).config"""


def test_settings_look_alike_in_every_process() -> None:
    source = (
        "import json\nfrom gradex import SAC, PolicyGradEx\nfrom gradex.affinity import *\n"
        f"from gradex.surrogate.scores import *\nprint(json.dumps({SETTINGS}))"
    )
    process = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert process.stdout == json.dumps(eval(SETTINGS)) + "\n"
    assert "0x" not in process.stdout


def test_different_settings_differ() -> None:
    different = [
        *({"affinity": each} for each in ("mean", MeanAffinity())),
        *({"affinity": each} for each in (PairwiseAffinity(), PairwiseAffinity(1.0), PairwiseAffinity(2.0))),
        {"affinity": PairwiseAffinity(normalise=None)},
        *({"score": each} for each in ("improvement", NegativeLoss(), Improvement(), Improvement(0.1))),
        *({"learner": each} for each in (PPO(), PPO(steps=256), SAC(), MAML())),
        {},
        {"k": 4},
    ]
    assert len({json.dumps(PolicyGradEx(**each).config) for each in different}) == len(different)


def test_whatever_a_setting_is_made_of_is_described() -> None:
    class Slotted:
        __slots__ = ("size",)

        def __init__(self, size: int) -> None:
            self.size = size

    told = described({"a": Slotted(np.int64(3)), "b": [np.float32(0.5), (1, None)], "c": np.eye(2), "d": len})
    assert told == {
        "a": {"class": f"{__name__}.{Slotted.__qualname__}", "size": 3},
        "b": [0.5, [1, None]],
        "c": [[1, 0], [0, 1]],
        "d": "builtins.len",
    }
