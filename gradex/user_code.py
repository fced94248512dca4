"""Code of the user: imported, called and run, and whatever it raises is told in one line."""

import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def imported(name: str) -> Any:
    """Give what FILE.py:NAME or MODULE:NAME stands for.

    Raises
    ------
    ValueError, ImportError
        If it is not there, or its file raises something.
    """
    place, _, attribute = name.rpartition(":")
    if not attribute or not place or place.startswith("."):
        raise ValueError(f"{name!r} names nothing: give FILE.py:NAME or MODULE:NAME")
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise ValueError(f"there is no file {place!r}: give FILE.py:NAME")
        specification = importlib.util.spec_from_file_location(Path(place).stem, place)
        assert specification is not None and specification.loader is not None  # for the type checker
        module = importlib.util.module_from_spec(specification)
        # As if the file had been started by itself: it can import its neighbours.
        sys.path.insert(0, str(Path(place).resolve().parent))
        sys.modules[specification.name] = module
        with of_the_user(place):
            specification.loader.exec_module(module)
    else:
        with of_the_user(place):
            module = importlib.import_module(place)
    if not hasattr(module, attribute):
        raise ValueError(
            f"{place!r} has no {attribute!r}: give the name of a suite or of a mapping of environments"
        )
    return getattr(module, attribute)


def called(function: Callable[..., Any], name: str) -> Any:
    """Call what makes a suite.

    Raises
    ------
    ValueError
        If it needs arguments, or raises something.
    """
    with of_the_user(name):
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            raise ValueError(f"{name!r} must be a function that needs no arguments ({error})") from None
        return function()


@contextmanager
def of_the_user(place: str) -> Iterator[None]:
    """Tell in one line what the user's own code raises, whatever it is."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a script may call sys.exit
        if isinstance(error, ValueError) and _is_ours(error):
            raise
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
        if isinstance(error, ValueError) or ":" not in place or not _is_the_users(error):
            raise
        raise _told(place, error) from None


def _told(place: str, error: BaseException) -> ValueError:
    said = " ".join(str(error).split())
    return ValueError(f"{place!r} raised {type(error).__name__}{f': {said}' if said else ''}")


def _is_the_users(error: BaseException) -> bool:
    """Tell whether an error passed through code that is neither ours nor installed."""
    ours = [str(Path(__file__).parent), *(sysconfig.get_path(name) for name in ("stdlib", "purelib"))]
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(not name.startswith(("<", *ours)) for name in frames)


def _is_ours(error: BaseException) -> bool:
    """Tell whether our own code raised an error: it says by itself what to do."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith("gradex.")
