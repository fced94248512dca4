"""What is written for readers: links lead somewhere, examples run, sizes stay what a newcomer reads."""

import json
import re
import sys
import tomllib
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import pytest
import torch
import yaml

import gradex
from gradex import MetaPolicy, PolicyGradEx, TaskSuite

ROOT = Path(__file__).parents[1]
#: What only the site has: its start, and pages that include files of other folders.
OF_THE_SITE = {"index.md", "results.md", "extending.md", "changes.md", "assignments.md"}
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").glob("*.md") if path.name not in OF_THE_SITE
)
ASSIGNMENTS = "notebooks/assignments/README.md"
DOCUMENTS = ("README.md", "figures/README.md", "CONTRIBUTING.md", "CHANGELOG.md", ASSIGNMENTS, *PAGES)


def prose(text: str) -> str:
    """Leave out blocks of code, in which brackets are no links."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def anchors(text: str) -> set[str]:
    """Give the anchors of headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(document: Path) -> list[str]:
    """Give the links of a document that lead nowhere; those to other sites are not followed."""
    lost = []
    for link in links(document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            lost.append(link)
    return lost


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_relative_link_leads_somewhere(name: str) -> None:
    assert broken(ROOT / name) == []


def test_the_finder_of_broken_links_finds_them(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# What is `here`?\n")
    document = tmp_path / "document.md"
    document.write_text(
        "# Own part\n[a](other.md) ![b](gone.png) [c](#own-part) [d](#gone) [e](other.md#what-is-here)\n"
        "[f](other.md#gone) [g](https://example.org/gone)\n```\n[h](gone.md)\n```\n"
    )
    assert broken(document) == ["gone.png", "#gone", "other.md#gone"]


def test_all_figures_and_notebooks_are_linked() -> None:
    shown = links((ROOT / "figures" / "README.md").read_text())
    assert {path.name for path in (ROOT / "figures").glob("*.png")} <= set(shown)
    listed = links((ROOT / "README.md").read_text())
    assert {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")} <= set(listed)
    assert set(PAGES) <= set(listed)


def test_of_every_figure_it_is_told_what_it_was_computed_with() -> None:
    _, _, text = (ROOT / "figures" / "README.md").read_text().partition("\n| studies | computed with |\n")
    rows = text.partition("\n\n")[0].splitlines()
    told = {name for row in rows for name in re.findall("`([a-z_0-9]+)`", row.split("|")[1])}
    assert told == {path.stem for path in (ROOT / "figures").glob("*.png")}


def test_the_map_lists_every_notebook() -> None:
    """By its file, with what it needs; each notebook says the same at its head."""
    notebooks = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    text = notebooks[0].read_text()
    assert {path.name for path in notebooks[1:]} <= set(links(text))
    for path in notebooks:
        head = json.loads(path.read_text())["cells"][0]["source"]
        assert {"needs", "takes", "you will learn"} <= {
            row.split("|")[1].strip() for row in head if "|" in row
        }


def test_the_readme_is_short_and_ends_its_second_command_as_ci_runs_it() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    commands = [line for line in text.splitlines() if line.startswith("python3.11")]
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text()


def examples(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


def test_examples_of_the_readme_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With little training, as only their form is tested here."""
    matplotlib.use("Agg")
    small = partial(
        PolicyGradEx, subsets=20, meta_steps=1000, group_steps=500, steps_per_task=64, bootstrap=2
    )
    monkeypatch.setattr(gradex, "PolicyGradEx", small)
    blocks = examples("README.md")
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {"__name__": "readme"})
    assert "earth" in capsys.readouterr().out


def test_the_example_of_a_model_finds_both_kinds_of_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    [block] = examples("notebooks/own_model.md")
    exec(block, {"__name__": "page"})
    assert capsys.readouterr().out == "((0, 1, 2), (3, 4, 5))\n"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_example_of_a_language_model_groups_its_objectives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Not needed here, and a release for another build of torch fails when it is imported.
    monkeypatch.setitem(sys.modules, "torchvision", None)
    if find_spec("peft") is None:
        pytest.skip('pip install "gradex[language]"')
    [block] = examples("notebooks/own_language_model.md")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(block, {"__name__": "page"})
    assert capsys.readouterr().out == "((0, 1), (2, 3))\n"


def test_saved_policies_are_read_as_the_page_of_the_command_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(1000)
    meta.save(tmp_path / "runs" / "one" / "group-0.safetensors")
    monkeypatch.chdir(tmp_path)
    [block] = examples("notebooks/command.md")
    exec(block, {"__name__": "page"})
    printed = capsys.readouterr().out
    assert "group-0.safetensors" in printed and "return_mean" in printed


def test_the_citation_names_software_and_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["title"].startswith("gradex")
    assert cited["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    paper = cited["preferred-citation"]
    assert {"type", "title", "authors"} <= set(paper)
    assert "2511.12779" in str(paper["identifiers"])


def test_the_changelog_tells_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{gradex.__version__}]" in text


def test_the_version_is_that_of_the_project() -> None:
    """Install again (`pip install -e .`) after changing it in pyproject.toml."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert gradex.__version__ == told["project"]["version"]


def test_the_package_says_that_it_is_typed() -> None:
    """A wheel holds the folder gradex, with all that is in it."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert told["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["gradex"]}
    assert (ROOT / "gradex" / "py.typed").read_text() == ""
