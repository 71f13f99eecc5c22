"""Each write of a command finds the disk full once: what served serves on, and the fault is named."""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.engines import control
from dcops.errors import DcopsError, disk_full
from dcops.operations.toggles import set_toggle

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcops.operations.current import Current

    from .conftest import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WRITERS = {Path(control.__file__).name, "files.py", "lock.py"}


class FullDisk:
    """The n-th sync, write or rename of those who write dcops's own files finds no space."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._failing = 0
        self.seen = 0
        self._caller = threading.get_ident()
        for owner, name in ((os, "fsync"), (os, "pwrite"), (Path, "replace"), (Path, "hardlink_to")):
            patch.setattr(owner, name, self._faulty(getattr(owner, name)))

    def fail(self, number: int) -> None:
        """Count anew; 0 is never reached."""
        self._failing, self.seen = number, 0

    def _faulty(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            # A heartbeat may come at any time, and its failures are none.
            writer = Path(sys._getframe(1).f_code.co_filename).name
            if threading.get_ident() == self._caller and writer in WRITERS:
                self.seen += 1
                if self.seen == self._failing:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **named)

        return call


@pytest.fixture
def disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    site.setting("verify: {suites: [smoke]}", "verify: {suites: []}")
    site.deploy()
    return FullDisk(monkeypatch)


def attempt(operation: Callable[[int], object], number: int) -> str:
    """What an operation ends with, as the command line would say it."""
    try:
        operation(number)
    except (DcopsError, OSError) as error:
        told = disk_full(error) or error
        assert isinstance(told, DcopsError), repr(told)
        return f"{told.exit_code} {told.code}: {told.what}; {told.why}"
    return ""


def wrong_after(site: Site, said: str, before: Current) -> str:
    """What an operation that found the disk full has left as it should not."""
    now = site.look()
    if now.unfinished is not None or site.world.open("dev").lock.holder():
        return f"left: {now.unfinished}"
    if not said:
        return ""  # its commit was through; what it has left goes with the next one
    if site.leftovers():
        return f"left: {site.leftovers()}"
    if (now.pointer, now.toggles.values) != (before.pointer, before.toggles.values):
        return "what serves is not what served"
    of_backup = (
        said.startswith("3 DC-BACKUP-FAILED") and "backups; [Errno 28] No space left on device" in said
    )
    told = said.startswith(("3 DC-DISK-FULL", "6 DC-DISK-FULL")) and "No space left on device: '/" in said
    return "" if told or of_backup else "not said as it is"


def fail_everywhere(site: Site, disk: FullDisk, operation: Callable[[int], object]) -> None:
    """Run an operation again and again, each time with the next write failing, until none fails any more."""
    wrong, number = [], 0
    while True:
        number += 1
        before = site.look()
        disk.fail(number)
        said = attempt(operation, number)
        reached = disk.seen >= number
        disk.fail(0)
        if problem := wrong_after(site, said, before):
            wrong.append(f"write {number}: {problem}: {said}")
        site.get()
        if not reached:
            break
    assert wrong == []
    assert number > 10  # or nothing was caught


def test_a_deploy(site: Site, disk: FullDisk) -> None:
    file = site.root / "little" / "__main__.py"
    text = file.read_text()

    def deploy(number: int) -> None:
        # Two releases in turn: both have their builds.
        file.write_text(f"{text}\n# {number % 2}\n")
        site.deploy()

    fail_everywhere(site, disk, deploy)


def test_a_toggle(site: Site, disk: FullDisk) -> None:
    def flip(_number: int) -> None:
        set_toggle(site.world, "dev", "speed", "6" if site.look().toggles.values.get("speed") == 5 else "5")

    fail_everywhere(site, disk, flip)
