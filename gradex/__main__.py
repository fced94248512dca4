"""`python -m gradex` is the command `gradex`."""

import sys

from gradex.cli import main

if __name__ == "__main__":
    sys.exit(main())
