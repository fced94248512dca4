"""Plans: what a pilot predicts, against clusters that are really drawn; and what a plan says."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gradex import MetaPolicy, PolicyGradEx, SurrogateEstimator, TaskSuite
from gradex import plan as module
from gradex.cli import main
from gradex.pilot import Pilot
from gradex.plan import Plan, make_plan
from tests.oracles.power import clusters, frequency

#: Two groups of two tasks in conflict; with a deviation of 3 it takes about 16 runs to see them.
OPPOSED = np.outer([1.0, 1.0, -1.0, -1.0], np.full(6, 0.5)) + 0.2 * np.eye(4, 6)
NAMES = ["a", "b", "c", "d"]


def pilot(seed: int, means: np.ndarray = OPPOSED, deviation: float = 3.0, runs: int = 10) -> Pilot:
    """Runs of 10 transitions and 2 episodes each."""
    drawn = clusters(np.random.default_rng(seed), means, deviation, runs)
    return Pilot(drawn, 10 * runs, np.full(len(means), 2.0 * runs))


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Simulate less than users do."""
    with pytest.MonkeyPatch.context() as patch:
        for name, count in (("_NULL", 59), ("_DRAWS", 60), ("_DRAWS_OF_A_PILOT", 16), ("_PILOTS", 5)):
            patch.setattr(module, name, count)
        yield


@pytest.fixture(scope="module")
def clear() -> Plan:
    """A plan from a pilot that shows the conflict."""
    return make_plan(pilot(0, deviation=2.0), NAMES, k=2, seconds=5.0)


@pytest.fixture(scope="module")
def peaceful() -> Plan:
    """A plan from a pilot of four friends."""
    return make_plan(pilot(0, means=np.full((4, 6), 0.8), deviation=1.0), NAMES)


# ---------------------------------------------------------------------- what is predicted
def test_power_is_how_often_groups_are_really_found() -> None:
    plan = make_plan(pilot(0, runs=200), NAMES, k=2)
    rng = np.random.default_rng(1)
    assert len(plan.curve) >= 3
    for transitions, power in plan.curve.to_numpy()[1:]:
        real = frequency(rng, OPPOSED, 3.0, int(transitions / 10), 2, 60)
        assert power == pytest.approx(real, abs=0.2)


def test_pilots_of_ten_runs_are_right_or_careful() -> None:
    rng = np.random.default_rng(2)
    real = {runs: frequency(rng, OPPOSED, 2.0, runs, 2, 50) for runs in (4, 8, 16, 32)}
    enough = min(runs for runs, share in real.items() if share >= 0.9)
    plans = [make_plan(pilot(seed, deviation=2.0), NAMES, k=2) for seed in range(5)]
    needed = [plan.needed / 10 for plan in plans if plan.p_value <= 0.05]
    assert len(needed) >= 3
    assert enough / 2.5 < np.median(needed) < 4 * enough


def test_noise_scales_are_those_of_the_distribution() -> None:
    table = make_plan(pilot(3, runs=300), NAMES, k=2).table
    expected = 6 * 3.0**2 / (OPPOSED**2).sum(axis=1)  # tr(Σ) / |g|², in runs
    np.testing.assert_allclose(table.transitions / 10, expected, rtol=0.35)
    np.testing.assert_allclose(table.episodes / 2, table.transitions / 10)
    np.testing.assert_allclose(table.squared_gradient, (OPPOSED**2).sum(axis=1), atol=0.6)


def test_the_scale_of_gradients_changes_nothing(clear: Plan) -> None:
    own = pilot(0, deviation=2.0)
    larger = Pilot(clusters(np.random.default_rng(0), 7 * OPPOSED, 14.0, 10), 100, own.episodes)
    again = make_plan(larger, NAMES, k=2)
    assert again.needed == pytest.approx(clear.needed)
    np.testing.assert_allclose(again.table.transitions, clear.table.transitions)


def test_noise_alone_is_no_reason_for_groups() -> None:
    plans = [make_plan(pilot(seed, means=np.zeros((4, 6))), NAMES) for seed in range(6)]
    assert sum(plan.transitions is None for plan in plans) >= 5


# ---------------------------------------------------------------------- what a plan says
def test_a_plan_tells_transitions_interval_and_seconds(clear: Plan) -> None:
    assert clear.labels.tolist() == [0, 0, 1, 1]
    assert clear.transitions is not None
    assert clear.interval[0] <= clear.needed <= clear.interval[1]
    assert clear.seconds == pytest.approx(5.0 * clear.needed / 100)
    text = repr(clear)
    assert f"2 groups can be trusted with 90% power from {clear.transitions:,} transitions per task" in text
    assert "the estimate then takes about" in text
    assert "<table" in clear._repr_html_() and "can be trusted" in clear._repr_html_()
    assert json.loads(json.dumps(clear.summary()))["needed"] == pytest.approx(clear.needed)
    assert list(clear.table) == ["task", "squared_gradient", "stderr", "episodes", "transitions"]


