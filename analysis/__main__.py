"""`python -m analysis STUDY|all [PART] --scale smoke|laptop|paper [--seeds N] [--resume]`."""

import argparse
import sys
from pathlib import Path

from analysis.parts import missing
from analysis.study import SCALES, load, names, run
from analysis.whole_paper import beside
from analysis.whole_paper.running import chosen, run_all


def main() -> int:
    """Run one study or all; bad input gives one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m analysis")
    parser.add_argument(
        "study",
        metavar="STUDY",
        help=f"one of {', '.join(names())}; or all, which runs them side by side, goes on where one fails, "
        "and writes the paper's numbers beside ours into README.md",
    )
    parser.add_argument(
        "part", metavar="PART", nargs="?", help="only this part of a study that has parts, such as speed"
    )
    parser.add_argument("--scale", choices=SCALES, default="smoke")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: the study's own)")
    parser.add_argument("--resume", action="store_true", help="go on after the seeds that are finished")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for figures and data (default: figures; at scale smoke, which only shows that all runs, "
        "runs/figures-smoke)",
    )
    parser.add_argument("--only", metavar="A,B", help="with all: these studies only")
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="with all: of a Dask scheduler with workers in this folder (default: the cores of this machine)",
    )
    options = parser.parse_intermixed_args()
    if options.out is None:
        options.out = Path("runs/figures-smoke" if options.scale == "smoke" else "figures")
    try:
        return _all(options) if options.study == "all" else _one(options)
    except ValueError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("analysis: interrupted; --resume goes on from what is finished", file=sys.stderr)
        return 130


def _one(options: argparse.Namespace) -> int:
    for name in ("only", "cluster"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name} goes with all, not with {options.study}: leave it out")
    study = load(options.study)
    for line in missing(options.study, study, options.part):
        print(f"analysis: {line}", file=sys.stderr)
    table = run(options.study, options.scale, options.seeds, options.out, options.resume, options.part)
    if beside.stands_in(options.out):
        beside.write(options.out)
    if options.part:
        table = table[table.part == options.part]
    print(study.summary(table).to_string(index=False, float_format="{:.4g}".format))
    return 0


def _all(options: argparse.Namespace) -> int:
    if options.part is not None:
        raise ValueError(f"all takes no part, but {options.part!r} was given: leave it out")
    wanted = chosen(options.only)
    beside.check(options.out)
    outcome = run_all(wanted, options.scale, options.seeds, options.out, options.resume, options.cluster)
    path = beside.write(options.out)
    print(f"{len(outcome.rendered)} of {len(wanted)} studies are rendered; see {path}")
    for name, line in outcome.failed.items():
        again = f"python -m analysis {name} --scale {options.scale} --resume"
        print(f"analysis: {name} failed, {line}; to see where: {again}", file=sys.stderr)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
