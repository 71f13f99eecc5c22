"""Who lives: every running instance holds a file lock for life, and a lock that can be had proves a death."""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Owners:
    """The folder of lock files, and this process's own lock in it.

    The name of an owner is the instance's with a random part, so an instance that was started again is
    another owner than the process that died under the same name.
    """

    def __init__(self, folder: Path, instance: str) -> None:
        """Takes the lock that is held until `close`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.name = f"{instance}.{uuid.uuid4().hex[:8]}"
        lock = self._take(self.name)
        assert lock is not None, "a name that nobody else can know is already locked"
        self._own = lock

    @contextmanager
    def claim(self, owner: str) -> Iterator[bool]:
        """Whether `owner` is dead; while it is true inside, no other process gets the same answer."""
        lock = None if owner == self.name else self._take(owner)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                self._release(owner, lock)

    def holds_own(self) -> bool:
        """Whether others can see that this owner lives; false once somebody removed its lock file."""
        return _names(self._path(self.name), self._own)

    def close(self) -> None:
        """Gives the own lock back: what this owner left running may be claimed by others."""
        self._release(self.name, self._own)

    def _take(self, owner: str) -> int | None:
        path = self._path(owner)
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return None
            # Another claimer may have removed the file between open and flock: then this lock guards nothing.
            if _names(path, lock):
                return lock
            os.close(lock)

    def _release(self, owner: str, lock: int) -> None:
        path = self._path(owner)
        if _names(path, lock):
            path.unlink()
        os.close(lock)

    def _path(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"


def _names(path: Path, lock: int) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(lock)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)
