"""Files of policies and of trainings: what is read is what was written, or it is refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from gradex import PPO, MetaPolicy, TaskSuite
from gradex.learners import ActorCritic, checkpoint
from gradex.learners.training_folder import TrainingFolder


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    suite = TaskSuite.make("navigation", n=2, groups=2, horizon=8)
    return MetaPolicy(suite, learner=PPO(steps=8, copies=1, minibatches=1), layers=2, width=3).fit(32)


@pytest.fixture(scope="module")
def written(meta: MetaPolicy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bytes]]:
    path = tmp_path_factory.mktemp("policies") / "policy.safetensors"
    meta.save(path)
    yield path, path.read_bytes()


def same(one: MetaPolicy, other: MetaPolicy) -> bool:
    prints = [checkpoint.agent_fingerprint(policy.agent_) for policy in (one, other)]
    told = [(policy.config, policy.steps) for policy in (one, other)]
    return prints[0] == prints[1] and told[0] == told[1] and one.history_.equals(other.history_)


@given(st.data())
def test_a_file_with_other_bytes_gives_the_same_policy_or_none(
    meta: MetaPolicy, written: tuple[Path, bytes], data: st.DataObject
) -> None:
    path, whole = written
    length = int.from_bytes(whole[:8], "little") + 8
    # As often in the header, which is short, as among the tensors.
    place = st.integers(0, length - 1) | st.integers(length, len(whole) - 1)
    changes = data.draw(st.dictionaries(place, st.integers(0, 255), min_size=1, max_size=8))
    changed = bytearray(whole)
    for position, byte in changes.items():
        changed[position] = byte
    cut = data.draw(st.just(len(whole)) | st.integers(0, len(whole)))
    path.write_bytes(bytes(changed[:cut]))
    try:
        found = MetaPolicy.load(path)
    except ValueError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert same(found, meta)


def test_every_bit_of_the_tensors_counts(meta: MetaPolicy, written: tuple[Path, bytes]) -> None:
    path, whole = written
    first = int.from_bytes(whole[:8], "little") + 8
    for position in range(first, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(bytes(changed))
        with pytest.raises(ValueError, match="cannot read a policy from"):
            MetaPolicy.load(path)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_not_finite_is_not_saved(meta: MetaPolicy, tmp_path: Path, number: float) -> None:
    broken = meta.with_parameters(np.where(np.arange(len(meta.parameters)) == 3, number, meta.parameters))
    with pytest.raises(ValueError, match=r"^policy.0.weight is not finite, so nothing was written to"):
        broken.save(tmp_path / "policy.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_stack_comes_back(tmp_path: Path) -> None:
    agent = ActorCritic.initial(TaskSuite.make("navigation", n=2, groups=2), [0, 1], layers=2, width=3)
    agent = replace(agent, more={"temperature": torch.rand(2, 3)})
    checkpoint.save(tmp_path / "stack.safetensors", agent, {})
    tensors, _ = checkpoint.load(tmp_path / "stack.safetensors")
    back = checkpoint.restore(agent, tensors)
    assert checkpoint.agent_fingerprint(back) == checkpoint.agent_fingerprint(agent)
    with pytest.raises(ValueError, match="holds 2 policies, expected 1"):
        checkpoint.restore(agent[0], tensors)


@pytest.mark.parametrize("place", ["", "absent.safetensors", "absent/policy.safetensors"])
def test_a_place_without_a_policy_is_named(tmp_path: Path, place: str) -> None:
    with pytest.raises(ValueError, match=r"^cannot read a policy from") as caught:
        MetaPolicy.load(tmp_path / place)
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_overwritten(meta: MetaPolicy, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^cannot write to '.*' \(.*\): choose another folder$"):
        meta.save(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^cannot write to '.*file.*' \(.*\): choose another folder$"):
        meta.adapt([0], 8, folder=tmp_path / "file")


# ---------------------------------------------------------------------- trainings
STATE = {"rounds": torch.tensor(2), "parameters": torch.ones(1, 3)}
CURVE = pd.DataFrame({"steps": [8], "policy": [0], "task": [0], "return_mean": [np.nan], "episodes": [1]})


@given(st.data())
def test_a_training_with_other_bytes_is_the_same_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = TrainingFolder.open(tmp_path_factory.mktemp("training"), {"seeds": [1]})
    folder.save(STATE, CURVE)
    file = folder.path / "training.safetensors"
    changed = bytearray(file.read_bytes())
    for position in data.draw(st.sets(st.integers(0, len(changed) - 1), min_size=1, max_size=4)):
        changed[position] ^= data.draw(st.integers(1, 255))
    file.write_bytes(bytes(changed))
    try:
        state, curve = folder.load()
    except ValueError as error:
        assert "choose another folder" in str(error) and "\n" not in str(error)
    else:
        assert all(torch.equal(state[name], STATE[name]) for name in STATE)
        pd.testing.assert_frame_equal(curve, CURVE)


def test_a_training_that_cannot_go_on_is_refused(tmp_path: Path) -> None:
    folder = TrainingFolder.open(tmp_path, {"seeds": [1]})
    folder.save({**STATE, "parameters": torch.tensor([[1, np.nan]])}, CURVE)
    with pytest.raises(ValueError, match="its parameters is not finite; choose another folder"):
        folder.load()
    header = {"format": "gradex.training/1", "configuration": json.dumps({"seeds": [1]})}
    save_file(STATE, tmp_path / "training.safetensors", metadata=header)
    with pytest.raises(ValueError, match=r"its format is 'gradex.training/1', not that of this version"):
        folder.load()
