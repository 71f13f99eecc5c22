"""The control store's operations on plain directories, by the standard library alone.

This file runs in two places: imported (`dcops.engines.store`), and as a script, when an engine sends its
text to ``python3 -c`` beside the proxy. As a script it reads lines of JSON from stdin, ``{"roots": {...},
"operations": [...]}``, and answers each by a line: ``{"results": [...]}`` or ``{"error": "text", "errno":
number or null}``. With the argument ``once`` it ends after the first, for whoever cannot close its stdin.

The tree::

    current                              the pointer: Caddy address of the serving instance
    model                                the pointer of the scripted model
    operator/<instance>/<secret>         who may use the instance route
    gateway/api|scripted/<token>         which model an instance's token leads to
    egress/<token>                       hosts that an instance's tools may reach
    records/...                          lock, journal, history
    instances/<id>/toggles.json ...      what one instance sees of it

An operation is ``{"op", "path"}`` with ``data`` (base64) where it writes. Names that begin with a dot are
this file's own (half-made ones, its lock): refused as paths, never listed.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Operation = Mapping[str, Any]

INSTANCES = "instances"
STALE_SECONDS = 60.0
HIDDEN = (".new-", ".old-")
FIRST = "0" * 64
"""What the first line of a chain has in place of the hash of the line before it."""


class FenceMoved(Exception):
    """Whoever sends these operations is not the one any more who may."""


class Place(NamedTuple):
    """A confined path; what lies under ``instances`` is readable by other users, the rest is not."""

    path: Path
    public: bool
    root: Path


def apply(roots: Mapping[str, str], operations: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Carry out operations in order; every path is checked before the first one.

    Args:
        roots: Absolute directory by first path component; ``""`` is the one for all others.
        operations: ``read`` (base64 or None), ``list`` (sorted names), ``look`` (content and age, see
            `_look`), ``write``, ``create`` (False when the file exists already), ``append`` (one line),
            ``chain`` (one line of JSON that names the hash of the line before it), ``remove`` (a file or a
            tree), ``swap`` (a write that holds only while the file is as ``expect`` says), ``fence`` (those
            that follow hold only while the document at ``path`` has this ``number``).

    Returns:
        One result per operation.

    Raises:
        ValueError: A path that is absolute, has an empty or dotted component, or leads over a link.
        FenceMoved: The fence's number is another one; what follows it was not carried out.
        OSError: As the system says.
    """
    places = [_place(roots, operation["op"], operation["path"]) for operation in operations]
    with _alone(roots, operations):
        if any(operation["op"] == "swap" for operation in operations):
            _tidy(roots.values())  # every command that takes the lease comes by here
        pairs = zip(places, operations, strict=True)
        return [_carry_out(place, operation) for place, operation in pairs]


def _carry_out(place: Place, operation: Operation) -> Any:
    try:
        return _ACTIONS[operation["op"]](place, operation)
    except OSError as error:
        if error.errno and not error.filename:
            # A write or a sync does not say of which file.
            error.filename = str(place.path)
        raise


def without_store(operations: Sequence[Operation]) -> list[Any] | None:
    """The results where there is no store at all; None when one must be made for them.

    Raises:
        FenceMoved: They are behind a fence, which went with the store.
    """
    if any(operation["op"] == "fence" for operation in operations):
        raise FenceMoved("the store is gone")
    answers: dict[str, Any] = {"list": [], "read": None, "look": None, "remove": None, "swap": [False, None]}
    found = [answers.get(operation["op"], ...) for operation in operations]
    return None if ... in found else found


@contextlib.contextmanager
def _alone(roots: Mapping[str, str], operations: Sequence[Operation]) -> Iterator[None]:
    """Fences and swaps, and all that is behind them, come one after the other."""
    root = Path(roots[""])
    if not any(operation["op"] in {"fence", "swap"} for operation in operations) or not root.is_dir():
        yield
        return
    descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
    return Place(full, parts[0] == INSTANCES, root)


