"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: How the names of files begin that are being written.
UNFINISHED = "unfinished-"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the name of a file to write, which takes its place once everything is in it.

    Whoever dies meanwhile leaves what was there before. Names are drawn, so that two processes do not write
    into each other's files.
    """
    temporary = path.with_name(f"{UNFINISHED}{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing_to(path: Path, remedy: str = "choose another folder") -> Iterator[None]:
    """Say in one line what cannot be written, and what to do.

    Raises
    ------
    ValueError
        Where an OSError was raised.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(f"cannot write to {str(path)!r} ({error.strerror}): {remedy}") from None
