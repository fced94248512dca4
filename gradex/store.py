"""What is kept on disk: written whole or not at all, and refused where it belongs to something else.

Tensors are safetensors with a checksum, tables are CSV, everything else is JSON, and nothing is pickled.
This is the only module of gradex that writes files.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

#: How the names of files and folders begin that are not finished.
UNFINISHED = "unfinished-"
#: What a store is for, in its folder.
_IDENTITY = "config.json"
_REMEDY = "choose another folder"
#: How long a value may be in a message.
_SHOWN = 60


# ---------------------------------------------------------------------- whole or not at all
@contextmanager
def writing_to(path: Path, remedy: str = _REMEDY) -> Iterator[None]:
    """Say in one line, by a ValueError in place of an OSError, what cannot be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"cannot write to {str(path)!r} ({error.strerror}): {remedy}") from None


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the name of a file to write, which takes its place once everything is in it.

    Whoever dies meanwhile leaves what was there before. Names are drawn, so that two processes do not write
    into each other's files. Folders above it are made, a link is followed, and what is no file, such as a
    device, stays. For errors see `writing_to`.
    """
    with writing_to(path):
        place = Path(os.path.realpath(path)) if path.is_symlink() else path
        temporary = place.with_name(f"{UNFINISHED}{secrets.token_hex(4)}-{place.name}")
        if path.exists() and not path.is_file():
            raise OSError(None, "Is a directory" if path.is_dir() else "it is no regular file")
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch()
            mode = temporary.stat().st_mode  # as the umask has it, and some writers do not
            yield temporary
            temporary.chmod(mode)
            os.replace(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def scratch(path: str | Path | None, what: str) -> Iterator[Path | None]:
    """Give a folder beside a file that is being made, for what the work goes on from after a cut.

    It is named after the file and gone when the work has ended well. Without a file there is none.
    """
    place = None if path is None else Path(path)
    folder = None if place is None else place.with_name(f"{UNFINISHED}{place.name}-{what}")
    yield folder
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------------- JSON and tables
def in_json(value: Any) -> Any:
    """Give a value as JSON gives it back; what JSON does not know is told apart by how it looks."""
    return json.loads(json.dumps(value, default=repr))


def write_json(path: Path, value: Any) -> None:
    """Write a value that JSON knows."""
    text = json.dumps(value, indent=2, default=repr) + "\n"
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write lines of text."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame, index: bool = False) -> None:
    """Write a table as CSV, with or without the names of its rows."""
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=index)


# ---------------------------------------------------------------------- tensors
def write_tensors(
    path: str | Path, kind: str, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> None:
    """Write named tensors with a description in JSON types, and a checksum of both.

    The kind is what they are, for instance "policy": no file is read as one of another kind.
    """
    text = json.dumps(description)
    header = {"format": _format(kind), "description": text, "sha256": fingerprint(tensors, text)}
    with written_whole(Path(path)) as temporary:
        try:
            save_file({name: each.contiguous() for name, each in tensors.items()}, temporary, metadata=header)
        except SafetensorError as error:
            raise OSError(None, str(error)) from None


def read_tensors(path: str | Path, kind: str, remedy: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read named tensors and their description.

    A ValueError, in one line that ends in the remedy, refuses a file that is missing, damaged, or not one of
    this kind and version.
    """
    try:
        return _read(path, kind)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
    raise ValueError(f"cannot read a {kind} from {str(path)!r} ({reason}): {remedy}")


