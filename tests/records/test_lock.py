from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from dcops.errors import PreconditionMissing
from dcops.records.lock import EnvironmentLock

if TYPE_CHECKING:
    from pathlib import Path


def lock(tmp_path: Path) -> EnvironmentLock:
    return EnvironmentLock(tmp_path / "lock", "dev")


def test_a_held_lock_names_its_holder_and_step(tmp_path: Path) -> None:
    with lock(tmp_path).acquire("deploy") as held:
        held.step("verify")
        with pytest.raises(PreconditionMissing) as caught:
            lock(tmp_path).acquire("toggle")
    assert caught.value.code == "DC-LOCK-HELD"
    assert f"(pid {os.getpid()}) runs 'deploy', at step 'verify'" in caught.value.why
    assert caught.value.detail["holder"]["operation"] == "deploy"


def test_a_free_lock_has_no_holder(tmp_path: Path) -> None:
    assert lock(tmp_path).holder() is None
    lock(tmp_path).acquire("deploy").release()
    assert lock(tmp_path).holder() is None


def test_waiting_ends_when_the_holder_lets_go(tmp_path: Path) -> None:
    held = lock(tmp_path).acquire("deploy")
    timer = threading.Timer(0.1, held.release)
    timer.start()
    with lock(tmp_path).acquire("toggle", wait=30.0):
        timer.join()


def test_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from dcops.records.lock import EnvironmentLock\n"
        "EnvironmentLock(Path(sys.argv[1]), 'dev').acquire('deploy'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "lock")], check=False)
    assert lock(tmp_path).holder() is None
    lock(tmp_path).acquire("toggle").release()


def test_a_lock_whose_file_was_removed_is_held_anew(tmp_path: Path) -> None:
    held = lock(tmp_path).acquire("down")
    waiting = threading.Thread(target=lambda: lock(tmp_path).acquire("deploy", wait=30.0))
    waiting.start()
    (tmp_path / "lock").unlink()
    held.release()
    waiting.join()
    assert (lock(tmp_path).holder() or {})["operation"] == "deploy"
