"""Groups within groups: each group is looked at by itself, by a meta-policy that met no other task."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradex import MetaPolicy, PolicyGradEx, SurrogateEstimator, TaskSuite, grouping, path_scores
from gradex.affinity import FoundGroups, find_groups
from gradex.affinity.correlation import correlated
from gradex.grouped_tasks import WITHIN
from gradex.learners import Learner
from gradex.run_text import run_text
from gradex.surrogate import Interactions
from tests.environments import Fork

N = 7


def finding(labels: np.ndarray) -> Callable[..., FoundGroups]:
    """Find these groups, beyond doubt, wherever so many tasks are looked at."""

    def find(scores: Any, interactions: Any, *rest: Any) -> FoundGroups:
        found = find_groups(scores, interactions, *rest)
        if len(interactions.matrix) != len(labels):
            return found
        partition = correlated(interactions.matrix, labels)
        object.__setattr__(partition, "resampled", np.tile(partition.labels, (10, 1)))
        object.__setattr__(found, "partition", partition)
        return found

    return find


@pytest.fixture(scope="module")
def suite() -> TaskSuite:
    return TaskSuite.make("navigation", n=N, seed=2)


@pytest.fixture(scope="module")
def merged(suite: TaskSuite) -> Iterator[np.ndarray]:
    """Two of the three kinds, as if all tasks together had not told them apart."""
    assert suite.labels is not None
    labels = np.minimum(suite.labels, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "find_groups", finding(labels))
        yield labels


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "meta.safetensors"


@pytest.fixture(scope="module")
def found(suite: TaskSuite, merged: np.ndarray, checkpoint: Path) -> PolicyGradEx:
    return small().fit(suite, checkpoint=checkpoint)


def small(**settings: Any) -> PolicyGradEx:
    own = {"projection_dim": 50, "steps_per_task": 1024, "meta_steps": 21_000, "bootstrap": 2, "snapshots": 4}
    return PolicyGradEx(**{"group_steps": 0, **own, **settings})


def test_kinds_that_pull_alike_next_to_a_third_are_told_apart(
    suite: TaskSuite, merged: np.ndarray, found: PolicyGradEx, checkpoint: Path
) -> None:
    assert found.first_partition_.agreement(merged).nmi == pytest.approx(1)
    assert found.partition_.agreement(suite.labels).nmi == pytest.approx(1)
    assert found.partition_.resampled is not None
    assert found.partition_.resampled.shape == (10, N)
    assert WITHIN in found.seconds_
    report = found.report()
    assert (report["k"], len(report["first_groups"])) == (3, 2)
    assert report["conflict"] <= 0.05 and report["unrelated"] is None
    said = run_text({**report, "returns": {"meta": 0.0}}, None)
    assert "\nall tasks together showed 2 groups; by themselves some of them fall into more\n" in said
    for group, part in zip(found.first_partition_.groups, found.parts_, strict=True):
        assert part is not None
        assert [task.name for task in part.suite_.tasks] == [suite[task].name for task in group]
        assert part.meta_.lineage.parent is None  # it began from fresh weights
        assert part.meta_.steps == pytest.approx(found.meta_.steps * len(group) / N, rel=0.2)
        assert part.policies_ == []
        assert (found.weighting, part.weighting) == ("equal", "return")
        assert found.common_share == part.common_share == 0.5
    kept = sorted(path.name for path in checkpoint.parent.iterdir())
    names = ["-".join(map(str, group)) for group in found.first_partition_.groups]
    for name in names:
        assert f"meta-of-{name}.safetensors" in kept


def test_kinds_that_have_nothing_in_common_are_told_apart_within_a_group(
    suite: TaskSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next to tasks that are at odds with both, two kinds that have less in common are one group at first."""
    kinds = np.array([0, 0, 0, 1, 1, 2])
    together = np.array([[1.0, 0.8, 0.0], [1.0, 0.0, 0.8], [-1.0, -0.5, -0.5]])[kinds]
    by_themselves = np.eye(3)[kinds[:5]]
    met = {
        len(own): Interactions(tuple(np.tile(own, (40, 1, 1)).swapaxes(0, 1)), common=False)
        for own in (together, by_themselves, together[:3], together[:2])
    }
    monkeypatch.setattr(SurrogateEstimator, "interactions", lambda self: met[self.samples_.n])
    few = {"meta_steps": 4_000, "steps_per_task": 64, "snapshots": 1, "bootstrap": 4}
    found = small(**few).fit(suite[:6])
    assert found.first_partition_.groups == ((0, 1, 2, 3, 4), (5,))
    assert found.groups_ == ((0, 1, 2), (3, 4), (5,))
    part, alone = found.parts_
    assert part is not None and part.unrelated_ is not None and part.unrelated_ < 0.05
    assert alone is None


