"""The site is built without a warning, holds all that there is to read, and loads nothing from elsewhere."""

import importlib
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import gradex

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
PAGES = sorted(
    page.relative_to(NOTEBOOKS).with_suffix("")
    for kind in ("[!.]*.ipynb", "[!.]*.md")
    for folder in (NOTEBOOKS, NOTEBOOKS / "reference")
    for page in folder.glob(kind)
)
ROOMS = (
    "affinity",
    "comparison",
    "generalization",
    "learners",
    "policies",
    "preferences",
    "surrogate",
    "tasks",
)
#: Attributes by which a page has something loaded; links that a reader may follow are none of them.
LOADED = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data",
    "link": "href",
}  # fmt: skip


class Page(HTMLParser):
    """Collects what a page loads, where its links lead, which names can be linked to, and its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.scripts = ""
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self._in_script = tag == "script"
        if loaded := given.get(LOADED.get(tag, "")):
            self.loaded.add(loaded)
        if tag == "a" and (link := given.get("href")):
            self.links.add(link)
        if anchor := given.get("id"):
            self.anchors.add(anchor)

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts += data

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as CONTRIBUTING.md says, in a process of its own: Sphinx warns of its own future."""
    folder = tmp_path_factory.mktemp("site")
    command = "-m sphinx -W -j 1 notebooks build/site"
    assert f"python {command}" in (ROOT / "CONTRIBUTING.md").read_text()
    given = [argument.replace("build/site", str(folder)) for argument in command.split()]
    done = subprocess.run(
        [sys.executable, *given, "-q"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    built = {
        str(path.relative_to(site)): path for path in site.rglob("*.html") if "_static" not in path.parts
    }
    return {name: Page(path.read_text()) for name, path in built.items()}


def test_every_page_and_notebook_is_in_the_navigation(pages: dict[str, Page]) -> None:
    listed = {link.partition("#")[0] for link in pages["index.html"].links}
    listed |= {f"reference/{link.partition('#')[0]}" for link in pages["reference/index.html"].links}
    assert len(PAGES) > 20
    assert {f"{page}.html" for page in PAGES} - {"index.html"} <= listed


def test_every_public_name_has_its_place(pages: dict[str, Page]) -> None:
    for name in set(gradex.__all__) - {"__version__"}:
        assert f"gradex.{name}" in pages[f"reference/{name}.html"].anchors
    for room in ROOMS:
        names = set(importlib.import_module(f"gradex.{room}").__all__) - set(gradex.__all__)
        assert {f"gradex.{room}.{name}" for name in names} <= pages[f"reference/gradex.{room}.html"].anchors


def test_signatures_are_short(site: Path) -> None:
    html = (site / "reference" / "AffinityGraph.html").read_text()
    assert "ArrayLike" in html and "_NestedSequence" not in html


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        for loaded in page.loaded:
            path = urlsplit(loaded)
            if path.scheme != "data":
                assert not path.netloc, (name, loaded)
                assert (site / name).parent.joinpath(unquote(path.path)).exists(), (name, loaded)
        assert "//cdn" not in page.scripts
    formulas = pages["01_from_tasks_to_groups.html"]
    assert "_static/mathjax/tex-chtml.js" in {urlsplit(loaded).path for loaded in formulas.loaded}
    for sheet in (site / "_static").rglob("*.css"):
        assert "url(http" not in sheet.read_text() and "url(//" not in sheet.read_text()


def test_links_lead_to_pages_and_places(site: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        for link in page.links:
            there = urlsplit(link)
            if there.scheme or there.netloc:
                continue
            path = (site / name).parent / unquote(there.path) if there.path else site / name
            assert path.exists(), (name, link)
            target = os.path.relpath(path, site)
            if there.fragment and target in pages:
                assert unquote(there.fragment) in pages[target].anchors, (name, link)


def test_outputs_are_those_that_were_executed(site: Path) -> None:
    """As the first notebook has them: nothing is run again."""
    html = (site / "01_from_tasks_to_groups.html").read_text()
    assert "stable: the same groups in 100% of 100 resamplings" in html
    assert html.count('class="cell_output docutils container"') > 30
