from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from dcops.agent.journal.owners import Owners

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import pathlib, sys, time
from dcops.agent.journal.owners import Owners
owners = Owners(pathlib.Path(sys.argv[1]), "other")
print(owners.name, flush=True)
time.sleep(100)
"""


def _other(folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout
    return process, process.stdout.readline().strip()


def test_the_living_cannot_be_claimed_and_the_killed_can(tmp_path: Path) -> None:
    mine = Owners(tmp_path, "mine")
    process, name = _other(tmp_path)
    with mine.claim(name) as dead:
        assert not dead
    process.send_signal(signal.SIGKILL)
    process.wait()
    with mine.claim(name) as dead:
        assert dead
    mine.close()


def test_nobody_claims_himself(tmp_path: Path) -> None:
    mine = Owners(tmp_path, "mine")
    with mine.claim(mine.name) as dead:
        assert not dead
    mine.close()


def test_two_cannot_claim_the_same(tmp_path: Path) -> None:
    one, two = Owners(tmp_path, "one"), Owners(tmp_path, "two")
    with one.claim("gone.1234") as first:
        assert first
        with two.claim("gone.1234") as second:
            assert not second
    with two.claim("gone.1234") as second:
        assert second
    one.close()
    two.close()


def test_an_instance_started_again_is_another_owner(tmp_path: Path) -> None:
    first = Owners(tmp_path, "one")
    name = first.name
    os.close(first._own)  # as its death would
    second = Owners(tmp_path, "one")
    assert second.name != name
    with second.claim(name) as dead:
        assert dead
    second.close()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    owners = Owners(tmp_path, "one")
    with owners.claim("gone.1"):
        pass
    owners.close()
    assert list(tmp_path.iterdir()) == []
