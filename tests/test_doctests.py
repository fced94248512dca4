"""Examples in docstrings run as they stand, from an empty namespace, and every public name has one.

They are read from the source: wrappers, such as those that check shapes, hide functions from doctest's own
finder.
"""

import ast
import doctest
import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "",
    ".affinity",
    ".generalization",
    ".learners",
    ".policies",
    ".preferences",
    ".surrogate",
    ".tasks",
)


def examples(path: Path) -> Iterator[doctest.DocTest]:
    """Give the docstrings of a file that have examples."""
    parser = doctest.DocTestParser()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        text, name = ast.get_docstring(node), getattr(node, "name", path.stem)
        if (
            text
            and (
                found := parser.get_doctest(text, {}, name, str(path), getattr(node, "lineno", 1) - 1)
            ).examples
        ):
            yield found


EXAMPLES = [found for path in sorted((ROOT / "gradex").rglob("*.py")) for found in examples(path)]


def failures(example: doctest.DocTest) -> str:
    """Run an example; give what went wrong."""
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append, clear_globs=True)
    return "".join(said)


@pytest.mark.wrong_types  # an example may show what is needed in place of all that a protocol asks for
@pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda each: f"{Path(each.filename).relative_to(ROOT)}-{each.name}"
)
def test_the_example_gives_what_it_says(example: doctest.DocTest) -> None:
    assert failures(example) == ""


def test_wrong_examples_and_warnings_are_found() -> None:
    parser = doctest.DocTestParser()
    wrong = parser.get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert "Expected:\n    3\nGot:\n    2" in failures(wrong)
    loud = parser.get_doctest('>>> import warnings\n>>> warnings.warn("old")\n', {}, "loud", None, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "UserWarning: old" in failures(loud)


def test_every_public_name_has_an_example() -> None:
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        module = importlib.import_module(f"gradex{package}")
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and ">>>" not in (thing.__doc__ or ""):
                found.setdefault(thing.__module__.split(".")[1], set()).add(name)
    assert found == {}, "write their examples"