def _read(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    # A damaged header may name types and shapes that torch has never heard of.
    except (SafetensorError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
        raise ValueError(error) from None
    found, text = header.get("format"), header.get("description", "")
    if found is None or not found.startswith(_format(kind, "")):
        raise ValueError(f"its format is {found!r}, not that of a {kind} of gradex")
    if found != _format(kind):
        raise ValueError(f"another version of gradex wrote it, as {found!r}")
    if header.get("sha256") != fingerprint(tensors, text):
        raise ValueError("it is damaged: its checksum does not match")
    try:
        description = json.loads(text)
    except (ValueError, RecursionError):
        description = None
    if not isinstance(description, dict):
        raise ValueError("it is damaged: its description cannot be read")
    return tensors, description


def _format(kind: str, version: str = "3") -> str:
    return f"gradex.{kind}/{version}"


def fingerprint(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Give the SHA-256 of a text and of tensors with their names, types and shapes, in hexadecimal digits."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode("utf-8", "surrogatepass"))
        flat = tensor.detach().cpu().reshape(-1)
        # One number of a tensor that was expanded counts as contiguous, and cannot be seen as bytes.
        flat = flat if flat.stride() == (1,) else flat.clone(memory_format=torch.contiguous_format)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Give the name of a tensor with a number that is not finite, if there is one."""
    return next((name for name, each in sorted(tensors.items()) if not each.isfinite().all()), None)


# ---------------------------------------------------------------------- identities
#: Entries that identities did not always have: work from before is still welcome.
_LATER = ("time_limit",)


def difference(kept: Any, wanted: Any, name: str = "") -> str | None:
    """Say in a few words what first sets two identities apart, or None where nothing does.

    Both are in JSON types; mappings, and lists of them, are compared entry by entry. An entry that identities
    did not always have counts only where it was kept.

    Examples
    --------
    >>> from gradex.store import difference
    >>> difference({"seed": 0, "learner": {"name": "ppo"}}, {"seed": 0, "learner": {"name": "sac"}})
    'learner name "ppo" instead of "sac"'
    """
    lists = isinstance(kept, list) and isinstance(wanted, list) and len(kept) == len(wanted)
    if lists and all(isinstance(each, Mapping) for each in [*kept, *wanted]):
        kept, wanted = dict(enumerate(kept)), dict(enumerate(wanted))
    if isinstance(kept, Mapping) and isinstance(wanted, Mapping):
        every = [each for each in dict.fromkeys([*wanted, *kept]) if each in kept or each not in _LATER]
        inside = (difference(kept.get(each), wanted.get(each), f"{name} {each}".strip()) for each in every)
        return next((found for found in inside if found is not None), None)
    return None if kept == wanted else f"{name} {_short(kept)} instead of {_short(wanted)}"


def _short(value: Any) -> str:
    text = " ".join(json.dumps(value, ensure_ascii=False).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@dataclass(frozen=True)
class Store:
    """A folder that belongs to one piece of work, and keeps what that has finished.

    `identity` has what makes it this work and no other, in JSON types.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> import torch
    >>> from gradex.store import Store
    >>> folder = Path(mkdtemp()) / "units"
    >>> Store.open(folder, "sum", {"seed": 0}).write("first", {"total": torch.tensor(3.0)})
    >>> Store.open(folder, "sum", {"seed": 0}).read("first")[0]["total"].item()
    3.0
    """

    path: Path
    kind: str
    identity: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path, kind: str, identity: Mapping[str, Any], remedy: str = _REMEDY) -> "Store":
        """Make the folder, or go on in one that the same work has left.

        If it belongs to other work, a ValueError names what differs.
        """
        store = cls(Path(path), kind, in_json({"kind": kind, **identity}))
        file = store.path / _IDENTITY
        with writing_to(store.path, remedy):
            store.path.mkdir(parents=True, exist_ok=True)
            kept = file.read_bytes() if file.exists() else None
        if kept is None:
            write_json(file, store.identity)
            return store
        try:
            known = json.loads(kept)
            other = difference(known, store.identity)
        except ValueError:
            raise ValueError(f"{str(file)!r} is damaged: {remedy}, or remove it") from None
        if other is not None:
            raise ValueError(f"{str(path)!r} holds another {kind}, with {other}: {remedy}")
        return cls(store.path, kind, known)  # its files belong to the identity that was written

    @classmethod
    def remove(cls, path: Path, kind: str, remedy: str = _REMEDY) -> None:
        """Remove the folder of such work, if there is one; a ValueError refuses one of another kind."""
        if not path.exists():
            return
        try:
            found = json.loads((path / _IDENTITY).read_bytes())["kind"]
        except (OSError, ValueError, KeyError, TypeError):
            found = None
        if found != kind:
            raise ValueError(f"{str(path)!r} is not the folder of a {kind}: {remedy}")
        with writing_to(path, remedy):
            shutil.rmtree(path)

    def file(self, name: str) -> Path:
        """Give the file of the tensors of this name."""
        return self.path / f"{name}.safetensors"

    def write(
        self, name: str, tensors: Mapping[str, Tensor], description: Mapping[str, Any] | None = None
    ) -> None:
        """Keep tensors under a name."""
        write_tensors(self.file(name), self.kind, tensors, {"owner": self._owner, "told": description or {}})

    def read(self, name: str, remedy: str = _REMEDY) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Give the tensors that were kept under a name, with their description, or None if none were.

        For errors see `read_tensors`; a file that was put here from another store is refused likewise.
        """
        if not self.file(name).exists():
            return None
        tensors, description = read_tensors(self.file(name), self.kind, remedy)
        if description.get("owner") != self._owner:
            raise ValueError(f"{str(self.file(name))!r} was kept for another {self.kind}: {remedy}")
        return tensors, description["told"]

    @property
    def _owner(self) -> str:
        return fingerprint({}, json.dumps(self.identity))
