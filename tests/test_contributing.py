"""The examples in CONTRIBUTING.md run, do what they say, and are short."""

import re
import sys
from pathlib import Path
from types import MappingProxyType, ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from analysis import study
from gradex import AffinityGraph, MetaPolicy, TaskSuite
from gradex.affinity import MeanAffinity
from gradex.affinity.affinity import with_additive_diagonal
from gradex.policies import ARCHITECTURES, Tape
from gradex.tasks import Family
from gradex.tasks.suite import FAMILIES
from tests.tasks.families import actions, assert_equal, roll

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
EXAMPLES = dict(
    re.findall(r"^## (Add an? \w+)\n(?:(?!^## ).)*?```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)
)


def run(title: str) -> ModuleType:
    """Run an example as a module of its own."""
    module = ModuleType(title.replace(" ", "_").lower())
    exec(compile(EXAMPLES[title], f"CONTRIBUTING.md, {title}", "exec"), vars(module))
    return module


def test_there_are_four_short_examples() -> None:
    assert sorted(EXAMPLES) == ["Add a network", "Add a study", "Add a suite", "Add an affinity"]
    lines = [code.splitlines() for code in EXAMPLES.values()]
    assert max(map(len, lines)) <= 40
    assert max(len(line) for example in lines for line in example) <= 110


def test_the_suite_is_found_repeats_itself_and_can_be_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "pendulum", Family)  # which makes room for this test only
    suite = run("Add a suite").suite
    assert "pendulum" in TaskSuite.names()
    assert TaskSuite.from_config(suite.config).config == suite.config
    assert suite.unseen(5, seed=1).tasks != suite.unseen(5, seed=2).tasks
    plan = actions(suite, 20, 6)
    first, second = (suite.simulator(2, seed=0) for _ in range(2))
    assert_equal(roll(first, plan), roll(second, plan))
    for simulator in (first, second):
        simulator.close()
    meta = MetaPolicy(suite).fit(1)
    assert np.isfinite(meta.parameters).all()
    with pytest.raises(ValueError, match=r"gravity is -1\.0: give a number or a pair of numbers"):
        TaskSuite.make("pendulum", gravity=-1.0)


def test_the_network_is_a_stack_and_trains_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    example = run("Add a network")
    network, rows = example.network, example.parameters.double()
    observations = torch.randn(2, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tasks, tape = torch.arange(7).remainder(3).repeat(2, 1), Tape()
    together = network.forward(rows, observations, tasks, tape)
    assert {f"{layer}.weight" for layer in tape.inputs} < set(network.shapes)
    assert len(tape.inputs) == network.layers
    for p in range(2):
        alone = network.forward(rows[p : p + 1], observations[p : p + 1], tasks[p : p + 1])
        torch.testing.assert_close(together[p : p + 1], alone)
    more = MappingProxyType({**ARCHITECTURES, "residual_mlp": example.ResidualMLP})
    for name in ("policies.architectures", "policies", "meta_policy"):
        monkeypatch.setattr(sys.modules[f"gradex.{name}"], "ARCHITECTURES", more)
    meta = MetaPolicy(TaskSuite.make("navigation", n=3), network="residual_mlp").fit(1)
    assert meta.agent_.policy.network == example.ResidualMLP(3, 2, 3)


def test_the_affinity_finds_even_and_odd_tasks_whatever_one_score_says() -> None:
    example = run("Add an affinity")
    assert example.groups == ((0, 2, 4, 6), (1, 3, 5, 7))
    plain = with_additive_diagonal(MeanAffinity().matrix(example.subsets, example.score, n=8))
    assert AffinityGraph(plain).partition(k=2).groups != example.groups


def test_the_study_runs_at_smoke_scale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example = run("Add a study")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "load", lambda name: example)
    table = study.run("transitions", "smoke", None, tmp_path / "figures", resume=False)
    assert table.method.tolist() == ["32 transitions", "64 transitions"]
    assert table.nmi.between(0, 1).all()
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".csv", ".json", ".pdf", ".png"}
    assert isinstance(example.summary(table), pd.DataFrame)
