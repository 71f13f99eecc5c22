"""The agent as a process of its own, as dcops starts it: its address, its token, its memory and CPU."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 60.0


@dataclass(frozen=True)
class Instance:
    """A running agent."""

    process: subprocess.Popen[bytes]
    socket: Path
    token: str
    http: httpx2.Client

    def session(self) -> str:
        return str(self.http.post("/v1/sessions", json={}).raise_for_status().json()["id"])

    def turn(self, session: str, text: str) -> str:
        answer = self.http.post(f"/v1/sessions/{session}/turns", json={"input": text})
        return str(answer.raise_for_status().json()["turn"])

    def stop(self, session: str) -> None:
        self.http.post(f"/v1/sessions/{session}/stop", json={}).raise_for_status()

    def is_idle(self, session: str) -> bool:
        return self.http.get(f"/v1/sessions/{session}").raise_for_status().json()["running"] is None

    def cpu(self) -> float:
        """Seconds of CPU that it has used, in user mode and in the kernel."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes of its own that it holds in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024


def _control(directory: Path, token: str, toggles: dict[str, Any]) -> None:
    directory.mkdir()
    text = json.dumps(toggles, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    tokens = [{"sha256": hashlib.sha256(token.encode()).hexdigest(), "until": None}]
    for name, content in {
        "toggles": {"generation": 1, "digest": digest, "values": toggles},
        "access": {"tokens": tokens, "hosts": []},
        "role": {"role": "serving", "for_seconds": None},
    }.items():
        (directory / f"{name}.json").write_text(json.dumps(content))


@contextmanager
def running(directory: Path, model: str, *prefix: str, **toggles: Any) -> Iterator[Instance]:
    """An agent that is ready.

    Args:
        directory: Made for it.
        model: The API's address.
        prefix: A command that starts it, like `taskset`.
        toggles: Values that differ from the defaults.

    Raises:
        TimeoutError: It did not become ready.
    """
    directory.mkdir()
    workspace = directory / "workspace"
    workspace.mkdir()
    token = secrets.token_hex(16)
    _control(directory / "control", token, toggles)
    address = directory / "agent.sock"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC")},
        "DCOPS_LISTEN": f"unix:{address}",
        "DCOPS_CONTROL_DIR": str(directory / "control"),
        "DCOPS_STATE_DIR": str(directory / "state"),
        "DCOPS_WORKSPACE": str(workspace),
        "DCOPS_RELEASE": "benchmark",
        "DCOPS_INSTANCE": "benchmark",
        "DCOPS_ENVIRONMENT": "benchmark",
        "DCOPS_MAX_RUNNING_TURNS": "1000",
        "ANTHROPIC_BASE_URL": model,
        "ANTHROPIC_API_KEY": "none",
    }
    command = [*prefix, sys.executable, "-m", "dcops.agent"]
    with (directory / "agent.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=log, stdout=log)
    transport = httpx2.HTTPTransport(uds=str(address))
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with httpx2.Client(
            transport=transport, base_url="http://localhost", headers=headers, timeout=30
        ) as http:
            _await_ready(http)
            yield Instance(process, address, token, http)
    finally:
        process.kill()
        process.wait()


def _await_ready(http: httpx2.Client) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if http.get("/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"the agent did not become ready within {START_SECONDS:g} s")
