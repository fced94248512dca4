"""`python -m analysis STUDY [PART] --scale smoke|laptop|paper [--seeds N] [--resume]`."""

import argparse
import sys
from pathlib import Path

from analysis.parts import missing
from analysis.study import SCALES, load, names, run


def main() -> int:
    """Run one study; bad input gives one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m analysis")
    parser.add_argument("study", metavar="STUDY", help=f"one of {', '.join(names())}")
    parser.add_argument("part", metavar="PART", nargs="?", help="only this part of a study in parts (speed)")
    parser.add_argument("--scale", choices=SCALES, default="smoke")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: the study's own)")
    parser.add_argument("--resume", action="store_true", help="go on after the seeds that are finished")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder for figures and data")
    options = parser.parse_intermixed_args()
    try:
        study = load(options.study)
        for line in missing(options.study, study, options.part):
            print(f"analysis: {line}", file=sys.stderr)
        table = run(options.study, options.scale, options.seeds, options.out, options.resume, options.part)
    except ValueError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    if options.part:
        table = table[table.part == options.part]
    print(study.summary(table).to_string(index=False, float_format="{:.4g}".format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
