"""`python -m analysis STUDY --scale smoke|laptop|paper [--seeds N] [--resume]`."""

import argparse
import sys
from pathlib import Path

from analysis.study import SCALES, load, names, run


def main() -> int:
    """Run one study; bad input gives one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m analysis")
    parser.add_argument("study", metavar="STUDY", help=f"one of {', '.join(names())}")
    parser.add_argument("--scale", choices=SCALES, default="smoke")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: the study's own)")
    parser.add_argument("--resume", action="store_true", help="go on after the seeds that are finished")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder for figures and data")
    options = parser.parse_args()
    try:
        table = run(options.study, options.scale, options.seeds, options.out, options.resume)
    except ValueError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    print(load(options.study).summary(table).to_string(index=False, float_format="{:.4g}".format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
