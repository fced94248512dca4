"""The command `gradex`: what it prints, what it writes, and what it refuses."""

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tqdm.auto import tqdm

from gradex import MetaPolicy, PolicyGradEx, TaskSuite, __version__, cli
from gradex.cli import main
from gradex.learners import ActorCritic, Episodes, Learner, ppo
from gradex.policies import ARCHITECTURES

FEW = ["--set", "n=6", "--meta-steps", "4000", "--steps-per-task", "256", "--bootstrap", "4"]
SMALL = [*FEW, "--group-steps", "1000"]
#: No policies of groups, and no comparison.
ESTIMATE = [*FEW, "--group-steps", "0"]
FILES = {
    "config.json",
    "meta.safetensors",
    "evaluation.csv",
    "learning_curves.csv",
    "groups.json",
    "report.txt",
}
#: With draws of the episodes.
MATRICES = {"affinity.csv", "interaction.csv", "interaction_stderr.csv", "co_assignment.csv"}
ROOT = Path(__file__).parents[1]

#: Tasks of a user, in a file of theirs.
TASKS = """
from gradex import TaskSuite
from tests.environments import scripted, scripted_suite

environments = {name: scripted([float(ord(name)), 1, 0]) for name in "abcd"}
suite = scripted_suite(**environments)
nothing = 3
ids = ["CartPole-v1", "MountainCar-v0", "Acrobot-v1"]
poles = ["CartPole-v1"]


def navigation():
    return TaskSuite.make("navigation", n=5)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main(["group", "navigation", "--json", "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole runs, as users make them, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the command adds to it
    (tmp_path / "mine.py").write_text(TASKS)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail with one line, and give the line."""
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("gradex: ")
    assert output.err.count("\n") == 1
    assert output.err.endswith("\n")
    return output.err.removeprefix("gradex: ").rstrip()


# ---------------------------------------------------------------------- what works
def test_a_critic_that_explains_nothing_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(share: float) -> str:
        monkeypatch.setattr(
            MetaPolicy,
            "explained_variance",
            property(lambda self: {task.name: share for task in self.suite.tasks}),
        )
        assert main(["group", "navigation", "--out", f"out-{share}", *ESTIMATE, "--bootstrap", "0"]) == 0
        return capsys.readouterr().out

    found = told(-0.1)
    assert (
        "critic explains nothing of how returns vary in " in found and "and 1 more: the meta-policy" in found
    )
    assert "critic explains" not in told(0.5)


def test_suites_are_listed_with_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suites"]) == 0
    *lines, vectors, hint = capsys.readouterr().out.splitlines()
    assert vectors.startswith("mo-…")
    assert [line.split()[0] for line in lines] == list(TaskSuite.names())
    assert all("Options: n=" in line for line in lines)
    assert hint == "gradex suites SUITE tells which values each option takes"


def test_a_suite_tells_which_values_each_of_its_options_takes(capsys: pytest.CaptureFixture[str]) -> None:
    for name in (*TaskSuite.names(), "mo-deep-sea-treasure"):
        assert main(["suites", name]) == 0
        told = capsys.readouterr().out
        assert "\nDefaults: n=" in told and ">>>" not in told
        described = told.partition("Options\n-------\n")[2].partition("\n\n")[0]
        names = {
            name
            for line in described.splitlines()
            if line[:1].isalpha()
            for name in line.split(" : ")[0].split(", ")
        }
        assert names == {
            option.split("=")[0] for option in told.rpartition("Defaults: ")[2].split(", ") if "=" in option
        }
    assert main(["suites", "carpole"]) == 2
    assert "did you mean 'cartpole'?" in capsys.readouterr().err


