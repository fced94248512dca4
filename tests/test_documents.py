"""What is written for readers: links lead somewhere, examples run, sizes stay what a newcomer reads."""

import re
import tomllib
from functools import partial
from pathlib import Path

import matplotlib
import pytest
import yaml

import gradex
from gradex import PolicyGradEx

pytestmark = pytest.mark.shapes_unchecked

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "figures/README.md", "CONTRIBUTING.md", "CHANGELOG.md")


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


def test_the_readme_is_short_and_ends_its_second_command_as_ci_runs_it() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    commands = [line for line in text.splitlines() if line.startswith("python3.11")]
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text()


def test_examples_of_the_readme_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With little training, as only their form is tested here."""
    matplotlib.use("Agg")
    small = partial(
        PolicyGradEx, subsets=20, meta_steps=1000, group_steps=500, steps_per_task=64, bootstrap=2
    )
    monkeypatch.setattr(gradex, "PolicyGradEx", small)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert "earth" in printed and printed.endswith("((0, 1, 2), (3, 4, 5))\n")


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
