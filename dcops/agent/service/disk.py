"""The low-water mark of the disk: no turn starts that may not be written to its end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Disk:
    """How much is free where an instance writes.

    Args:
        places: What is written where: directories by their names for people.
        least: Bytes that must be free on each; 0 for any.
        statvfs: Tells the state of a file system, as `os.statvfs` does.
    """

    def __init__(
        self,
        places: Mapping[str, Path],
        least: int,
        statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._places = places
        self._least = least
        self._statvfs = statvfs

    def shortage(self) -> str | None:
        """Where too little is free, for people; None when there is enough."""
        for name, place in self._places.items():
            try:
                found = self._statvfs(place)
            except OSError:  # a directory that is not there yet, or was removed: others look after that
                continue
            free = found.f_bavail * found.f_frsize
            if free < self._least:
                return f"the disk of the {name} has {_mb(free)} MB free, and {_mb(self._least)} MB are needed"
        return None


def _mb(size: int) -> int:
    return size >> 20
