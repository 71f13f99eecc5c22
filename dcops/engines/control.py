"""The control store's operations on plain directories, by the standard library alone.

This file runs in two places: imported (`dcops.engines.store`), and as a script, when an engine sends its
text to ``python3 -c`` beside the proxy. As a script it reads lines of JSON from stdin, ``{"roots": {...},
"operations": [...]}``, and answers each by a line: ``{"results": [...]}`` or ``{"error": "text"}``. With the
argument ``once`` it ends after the first, for whoever cannot close its stdin.

The tree::

    current                              the pointer: Caddy address of the serving instance
    model                                the pointer of the scripted model
    operator/<instance>/<secret>         who may use the instance route
    gateway/api|scripted/<token>         which model an instance's token leads to
    egress/<token>                       hosts that an instance's tools may reach
    records/...                          lock, journal, history
    instances/<id>/toggles.json ...      what one instance sees of it

An operation is ``{"op", "path"}`` with ``data`` (base64) for ``write``, ``create`` and ``append``. Names that
begin with a dot are this file's own half-made ones: refused as paths, never listed.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

INSTANCES = "instances"


class Place(NamedTuple):
    """A confined path; what lies under ``instances`` is readable by other users, the rest is not."""

    path: Path
    public: bool


def apply(roots: Mapping[str, str], operations: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Carry out operations in order; every path is checked before the first one.

    Args:
        roots: Absolute directory by first path component; ``""`` is the one for all others.
        operations: ``read`` (base64 or None), ``list`` (sorted names), ``write``, ``create`` (False when
            the file exists already), ``append`` (one line), ``remove`` (a file or a tree).

    Returns:
        One result per operation.

    Raises:
        ValueError: A path that is absolute, has an empty or dotted component, or leads over a link.
        OSError: As the system says.
    """
    places = [_place(roots, operation["op"], operation["path"]) for operation in operations]
    pairs = zip(places, operations, strict=True)
    return [_ACTIONS[operation["op"]](place, operation.get("data", "")) for place, operation in pairs]


def _place(roots: Mapping[str, str], op: str, path: str) -> Place:
    parts = path.split("/")
    if any(not part or part.startswith(".") or "\0" in part for part in parts):
        raise ValueError(f"refused path: {path!r}")
    inside = parts[0] in roots
    root = Path(roots[parts[0]] if inside else roots[""]).resolve()
    full = root.joinpath(*parts[inside:])
    if full == root and op != "list":
        raise ValueError(f"refused path: {path!r} is a root")
    if full.resolve() != full:
        raise ValueError(f"refused path: {path!r} leads over a link")
    return Place(full, parts[0] == INSTANCES)


def _read(place: Place, _: str) -> str | None:
    try:
        return base64.b64encode(place.path.read_bytes()).decode()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _list(place: Place, _: str) -> list[str]:
    try:
        return sorted(each.name for each in place.path.iterdir() if not each.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _write(place: Place, data: str) -> None:
    _half_made(place, data).replace(place.path)
    _sync(place.path.parent)


def _create(place: Place, data: str) -> bool:
    half_made = _half_made(place, data)
    try:
        # A link, not a rename: of two that race only one makes it, and nobody sees half a file.
        place.path.hardlink_to(half_made)
    except FileExistsError:
        return False
    finally:
        half_made.unlink()
    _sync(place.path.parent)
    return True


def _append(place: Place, data: str) -> None:
    directory = place.path.parent
    _make_directory(directory, 0o755 if place.public else 0o700)
    descriptor = os.open(place.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        # Two writers must not both find, and cut, the same torn line.
        fcntl.flock(file, fcntl.LOCK_EX)
        os.fchmod(descriptor, 0o644 if place.public else 0o600)
        file.truncate(_end_of_last_line(file))
        line = base64.b64decode(data) + b"\n"
        if file.write(line) != len(line):
            raise OSError(f"short write to {place.path}")
        os.fsync(descriptor)
    _sync(directory)


def _end_of_last_line(file: Any) -> int:
    """Offset after the last newline: what follows was torn by a crash."""
    end: int = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + int(newline) + 1
        end = start
    return 0


def _remove(place: Place, _: str) -> None:
    directory = place.path.parent
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if place.path.is_dir():
            # A tree goes at once for its readers: by a rename, then at leisure.
            going = place.path.rename(directory / f".old-{os.urandom(6).hex()}")
            shutil.rmtree(going, ignore_errors=True)
        else:
            place.path.unlink()
        _sync(directory)


def _half_made(place: Place, data: str) -> Path:
    directory = place.path.parent
    _make_directory(directory, 0o755 if place.public else 0o700)
    path = directory / f".new-{os.urandom(6).hex()}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644 if place.public else 0o600)
            file.write(base64.b64decode(data))
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise
    return path


def _make_directory(path: Path, mode: int) -> None:
    if path.is_dir():
        return
    _make_directory(path.parent, mode)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode)
        path.chmod(mode)
        _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_ACTIONS: dict[str, Callable[[Place, str], Any]] = {
    "read": _read,
    "list": _list,
    "write": _write,
    "create": _create,
    "append": _append,
    "remove": _remove,
}


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: dict[str, Any] = {"results": apply(request["roots"], request["operations"])}
        except (OSError, ValueError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        if "once" in sys.argv[1:]:
            break


if __name__ == "__main__":
    main()
