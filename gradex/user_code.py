"""What SUITE of the command line stands for, and code of the user: whatever it raises is told in one line."""

import importlib
import importlib.util
import inspect
import json
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from gradex.tasks import TaskSuite


def read_suite(name: str, assignments: Sequence[str], seed: int) -> TaskSuite:
    """Give the suite of a family's name, or of FILE.py:NAME or MODULE:NAME of the user.

    Assignments are OPTION=VALUE for each option of a family, and may set another seed; values are JSON, or
    text where they are none. A ValueError or an ImportError has one line, whatever the user's code does.
    """
    settings = dict(_setting(assignment) for assignment in assignments)
    if ":" not in name:
        return TaskSuite.make(name, **{"seed": seed, **settings})
    if settings:
        raise ValueError(f"--set is for named suites, not for {name!r}: set options in your own code")
    found = _imported(name)
    if callable(found):
        with _user_code(name):
            try:
                inspect.signature(found).bind()
            except TypeError as error:
                raise ValueError(f"{name!r} needs arguments ({error}): give a function without any") from None
            found = found()
    if isinstance(found, TaskSuite):
        return found
    if isinstance(found, Mapping | list | tuple):
        with _user_code(name):
            return TaskSuite.from_gymnasium(found)
    raise ValueError(
        f"{name!r} is of type {type(found).__name__}: give a TaskSuite, or a mapping from names to "
        "functions, or a list of ids"
    )


def source_of(name: str, suite: TaskSuite) -> dict[str, Any]:
    """Tell what `read_suite` has read from a suite of the user: what it is called, and what its file says.

    A configuration of such a suite knows little more than the names of its tasks: others may have the same.
    """
    place, colon, attribute = name.rpartition(":")
    if not colon:
        return {}
    script = place.endswith(".py")
    file = Path(place if script else getattr(sys.modules[place], "__file__", None) or place)
    told: dict[str, Any] = {"source": f"{file.name if script else place}:{attribute}"}
    if file.is_file():
        told[f"contents of {file.name}"] = sha256(file.read_bytes()).hexdigest()[:16]
    spaces = [" ".join(str(space).split()) for space in (suite.observation_space, suite.action_space)]
    return {**told, "spaces": spaces, "horizon": suite.horizon}


def _setting(assignment: str) -> tuple[str, Any]:
    name, equals, value = assignment.partition("=")
    if not equals:
        raise ValueError(f"--set {assignment!r} has no '=': give OPTION=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _imported(name: str) -> Any:
    """Give what FILE.py:NAME or MODULE:NAME stands for."""
    place, _, attribute = name.rpartition(":")
    script = place.endswith(".py")
    if not attribute or not place or (place.startswith(".") and not script):
        raise ValueError(f"{name!r} names nothing: give FILE.py:NAME or MODULE:NAME")
    if script:
        if not Path(place).is_file():
            raise ValueError(f"there is no file {place!r}: give FILE.py:NAME")
        with _user_code(place):
            module = _run(Path(place).resolve())
    else:
        here = str(Path.cwd())
        if not {"", here} & set(sys.path):
            sys.path.insert(0, here)  # as `python -m` does; it stays, for what is imported later
        with _user_code(place):
            module = importlib.import_module(place)
    if not hasattr(module, attribute):
        raise ValueError(
            f"{place!r} has no {attribute!r}: give the name of a suite, of a mapping of environments or of "
            "a list of ids"
        )
    return getattr(module, attribute)


def _run(file: Path) -> ModuleType:
    """Run a file of Python, by its dotted name where it is part of a package."""
    top = next(folder for folder in file.parents if not (folder / "__init__.py").is_file())
    package = ".".join(file.parent.relative_to(top).parts)
    name = f"{package}.{file.stem}" if package else file.stem
    sys.path.insert(0, str(top))
    if package:
        importlib.import_module(package)
        if name in sys.modules:
            return sys.modules[name]  # the package has imported it
        sys.path.insert(0, str(file.parent))
    # As if the file had been started by itself: it can import its neighbours.
    specification = importlib.util.spec_from_file_location(name, file)
    assert specification is not None and specification.loader is not None  # for the type checker
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


@contextmanager
def _user_code(place: str) -> Iterator[None]:
    """Tell in one line what the user's own code raises, whatever it is."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a script may call sys.exit
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if isinstance(error, ValueError) and str(frame.f_globals.get("__name__")).startswith("gradex."):
            raise  # our own say by themselves what to do
        # Not found is what was asked for, and not something that it needs.
        if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            raise
        raise _told(place, error) from None


@contextmanager
def running(place: str) -> Iterator[None]:
    """Tell in one line what environments of the user raise while they run; errors of our own stay errors."""
    try:
        yield
    except Exception as error:
        ours = [str(Path(__file__).parent), *(sysconfig.get_path(name) for name in ("stdlib", "purelib"))]
        files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
        of_the_user = any(not name.startswith(("<", *ours)) for name in files)
        if isinstance(error, ValueError) or ":" not in place or not of_the_user:
            raise
        raise _told(place, error) from None


def _told(place: str, error: BaseException) -> ValueError:
    said = " ".join(str(error).split())
    return ValueError(f"{place!r} raised {type(error).__name__}{f': {said}' if said else ''}")
