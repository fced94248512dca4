"""The command `gradex`: suites and groups from the shell.

What takes seconds to import is imported by the command that needs it, so that help and errors come at once.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gradex.standard_output import apart, say, somewhere_to_print

if TYPE_CHECKING:
    from gradex.grouping import PolicyGradEx
    from gradex.preference_grouping import PreferenceGrouping
    from gradex.tasks import TaskSuite

#: As `gradex.affinity`, `gradex.policies.ARCHITECTURES` and `gradex.learners.Learner.registered` know them.
_AFFINITIES = ("pairwise", "mean")
_OF_PREFERENCES = ("kernel", "transfer")
_NETWORKS = ("mlp", "one_hot_mlp", "multi_head", "soft_modularization", "paco", "care")
_LEARNERS = ("ppo", "maml", "sac")
#: Subsets, and the tasks in one.
_SUBSETS, _SUBSET_SIZE = 200, 3
#: As README has it.
_MINUTES = (
    "With all defaults it takes about 2 minutes for cartpole and highway, 3 for navigation, 6 for "
    "halfcheetah, 7 for lunarlander and mo-lunar-lander, 10 for ant-goal. mt10 takes far longer. "
    "Time grows with --meta-steps, --group-steps and --steps-per-task."
)
#: Episodes per policy and task for the returns that are printed.
_EPISODES = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; bad input gives one line on standard error and exit code 2."""
    with somewhere_to_print():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    try:
        with apart():
            answer = options.run(options)
        say(answer)
    except (ValueError, OSError, ImportError) as error:
        print(f"gradex: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gradex: stopped; start the same command again to go on", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def _print_message(self, message: str, file: Any = None) -> None:
        encoding = getattr(file, "encoding", None) or "utf-8"
        super()._print_message(message.encode(encoding, "backslashreplace").decode(encoding), file)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"gradex: {message}; see gradex --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="gradex", description="Which reinforcement-learning tasks should share a policy?")
    parser.add_argument("--version", action="version", version=f"gradex {sys.modules['gradex'].__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    told = "list the suites of tasks, or tell what options one takes"
    suites = commands.add_parser("suites", help=told, description=f"{told.capitalize()}.")
    suites.add_argument("suite", metavar="SUITE", nargs="?", help="name of a suite, such as cartpole")
    suites.set_defaults(run=_suites)

    told = "group the tasks of a suite and train one policy per group"
    group = commands.add_parser("group", help=told, description=f"{told.capitalize()}. {_MINUTES}")
    _add_settings(group, steps_per_task=8192)
    group.add_argument(
        "--group-steps",
        type=int,
        help="environment steps for the groups' policies, and for each other way to share policies that they "
        "are compared with, 0 for none (default: by family)",
    )
    twice = "with --k auto look for groups within groups, too, which takes as long again (default)"
    group.add_argument("--recursive", action=argparse.BooleanOptionalAction, default=True, help=twice)
    group.set_defaults(run=_group)

    told = "tell from a small estimate how many transitions it takes until groups can be trusted"
    plan = commands.add_parser("plan", help=told, description=f"{told.capitalize()}.")
    _add_settings(plan, steps_per_task=2048)
    plan.add_argument(
        "--power", type=float, default=0.9, help="wanted chance of the same groups (default 0.9)"
    )
    plan.set_defaults(run=_plan, group_steps=0, recursive=False)
    return parser


def _add_settings(parser: argparse.ArgumentParser, steps_per_task: int) -> None:
    """Add what a run is made of."""
    add = parser.add_argument
    add(
        "suite",
        metavar="SUITE",
        help="a name from `gradex suites`, or FILE.py:NAME or MODULE:NAME of a TaskSuite or of a mapping "
        "from task names to functions that make Gymnasium environments, or of a list of their ids",
    )
    add("--k", type=_count, default="auto", help="number of groups, or auto (default)")
    add("--seed", type=int, default=0, help="of all random numbers (default 0)")
    add("--out", type=Path, metavar="DIR", help="folder for the results (default: runs/SUITE-kK-seedN)")
    add("--force", action="store_true", help="replace a run that is already in the folder")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    add(
        "--subsets",
        type=_count,
        help="number m of random subsets, or auto for as many as it takes (default 200)",
    )
    add("--subset-size", type=int, help="tasks in a subset (default 3)")
    add(
        "--affinity",
        choices=(*_AFFINITIES, *_OF_PREFERENCES),
        help="pairwise (default) or mean, by scores of subsets; of suites mo-…, whose tasks are preferences, "
        "kernel (default there) or transfer, which need no subsets",
    )
    add("--network", choices=_NETWORKS, default="mlp", help="all but mlp (default) see the task")
    add("--learner", choices=_LEARNERS, default="ppo", help="how policies learn (default ppo)")
    add("--meta-steps", type=int, help="environment steps for the meta-policy (default: by family)")
    add(
        "--steps-per-task",
        type=int,
        default=steps_per_task,
        help="transitions per task for the estimate, in all (default %(default)s)",
    )
    add(
        "--bootstrap",
        type=int,
        default=20,
        metavar="N",
        help="how often episodes are drawn again to see whether groups are stable, five times as often with "
        "--k auto; 0 for never (default 20)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="option of the suite, e.g. --set n=8 --set reversed=half",
    )


def _count(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number: give a whole number, or auto") from None


# ---------------------------------------------------------------------- what the commands do, and answer
def _suites(options: argparse.Namespace) -> str:
    from gradex.tasks import TaskSuite

    if options.suite is not None:
        return TaskSuite.description(options.suite)
    lines = [f"{name:14s}{TaskSuite.summary(name)}" for name in TaskSuite.names()]
    lines += [f"{'mo-…':14s}Preferences over a vector of rewards, such as mo-lunar-lander."]
    return "\n".join([*lines, "gradex suites SUITE tells which values each option takes"])


def _suite_of(options: argparse.Namespace) -> "TaskSuite":
    from gradex.user_code import read_suite

    return read_suite(options.suite, options.set, options.seed)


def _grouping_of(options: argparse.Namespace, suite: "TaskSuite") -> "PolicyGradEx | PreferenceGrouping":
    """Give the settings of a run: by preferences where tasks are such, if nothing speaks against it."""
    plain = suite.linear and options.network == _NETWORKS[0] and options.learner == _LEARNERS[0]
    if options.affinity in _AFFINITIES or (options.affinity is None and not plain):
        return _by_subsets(options, suite)
    return _by_preferences(options, suite)


def _by_subsets(options: argparse.Namespace, suite: "TaskSuite") -> "PolicyGradEx":
    from gradex.grouping import PolicyGradEx

    if options.affinity in _OF_PREFERENCES:
        raise ValueError(
            f"--affinity {options.affinity} is for gradex group: give {' or '.join(_AFFINITIES)}"
        )
    subsets = _SUBSETS if options.subsets is None else options.subsets
    grouping = PolicyGradEx(
        options.k,
        None if subsets == "auto" else subsets,
        _SUBSET_SIZE if options.subset_size is None else options.subset_size,
        options.affinity or _AFFINITIES[0],
        network=options.network,
        recursive=options.recursive,
        **_amounts(options),
    )
    grouping.check(suite)
    return grouping


def _by_preferences(options: argparse.Namespace, suite: "TaskSuite") -> "PreferenceGrouping":
    from gradex.preference_grouping import PreferenceGrouping

    affinity = options.affinity or _OF_PREFERENCES[0]
    for name in ("subsets", "subset_size"):
        if getattr(options, name) is not None:
            flag = name.replace("_", "-")
            raise ValueError(
                f"--{flag} has no use with --affinity {affinity}: add --affinity {_AFFINITIES[0]}"
            )
    if options.network != _NETWORKS[0]:
        raise ValueError(
            f"--affinity {affinity} needs policies that do not see their task: leave out "
            f"--network {options.network}"
        )
    grouping = PreferenceGrouping(options.k, affinity, **_amounts(options))
    grouping.check(suite)
    return grouping


def _amounts(options: argparse.Namespace) -> dict[str, Any]:
    """Give the settings that all groupings have."""
    names = ("steps_per_task", "meta_steps", "group_steps", "bootstrap", "seed", "learner")
    return {name: getattr(options, name) for name in names}


def _configuration(
    options: argparse.Namespace, suite: "TaskSuite", grouping: "PolicyGradEx | PreferenceGrouping"
) -> dict[str, Any]:
    """Give what makes a run this one and no other."""
    from gradex.user_code import source_of

    return {**source_of(options.suite, suite), "suite": suite.config, **grouping.config}


def _folder_of(options: argparse.Namespace, kind: str) -> Path:
    """Give the folder of a run, by default one that its suite, its kind and its seed name."""
    if options.out:
        return options.out.expanduser()  # shells leave the ~ of --out=~/here alone
    stem = Path(options.suite.rpartition(":")[0]).stem or options.suite
    return Path("runs") / f"{stem}-{kind}-seed{options.seed}"


def _group(options: argparse.Namespace) -> str:
    from gradex.grouped_preferences import MOST_COMPARED
    from gradex.run_folder import open_run, said_before, write_results
    from gradex.run_text import run_text
    from gradex.store import scratch
    from gradex.user_code import running

    suite = _suite_of(options)
    grouping = _grouping_of(options, suite)
    path = _folder_of(options, f"k{options.k}")
    checkpoint = open_run(path, _configuration(options, suite, grouping), options.force)
    if (said := said_before(path, "groups.json", options.json)) is not None:
        return _shown(options, said, path)
    with scratch(checkpoint, "groups") as folder:
        with running(options.suite):
            grouping.fit(suite, checkpoint=checkpoint, folder=folder)
            evaluation = grouping.evaluate(_EPISODES)
            if grouping.policies_ and len(suite) <= MOST_COMPARED:
                grouping.evaluate(_EPISODES, compare=True, folder=folder)
        returns = evaluation.groupby("policy").return_mean.mean().to_dict()
        report = {**grouping.report(), "returns": returns}
        said = run_text(report, None if suite.labels is None else grouping.partition_.agreement(suite.labels))
        if grouping.comparison_ is not None:
            said += f"\n{grouping.comparison_}"
        write_results(path, grouping, report, evaluation, said)
    return _shown(options, json.dumps(report) if options.json else said, path)


def _plan(options: argparse.Namespace) -> str:
    from gradex.affinity.significance import check_share
    from gradex.run_folder import open_run, said_before, write_plan
    from gradex.user_code import running

    check_share("power", options.power)
    if options.bootstrap == 0:
        raise ValueError("--bootstrap 0 leaves unknown how far affinities err: give at least 2")

    suite = _suite_of(options)
    grouping = _by_subsets(options, suite)
    path = _folder_of(options, f"plan-k{options.k}")
    settings = {**_configuration(options, suite, grouping), "power": options.power}
    checkpoint = open_run(path, settings, options.force)
    if (said := said_before(path, "plan.json", options.json)) is not None:
        return _shown(options, said, path)
    with running(options.suite):
        plan = grouping.fit(suite, checkpoint=checkpoint).plan(options.power)
    write_plan(path, plan)
    return _shown(options, json.dumps(plan.to_dict()) if options.json else str(plan), path)


def _shown(options: argparse.Namespace, said: str, path: Path) -> str:
    return said if options.json else f"{said}\nwritten to {path}"


if __name__ == "__main__":
    sys.exit(main())
