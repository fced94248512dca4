"""The file of a policy: itself, the snapshots on the way to it, and where all of them come from."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from gradex.learners import ActorCritic, Learner
from gradex.lineage import Lineage
from gradex.settings import whole
from gradex.store import difference, not_finite, read_tensors, write_tensors
from gradex.tasks import TaskSuite
from gradex.trained_policy import TrainedPolicy

#: How the names of the tensors of an earlier snapshot begin; those of the policy itself have no prefix.
_PREFIX = "path.{}."


@dataclass(frozen=True, eq=False)
class PolicyFile:
    """What a file tells of a policy; `write_policy` makes one.

    `settings` are what else its class takes: network, learner, layers, width. `path` has the environment
    steps of each snapshot, of which the last is the policy itself; files from before there were snapshots
    hold it alone. Snapshots have the same lineage but for their steps, and parts of `history` and `tensors`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.policy_file import PolicyFile
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> file = Path(mkdtemp()) / "meta.safetensors"
    >>> MetaPolicy(suite, layers=2, width=8).fit(steps=6_000, snapshots=2).save(file)
    >>> PolicyFile.read(file, suite).path
    (3072, 6144)
    """

    lineage: Lineage
    settings: dict[str, Any]
    history: pd.DataFrame
    path: tuple[int, ...]
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: str | Path, suite: TaskSuite | None = None) -> "PolicyFile":
        """Read a file; for errors see `refusing`, for the suite `Lineage.of`."""
        tensors, told = read_tensors(path, "policy", "give a file that MetaPolicy.save wrote, or remove it")
        with refusing(path):
            past = Lineage.of(told["lineage"], suite)
            settings = {name: told[name] for name in ("network", "layers", "width")}
            settings["learner"] = Learner.from_config(told["learner"])
            taken = tuple(whole(f"path[{n}]", steps, 1) for n, steps in enumerate(told.get("path", ())))
            if taken and (taken[-1] != past.steps or list(taken) != sorted(set(taken))):
                raise ValueError(f"its snapshots are after {list(taken)} of {past.steps} steps")
            history = pd.DataFrame(dict(told["history"]))
            return cls(past, settings, history, taken or (past.steps,), tensors)

    def snapshots(self, shape: ActorCritic) -> Iterator[tuple[ActorCritic, pd.DataFrame, Lineage]]:
        """Give each snapshot, with its learning curves so far and its lineage, from early to late.

        The `shape` is any stack of one of this architecture.
        """
        left = dict(self.tensors)
        for number, steps in enumerate(self.path[:-1]):
            prefix = _PREFIX.format(number)
            own = {
                name.removeprefix(prefix): left.pop(name) for name in self.tensors if name.startswith(prefix)
            }
            try:
                agent = shape.restored(own)
            except ValueError as error:
                raise ValueError(f"in its snapshot after {steps} steps: {error}") from None
            so_far = self.history[self.history.steps <= steps].reset_index(drop=True)
            yield agent, so_far, replace(self.lineage, steps=steps)
        yield shape.restored(left), self.history, self.lineage


def write_policy(path: str | Path, snapshots: Sequence[TrainedPolicy]) -> None:
    """Write a policy, the last of its snapshots, with the ones before it; see `MetaPolicy.save`."""
    *earlier, last = snapshots
    tensors = last.agent_.tensors()
    for number, snapshot in enumerate(earlier):
        # In memory of their own: what a learner leaves as it is, snapshots may share.
        own = snapshot.agent_.clone().tensors()
        tensors |= {_PREFIX.format(number) + name: each for name, each in own.items()}
    if (name := not_finite(tensors)) is not None:
        raise ValueError(
            f"{name} is not finite, so nothing was written to {str(path)!r}: "
            "train anew with a smaller learning rate"
        )
    told = {"path": [each.steps for each in snapshots], "history": last.history_.to_dict(orient="list")}
    write_tensors(path, "policy", tensors, {**last.config, **told})


def check_same_training(path: str | Path, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a policy of other settings than those wanted by a ValueError that names the first of them."""
    other = difference(kept, wanted)
    if other is not None:
        raise ValueError(
            f"{str(path)!r} holds a meta-policy of other settings, with {other}: "
            "choose another file, or remove it"
        )


@contextmanager
def refusing(path: str | Path) -> Iterator[None]:
    """Say in one line, by a ValueError, why a file is no policy: what is missing, or not of its kind."""
    try:
        yield
        return
    except KeyError as error:
        reason = f"{error} is missing"
    # Whatever the constructors of learners, suites and tables say about values that are not theirs.
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())
    raise ValueError(f"cannot read a policy from {str(path)!r}: {reason}")
