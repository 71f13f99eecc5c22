"""The peer of a deploy: the same image, limits and control files under docker-compose.

The service is what people write who deploy so: a published port, a restart policy, a stop timeout. It waits
for nothing by itself; whether the new release answers is seen from outside, as it is for dcops.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from dcops.operations.current import Current
    from dcops.operations.world import Place
    from dcops.records.instances import InstanceRecord

MODEL_PORT = 8000
INSTALL = "Debian: apt-get install docker-compose"


def compose_command() -> list[str]:
    """`docker compose` where it is, else docker-compose; empty when there is neither."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and _works([*words, "version"]):
            return words
    return []


def _works(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@dataclass
class Compose:
    """One compose project: the agent, and the scripted model beside it.

    Args:
        directory: Its own, for files, state and workspace.
        place: The environment whose images, token and control files it uses.
        current: What runs there; its images are those of the instances.
        command: From `compose_command`.
        releases: Deployed by turns; each has an instance there.
    """

    directory: Path
    place: Place
    current: Current
    command: list[str]
    releases: list[str]

    def __post_init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        for name in ("control", "state", "workspace"):
            (self.directory / name).mkdir(parents=True)
        self._write_control()

    def _write_control(self) -> None:
        """What the instance that serves under dcops is told."""
        for name in ("toggles.json", "access.json", "role.json"):
            path = f"instances/{self.current.serving}/{name}"
            content = self.place.store.read(path)[path]
            assert content is not None
            (self.directory / "control" / name).write_bytes(content)

    def next(self) -> tuple[list[str], str]:
        """Write the compose file of the other release; returns what makes it serve, and its id."""
        self.releases.reverse()
        release, records = self.releases[0], self.current.records
        record = next(each for each in records.values() if each.revision.release == release)
        services = {"agent": self._agent(record), "model": self._model(records[self.current.model])}
        (self.directory / "docker-compose.yml").write_text(json.dumps({"services": services}))
        return [*self.command, "up", "-d"], release

    def down(self) -> None:
        command = [*self.command, "down", "--volumes", "--timeout", "1"]
        subprocess.run(command, cwd=self.directory, check=True, capture_output=True)

    def _agent(self, record: InstanceRecord) -> dict[str, Any]:
        limits = record.revision.configuration["limits"]
        variables = {
            "HOME": "/workspace",
            "LANG": "C.UTF-8",
            "TMPDIR": "/tmp",
            "DCOPS_LISTEN": "tcp:0.0.0.0:8000",
            "DCOPS_CONTROL_DIR": "/control",
            "DCOPS_STATE_DIR": "/state",
            "DCOPS_WORKSPACE": "/workspace",
            "DCOPS_RELEASE": record.revision.release,
            "DCOPS_INSTANCE": "compose",
            "DCOPS_ENVIRONMENT": "dev",
            "DCOPS_STOP_SECONDS": str(self.place.environment.drain_timeout),
            "ANTHROPIC_BASE_URL": f"http://model:{MODEL_PORT}",
            "ANTHROPIC_API_KEY": record.gateway_token,
        }
        mounts = [f"./{name}:/{name}" for name in ("state", "workspace")]
        return {
            **self._service(record, variables),
            "ports": [f"127.0.0.1:{self.port}:8000"],
            "volumes": ["./control:/control:ro", *mounts],
            "mem_limit": limits["memory"],
            "cpus": limits["cpus"],
            "pids_limit": limits["pids"],
            "stop_grace_period": f"{self.place.environment.drain_timeout + 5:g}s",
            "depends_on": ["model"],
        }

    def _model(self, record: InstanceRecord) -> dict[str, Any]:
        return self._service(record, {"DCOPS_LISTEN": f"tcp:0.0.0.0:{MODEL_PORT}"})

    def _service(self, record: InstanceRecord, variables: dict[str, str]) -> dict[str, Any]:
        """With the hardening that dcops gives its own containers."""
        return {
            "image": self._image(record),
            "entrypoint": ["python3", *record.revision.command[1:]],
            "command": [],
            "environment": variables,
            "user": f"{os.getuid()}:{os.getgid()}",
            "init": True,
            "restart": "unless-stopped",
            "read_only": True,
            "tmpfs": ["/tmp"],
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
        }

    def _image(self, record: InstanceRecord) -> str:
        name = f"label=dcops.build={record.revision.build}"
        command = ["docker", "ps", "--all", "--filter", name, "--format", "{{.Image}}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
