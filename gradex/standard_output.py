"""Standard output, which is for answers alone, in whatever state it is."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress


@contextmanager
def somewhere_to_print() -> Iterator[None]:
    """Let what is printed vanish where standard output or standard error is closed, as by `>&-`."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        # Progress bars, too, write to whatever is there.
        with redirect_stdout(sys.stdout or nowhere), redirect_stderr(sys.stderr or nowhere):
            yield


@contextmanager
def apart() -> Iterator[None]:
    """Send to standard error what is printed meanwhile, also by libraries in C that environments use."""
    try:
        own, other = sys.stdout.fileno(), sys.stderr.fileno()
    except (AttributeError, OSError):  # in a notebook, for instance
        with redirect_stdout(sys.stderr):
            yield
        return
    sys.stdout.flush()
    kept = os.dup(own)
    os.dup2(other, own)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        with suppress(Exception):  # C has a buffer of its own, which only some systems let one empty
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, own)
        os.close(kept)


def say(text: str) -> None:
    """Print a text, with escapes for what the terminal does not know; silently where nobody reads on."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or the rest of the text would be tried again at the end
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):
            raise
