"""Where a run is, how long its stages took, and roughly how long the rest of it will take."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate

from tqdm.auto import tqdm

_FORM = "{desc}: {percentage:.0f}% done in {elapsed}, about {remaining} to go"


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
    with tqdm(total=sum(steps.values()), bar_format=_FORM, smoothing=0, leave=False) as bar:

        def begin(name: str) -> None:
            bar.update(starts[name] - bar.n)
            bar.set_description_str(f"stage {names.index(name) + 1} of {len(names)}, {name}")

        yield begin


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall-clock time of what is done meanwhile to that of a stage."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
