"""The file of a policy: what comes back from it, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gradex import MetaPolicy, TaskSuite
from gradex.store import fingerprint
from tests.environments import Scripted, scripted, scripted_suite
from tests.meta_policy.small import ROLLOUT, assert_same_path, small


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    return small(TaskSuite.make("navigation", n=4, horizon=10)).fit(20 * ROLLOUT)


@pytest.fixture(scope="module")
def custom() -> MetaPolicy:
    return small(scripted_suite(a=scripted([1, 2]), b=scripted([3, 4, 5]))).fit(2 * ROLLOUT)


def test_a_policy_comes_back_from_disk(meta: MetaPolicy, tmp_path: Path) -> None:
    path = tmp_path / "new" / "policy.safetensors"
    meta.save(path)
    back = MetaPolicy.load(path)
    assert back.config == meta.config
    np.testing.assert_array_equal(back.parameters, meta.parameters)
    assert torch.equal(back.agent_.critics, meta.agent_.critics)
    assert torch.equal(back.agent_.return_mean, meta.agent_.return_mean)
    assert torch.equal(back.agent_.return_scale, meta.agent_.return_scale)
    pd.testing.assert_frame_equal(back.history_, meta.history_)
    pd.testing.assert_frame_equal(back.evaluate(3), meta.evaluate(3))
    np.testing.assert_array_equal(back.transitions(20).advantages, meta.transitions(20).advantages)
    np.testing.assert_array_equal(back.adapt([0], ROLLOUT).parameters, meta.adapt([0], ROLLOUT).parameters)
    assert [file.name for file in path.parent.iterdir()] == ["policy.safetensors"]


def test_a_path_comes_back_from_disk(meta: MetaPolicy, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    meta.save(path)
    back = MetaPolicy.load(path)
    assert back.path_[-1] is back
    assert_same_path(back.path_, meta.path_)
    one, other = back.path_[1], meta.path_[1]
    np.testing.assert_array_equal(one.transitions(20).advantages, other.transitions(20).advantages)
    np.testing.assert_array_equal(one.adapt([0], ROLLOUT).parameters, other.adapt([0], ROLLOUT).parameters)
    # Of a policy that was trained on there is no path.
    meta.adapt([0], ROLLOUT).save(path)
    assert len(MetaPolicy.load(path).path_) == 1


def as_before_there_were_paths(path: Path) -> None:
    def strip(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("path.")]:
            del tensors[name]

    rewrite(path, strip)
    told("path", None)(path)


def test_a_file_without_a_path_holds_the_policy_alone(meta: MetaPolicy, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    meta.save(path)
    as_before_there_were_paths(path)
    back = MetaPolicy.load(path)
    assert back.path_ == (back,)
    assert_same_path(back.path_, meta.path_[-1:])


def test_a_path_of_other_snapshots_is_refused(meta: MetaPolicy, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    trained = small(meta.suite).fit_or_load(20 * ROLLOUT, path)
    assert_same_path(trained.path_, meta.path_)
    for snapshots in (5, 8):  # there are five rounds
        assert_same_path(small(meta.suite).fit_or_load(20 * ROLLOUT, path, snapshots).path_, meta.path_)
    other = "holds a meta-policy of other settings, with snapshots 5 instead of 2: choose another file"
    with pytest.raises(ValueError, match=other):
        small(meta.suite).fit_or_load(20 * ROLLOUT, path, snapshots=2)
    as_before_there_were_paths(path)
    with pytest.raises(ValueError, match="with snapshots 1 instead of 5"):
        small(meta.suite).fit_or_load(20 * ROLLOUT, path)
    assert len(small(meta.suite).fit_or_load(20 * ROLLOUT, path, snapshots=1).path_) == 1


def test_the_file_is_plain_safetensors(meta: MetaPolicy, tmp_path: Path) -> None:
    meta.save(tmp_path / "policy.safetensors")
    tensors = load_file(tmp_path / "policy.safetensors")
    assert tensors["policy.0.weight"].shape == (1, 3, 8)
    assert tensors["policy.log_std"].shape == (1, 2)
    assert tensors["critic.0.weight"].shape == (1, 3 + 4, 8)
    assert torch.equal(tensors["path.0.policy.0.weight"], meta.path_[0].agent_.tensors()["policy.0.weight"])


def test_saving_replaces_an_older_policy(meta: MetaPolicy, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_text("an older file")
    meta.save(path)
    np.testing.assert_array_equal(MetaPolicy.load(path).parameters, meta.parameters)


def test_a_custom_suite_comes_back_with_its_environments(custom: MetaPolicy, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    custom.save(path)
    with pytest.raises(
        ValueError, match="a 'custom' suite cannot be rebuilt from its config: give the suite itself"
    ):
        MetaPolicy.load(path)
    back = MetaPolicy.load(path, suite=custom.suite)
    pd.testing.assert_frame_equal(back.evaluate(2), custom.evaluate(2))


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path)


def without_a_tensor(path: Path) -> None:
    rewrite(path, lambda tensors: tensors.pop("policy.1.bias"))


def without_a_tensor_of_a_snapshot(path: Path) -> None:
    rewrite(path, lambda tensors: tensors.pop("path.1.policy.1.bias"))


def without_a_scale(path: Path) -> None:
    rewrite(path, lambda tensors: tensors.pop("return_scale"))


def of_another_shape(path: Path) -> None:
    rewrite(path, lambda tensors: tensors.update({"policy.0.weight": torch.zeros(1, 3, 9)}))


def with_a_text_that_is_no_json(path: Path) -> None:
    redescribe(path, "{")


def with_a_deep_description(path: Path) -> None:
    redescribe(path, "[" * 100_000)


def with_a_list_for_a_description(path: Path) -> None:
    redescribe(path, "[1]")


def with_an_empty_description(path: Path) -> None:
    redescribe(path, "{}")


def of_two_policies(path: Path) -> None:
    rewrite(path, lambda tensors: tensors.update({"return_scale": torch.zeros(2, 4)}))


def of_whole_numbers(path: Path) -> None:
    rewrite(path, lambda tensors: tensors.update({"return_scale": torch.zeros(1, 4, dtype=torch.int64)}))


def with_a_foreign_tensor(path: Path) -> None:
    rewrite(path, lambda tensors: tensors.update({"policy.9.bias": torch.zeros(1, 8)}))


def with_a_weight_that_is_not_finite(path: Path) -> None:
    rewrite(path, lambda tensors: tensors["policy.1.bias"].fill_(np.nan))


def with_an_unchecked_change(path: Path) -> None:
    """A change by somebody who leaves the checksum as it is."""
    header, tensors = header_of(path), load_file(path)
    tensors["policy.1.bias"][0, 0] += 1
    save_file(tensors, path, metadata=header)


def of_the_format_before(path: Path) -> None:
    header = header_of(path)
    save_file(load_file(path), path, metadata={**header, "format": "gradex.policy/1"})


def told(name: str, value: object) -> Callable[[Path], None]:
    """Put something else into a description."""

    def spoil(path: Path) -> None:
        description = json.loads(header_of(path)["description"])
        *places, last = name.split("/")
        inside = description
        for place in places:
            inside = inside[int(place) if place.isdigit() else place]
        if value is None:
            del inside[last]
        else:
            inside[last] = value
        redescribe(path, json.dumps(description))

    return spoil


def header_of(path: Path) -> dict[str, str]:
    with safe_open(str(path), framework="pt") as file:
        return file.metadata()


def redescribe(path: Path, text: str) -> None:
    """Write another description, with its checksum."""
    tensors = load_file(path)
    header = {**header_of(path), "description": text, "sha256": fingerprint(tensors, text)}
    save_file(tensors, path, metadata=header)


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Write other tensors, with their checksum."""
    header, tensors = header_of(path), load_file(path)
    change(tensors)
    header["sha256"] = fingerprint(tensors, header["description"])
    save_file(tensors, path, metadata=header)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "cannot read a policy from"),
        (lambda path: path.write_text(""), "cannot read a policy from"),
        (damaged, "cannot read a policy from"),
        (foreign, "its format is None, not that of a policy of gradex"),
        (without_a_tensor, "policy.1.bias is missing"),
        (without_a_scale, "return_scale is missing"),
        (of_another_shape, r"policy.0.weight is of shape \(3, 9\), expected \(3, 8\)"),
        (of_two_policies, "return_scale holds 2 policies, expected 1"),
        (of_whole_numbers, "return_scale is of type torch.int64, expected torch.float32"),
        (with_a_foreign_tensor, "policy.9.bias does not belong to this architecture"),
        (with_a_weight_that_is_not_finite, "policy.1.bias is not finite, so it must be trained again"),
        (with_an_unchecked_change, "it is damaged: its checksum does not match"),
        (of_the_format_before, "another version of gradex wrote it, as .gradex.policy/1"),
        (with_a_text_that_is_no_json, "it is damaged: its description cannot be read"),
        (with_a_deep_description, "it is damaged: its description cannot be read"),
        (with_a_list_for_a_description, "it is damaged: its description cannot be read"),
        (with_an_empty_description, r"cannot read a policy from '.*': 'lineage' is missing"),
        (told("network", ["mlp"]), "network is a list: give a name"),
        (told("network", "lstm"), "unknown network 'lstm'"),
        (told("layers", "3"), "layers is '3': give a whole number"),
        (told("layers", 0), "layers=0 is too small: give at least 1"),
        (told("lineage/seed", -1), "seed=-1 is too small: give at least 0"),
        (told("lineage/start", 0.5), "start is 0.5: give a whole number"),
        (told("learner", "ppo"), "cannot read a policy from"),
        (told("learner/learning_rate", "fast"), "learning_rate is 'fast': give a number"),
        (told("learner/momentum", 1), r"cannot read a policy from .*momentum"),
        (told("lineage/steps", None), "'steps' is missing"),
        (told("lineage/parent", 3), "parent is 3: give a fingerprint, or None"),
        (told("lineage/subset", [0, 4]), r"\[0, 4\] is not a subset of 4 tasks"),
        (told("lineage/suite/spaces", 3), "it is for other tasks, with spaces 3 instead of"),
        (told("lineage/suite", []), r"its suite cannot be rebuilt by this version \(list indices"),
        (
            told("lineage/suite/tasks/0/parameters", None),
            r"its suite cannot be rebuilt by this version \(.*'parameters'",
        ),
        (
            told("lineage/suite/tasks/0/parameters", {}),
            r"its suite cannot be rebuilt by this version \(task .* other parameters than angle\): give",
        ),
        (told("lineage/suite/options/goals", None), "its suite cannot be rebuilt by this version"),
        (told("path", "long"), r"path\[0\] is 'l': give a whole number"),
        (told("path", [256, 1280]), "path.1.critic.0.bias does not belong to this architecture"),
        (told("path", [256, 512]), r"its snapshots are after \[256, 512\] of 1280 steps"),
        (told("path", [600, 512, 1280]), r"its snapshots are after \[600, 512, 1280\] of 1280 steps"),
        (told("path", [0, 1280]), r"path\[0\]=0 is too small"),
        (without_a_tensor_of_a_snapshot, "snapshot after 512 steps: policy.1.bias is missing"),
        (told("history", [1]), "cannot read a policy from"),
        (told("history/steps", ["many"]), "All arrays must be of the same length"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_in_one_line(
    meta: MetaPolicy, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "policy.safetensors"
    meta.save(path)
    spoil(path)
    with pytest.raises(ValueError, match=message) as caught:
        MetaPolicy.load(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_a_policy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read a policy from"):
        MetaPolicy.load(tmp_path)


def test_a_policy_of_another_suite_does_not_fit(meta: MetaPolicy, tmp_path: Path) -> None:
    meta.save(tmp_path / "policy.safetensors")
    for suite, difference in (
        (TaskSuite.make("cartpole", n=4), 'family "navigation" instead of "cartpole"'),
        (TaskSuite.make("navigation", n=5, horizon=10), r"names \["),
        (TaskSuite.make("navigation", n=4, horizon=11), "options horizon 10 instead of 11"),
        (meta.suite[[1, 0, 2, 3]], r"names \["),
    ):
        with pytest.raises(ValueError, match=f"it is for other tasks, with {difference}") as caught:
            MetaPolicy.load(tmp_path / "policy.safetensors", suite)
        assert "\n" not in str(caught.value)
    MetaPolicy.load(tmp_path / "policy.safetensors", TaskSuite.make("navigation", n=4, horizon=10))


LIMITED = {name: lambda: TimeLimit(Scripted([1, 2]), 2) for name in ("a", "b")}


def test_tasks_of_your_own_are_told_apart_by_names_spaces_and_time_limit(
    custom: MetaPolicy, tmp_path: Path
) -> None:
    custom.save(tmp_path / "policy.safetensors")
    grouped = TaskSuite.from_gymnasium({"a": scripted([1, 2]), "b": scripted([3])}, groups=[0, 1])
    MetaPolicy.load(tmp_path / "policy.safetensors", grouped)
    more = spaces.Discrete(3)
    for suite, difference in (
        (scripted_suite(b=scripted([1]), a=scripted([1])), r'names \["a", "b"\] instead of \["b", "a"\]'),
        (scripted_suite(up=scripted([1]), down=scripted([1])), r"names \["),
        (
            scripted_suite(a=scripted([1], action_space=more), b=scripted([1], action_space=more)),
            r"spaces .*Discrete\(2\).* instead of .*Discrete\(3\)",
        ),
        (TaskSuite.from_gymnasium(LIMITED), "options time_limit null instead of 2"),
    ):
        with pytest.raises(ValueError, match=f"it is for other tasks, with {difference}"):
            MetaPolicy.load(tmp_path / "policy.safetensors", suite)


def test_a_policy_from_before_time_limits_were_told_fits(custom: MetaPolicy, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    custom.save(path)
    told("lineage/suite/options/time_limit", None)(path)
    for suite in (custom.suite, TaskSuite.from_gymnasium(LIMITED)):
        assert MetaPolicy.load(path, suite).suite.horizon == suite.horizon


def test_an_unwritable_place_is_named(meta: MetaPolicy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to .*choose another folder"):
        meta.save(tmp_path / "file" / "policy.safetensors")
