"""What is kept: files appear whole or not at all, and what is read is what was written, or it is refused."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradex import PPO, MetaPolicy, TaskSuite
from gradex.learners import ActorCritic
from gradex.store import Store, difference, not_finite, read_tensors, scratch, write_tensors, written_whole

ROOT = Path(__file__).parents[1]


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
    prints = [policy.agent_.fingerprint for policy in (one, other)]
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
    write_tensors(tmp_path / "stack.safetensors", "stack", agent.tensors(), {"steps": 3})
    tensors, told = read_tensors(tmp_path / "stack.safetensors", "stack", "try again")
    back = agent.restored(tensors)
    assert (back.fingerprint, told) == (agent.fingerprint, {"steps": 3})
    with pytest.raises(ValueError, match="holds 2 policies, expected 1"):
        agent[0].restored(tensors)
    with pytest.raises(ValueError, match=r"'gradex.stack/3', not that of a policy of gradex\): try again"):
        read_tensors(tmp_path / "stack.safetensors", "policy", "try again")


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


# ---------------------------------------------------------------------- stores
STATE = {"step": torch.tensor(2), "parameters": torch.tensor([[1.0, np.nan]])}


def store(path: Path, **identity: object) -> Store:
    return Store.open(path, "sum", {"seeds": [1], **identity})


@given(st.data())
def test_kept_tensors_with_other_bytes_are_the_same_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kept = store(tmp_path_factory.mktemp("store"))
    kept.write("first", STATE, {"rows": 3})
    changed = bytearray(kept.file("first").read_bytes())
    for position in data.draw(st.sets(st.integers(0, len(changed) - 1), min_size=1, max_size=4)):
        changed[position] ^= data.draw(st.integers(1, 255))
    kept.file("first").write_bytes(bytes(changed))
    try:
        state, told = kept.read("first")
    except ValueError as error:
        assert "choose another folder" in str(error) and "\n" not in str(error)
    else:
        assert all(torch.equal(state[name].nan_to_num(), STATE[name].nan_to_num()) for name in STATE)
        assert told == {"rows": 3}


def test_a_store_gives_back_what_it_was_given(tmp_path: Path) -> None:
    kept = store(tmp_path / "a" / "b")
    assert kept.read("first") is None
    kept.write("first", {"total": torch.ones(2, 3)})
    state, told = store(tmp_path / "a" / "b").read("first")
    assert torch.equal(state["total"], torch.ones(2, 3)) and told == {}
    assert not_finite(STATE) == "parameters" and not_finite(state) is None


def test_other_work_is_refused_by_what_differs(tmp_path: Path) -> None:
    suite = {"name": "toy", "tasks": [{"gravity": 1.0}, {"gravity": 2.0}]}
    store(tmp_path, suite=suite, rate=0.1)
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    moon = {"name": "toy", "tasks": [{"gravity": 1.0}, {"gravity": 0.2}]}
    for identity, words in (
        ({"suite": moon, "rate": 0.1}, "suite tasks 1 gravity 2.0 instead of 0.2"),
        ({"suite": suite, "rate": 0.2}, "rate 0.1 instead of 0.2"),
        ({"suite": suite}, "rate 0.1 instead of null"),
        ({"suite": suite, "rate": 0.1, "steps": 3}, "steps null instead of 3"),
        ({"suite": suite, "rate": 0.1, "seeds": (1, 2)}, r"seeds \[1\] instead of \[1, 2\]"),
    ):
        with pytest.raises(ValueError, match=f"holds another sum, with {words}: choose another folder$"):
            store(tmp_path, **identity)
    with pytest.raises(ValueError, match='holds another training, with kind "sum" instead of "training"'):
        Store.open(tmp_path, "training", {"seeds": [1], "suite": suite, "rate": 0.1})
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()) == before


def test_work_goes_on_that_did_not_tell_what_came_later(tmp_path: Path) -> None:
    store(tmp_path, suite={}).write("kept", {"x": torch.ones(1)})
    assert store(tmp_path, suite={"time_limit": 5}).read("kept") is not None


def test_a_file_of_another_store_is_refused(tmp_path: Path) -> None:
    one, other = store(tmp_path / "one"), store(tmp_path / "other", seeds=[2])
    one.write("first", STATE)
    other.file("first").write_bytes(one.file("first").read_bytes())
    with pytest.raises(ValueError, match=r"first.safetensors' was kept for another sum: remove it$"):
        other.read("first", "remove it")


def test_a_damaged_identity_is_refused(tmp_path: Path) -> None:
    store(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json' is damaged: choose another folder, or remove it$"):
        store(tmp_path)


def test_what_json_does_not_know_is_told_apart_by_how_it_looks(tmp_path: Path) -> None:
    for _ in range(2):
        store(tmp_path, score=range(3))
    with pytest.raises(ValueError, match="score"):
        store(tmp_path, score=range(4))


def test_long_values_are_cut_in_messages() -> None:
    assert difference({"names": ["a" * 100]}, {"names": []}) == f'names ["{"a" * 58}... instead of []'
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) is None


# ---------------------------------------------------------------------- whole or not at all
def test_scratch_is_gone_when_the_work_has_ended_well(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for attempt in range(2):
        with pytest.raises(RuntimeError), scratch(path, "meta") as folder:
            folder.mkdir(exist_ok=True)
            assert len(list(folder.iterdir())) == attempt
            (folder / f"{attempt}").touch()
            raise RuntimeError
    with scratch(path, "meta") as folder:
        assert len(list(folder.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []
    with scratch(None, "meta") as folder:
        assert folder is None


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with written_whole(path) as temporary:
        assert temporary.suffix == ".csv"  # by which pictures know their format
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), written_whole(path) as temporary:
        temporary.write_text("ne")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with written_whole(path) as one, written_whole(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the last to finish
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    plain, whole, tensors = (tmp_path / name for name in ("plain", "whole", "tensors"))
    plain.write_text("")
    with written_whole(whole) as temporary:
        temporary.write_text("")
    write_tensors(tensors, "policy", {"a": torch.ones(2)}, {})
    assert whole.stat().st_mode == tensors.stat().st_mode == plain.stat().st_mode


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    link.symlink_to(folder / "table.csv")
    for text in ("old", "new"):
        with written_whole(link) as temporary:
            temporary.write_text(text)
        assert link.is_symlink() and (folder / "table.csv").read_text() == text
    assert [file.name for file in folder.iterdir()] == ["table.csv"]


def test_what_is_no_file_stays(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        expected = rf"^cannot write to '{path}' \(it is no regular file\): choose another folder$"
        with pytest.raises(ValueError, match=expected), written_whole(path) as temporary:
            temporary.write_text("")
    assert pipe.is_fifo() and link.is_symlink() and len(list(tmp_path.iterdir())) == 2


def test_text_is_utf_8_wherever_it_is_written(tmp_path: Path) -> None:
    source = """if True:
        import sys
        from pathlib import Path
        from gradex.run_folder import said_before
        from gradex.store import write_text
        path = Path(sys.argv[1])
        write_text(path / "report.txt", "Ma\\xf1ana")
        write_text(path / "groups.json", "{}")
        assert said_before(path, "groups.json", False) == "Ma\\xf1ana"
    """
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", source, str(tmp_path)], env={**os.environ, **plain}, check=True)
    assert (tmp_path / "report.txt").read_bytes() == "Mañana".encode()


@pytest.mark.parametrize(
    ("name", "reason"), [("file/table.csv", "File exists"), ("x" * 300, "File name too long")]
)
def test_what_cannot_be_written_is_told_in_one_line(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / name
    expected = rf"^cannot write to '{path}' \({reason}\): choose another folder$"
    with pytest.raises(ValueError, match=expected), written_whole(path) as temporary:
        temporary.write_text("")
