"""How Sphinx makes the site, of pages, docstrings, and notebooks as they were executed.

What its pages load lies beside them, MathJax too, so that they need no network.
"""

import os
import re
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

HERE = Path(__file__).parent
#: Pages that are files of other folders, and under what name the site has them.
ELSEWHERE = {
    "../README.md": "index.md",
    "../figures/README.md": "results.md",
    "../CONTRIBUTING.md": "extending.md",
    "../CHANGELOG.md": "changes.md",
    "assignments/README.md": "assignments.md",
}

project = "gradex"
version = release = installed("gradex")
project_copyright = "the authors of gradex"

extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx-mathjax-offline"]
# Sources of assignments hold their solutions; a page includes what is for everybody.
SOURCES = "assignments/source"
exclude_patterns = ["assignments", "**.ipynb_checkpoints"]

nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3  # links to headings, as GitHub makes them

numpydoc_show_class_members = False  # autodoc lists them
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 80
default_role = "py:obj"  # `this` in a docstring is a name

html_theme = "sphinx_book_theme"
html_title = "gradex"
html_static_path = ["_static"]
html_css_files = ["site.css"]
toc_object_entries_show_parents = "hide"
html_copy_source = False
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}


def links_of_the_site(text: str, folder: Path) -> str:
    """Lead a file's relative links to pages of the site, or to files from here."""

    def moved(link: re.Match[str]) -> str:
        path, _, anchor = link[2].partition("#")
        there = os.path.relpath(folder / path, HERE)
        if not path or ":" in path or (folder == HERE and there not in ELSEWHERE):
            return link[0]
        if there.startswith(SOURCES):
            return link[1]
        return f"[{link[1]}]({ELSEWHERE.get(there, there)}{'#' * bool(anchor)}{anchor})"

    return re.sub(r"\[([^]]*)\]\(([^)\s]+)\)", moved, text)


def in_a_page(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = links_of_the_site(source[0], HERE)


def in_an_included_file(
    app: Sphinx, path: Path, parent: str, content: list[str]
) -> None:
    content[0] = links_of_the_site(content[0], (HERE / path).resolve().parent)


def marks_are_no_markup(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """In docstrings |x| is an absolute value, θ* a name and *shape an axis or more."""
    code = False
    for i, line in enumerate(lines):
        code = line.lstrip().startswith(">>>") or (code and bool(line.strip()))
        if not code:
            lines[i] = re.sub(r"\||(?<=θ)\*|(?<=, )\*(?=\w)", r"\\\g<0>", line)


def short_aliases(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, given: Any, back: Any
) -> tuple[Any, Any]:
    """Call NumPy's ArrayLike by its name, and not by what it stands for."""
    alias = r"_Buffer \| .*?_NestedSequence\[complex \| bytes \| str\]"
    return (
        given and re.sub(alias, "ArrayLike", given),
        back and re.sub(alias, "ArrayLike", back),
    )


def skips_scikit_learn(
    app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out what estimators inherit."""
    home = str(getattr(thing, "__module__", ""))
    return True if home.startswith("sklearn.") else None


def setup(app: Sphinx) -> None:
    app.connect("source-read", in_a_page)
    app.connect("include-read", in_an_included_file)
    # Before numpydoc, whose priority is 500.
    app.connect("autodoc-process-docstring", marks_are_no_markup, priority=400)
    app.connect("autodoc-process-signature", short_aliases)
    app.connect("autodoc-skip-member", skips_scikit_learn)
