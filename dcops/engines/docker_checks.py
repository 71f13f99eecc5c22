"""What ``doctor`` says of a Docker engine."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from dcops.core.protocols import Finding
from dcops.engines.docker_builds import base_missing
from dcops.engines.docker_caddy import caddy_version
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from pathlib import Path

    from dcops.engines.docker_daemon import Daemon

OLDEST = (20, 10)
LITTLE_DISK = 2 << 30


def findings(daemon: Daemon, base_image: str) -> list[Finding]:
    """Reachable and permitted, new enough, base image there, room for images."""
    try:
        version = daemon.version()["Version"]
    except PreconditionMissing as error:
        detail = f"{error.what} ({error.why})"
        return [Finding("docker", "fail", detail, error.do, {"code": error.code})]
    return [_version(version), _base(daemon, base_image), _disk(daemon)]


def caddy_finding(running: str) -> Finding:
    """The proxy's version, and whether it is what this dcops brings.

    Args:
        running: Version that the environment's proxy was made with; empty when there is none.
    """
    ours = caddy_version()
    if running not in {"", ours}:
        detail = f"runs Caddy {running}; this dcops brings {ours}"
        return Finding("proxy", "warn", detail, "dcops down ENV, then dcops deploy ENV: it makes a new one")
    return Finding("proxy", "ok", f"Caddy {ours}", data={"version": ours})


def check_version(version: str) -> None:
    """Raise PreconditionMissing for a daemon older than what the engine is tried on."""
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        raise PreconditionMissing(
            "DC-ENGINE-OLD",
            f"Docker {version} is too old.",
            why=f"dcops needs {OLDEST[0]}.{OLDEST[1]} or newer",
            do="Upgrade Docker Engine.",
        )


def _version(version: str) -> Finding:
    try:
        check_version(version)
    except PreconditionMissing as error:
        return Finding("docker", "fail", error.what, error.do, {"code": error.code})
    return Finding("docker", "ok", f"Docker Engine {version} answers")


def _base(daemon: Daemon, name: str) -> Finding:
    if daemon.image(name) is None:
        error = base_missing(name)
        return Finding("base image", "fail", error.what, error.do, {"code": error.code})
    return Finding("base image", "ok", name)


def _disk(daemon: Daemon) -> Finding:
    """Only where the daemon's directory is on this machine; a remote one's disk cannot be seen."""
    root = daemon.info()["DockerRootDir"]
    free = _free(root) if daemon.local else None
    if free is None:
        return Finding("docker disk", "ok", f"{root} is not on this machine")
    said = f"{free / (1 << 30):.1f} GiB free in {root}"
    if free < LITTLE_DISK:
        return Finding("docker disk", "warn", said, "docker system prune, or a larger disk")
    return Finding("docker disk", "ok", said)


def _free(root: str | Path) -> int | None:
    try:
        return shutil.disk_usage(root).free
    except OSError:
        return None
