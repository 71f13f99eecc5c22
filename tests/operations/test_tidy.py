from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dcops.files import remove_abandoned, scratch
from dcops.operations.tidy import temporary
from dcops.operations.toggles import set_toggle

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Site

HOLD = """
import sys, time
from pathlib import Path
from dcops.files import scratch
with scratch(Path(sys.argv[1]), "verify") as place:
    (place / "deep").mkdir()
    (place / "deep" / "file").write_text("x")
    print(place, flush=True)
    time.sleep(600)
"""


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def held(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that works in a scratch directory."""
    user = subprocess.Popen([sys.executable, "-c", HOLD, str(parent)], stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    return user, Path(user.stdout.readline().strip())


def test_a_scratch_directory_goes_with_its_block_or_after_its_killed_user(tmp_path: Path) -> None:
    with scratch(tmp_path, "here") as place:
        remove_abandoned(tmp_path)
        assert place.is_dir()
    assert not place.exists()
    user, place = held(tmp_path)
    with user:
        try:
            remove_abandoned(tmp_path)
            assert (place / "deep" / "file").exists()
        finally:
            user.send_signal(signal.SIGKILL)
            user.wait()
    assert place.exists()
    remove_abandoned(tmp_path)
    assert not place.exists()
    remove_abandoned(tmp_path / "not there")


def old(path: Path) -> Path:
    """As a file or tree that a writer has left, two minutes ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("half")
    os.utime(path, (time.time() - 120,) * 2)
    return path


@pytest.mark.slow
def test_the_next_command_removes_what_killed_ones_have_left(site: Site) -> None:
    site.deploy()
    own = site.root / ".dcops"
    user, place = held(temporary(site.root))
    user.kill()
    user.communicate()
    left = [
        place,
        old(own / ".new-project"),
        old(own / "dev" / ".new-token"),
        old(own / "dev" / "control" / ".new-pointer"),
        old(own / "dev" / "control" / "gateway" / "scripted" / ".new-token"),
        old(own / "dev" / "instances" / ".new-file"),
        old(own / "dev" / "secrets" / ".new-key"),
        old(own / "dev" / "keeper" / "programs" / ".new-program"),
        old(own / "builds" / ".new-build" / "file").parent,
        old(own / "releases" / ".copy-release" / "file").parent,
        old(site.root / "environments" / "dev" / ".new-toggles"),
        old(site.root / "backups" / ".making.backup" / "file").parent,
    ]
    (site.root / "backups" / ".lock").touch()
    fresh = own / "dev" / "control" / ".new-by-somebody-who-lives"
    fresh.write_text("half")
    assert all(each.exists() for each in left)
    set_toggle(site.world, "dev", "polite", "false")
    assert [each for each in left if each.exists()] == []
    assert fresh.exists()


@pytest.mark.slow
def test_a_killed_verification_leaves_nothing_after_the_next_command(site: Site) -> None:
    checks = site.root / "environments" / "dev" / "checks"
    checks.mkdir()
    (checks / "test_slow.py").write_text("import time\n\ndef test_slow():\n    time.sleep(600)\n")
    site.setting("verify: {suites: [smoke]}", "verify: {suites: []}")
    site.deploy()
    command = [sys.executable, "-m", "dcops.cli.main", "verify", "dev", "--suite", "checks"]
    environ = {**os.environ, "XDG_CACHE_HOME": str(site.cache.parent)}

    def processes() -> list[str]:
        """Those that name the project, but the keeper's."""
        mark, found = os.fsencode(temporary(site.root)), []
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found += [each.parent.name] if mark in each.read_bytes() else []
        return found

    with subprocess.Popen(
        command, cwd=site.root, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as verify:
        until(
            lambda: list(temporary(site.root).glob("scratch-verify-*/output")) or verify.poll() is not None,
            60,
        )
        verify.kill()
    assert list(temporary(site.root).glob("scratch-*"))
    until(lambda: not processes())
    set_toggle(site.world, "dev", "polite", "false")
    assert list(temporary(site.root).glob("scratch-*")) == []
    assert site.leftovers() == []
