from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from dcops.errors import PreconditionMissing
from dcops.operations.lifecycle import down, stop
from dcops.operations.service import install, quoted, uninstall, unit_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcops.operations.world import World

    from .conftest import Site

REPOSITORY = Path(__file__).parents[2]


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def words(unit: str) -> list[str]:
    """The command of a unit, read as systemd.syntax(7) and systemd.service(5) say."""
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    read = [re.sub(r"\\(.)", r"\1", one or other) for one, other in found]
    return [word.replace("%%", "%").replace("$$", "$") for word in read]


def test_words_are_quoted_as_systemd_wants() -> None:
    command = ["/usr/bin/python3", "a b", 'say "no"', "50%", "$HOME", "back\\slash", ""]
    assert quoted(command) == r'/usr/bin/python3 "a b" "say \"no\"" 50%% "$$HOME" "back\\slash" ""'
    assert words(f"ExecStart={quoted(command[:-1])}\n") == command[:-1]


def own(site: Site, home: Path) -> World:
    return replace(site.world, environ={"XDG_CONFIG_HOME": str(home)})


@pytest.mark.slow
def test_the_unit_is_one_that_systemd_takes_and_holds_no_secret(site: Site, tmp_path: Path) -> None:
    with pytest.raises(PreconditionMissing):
        install(own(site, tmp_path), "dev")
    site.deploy()
    report = install(own(site, tmp_path), "dev")
    unit = Path(report.unit)
    text = unit.read_text()
    assert report.result == "installed"
    assert unit == tmp_path / "systemd" / "user" / f"dcops-{site.project.slug}-dev.service"
    assert words(text)[-3:] == ["start", "dev", "--wait"]
    assert Path(words(text)[0]).is_absolute()
    place = site.world.open("dev")
    assert place.local.token() not in text
    if shutil.which("systemd-analyze"):
        checked = subprocess.run(
            ["systemd-analyze", "--user", "verify", str(unit)], capture_output=True, text=True, check=False
        )
        assert unit.name not in checked.stderr, checked.stderr
    if not Path("/run/systemd/system").exists():
        assert report.todo == (
            "loginctl enable-linger",
            "systemctl --user daemon-reload",
            f"systemctl --user enable --now {unit.name}",
        )
    assert uninstall(own(site, tmp_path), "dev").result == "removed"
    assert not unit.exists()
    assert uninstall(own(site, tmp_path), "dev").result == "absent"
    assert site.get()["greeting"] == "hello"


@pytest.mark.slow
def test_nothing_is_installed_where_the_engine_brings_it_back(site: Site, tmp_path: Path) -> None:
    site.deploy()
    place = site.world.open("dev")
    place.local.decide(replace(place.choice, engine="docker"))
    assert install(own(site, tmp_path), "dev").result == "unneeded"
    assert list(tmp_path.glob("systemd/**/*.service")) == []
    place.local.decide(place.choice)


class Manager:
    """What systemd does with Restart=on-failure and RestartSec=1.

    Attributes:
        codes: How the command has ended, each time.
    """

    def __init__(self, site: Site) -> None:
        self._command = words(unit_text(site.world.open("dev")))
        self._environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(site.cache)}
        self._said = site.root / "said"
        self.codes: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while True:
            with (
                self._said.open("ab") as said,
                subprocess.Popen(self._command, env=self._environ, cwd="/", stderr=said) as process,
            ):
                self.process = process
                self.codes.append(process.wait())
            if self.codes[-1] in {0, 2, 7, 130, 143}:
                return
            time.sleep(1)

    def served(self) -> int:
        """How often it has said that it serves."""
        return self._said.read_text().count("serves at") if self._said.exists() else 0

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        while self.thread.is_alive():
            if self.process is not None:
                self.process.terminate()
            self.thread.join(1)


def answers(site: Site) -> bool:
    with contextlib.suppress(OSError, urllib.error.URLError):
        return bool(site.get()["greeting"] == "hello")
    return False


@pytest.mark.slow
@pytest.mark.alone
def test_killed_it_serves_again_within_ten_seconds_and_a_stop_ends_it(site: Site) -> None:
    site.deploy()
    pointer, state = site.look().pointer, site.root / ".dcops" / "dev" / "state" / "said"
    state.write_text("what was said")
    stop(site.world, "dev")
    with Manager(site) as manager:
        until(lambda: answers(site))
        for starts in (1, 2):
            # It answers before it says so: killed in between, the command would never say it.
            until(lambda starts=starts: manager.served() == starts)  # type: ignore[misc]
            keeper = int((site.root / ".dcops/dev/keeper/supervisord.pid").read_text())
            os.kill(keeper, signal.SIGKILL)
            began = time.monotonic()
            until(lambda: not answers(site), 5)
            until(lambda: answers(site), 10)
            assert time.monotonic() - began < 10
            assert site.look().pointer == pointer
            assert state.read_text() == "what was said"
        # The foreground process alone is killed: what serves goes on.
        serving = site.look().instances[site.look().serving].started
        until(lambda: manager.served() == 3)
        assert manager.process is not None
        manager.process.kill()
        until(lambda: manager.served() == 4)
        assert answers(site)
        assert site.look().instances[site.look().serving].started == serving
        stop(site.world, "dev")
        manager.thread.join(20)
        assert manager.codes[-1] == 0
    assert set(manager.codes[:-1]) == {6, -signal.SIGKILL}


@pytest.mark.slow
def test_a_signal_stops_what_it_attends(site: Site) -> None:
    site.deploy()
    with Manager(site) as manager:
        until(lambda: manager.served() == 1)
    assert manager.codes == [0]
    assert not site.look().proxy.running


@pytest.mark.slow
def test_what_was_taken_down_is_not_tried_again(site: Site) -> None:
    site.deploy()
    manager = Manager(site)
    down(site.world, "dev", with_data=True)
    with manager:
        manager.thread.join(20)
    assert manager.codes == [0]


@pytest.mark.slow
def test_nothing_to_start_is_no_failure_to_repeat(site: Site) -> None:
    site.deploy()
    manager = Manager(site)
    stop(site.world, "dev")
    site.world.open("dev").engine.stop(site.look().serving)
    with manager:
        manager.thread.join(20)
    assert manager.codes == [7]
    assert sys.executable in manager._command
