"""Bring an environment of the process engine back after a reboot, and when its keeper is killed.

A systemd user unit runs `attend` in the foreground. It has no ExecStop: systemd would run that also when the
foreground process alone has ended, and so stop what still serves.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dcops.core.deployment import stopped
from dcops.errors import NotFound, PreconditionMissing
from dcops.files import write_file
from dcops.operations.current import observe
from dcops.operations.lifecycle import start, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dcops.operations.world import Place, World

POLL_SECONDS = 0.5
LOCK_SECONDS = 60.0
MANAGER_SECONDS = 30.0
STOP_SECONDS = 60.0  # more than the drain, for the proxy and the records

_UNIT = """\
# Written by `dcops service install`.
[Unit]
Description=dcops environment {environment} of project {project}
StartLimitIntervalSec=0

[Service]
ExecStart={command}
Restart=on-failure
RestartSec=1
# Wrong arguments, and nothing to start: trying again would not help.
RestartPreventExitStatus=2 7
SuccessExitStatus=130 143
# SIGTERM stops the environment in order; what it runs must outlive the foreground process.
KillMode=process
TimeoutStopSec={stop_seconds}

[Install]
WantedBy=default.target
"""


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """What became of a unit.

    Attributes:
        result: ``unneeded`` where the engine itself brings the environment back.
        unit: Path of the unit file; empty where there is none.
        todo: Commands that are left to the user.
    """

    environment: str
    result: Literal["installed", "unneeded", "removed", "absent"]
    unit: str = ""
    todo: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def install(world: World, environment: str) -> ServiceReport:
    """Write the unit, and start it where systemd's user manager answers.

    Raises:
        PreconditionMissing: The environment is not deployed.
    """
    place = world.open(environment)
    if place.choice.engine != "process":
        return ServiceReport(environment, "unneeded")
    unit = unit_path(world, environment)
    unit.parent.mkdir(parents=True, exist_ok=True)
    write_file(unit, unit_text(place).encode(), mode=0o644)
    todo = [] if _lingers() else ["loginctl enable-linger"]
    commands = (("daemon-reload",), ("enable", "--now", unit.name))
    if not (_systemctl("show-environment") and all(_systemctl(*words) for words in commands)):
        todo += [f"systemctl --user {' '.join(words)}" for words in commands]
    return ServiceReport(environment, "installed", str(unit), tuple(todo))


def uninstall(world: World, environment: str) -> ServiceReport:
    """Remove the unit; what serves goes on.

    Raises:
        NotFound: There is no such environment.
    """
    world.environments.read(environment)
    unit = unit_path(world, environment)
    if not unit.exists():
        return ServiceReport(environment, "absent")
    _systemctl("disable", unit.name)
    unit.unlink()
    todo = () if _systemctl("daemon-reload") else ("systemctl --user daemon-reload",)
    return ServiceReport(environment, "removed", str(unit), todo)


def attend(world: World, environment: str, serving: Callable[[Place], None]) -> None:
    """Start what served, and stay until somebody stops it; SIGINT and SIGTERM stop it.

    Args:
        serving: Called once it serves.

    Raises:
        NotFound: There is nothing to start.
        PreconditionMissing: What served has ended, and nobody has stopped it.
    """
    if world.local(environment).choice() is None:
        return  # taken down: no reason to try again
    place = world.open(environment)
    try:
        if not _is_up(place):
            _start(world, environment)
        serving(place)
        while _is_up(place) or _is_up(place, after=POLL_SECONDS):
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        stop(world, environment, reason="its service was stopped")
        return
    place.lock.require_free(wait=LOCK_SECONDS)  # a stop writes its line when all has ended
    if world.local(environment).choice() is not None and not stopped(place.history.entries()):
        raise PreconditionMissing(
            "DC-ENVIRONMENT-DOWN", f"{environment} has ended by itself", do=f"dcops start {environment}"
        )


def _start(world: World, environment: str) -> None:
    try:
        start(world, environment)
    except PreconditionMissing as error:
        if error.code == "DC-INSTANCE-GONE":
            raise NotFound(error.code, error.what, why=error.why, do=error.do) from error
        raise


def _is_up(place: Place, *, after: float = 0.0) -> bool:
    """Whether anything runs: a deploy may just replace the proxy, and the keeper an instance."""
    time.sleep(after)
    if place.engine.proxy().running:
        return True
    current = observe(place)
    return any(current.runs(name) for name in current.instances if name != current.model)


def unit_path(world: World, environment: str) -> Path:
    """Where systemd's user manager looks for the unit."""
    home = Path(world.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "systemd" / "user" / f"dcops-{world.project.slug}-{environment}.service"


def unit_text(place: Place) -> str:
    """The unit; it holds no secret."""
    project = place.world.project
    # -P: a file of the directory that it starts in must not stand in for a module.
    words = (sys.executable, "-P", "-m", "dcops.cli.main", "--project", str(project.root))
    return _UNIT.format(
        environment=place.name,
        project=project.name,
        command=quoted([*words, "start", place.name, "--wait"]),
        stop_seconds=round(place.environment.drain_timeout + STOP_SECONDS),
    )


def quoted(words: Sequence[str]) -> str:
    """A command line as systemd reads it: quotes, its own escapes, specifiers and variables."""
    escaped = str.maketrans({"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$"})
    plain = re.compile(r"[\w@%+=:,./-]+")
    return " ".join(
        word.translate(escaped) if plain.fullmatch(word) else f'"{word.translate(escaped)}"' for word in words
    )


def _systemctl(*words: str) -> bool:
    return _said(["systemctl", "--user", *words]) is not None


def _lingers() -> bool:
    """Whether this user's services run without a login."""
    return _said(["loginctl", "show-user", str(os.getuid()), "--property=Linger"]) == "Linger=yes"


def _said(command: Sequence[str]) -> str | None:
    """What a command said; None where there is no such command, or it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MANAGER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