def test_a_run_that_was_cut_off_trains_nothing_twice(
    suite: TaskSuite, found: PolicyGradEx, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "train", lambda *_, **__: pytest.fail("trained again"))
    again = small().fit(suite, checkpoint=checkpoint)
    assert again.groups_ == found.groups_
    np.testing.assert_array_equal(again.partition_.resampled, found.partition_.resampled)


def test_a_given_meta_policy_says_how_the_others_are_made(suite: TaskSuite, merged: np.ndarray) -> None:
    meta = MetaPolicy(suite, seed=3, layers=2, width=16).fit(7_000, 2)
    found = small().fit(suite, meta)
    assert {(part.meta_.layers, part.meta_.width) for part in found.parts_ if part is not None} == {(2, 16)}
    assert sum(part.meta_.steps for part in found.parts_ if part is not None) <= meta.steps


@pytest.mark.usefixtures("merged")
@pytest.mark.parametrize("settings", [{"recursive": False}, {"k": 2}], ids=str)
def test_nothing_is_looked_at_again_unless_asked(suite: TaskSuite, settings: dict[str, Any]) -> None:
    found = small(**settings).fit(suite)
    assert found.parts_ == ()
    assert found.partition_ is found.first_partition_
    report = found.report()
    assert report["first_groups"] == report["groups"]
    assert "all tasks together" not in run_text({**report, "returns": {"meta": 0.0}}, None)
    assert WITHIN not in found.seconds_


def test_a_group_that_is_never_paid_by_itself_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "find_groups", finding(np.array([0, 0, 1, 1])))
    nothing = np.zeros(2)
    pays = {"one": np.array([1.0, 0.0]), "other": np.array([0.0, 1.0]), "never": nothing, "nor this": nothing}
    suite = TaskSuite.from_gymnasium(
        {name: partial(Fork, reward_space=None, pays=paid.__matmul__) for name, paid in pays.items()}
    )
    found = small(meta_steps=4_000, steps_per_task=256).fit(suite)
    assert found.parts_[0] is not None
    assert found.parts_[1] is None
    assert (2, 3) in found.groups_
    with pytest.raises(ValueError, match=r"was paid alike, in every task and at all \d moments"):
        small(meta_steps=4_000, steps_per_task=256).fit(suite[2:])


def test_one_group_is_not_looked_at_again() -> None:
    found = small(meta_steps=6_000, steps_per_task=256).fit(TaskSuite.make("cartpole", n=3, seed=0))
    assert found.partition_.k == 1
    assert found.parts_ == ()


@pytest.mark.parametrize(("weighting", "groups"), [("equal", 2), ("return", 1)])
def test_what_differs_by_degrees_is_left_whole(
    suite: TaskSuite, monkeypatch: pytest.MonkeyPatch, weighting: str, groups: int
) -> None:
    """Snapshots count by the return at stake: late conflicts, when nearly all is learned, are none."""
    early = (np.tile([1.0, 0.0], (40, 1)), np.tile([1.0, 0.0], (40, 1)))
    late = (np.tile([0.0, 2.0], (40, 1)), np.tile([0.0, -2.0], (40, 1)))
    each = iter(Interactions(own, common=False) for own in (early, late))
    monkeypatch.setattr(SurrogateEstimator, "interactions", lambda self: next(each))
    monkeypatch.setattr(path_scores, "stakes", lambda surrogates: [np.full(2, 1.9), np.full(2, 0.1)])
    run = small(weighting=weighting, meta_steps=4_000, steps_per_task=64, snapshots=2, subset_size=2)
    assert run.fit(suite[:2]).partition_.k == groups
