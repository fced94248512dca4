"""The paper's numbers beside ours: how ours are read, when they count as reproduced, and what is written."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import study
from analysis.whole_paper import beside, claims, findings
from analysis.whole_paper.claims import CLAIMS, NOT, PARTLY, REPRODUCED, VERDICTS, Claim, Rule
from analysis.whole_paper.findings import Found
from analysis.whole_paper.renderings import Rendering

FIGURES = Path(__file__).parents[2] / "figures"


def found(value: float, low: float = np.nan, high: float = np.nan, suites: int | None = None) -> Found:
    return Found(value, low, high, 2, suites)


@pytest.mark.parametrize(
    ("rule", "paper", "ours", "verdict"),
    [
        (claims.at_most(2, partly=5), 1.0, found(2.0), REPRODUCED),
        (claims.at_most(2, partly=5), 1.0, found(2.1), PARTLY),
        (claims.at_most(2, partly=5), 1.0, found(5.1), NOT),
        (claims.at_least(0.9, partly=0.7), 0.8, found(0.73), REPRODUCED),
        (claims.at_least(0.9, partly=0.7), 0.8, found(0.7), PARTLY),
        (claims.at_least(0.9, partly=0.7), 0.8, found(0.5), NOT),
        (claims.gain, 10.0, found(6.0, 1.0, 11.0), REPRODUCED),
        (claims.gain, 10.0, found(6.0, -1.0, 13.0), PARTLY),
        (claims.gain, 10.0, found(4.0, 1.0, 7.0), PARTLY),
        (claims.gain, 10.0, found(4.0, -1.0, 9.0), NOT),
        (claims.everywhere, 0.0, found(4, suites=4), REPRODUCED),
        (claims.everywhere, 0.0, found(1, suites=4), PARTLY),
        (claims.everywhere, 0.0, found(0, suites=4), NOT),
        (claims.nothing, 0.0, found(-0.01, -0.05, 0.03), REPRODUCED),
        (claims.nothing, 0.0, found(0.05, 0.01, 0.09), PARTLY),
        (claims.nothing, 0.0, found(0.05, 0.03, 0.07), NOT),
    ],
)
def test_verdicts_follow_from_the_numbers(rule: Rule, paper: float, ours: Found, verdict: str) -> None:
    assert rule(ours, paper) == verdict


def test_one_seed_is_not_judged_unless_it_is_counted() -> None:
    one = Found(3.0, 3.0, 3.0, 1)
    for exact, verdict in ((False, None), (True, REPRODUCED)):
        claim = Claim("", "", 1.0, "planted", lambda table: one, claims.gain, "{}", exact=exact)
        assert claim.verdict(one) == verdict


def test_every_claim_can_be_told_apart_and_reasons_belong_to_verdicts() -> None:
    assert len({(claim.where, claim.what) for claim in CLAIMS}) == len(CLAIMS)
    assert {claim.study for claim in CLAIMS} <= set(study.names())
    for claim in CLAIMS:
        assert set(claim.reasons) <= set(VERDICTS)


def test_headlines_of_the_paper_follow_from_its_table() -> None:
    """+16 % over soft modularization, the mean over the columns."""
    numbers = findings.SHARING.values()
    gains = [100 * (each[findings.OURS] / each[findings.SOFT] - 1) for each in numbers]
    assert np.mean(gains) == pytest.approx(15.7, abs=0.05)
    assert findings.in_paper("MT10", [findings.RANDOM, findings.SIMILAR]) == pytest.approx(94.0 - 63.9)


def adapted() -> pd.DataFrame:
    """Two seeds of meta-RL on one suite: PolicyGradEx is 3 and 5 ahead of PaCo after 20 updates."""
    means = {"MAML, PolicyGradEx": 100.0, "PaCo": 96.0, "from scratch": 1.0}
    rows = [
        {
            "part": "paper_lengths", "method": method, "rule": "auto", "seed": seed, "draw": draw,
            "after_1": mean - 1, "after_20": mean + (2 * seed - 1) * (method == "PaCo"),
            "after_200": np.nan if method == "PaCo" else mean + 50,
        }
        for method, mean in means.items() for seed in (0, 1) for draw in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame([*rows, {**rows[0], "rule": "three", "after_20": 0.0}])


def test_control_columns_are_read_after_the_most_updates_that_all_methods_have() -> None:
    table = adapted()
    assert findings.sharing(table, "CartPole", findings.OURS).to_dict() == {0: 100.0, 1: 100.0}
    assert findings.sharing(table, "CartPole", findings.PACO).to_dict() == {0: 95.0, 1: 97.0}
    assert findings.sharing(table, "CartPole", findings.SOFT).empty
    assert findings.sharing(table, "highway", findings.OURS).empty
    ahead = findings.ahead(table, "CartPole", [findings.PACO])
    assert ahead is not None and (ahead.value, ahead.seeds) == (4.0, 2)
    assert findings.ahead(table, "CartPole", [findings.PACO, findings.SOFT]) is None


def downstream(k: tuple[int, ...] = (2, 3)) -> pd.DataFrame:
    rates = {("PolicyGradEx groups", number): 0.1 * number for number in k} | {
        ("soft modularization", 1): 0.25
    }
    rows = [
        {
            "what": "evaluation",
            "method": method,
            "k": number,
            "seed": seed,
            "success": rate + 0.02 * seed * half,
        }
        for (method, number), rate in rates.items()
        for seed in (0, 1)
        for half in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_success_on_mt10_is_that_of_three_groups_or_the_nearest_number() -> None:
    for k, percent in (((2, 3, 4), 30.0), ((2,), 20.0), ((2, 4), 20.0)):
        assert findings.sharing(downstream(k), "MT10", findings.OURS)[0] == pytest.approx(percent)
    assert findings.sharing(downstream(), "MT10", findings.OURS, k=2)[1] == pytest.approx(21.0)
    ahead = findings.ahead(downstream(), "MT10", [findings.SOFT])
    assert ahead is not None and ahead.value == pytest.approx(5.0)


def test_table_2_is_read_off_pairs_on_mt10_and_off_triples_elsewhere() -> None:
    scratch = {"start": "from scratch", "estimate": "loss, along the path", "what": "agreement"}
    rows = [{**scratch, "seed": seed, "nmi": nmi} for seed, nmi in enumerate((0.2, 0.4))]
    others = [{**scratch, "start": "cloned from experts"}, {**scratch, "estimate": "loss"}]
    cost = {"start": "from scratch", "what": "cost", "saving": 5.0}
    rows += [{**each, "seed": 0, "nmi": 1.0} for each in others] + [{**cost, "seed": seed} for seed in (0, 1)]
    table = pd.DataFrame(rows)
    found = findings.agreement(table, "MT10", "nmi")
    assert found is not None and (found.value, found.seeds) == (pytest.approx(0.3), 2)
    found = findings.agreement(table, "MT10", "saving")
    assert found is not None and (found.value, found.seeds) == (5.0, 2)
    assert findings.agreement(table, "MT10", "nmi", layers=8) is None
    assert findings.agreement(table.drop(columns="saving"), "MT10", "saving") is None
    assert {findings.agreement_study(suite) for suite in ("MT10", "LunarLander")} == {"mt10", "nmi"}


def render(folder: Path, name: str, table: pd.DataFrame, scale: str = "laptop") -> None:
    told = {"command": f"python -m analysis {name} --scale {scale} --seeds 2", "seeds": [0, 1], "cores": 2}
    table.to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.json").write_text(
        json.dumps({**told, "seconds_of_all_seeds": 7200, "processor": "an abacus"})
    )


def line(text: str, begin: str) -> str:
    return next(each for each in text.splitlines() if each.startswith(begin))


def test_table_3_has_ours_beside_the_papers_where_there_is_any(tmp_path: Path) -> None:
    render(tmp_path, "meta_rl", adapted())
    text = beside.write(tmp_path).read_text()
    assert line(text, "| PaCo ") == "| PaCo | 73.1 | 144.5 / 96.0 | 136.6 / – | 62.6 / – |"
    assert line(text, "| PolicyGradEx groups").startswith(
        "| PolicyGradEx groups | **94.0** | **159.2** / **100.0**"
    )
    assert "MT10, ours not rendered" in line(text, "| method")
    render(tmp_path, "downstream", downstream(), scale="smoke")
    text = beside.write(tmp_path).read_text()
    row = line(text, "| Table 3 | MT10: PolicyGradEx ahead of soft modularization")
    assert "| +12.0 points | +5.0 points |" in row and row.endswith("| not judged: smoke scale |")


def test_a_reason_is_shown_only_with_its_verdict(tmp_path: Path) -> None:
    what = "| Table 1 | first-order error at 1 % distance, CartPole"
    for error, end in (
        (0.012, "| **reproduced**: relative to the change, along PPO's steps |"),
        (0.5, "| **not** |"),
    ):
        rows = [
            {"suite": "CartPole", "direction": "training", "distance": 0.01, "seed": seed, "subset": 0}
            for seed in (0, 1)
        ]
        residuals = {"relative_to_change": error, "relative_to_output": error / 100}
        render(tmp_path, "first_order", pd.DataFrame(rows).assign(**residuals))
        text = beside.write(tmp_path).read_text()
        assert line(text, what).endswith(end)
        assert (
            line(text, "| CartPole, ours")
            == f"| CartPole, ours | not rendered | not rendered | {100 * error:.2g} % |"
        )
    assert "an abacus" in text and "| `first_order` | laptop, 2 | 120 | " in text
    assert line(text, "| Table 2").endswith("| 0.76 | not rendered | |")


def test_what_is_written_by_hand_stays(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# By hand\n\nbefore\n")
    assert not beside.stands_in(tmp_path)
    beside.write(tmp_path)
    text = path.read_text()
    assert text.startswith(f"# By hand\n\nbefore\n\n{beside.BEGIN}\n## The paper beside ours\n")
    path.write_text(text + "\n## planted: found?\n")
    beside.write(tmp_path)
    assert path.read_text() == text + "\n## planted: found?\n"
    path.write_text(text.replace(beside.END, ""))
    with pytest.raises(ValueError, match="has only one of the lines"):
        beside.check(tmp_path)


def test_what_stands_in_the_figures_is_what_their_tables_tell() -> None:
    text = (FIGURES / "README.md").read_text()
    assert beside.within(text, FIGURES) == text


def test_the_paper_scale_costs_its_steps_at_the_speed_that_was_measured(tmp_path: Path) -> None:
    render(tmp_path, "navigation", pd.DataFrame({"seed": [0, 1]}))
    rendering = Rendering.read(tmp_path, "navigation")
    assert rendering is not None
    module = study.load("navigation")
    # An hour a seed.
    hours = module.SEEDS["paper"] * module.work("paper") / module.work("laptop")
    assert rendering.hours_at_paper_scale() == pytest.approx(hours)


@pytest.mark.parametrize("name", sorted({claim.study for claim in CLAIMS}))
def test_studies_of_the_paper_count_their_work(name: str) -> None:
    module = study.load(name)
    smoke, laptop, paper = (module.work(scale) for scale in study.SCALES)
    assert 0 < smoke < laptop <= paper
