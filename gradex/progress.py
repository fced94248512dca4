"""Where a run is, how long its stages took, and roughly how long the rest of it will take."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from tqdm.auto import tqdm
from tqdm.std import tqdm as Bar

_FORM = "{desc}: {percentage:.0f}% done in {elapsed}, about {remaining} to go"


def bar(iterable: Iterable[Any] | None = None, description: str | None = None, **settings: Any) -> Bar:
    """Make a bar of what takes over two seconds, which goes when it is done.

    Parameters
    ----------
    iterable, description
        What is gone through, and what the bar calls it. Without a description there is none.
    **settings
        What else is told to tqdm.

    Returns
    -------
    tqdm
        Hidden where there is no standard error.

    Examples
    --------
    >>> from gradex.progress import bar
    >>> sum(bar(range(4), "counting"))
    6
    """
    # Passing False would overrule who has turned bars off.
    hidden = {"disable": True} if description is None or sys.stderr is None else {}
    return tqdm(iterable, desc=description, leave=False, **{"delay": 2, **hidden, **settings})


@contextmanager
def stages(steps: Mapping[str, float]) -> Iterator[Callable[[str], None]]:
    """Show which stage of several a run is in; call what is given with the name of each as it begins.

    The stages come in their order, with the environment steps of each. These stand for its time, which makes
    what is left a rough guess; it is shown from the second stage on.

    Examples
    --------
    >>> from gradex.progress import stages
    >>> with stages({"training": 3000, "evaluation": 1000}) as begin:
    ...     begin("training")
    ...     begin("evaluation")
    """
    names, starts = list(steps), dict(zip(steps, accumulate([0, *steps.values()]), strict=False))
    # Without smoothing, time to go follows from all the steps so far, not from those of the last stage.
    with bar(None, "stages", total=sum(steps.values()), bar_format=_FORM, smoothing=0, delay=0) as shown:

        def begin(name: str) -> None:
            shown.update(starts[name] - shown.n)
            shown.set_description_str(f"stage {names.index(name) + 1} of {len(names)}, {name}")

        yield begin


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall-clock time of what is done meanwhile to that of a stage."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