def test_more_power_takes_more(clear: Plan) -> None:
    modest = make_plan(pilot(0, deviation=2.0), NAMES, k=2, power=0.5)
    assert modest.needed < clear.needed


def test_without_a_conflict_it_says_what_it_would_have_found(peaceful: Plan) -> None:
    assert peaceful.transitions is None and peaceful.seconds is None
    assert peaceful.labels.tolist() == [0] * 4
    assert 0 < peaceful.detectable < 1
    text = repr(peaceful)
    assert "no amount of transitions is known to find groups" in text
    assert f"{peaceful.detectable:.0%} of |g|² or more with 90% power" in text
    assert peaceful.summary()["needed"] is None
    with pytest.raises(ValueError, match="no conflict, so that there is no power to draw: take more runs"):
        peaceful.plot()


def test_gradients_that_were_not_measured_have_an_infinite_noise_scale() -> None:
    means = np.concatenate([OPPOSED[:3], np.zeros((1, 6))])
    plans = [make_plan(pilot(seed, means, deviation=1.0), NAMES, k=2) for seed in range(4)]
    silent = [plan for plan in plans if np.isinf(plan.table.transitions).any()]
    assert silent
    assert "no gradient stands out of the noise in 1 of 4 tasks" in repr(silent[0])


def test_the_picture_has_curve_pilot_and_need(clear: Plan) -> None:
    ax = clear.plot()
    np.testing.assert_allclose(ax.lines[0].get_ydata(), clear.curve.power)
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"the pilot", "needed"}
    assert clear.plot(ax) is ax


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"power": 1.0}, r"power=1\.0 is not between 0 and 1: give a chance such as 0\.9"),
        ({"k": 5}, "k is 5 for 4 tasks: choose 1 to 4, or 'auto'"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(pilot(0), NAMES, **options)


# ---------------------------------------------------------------------- of a run, and in the shell
def test_a_run_is_its_own_pilot(without_shape_checks: None) -> None:
    suite = TaskSuite.make("navigation", n=4, groups=2, seed=0)
    meta = MetaPolicy(suite, layers=2, width=8).fit(20_000, snapshots=2)
    settings = {"k": 2, "steps_per_task": 512, "snapshots": 2, "projection_dim": 20, "subset_size": 2}
    run = PolicyGradEx(group_steps=0, bootstrap=0, **settings).fit(suite, meta)
    plan = run.plan(power=0.8)
    assert (plan.power, plan.pilot) == (0.8, 512)
    np.testing.assert_allclose(plan.table.squared_gradient, np.diag(run.interactions_.matrix))
    assert list(plan.table.task) == [task.name for task in suite.tasks]
    stages = ("transitions", "gradients", "subset scores")
    assert plan.seconds_per_transition * 512 == pytest.approx(
        sum(run.seconds_[stage] for stage in stages), rel=0.5
    )


def test_a_pilot_counts_runs_transitions_and_episodes() -> None:
    suite = TaskSuite.make("cartpole", n=3)
    meta = MetaPolicy(suite, layers=2, width=8).fit(6_000, snapshots=2)
    found = [
        Pilot.along(meta.path_, SurrogateEstimator(20), 5, 20, replicate=replicate) for replicate in (0, 0, 1)
    ]
    assert (found[0].runs, found[0].transitions) == (5, 200)
    assert (found[0].episodes >= 10).all()
    np.testing.assert_array_equal(found[0].interactions.matrix, found[1].interactions.matrix)
    assert not np.allclose(found[0].interactions.matrix, found[2].interactions.matrix)
    with pytest.raises(ValueError, match="runs=3 is too small: give at least 4"):
        Pilot.along(meta.path_, SurrogateEstimator(20), runs=3)


def test_the_command_plans_and_groups_go_on_from_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    without_shape_checks: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["navigation", "--set", "n=4", "--meta-steps", "4000", "--group-steps", "0", "--bootstrap", "0"]
    assert main(["plan", *small, "--power", "0.8"]) == 0
    folder = Path("runs/navigation-kauto-seed0")
    text = capsys.readouterr().out
    assert "gradient noise scale" in text
    assert text.endswith(f"written to {folder}; gradex group with the same options goes on from there\n")
    told = json.loads((folder / "plan.json").read_text())
    assert told["power"] == 0.8 and len(told["tasks"]) == 4
    before = (folder / "meta.safetensors").stat().st_mtime_ns
    assert main(["plan", *small, "--power", "0.8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == told.keys()
    assert main(["group", *small]) == 0
    assert (folder / "meta.safetensors").stat().st_mtime_ns == before
    assert {"plan.json", "groups.json"} <= {file.name for file in folder.iterdir()}


def test_the_command_refuses_a_power_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "navigation", "--power", "2"]) == 2
    assert capsys.readouterr().err == (
        "gradex: power=2.0 is not between 0 and 1: give a chance such as 0.9\n"
    )
