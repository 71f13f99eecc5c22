"""The files of an implementation: found, checked and hashed, independent of place, owner, time and umask."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from typing import TYPE_CHECKING

from dcops.core.release import TreeEntry
from dcops.releases.implementation import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dcops.core.ignore import Ignore


def scan(directory: Path, ignore: Ignore) -> tuple[TreeEntry, ...]:
    """Every file and link of the implementation, sorted by path.

    Raises:
        PreconditionMissing: A link leads out of the tree, a file is neither file nor link, or cannot be read
            (DC-IMPLEMENTATION-INVALID).
    """
    return tuple(_entry(directory, path, item) for path, item in sorted(_walk(directory, "", ignore)))


def copy(directory: Path, target: Path, ignore: Ignore) -> None:
    """Copy exactly what ``scan`` would find, with modes 755 and 644 and new times.

    Args:
        directory: The implementation.
        target: A directory that does not exist yet.
        ignore: What is left out.
    """
    target.mkdir(mode=0o755)
    target.chmod(0o755)
    for path, item in sorted(_walk(directory, "", ignore)):
        place = target / path
        for parent in reversed(place.relative_to(target).parents[:-1]):
            (target / parent).mkdir(exist_ok=True)
            (target / parent).chmod(0o755)
        _copy_one(directory, path, item, place)


def _walk(directory: Path, prefix: str, ignore: Ignore) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(directory / prefix) as items:
            found = [(item.name, item.stat(follow_symlinks=False)) for item in items]
    except OSError as error:
        raise invalid(directory / prefix, f"cannot be read: {error.strerror}") from None
    for name, item in found:
        path = f"{prefix}{name}"
        is_directory = stat.S_ISDIR(item.st_mode)
        if ignore(path, directory=is_directory):
            continue
        if is_directory:
            yield from _walk(directory, f"{path}/", ignore)
        else:
            yield path, item


def _entry(directory: Path, path: str, item: os.stat_result) -> TreeEntry:
    place = directory / path
    try:
        if stat.S_ISLNK(item.st_mode):
            digest = hashlib.sha256(os.fsencode(_link(directory, path)))
            return TreeEntry(path, executable=False, link=True, digest=digest.hexdigest())
        _require_file(place, item)
        with place.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise invalid(place, f"cannot be read: {error.strerror}") from None
    return TreeEntry(path, executable=bool(item.st_mode & 0o100), link=False, digest=digest.hexdigest())


def _copy_one(directory: Path, path: str, item: os.stat_result, place: Path) -> None:
    source = directory / path
    try:
        if stat.S_ISLNK(item.st_mode):
            place.symlink_to(_link(directory, path))
            return
        _require_file(source, item)
        place.write_bytes(source.read_bytes())
        place.chmod(0o755 if item.st_mode & 0o100 else 0o644)
    except OSError as error:
        raise invalid(source, f"cannot be copied: {error.strerror}") from None


def _link(directory: Path, path: str) -> str:
    target = os.readlink(directory / path)  # noqa: PTH115 - the exact text, which Path would normalise
    led = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if target.startswith("/") or led == ".." or led.startswith("../"):
        raise invalid(
            directory / path,
            f"is a link to {target}, out of the implementation; copy the file, or name it in .dcopsignore",
        )
    return target


def _require_file(place: Path, item: os.stat_result) -> None:
    if not stat.S_ISREG(item.st_mode):
        raise invalid(place, "is a socket, pipe or device; delete it, or name it in .dcopsignore")
