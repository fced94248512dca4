"""What notebooks show: valid HTML with what matters in it, without scripts, and readable by everybody."""

from collections.abc import Callable
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.axes import Axes
from matplotlib.cbook import is_math_text
from matplotlib.text import Text

from gradex import (
    AffinityGraph,
    Generalization,
    GroundTruth,
    MetaPolicy,
    PolicyGradEx,
    Samples,
    SurrogateEstimator,
    TaskSuite,
)
from gradex.comparison.drawing import draw_differences
from gradex.preference_drawing import draw_preferences

VOID = {"img", "br"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects text and pictures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        if tag == "img":
            self.pictures.append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data.strip())


def html(thing: object) -> str:
    """Give what a Jupyter kernel sends; it asks an object in more than one way."""
    return DisplayFormatter().format(thing)[0]["text/html"]


def shown(thing: object) -> Page:
    return Page(html(thing))


@pytest.fixture(scope="module")
def suite() -> TaskSuite:
    return TaskSuite.make("navigation", n=4)


@pytest.fixture(scope="module")
def result(suite: TaskSuite) -> PolicyGradEx:
    meta = MetaPolicy(suite, layers=2, width=8).fit(steps=9_000, snapshots=2)
    settings = {"steps_per_task": 256, "snapshots": 2, "subset_size": 2, "bootstrap": 2, "group_steps": 0}
    settings["projection_dim"] = 20
    return PolicyGradEx(k=2, **settings).fit(suite, meta=meta)


def test_a_suite_lists_its_tasks(suite: TaskSuite) -> None:
    page = shown(suite)
    assert "navigation: 4 tasks" in page.text
    assert {task.name for task in suite.tasks} <= set(page.text)
    assert "..." in shown(TaskSuite.make("navigation", n=40)).text  # of many the first and the last


def test_a_policy_shows_its_learning_curve_once_it_has_one(suite: TaskSuite, result: PolicyGradEx) -> None:
    page = shown(MetaPolicy(suite))
    assert page.text[page.text.index("fitted") + 1] == "no" and page.pictures == []
    page = shown(result.meta_)
    assert page.text[page.text.index("environment steps") + 1] == f"{result.meta_.steps:,}"
    [curve] = page.pictures
    assert curve["alt"] == "learning curve: mean return against steps"
    assert (curve["src"] or "").startswith("data:image/png;base64,")


def test_a_result_shows_verdict_and_groups(result: PolicyGradEx) -> None:
    page = shown(result)
    assert result.verdict_ in page.text
    assert {task.name for task in result.suite_.tasks} <= set(page.text)
    page = shown(result.partition_)
    assert "Partition: 4 tasks in 2 groups" in page.text
    assert ", ".join(map(str, result.groups_[0])) in page.text
    [heatmap] = shown(result.graph_).pictures
    assert heatmap["alt"] == "affinities as a heatmap"


def test_names_as_long_as_sentences_leave_room_for_what_they_belong_to() -> None:
    names = [f"{number} {'of a name that goes on and on ' * 3}" for number in range(4)]
    [heatmap] = shown(AffinityGraph(np.eye(4), names=names)).pictures  # a warning would be an error
    assert heatmap["alt"] == "affinities as a heatmap"


def test_what_is_not_fitted_shows_its_settings() -> None:
    for estimator in (PolicyGradEx(k=3), SurrogateEstimator(), GroundTruth()):
        assert "sk-" in html(estimator)


def test_estimates_show_how_much_they_know(result: PolicyGradEx) -> None:
    page = shown(result.surrogate_)
    assert page.text[page.text.index("tasks") + 1] == "4"
    page = shown(result.surrogate_.samples_)
    assert page.text[page.text.index("each serves all tasks") + 1] == "yes"
    scores = result.surrogate_.scores([(0, 1), (2, 3)])
    page = shown(scores)
    best = scores.subsets[int(np.argmax(scores.score))]
    assert page.text.index(", ".join(map(str, best))) < page.text.index(f"{scores.score.min():.4g}")
    apart = Samples(np.array([1.0, -1.0, 3.0]), tasks=np.array([0, 0, 1]))
    page = shown(apart)
    assert "Samples: 3 samples" in page.text
    assert page.text[page.text.index("each serves all tasks") + 1] == "no"


def test_real_training_and_sharpness_are_shown(suite: TaskSuite, result: PolicyGradEx) -> None:
    truth = GroundTruth(steps_per_task=500, replicates=1, episodes=2, jobs=1).fit(result.meta_, [(0, 1)])
    page = shown(truth)
    assert "GroundTruth of 1 subsets" in page.text and f"{truth.returns_[0, 0, :2].mean():.4g}" in page.text
    measured = Generalization(
        result.meta_, suite, suite.unseen(2, seed=0), steps_per_task=60, copies=4
    ).measure()
    page = shown(measured)
    assert page.text[page.text.index("PAC-Bayes bound") + 1] == f"{measured.isotropic.value:.4g}"


def test_names_are_no_markup() -> None:
    names = ["<b>a</b>", "b & c", "d"]
    page = shown(AffinityGraph(np.array([[0.0, 2, 1], [2, 0, 3], [1, 3, 0]]), names))
    assert {"<b>a</b>", "b & c"} <= set(page.text)


def test_thousands_of_tasks_are_no_table() -> None:
    graph = AffinityGraph.from_factors(np.arange(18_000.0).reshape(9_000, 2))
    page = shown(graph)
    assert "factors of rank 2" in page.text and page.pictures == []


#: No mathematics, and such that could not be read.
DOLLARS = ("from $5 to $6", "$\\frac$", "$")


def with_dollars() -> AffinityGraph:
    return AffinityGraph([[0, 2, -1], [2, 0, 1], [-1, 1, 0]], DOLLARS, np.ones((3, 3)))


def differences() -> Axes:
    table = pd.DataFrame({"arm": "groups", "task": DOLLARS, "difference": 1.0, "low": 0.0, "high": 2.0})
    return draw_differences(table, "task", "difference")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: with_dollars().plot(),
        lambda: with_dollars().plot_network(),
        lambda: with_dollars().plot_pairs(),
        differences,
        lambda: draw_preferences(np.eye(3), np.arange(3), DOLLARS),
        lambda: draw_preferences(np.eye(2), np.arange(2), DOLLARS[:2]),
    ],
)
def test_dollars_in_names_are_no_mathematics(draw: Callable[[], Axes]) -> None:
    figure = draw().figure
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if "$" in text.get_text()]
    assert len(texts) >= 1 and not any(is_math_text(text.get_text()) for text in texts)
    plt.close("all")