def test_the_folder_holds_the_results(whole: Path) -> None:
    report = json.loads((whole / "groups.json").read_text())
    policies = {f"group-{number}.safetensors" for number in range(3)}
    policies |= {f"meta-of-{'-'.join(map(str, group))}.safetensors" for group in report["groups"]}
    assert {file.name for file in whole.iterdir()} == FILES | MATRICES | policies | {
        "affinity.png",
        "comparison.csv",
    }
    assert len(report["tasks"]) == len(report["labels"]) == 6
    for number, group in enumerate(report["groups"]):
        policy = MetaPolicy.load(whole / f"group-{number}.safetensors")
        assert set(policy.history_.task) == set(group)
    tables = {name: pd.read_csv(whole / name, index_col=0) for name in MATRICES}
    for table in tables.values():
        assert list(table.index) == list(table.columns) == report["tasks"]
    assert (np.diag(tables["co_assignment.csv"]) == 1).all()
    assert (tables["interaction_stderr.csv"] > 0).all(axis=None)
    evaluation = pd.read_csv(whole / "evaluation.csv").groupby("policy").return_mean.mean()
    assert report["returns"] == pytest.approx(evaluation.to_dict())
    curves = pd.read_csv(whole / "learning_curves.csv").groupby("policy").task.unique()
    assert set(curves.pop("meta")) == set(range(6))
    assert [set(tasks) for tasks in curves] == list(map(set, report["groups"]))
    assert (whole / "affinity.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_itself_prints_one_json_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["group", "navigation", "--json", *ESTIMATE, "--bootstrap", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TQDM_DISABLE")  # progress belongs to standard error
    command = [sys.executable, "-m", "gradex.cli", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n") == 1
    folder = Path("runs/navigation-kauto-seed0")
    assert json.loads(run.stdout) == json.loads((folder / "groups.json").read_text())
    assert main(arguments) == 0
    assert capsys.readouterr().out == run.stdout  # of the finished run
    assert (folder / "report.txt").read_text().startswith("6 navigation tasks in ")


def test_what_a_file_prints_is_no_part_of_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    Path("loud.py").write_text(f"print('loud'){TASKS}")
    assert main(["group", "loud.py:nothing"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("loud\ngradex: 'loud.py:nothing' is of type int")


def test_what_a_library_prints_in_c_is_no_part_of_the_answer(tmp_path: Path) -> None:
    """It is in a buffer that Python does not know."""
    printing = "import ctypes\nctypes.CDLL(None).printf(b'built\\n')\n"
    (tmp_path / "loud.py").write_text(printing + TASKS)
    command = [sys.executable, "-m", "gradex.cli", "group", "loud.py:navigation", "--json", *ESTIMATE[2:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert "built" in run.stderr
    assert json.loads(run.stdout)["groups"]


@pytest.mark.parametrize(("encoding", "told"), [("ascii", r"Ma\xf1ana"), ("utf-8", "Mañana")])
def test_a_terminal_that_does_not_know_a_letter_shows_its_number(
    monkeypatch: pytest.MonkeyPatch, encoding: str, told: str
) -> None:
    monkeypatch.setattr(TaskSuite, "description", lambda name: "Mañana")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["suites", "navigation"]) == 0
    assert terminal.buffer.getvalue().decode(encoding) == f"{told}\n"


@pytest.mark.parametrize("command", ["group", "plan", "suites"])
def test_help_is_shown_by_any_terminal(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(argparse.ArgumentParser, "format_help", lambda self: "θ of α tasks")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    terminal.flush()
    assert terminal.buffer.getvalue() == b"\\u03b8 of \\u03b1 tasks"


def test_nobody_has_to_read_to_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["suites"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_takes_what_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    def describe(name: str) -> str:
        with tqdm(total=1, disable=False) as bar:
            bar.update()
        print("loud")
        return name

    monkeypatch.setattr(TaskSuite, "description", describe)
    monkeypatch.setattr(sys, closed, None)
    assert main(["suites", "navigation"]) == 0
    assert main(["group", "nothing"]) == 2
    assert getattr(sys, closed) is None
    output = capsys.readouterr()
    assert output.out == ("" if closed == "stdout" else "navigation\n")
    assert ("loud" in output.err and "gradex: " in output.err) == (closed == "stdout")


def test_text_names_groups_errors_and_coverage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["group", "navigation", "--k", "2", "--subset-size", "2", *ESTIMATE]) == 0
    text, errors = capsys.readouterr()
    assert errors == ""
    for part in (
        "6 navigation tasks in 2 groups",
        "group 0: ",
        "group 1: ",
        " resampl",
        "first-order error at 1 % distance: ",
        "coverage: 15 subsets, every pair in 1 to 1 of them",
        "clustering: objective ",
        "agreement with the planted groups: NMI ",
        "mean return over the tasks: meta-policy ",
        "seconds: subsets ",
        "written to runs/navigation-k2-seed0",
    ):
        assert part in text
    assert not list(Path("runs/navigation-k2-seed0").glob("group-*.safetensors"))
    assert "recommended" not in text
    assert not Path("runs/navigation-k2-seed0/comparison.csv").exists()


def test_tasks_of_your_own_without_draws(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--json",
        "--bootstrap",
        "0",
        "--subset-size",
        "2",
        "--meta-steps",
        "1000",
        "--steps-per-task",
        "256",
        "--group-steps",
        "0",
    ]
    assert main(["group", "mine.py:environments", *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["suite"] == "custom"
    assert report["tasks"] == ["a", "b", "c", "d"]
    assert report["planted_nmi"] is None
    assert report["verdict"] is None or report["verdict"].startswith("no groups: ")
    folder = Path("runs/mine-kauto-seed0")
    assert (folder / "groups.json").is_file()
    assert not any((folder / name).exists() for name in ("co_assignment.csv", "affinity_stderr.csv"))
    # The same command says the same again; other environments of the same names are another run.
    assert main(["group", "./mine.py:environments", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == report
    assert refused(capsys, "group", "mine.py:suite", *arguments) == (
        f'{str(folder)!r} holds another run, with source "mine.py:environments" instead of '
        '"mine.py:suite": choose another folder with --out'
    )
    Path("mine.py").write_text(TASKS.replace("1, 0]", "2, 0]"))
    message = refused(capsys, "group", "mine.py:environments", *arguments)
    assert message.startswith(f'{str(folder)!r} holds another run, with contents of mine.py "')


@pytest.fixture
def suites(monkeypatch: pytest.MonkeyPatch) -> list[TaskSuite]:
    """Collect the suites that commands would group, and stop there."""
    seen: list[TaskSuite] = []

    def stop(self: PolicyGradEx, suite: TaskSuite) -> None:
        seen.append(suite)
        raise ValueError("far enough")

    monkeypatch.setattr(PolicyGradEx, "check", stop)
    return seen


def test_a_file_may_hold_a_suite_or_a_function(suites: list[TaskSuite]) -> None:
    for name in ("suite", "navigation", "poles"):
        main(["group", f"mine.py:{name}"])
    found = [(suite.family, len(suite)) for suite in suites]
    assert found == [("custom", 4), ("navigation", 5), ("custom", 1)]


def test_tasks_may_lie_in_a_module_of_the_current_folder_or_in_a_package(suites: list[TaskSuite]) -> None:
    Path("beside.py").write_text(TASKS)
    Path("bundle").mkdir()
    Path("bundle/__init__.py").write_text("from .near import suite")  # which imports `inner`, too
    Path("bundle/inner.py").write_text(TASKS)
    Path("bundle/near.py").write_text("from .inner import *\nimport bundle.inner")
    Path("bundle/far.py").write_text("from .inner import suite\nfrom lone import navigation")
    Path("bundle/lone.py").write_text(TASKS)
    places = ("beside:suite", "bundle.near:suite", "bundle/near.py:suite", "bundle/inner.py:suite")
    for name in (*places, "bundle/far.py:suite", "bundle/far.py:navigation"):
        main(["group", name])
    assert [suite.family for suite in suites] == [*["custom"] * 5, "navigation"]


def test_options_of_a_suite_are_read_as_json_or_text(suites: list[TaskSuite]) -> None:
    main(
        [
            "group",
            "cartpole",
            "--seed",
            "3",
            "--set",
            "n=4",
            "--set",
            "reversed=half",
            "--set",
            "half_length=[0.5, 2]",
        ]
    )
    expected = TaskSuite.make("cartpole", n=4, seed=3, reversed="half", half_length=(0.5, 2))
    assert suites[0].config == expected.config


def test_network_and_learner_are_those_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    budget = ["--subset-size", "2", "--meta-steps", "2000", "--steps-per-task", "512", "--group-steps", "0"]
    budget += ["--bootstrap", "0"]
    asked = ["--network", "multi_head", "--learner", "maml", "--out", "asked"]
    assert main(["group", "mine.py:navigation", "--json", *budget, *asked]) == 0
    meta = MetaPolicy.load("asked/meta.safetensors")
    assert meta.network == "multi_head" and meta.learner.name == "maml"
    config = json.loads(Path("asked/config.json").read_text())
    assert (config["network"], config["learner"]) == ("multi_head", "maml")


def test_preferences_are_grouped_by_their_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mo_gymnasium")
    tasks = ["mo-deep-sea-treasure", "--set", "n=101", "--set", "scale=[20,15]", "--set", "horizon=30"]
    budget = ["--meta-steps", "9000", "--steps-per-task", "512", "--bootstrap", "2", "--group-steps", "1000"]
    assert main(["group", *tasks, *budget, "--k", "2", "--out", "out"]) == 0
    text, report = capsys.readouterr().out, json.loads(Path("out/groups.json").read_text())
    assert "101 mo-deep-sea-treasure tasks in 2 groups\n" in text
    first, mean = len(report["groups"][0]), report["mean_weights"][0]
    told = f"  group 0: {first} preferences, on average treasure {mean[0]:.2f}, time {mean[1]:.2f}\n"
    assert told in text
    assert f"covered, to first order: {report['covered']:.0%} of what one policy for each" in text
    assert report["comparison"] is None  # of more than a hundred
    names = {
        "preferences.csv",
        "preferences.png",
        "covered.csv",
        "group-0.safetensors",
        "group-1.safetensors",
    }
    assert {file.name for file in Path("out").iterdir()} == FILES | names
    table = pd.read_csv("out/preferences.csv")
    assert table.group.tolist() == report["labels"]
    np.testing.assert_allclose(table[table.group == 0][["treasure", "time"]].mean(), mean, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--subsets", "9"], "--subsets has no use with --affinity kernel: add --affinity pairwise"),
        (
            ["--subset-size", "2", "--affinity", "transfer"],
            "--subset-size has no use with --affinity transfer",
        ),
        (["--affinity", "kernel", "--network", "paco"], "do not see their task: leave out --network paco"),
        (["--affinity", "kernel", "--learner", "maml"], "learner 'maml' does not train on mean weights"),
        (["--k", "9"], "k is 9 for 3 preferences: choose 1 to 3, or 'auto'"),
    ],
)
def test_settings_that_preferences_do_not_take(
    capsys: pytest.CaptureFixture[str], settings: list[str], message: str
) -> None:
    pytest.importorskip("mo_gymnasium")
    suite = ["group", "mo-deep-sea-treasure", "--set", "n=3", "--set", "scale=[20,15]"]
    assert message in refused(capsys, *suite, *settings)


def test_affinities_of_preferences_are_for_preferences(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "group", "navigation", "--affinity", "kernel")
    assert line.startswith("tasks of 'navigation' are no preferences over objectives")
    line = refused(capsys, "plan", "navigation", "--affinity", "kernel")
    assert line == "--affinity kernel is for gradex group: give pairwise or mean"


def test_it_ends_with_a_fair_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["group", "navigation", "--k", "2", "--out", "out", *SMALL, "--bootstrap", "0"]) == 0
    text = capsys.readouterr().out
    report = json.loads(Path("out/groups.json").read_text())["comparison"]
    table = pd.read_csv("out/comparison.csv")
    for arm, figures in report["arms"].items():
        own = table[table.arm == arm]
        assert len(own) == 6
        assert figures["return_mean"] == pytest.approx(own.return_mean.mean())
        assert own.difference.isna().all() == (arm == "all together")
        if arm != "all together":
            assert figures["difference"] == pytest.approx((own.difference / own.scale).mean())
        [line] = [line for line in text.splitlines() if line.strip().startswith(f"{arm} ")]
        assert f"{figures['return_mean']:.4g}" in line
    assert len(set(report["steps"].values())) == 1
    assert "headroom: " in text and f"recommended: {report['recommendation']}" in text
    assert text.endswith("written to out\n")


def test_where_groups_lose_one_policy_is_recommended(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def paid(agent: ActorCritic, suite: TaskSuite, subsets: list, episodes: int, seeds: list) -> Episodes:
        together = len(agent.actors.unique(dim=0)) == 1
        returns = np.full((len(subsets), episodes), 1.0 if together else 0.0)
        return Episodes(returns + 0.1 * np.arange(episodes), returns, returns * np.nan)

    monkeypatch.setattr("gradex.comparison.comparison.run_episodes", paid)
    assert main(["group", "navigation", "--out", "out", *SMALL, "--bootstrap", "0"]) == 0
    text = capsys.readouterr().out
    assert "recommended: one policy for all: one per group loses: -" in text


# ---------------------------------------------------------------------- a run that was cut off
def test_a_run_that_was_cut_off_goes_on(
    whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = ["group", "navigation", "--json", "--out", "cut", *SMALL]

    def interrupt(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MetaPolicy, "adapt_each", interrupt)
        assert main(cut) == 130
    assert capsys.readouterr().err == "gradex: stopped; start the same command again to go on\n"
    left = {file.name for file in Path("cut").iterdir() if not file.match("meta-of-*.safetensors")}
    assert left == {"config.json", "meta.safetensors"}

    def train(self: MetaPolicy, steps: int) -> MetaPolicy:
        raise AssertionError("the meta-policy was trained again")

    with monkeypatch.context() as patch:
        patch.setattr(MetaPolicy, "fit", train)
        assert main(cut) == 0
    report, expected = json.loads(capsys.readouterr().out), json.loads((whole / "groups.json").read_text())
    assert {**report, "seconds": None} == {**expected, "seconds": None}
    assert Path("cut/affinity.csv").read_text() == (whole / "affinity.csv").read_text()
    for number in range(3):
        ours, theirs = (
            MetaPolicy.load(folder / f"group-{number}.safetensors") for folder in (Path("cut"), whole)
        )
        np.testing.assert_array_equal(ours.parameters, theirs.parameters)


def test_a_comparison_that_was_cut_off_goes_on(
    whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = ["group", "navigation", "--json", "--out", "cut", *SMALL]
    rounds: list[int] = []
    real = ppo._Training.run_round

    def run_round(self: ppo._Training, number: int, steps: int) -> None:
        rounds.append(number)
        real(self, number, steps)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ppo._Training, "run_round", run_round)
    with monkeypatch.context() as patch:
        patch.setattr("gradex.comparison.comparison.run_episodes", interrupt)
        assert main(cut) == 130
    assert len(rounds) > 0
    rounds.clear()
    capsys.readouterr()
    assert main(cut) == 0
    assert rounds == []  # every training was finished, also that of the groups
    report, expected = json.loads(capsys.readouterr().out), json.loads((whole / "groups.json").read_text())
    assert {**report, "seconds": None} == {**expected, "seconds": None}
    for name in ("comparison.csv", "learning_curves.csv", "evaluation.csv"):
        assert (Path("cut") / name).read_text() == (whole / name).read_text()
    assert {file.name for file in Path("cut").iterdir()} == {file.name for file in whole.iterdir()}


# ---------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["navigatoin"], "unknown suite 'navigatoin': did you mean 'navigation'? known are ant-goal"),
        (["navigation", "--set", "n"], "--set 'n' has no '=': give OPTION=VALUE"),
        (["navigation", "--set", "wind=3"], "suite 'navigation' has no option 'wind': it takes n, seed"),
        (["navigation", "--set", "goals=square"], "goals is 'square': choose 'groups'"),
        (["navigation", "--k", "13"], "k is 13 for 12 tasks: choose 1 to 12"),
        (
            ["navigation", "--seed", "9" * 23],
            f"seed={'9' * 23} is too large: give at most 46116",
        ),
        (["cartpole", "--set", "n=1", "--k", "1"], "n=1 leaves no pair of tasks to compare"),
        (["navigation", "--subset-size", "13"], "size=13 is out of range for 12 tasks"),
        (["navigation", "--subsets", "4"], "count=4 subsets of size 3 cannot cover all 66 pairs"),
        (["navigation", "--subsets", "auto", "--subset-size", "13"], "size=13 is out of range for 12"),
        (["cartpole", "--learner", "sac"], "action space Discrete(2) is not one that a squashed"),
        (["absent.py:suite"], "there is no file 'absent.py': give FILE.py:NAME"),
        (["mine.py:absent"], "'mine.py' has no 'absent': give the name of a suite"),
        (["mine.py:nothing"], "'mine.py:nothing' is of type int: give a TaskSuite"),
        (["mine.py:ids"], "task 'MountainCar-v0' has observation_space Box("),
        (["absent_module:suite"], "No module named 'absent_module'"),
        (["mine.py:suite", "--set", "n=3"], "--set is for named suites, not for 'mine.py:suite'"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert refused(capsys, "group", *arguments).startswith(message)
    assert not Path("runs").exists()


#: What a file of the user may do while it is imported or asked for a suite, and what the command says of it.
MISTAKES = {
    "raise RuntimeError('first\\nsecond')": "'wrong.py' raised RuntimeError: first second",
    "def suite(:": "'wrong.py' raised SyntaxError: invalid syntax (wrong.py, line 1)",
    "import sys; sys.exit(3)": "'wrong.py' raised SystemExit: 3",
    "class Stop(BaseException): ...\nraise Stop": "'wrong.py' raised Stop",
    "import absent_module": "'wrong.py' raised ModuleNotFoundError: No module named 'absent_module'",
    "def suite(n): ...": "'wrong.py:suite' needs arguments (missing a",
    "def suite(): return 3": "'wrong.py:suite' is of type int: give a TaskSuite, or a mapping",
    "def suite(): raise KeyError('n')": "'wrong.py:suite' raised KeyError: 'n'",
    "def suite(): exit()": "'wrong.py:suite' raised SystemExit",
    "from gradex import TaskSuite\ndef suite(): return TaskSuite.make('absent')": "unknown suite 'absent'",
}


@pytest.mark.parametrize(("source", "message"), MISTAKES.items())
def test_whatever_a_file_does_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], source: str, message: str
) -> None:
    Path("wrong.py").write_text(source)
    assert refused(capsys, "group", "wrong.py:suite").startswith(message)
    assert not Path("runs").exists()


def test_an_environment_that_raises_while_it_runs_is_told_and_our_own_mistakes_are_not_hidden(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.py").write_text(
        TASKS
        + """
from tests.environments import Scripted


class Late(Scripted):
    steps = 0

    def step(self, action):
        Late.steps += 1
        if Late.steps > 300:
            raise KeyError("a\\nb")
        return super().step(action)


environments["d"] = lambda: Late([1, 0])
"""
    )
    few = ["--subset-size", "2", "--meta-steps", "4000", "--steps-per-task", "512", "--group-steps", "0"]
    line = refused(capsys, "group", "mine.py:environments", *few)
    assert "KeyError" in line or "'d'" in line

    def broken(*arguments: object) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(PolicyGradEx, "_estimator", broken)
    with pytest.raises(TypeError, match="a mistake of ours"):
        main(["group", "navigation", *SMALL, "--out", "other"])


@pytest.mark.parametrize("name", ["mine.py:", ":suite", ".mine:suite"])
def test_a_name_that_names_nothing_is_refused(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert refused(capsys, "group", name) == f"{name!r} names nothing: give FILE.py:NAME or MODULE:NAME"


def test_a_plan_tells_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["navigation", "--set", "n=4", "--set", "groups=2", "--meta-steps", "4000", "--seed", "1"]
    command = ["plan", *options, "--steps-per-task", "512", "--power", "0.8", "--bootstrap", "14"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "with 80% power" in told and "pilot: 512 transitions per task" in told
    folder = Path("runs/navigation-plan-kauto-seed1")
    assert {file.name for file in folder.iterdir()} >= {"meta.safetensors", "noise_scale.csv", "plan.json"}
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["power"] == 0.8 and len(plan["noise_scale"]) == 4
    assert main(command) == 0
    assert capsys.readouterr().out == told
    assert main([*command, "--power", "90", "--out", "other"]) == 2
    assert "power=90" in capsys.readouterr().err
    assert main([*command, "--bootstrap", "0", "--out", "other"]) == 2
    assert "--bootstrap 0" in capsys.readouterr().err
    assert not Path("other/meta.safetensors").exists()  # refused before any training


def test_two_tasks_are_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--subset-size", "2", "--meta-steps", "1000", "--steps-per-task", "512", "--group-steps", "0"]
    few += ["--json"]
    assert main(["group", "cartpole", "--set", "n=2", "--k", "2", *few]) == 0
    assert json.loads(capsys.readouterr().out)["groups"] == [[0], [1]]


def finished(path: Path) -> None:
    path.mkdir()
    (path / "groups.json").write_text("{}")


def foreign(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("")


def another_run(path: Path) -> None:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"kind": "ground truth"}))


@pytest.mark.parametrize(
    ("occupy", "message"),
    [
        (finished, "'place' already holds something else: choose another folder with --out"),
        (foreign, "'place' already holds something else: choose another folder with --out"),
        (
            another_run,
            '\'place\' holds another run, with kind "ground truth" instead of "run": '
            "choose another folder with --out",
        ),
        (
            lambda path: path.write_text(""),
            "cannot write to 'place' (File exists): choose another folder with --out",
        ),
    ],
)
def test_an_occupied_folder_is_refused_and_left_alone(
    capsys: pytest.CaptureFixture[str], occupy: Callable[[Path], object], message: str
) -> None:
    occupy(Path("place"))
    before = sorted((file.name, file.read_text()) for file in Path("place").glob("*"))
    assert refused(capsys, "group", "navigation", "--out", "place", *SMALL) == message
    assert sorted((file.name, file.read_text()) for file in Path("place").glob("*")) == before


def test_a_folder_below_a_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    message = refused(capsys, "group", "navigation", "--out", "file/run", *SMALL)
    assert message == "cannot write to 'file/run' (Not a directory): choose another folder with --out"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    message = refused(capsys, "group", "navigation", "--out", "locked/run", *SMALL)
    assert message == "cannot write to 'locked/run' (Permission denied): choose another folder with --out"


def test_an_environment_that_breaks_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    spoiled = TASKS + "environments['d'] = scripted([0, 0, 0, float('nan')])\n"
    Path("mine.py").write_text(spoiled)
    line = refused(capsys, "group", "mine.py:environments", "--subset-size", "2", "--meta-steps", "1000")
    assert line == "task 'd' returned a reward that is not finite: check its environment"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"gradex {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "told"), [(["--version"], "gradex 0+unknown\n"), (["suites", "cartpole"], "Defaults: n=10")]
)
def test_a_source_tree_runs_that_is_not_installed_and_without_docstrings(
    arguments: list[str], told: str
) -> None:
    source = """
import runpy
from importlib import metadata
installed = metadata.version
metadata.version = lambda name: installed("absent" if name == "gradex" else name)
runpy.run_module("gradex", run_name="__main__", alter_sys=True)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-OO", "-c", source, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.stderr == "" and told in run.stdout


def test_help_and_version_come_at_once() -> None:
    """No library that takes long is imported for them."""
    source = "import sys\nfrom gradex.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for option in ("--help", "--version"):
        command = [sys.executable, "-c", source, option]
        run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        assert {"torch", "gymnasium", "pandas"}.isdisjoint(run.stdout.split())


def test_choices_are_what_the_library_knows() -> None:
    assert set(cli._NETWORKS) == set(ARCHITECTURES)
    assert set(cli._LEARNERS) == set(Learner.registered)
    suite = TaskSuite.make("navigation", n=6)
    for name in cli._AFFINITIES:
        PolicyGradEx(affinity=name).check(suite)
    with pytest.raises(ValueError, match="affinity"):
        PolicyGradEx(affinity="absent").check(suite)


def test_usage_errors_have_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["dance"], ["group"], ["group", "navigation", "--k", "three"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
    capsys.readouterr()


def test_a_folder_may_be_named_from_home() -> None:
    options = cli._parser().parse_args(["group", "navigation", "--out=~/here"])
    assert cli._folder_of(options, "group") == Path.home() / "here"