def _read(place: Place, _: Operation) -> str | None:
    try:
        return base64.b64encode(place.path.read_bytes()).decode()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _list(place: Place, _: Operation) -> list[str]:
    try:
        return sorted(each.name for each in place.path.iterdir() if not each.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _look(place: Place, _: Operation) -> list[Any] | None:
    """Content and seconds since its last change by this machine's clock, so that no other one's matters."""
    try:
        with place.path.open("rb") as file:
            age = time.time() - os.fstat(file.fileno()).st_mtime
            return [base64.b64encode(file.read()).decode(), max(0.0, age)]
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _write(place: Place, operation: Operation) -> None:
    half_made = _half_made(place, operation)
    try:
        half_made.replace(place.path)
    except OSError:
        half_made.unlink()
        raise
    _sync(place.path.parent)


def _swap(place: Place, operation: Operation) -> list[Any]:
    """Whether it was written, and else what is there as `_look` says; a store is never made for it."""
    found = _look(place, operation)
    if not place.root.is_dir() or (found and found[0]) != operation["expect"]:
        return [False, found]
    _write(place, operation)
    return [True, None]


def _fence(place: Place, operation: Operation) -> None:
    try:
        number = json.loads(place.path.read_bytes())["fence"]
    except (FileNotFoundError, NotADirectoryError):
        number = None
    if number != operation["number"]:
        raise FenceMoved(f"fence {operation['number']} has moved on to {number}")


def _create(place: Place, operation: Operation) -> bool:
    half_made = _half_made(place, operation)
    try:
        # A link, not a rename: of two that race only one makes it, and nobody sees half a file.
        place.path.hardlink_to(half_made)
    except FileExistsError:
        return False
    finally:
        half_made.unlink()
    _sync(place.path.parent)
    return True


def _append(place: Place, operation: Operation) -> None:
    _add_line(place, lambda _file, _end: base64.b64decode(operation["data"]))


def _chain(place: Place, operation: Operation) -> None:
    _add_line(place, lambda file, end: chained(base64.b64decode(operation["data"]), _last_line(file, end)))


def chained(document: bytes, before: bytes | None) -> bytes:
    """A line of JSON with ``prev``: the hash of the line before it, which any change to that one breaks."""
    prev = FIRST if before is None else hashlib.sha256(before).hexdigest()
    return json.dumps({**json.loads(document), "prev": prev}, sort_keys=True).encode()


def _add_line(place: Place, make: Callable[[Any, int], bytes]) -> None:
    directory = place.path.parent
    _make_directory(directory, 0o755 if place.public else 0o700)
    descriptor = os.open(place.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        # Two writers must not both find, and cut, the same torn line, nor follow the same one.
        fcntl.flock(file, fcntl.LOCK_EX)
        os.fchmod(descriptor, 0o644 if place.public else 0o600)
        # What follows the last newline was torn by a crash.
        end = _after_newline(file, file.seek(0, os.SEEK_END))
        file.truncate(end)
        line = make(file, end) + b"\n"
        while line:  # a disk that has filled up takes a part, and says so at the next
            line = line[file.write(line) :]
        os.fsync(descriptor)
    _sync(directory)


def _last_line(file: Any, end: int) -> bytes | None:
    """The line that ends at ``end``, without its newline; None in an empty file."""
    if end == 0:
        return None
    start = file.seek(_after_newline(file, end - 1))
    line = b""
    while len(line) < end - 1 - start:
        line += file.read(end - 1 - start - len(line))
    return line


def _after_newline(file: Any, end: int) -> int:
    """Offset after the last newline before ``end``, 0 when there is none."""
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + int(newline) + 1
        end = start
    return 0


def _remove(place: Place, _: Operation) -> None:
    directory = place.path.parent
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if place.path.is_dir():
            # A tree goes at once for its readers: by a rename, then at leisure.
            going = place.path.rename(directory / f".old-{os.urandom(6).hex()}")
            shutil.rmtree(going, ignore_errors=True)
        else:
            place.path.unlink()
        _sync(directory)


def _half_made(place: Place, operation: Operation) -> Path:
    directory = place.path.parent
    _make_directory(directory, 0o755 if place.public else 0o700)
    path = directory / f".new-{os.urandom(6).hex()}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644 if place.public else 0o600)
            file.write(base64.b64decode(operation["data"]))
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise
    return path


def _tidy(roots: Iterable[str]) -> None:
    """Remove what killed writers have left; one that lives would have been done long ago."""
    stale = time.time() - STALE_SECONDS
    for left in (each for root in roots for mark in HIDDEN for each in Path(root).rglob(f"{mark}*")):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if left.lstat().st_mtime > stale:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()


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


_ACTIONS: dict[str, Callable[[Place, Operation], Any]] = {
    "read": _read,
    "list": _list,
    "look": _look,
    "write": _write,
    "create": _create,
    "append": _append,
    "chain": _chain,
    "remove": _remove,
    "swap": _swap,
    "fence": _fence,
}


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: dict[str, Any] = {"results": apply(request["roots"], request["operations"])}
        except (OSError, ValueError, FenceMoved) as error:
            answer = {"error": f"{type(error).__name__}: {error}", "errno": getattr(error, "errno", None)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        if "once" in sys.argv[1:]:
            break


if __name__ == "__main__":
    main()
