"""Files that are there whole or not at all, also after a crash."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HALF_MADE = ".new-"
SCRATCH = "scratch-"
STALE_SECONDS = 60.0


def write_file(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Replace a file's content atomically and durably.

    A link is followed. Mode and owner of a file that was there stay, as far as this user may set them.

    Args:
        path: The file; its directory must exist.
        content: All of it.
        mode: Permissions of a new file; the umask decides when absent.
    """
    path = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=HALF_MADE)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            _keep_owner(path, file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            # A write or a sync does not say of which file.
            error.filename = str(path)
        raise


def remove_half_made(directory: Path) -> None:
    """Remove what killed writers of files have left in a directory."""
    for left in directory.glob(f"{HALF_MADE}*"):
        # One that lives would have been done long ago.
        with contextlib.suppress(FileNotFoundError):
            if not left.is_dir() and left.lstat().st_mtime < time.time() - STALE_SECONDS:
                left.unlink()


@contextmanager
def scratch(parent: Path, purpose: str) -> Iterator[Path]:
    """A directory that goes with its user: at the end of the block, or by `remove_abandoned` after a kill."""
    parent.mkdir(parents=True, exist_ok=True)
    with alone(parent):  # nobody may find it before it is locked
        place = Path(tempfile.mkdtemp(dir=parent, prefix=f"{SCRATCH}{purpose}-"))
        held = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(held)


def remove_abandoned(parent: Path) -> None:
    """Remove the `scratch` directories whose users have died."""
    if not parent.is_dir():
        return
    with alone(parent):
        for place in parent.glob(f"{SCRATCH}*"):
            with contextlib.suppress(FileNotFoundError, BlockingIOError), _locked(place):
                shutil.rmtree(place, ignore_errors=True)


def remove_unfinished(directory: Path, *patterns: str) -> None:
    """Remove what killed makers have left in a directory of `alone`; nothing while somebody works there."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError), _locked(directory / ".lock"):
        for left in [each for pattern in patterns for each in directory.glob(pattern)]:
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One process at a time makes things in a directory; the kernel lets the next one in when it dies."""
    with (directory / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or directory; BlockingIOError when somebody else does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_owner(path: Path, descriptor: int, mode: int | None) -> None:
    try:
        old = path.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, mode if mode is not None else 0o666 & ~_umask())
        return
    os.fchmod(descriptor, old.st_mode & 0o7777)
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)


def _umask() -> int:
    # The umask can only be read by setting it.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
