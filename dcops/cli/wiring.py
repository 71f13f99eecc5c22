"""The composition root: the only place that picks real engines."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from dcops.environments import Environments
from dcops.errors import DcopsError, UsageError
from dcops.operations.world import World
from dcops.projects import find_project

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcops.core.environment import Environment, Project
    from dcops.core.events import Emit
    from dcops.core.protocols import Engine

PROBE_SECONDS = 2.0
DOCKER_SOCKET = Path("/var/run/docker.sock")


def make_world(
    directory: Path | None, emit: Emit | None, ask: Callable[[str], bool] = lambda _question: False
) -> World:
    """The project of a directory with the real parts.

    Args:
        directory: ``--project``; None for the nearest project above the working directory.
        emit: Takes the operation's events; None drops them.
        ask: Puts a question to whoever is there.

    Raises:
        PreconditionMissing: There is no project.
    """
    project = find_project(Path.cwd(), directory)
    parts = (project, Environments(project), make_engine, probe_docker, cache_directory())
    return World(*parts, ask=ask) if emit is None else World(*parts, emit, ask=ask)


def cache_directory() -> Path:
    """For what can be made again: ``$XDG_CACHE_HOME/dcops``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcops"


def make_engine(name: str, project: Project, environment: Environment) -> Engine:
    """The engine of a name, imported only when it is used."""
    if name == "process":
        from dcops.engines.process import ProcessEngine

        return ProcessEngine(project, environment)
    if name == "docker":
        from dcops.engines.docker import DockerEngine

        return DockerEngine(project, environment)
    raise UsageError("DC-ENGINE-UNKNOWN", f"there is no engine {name}", do="use process or docker")


def probe_docker(project: Project, environment: Environment) -> str:
    """Empty when a Docker daemon answers within 2 s and the base image is there, else the reason why not."""
    if not os.environ.get("DOCKER_HOST") and not DOCKER_SOCKET.exists():
        return f"no Docker daemon: {DOCKER_SOCKET} does not exist"
    reasons: list[str] = []

    def look() -> None:
        try:
            make_engine("docker", project, environment).check()
            reasons.append("")
        except DcopsError as error:
            reasons.append(error.what)

    # A thread, because a daemon that accepts and then says nothing would hold the caller.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return reasons[0] if reasons else f"the Docker daemon did not answer within {PROBE_SECONDS:g} s"
