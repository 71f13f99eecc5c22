"""Twins as plain processes: the real agent with the scripted model, and a fake with faults on demand."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.client import Client
from dcops.core.toggles import digest
from dcops.core.verification import Target
from dcops.verification.reach import client_of, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
TOKEN = "the token of a twin"
RELEASE = "1" * 64
SCHEMA = json.loads((ROOT / "dcops/agent/toggles.schema.json").read_bytes())


def clean_environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC", "DCOPS"))}
    return kept | variables


class ScriptedModel:
    def __init__(self) -> None:
        command = [sys.executable, "-m", "dcops.scripted_model", "--listen", "tcp:127.0.0.1:0"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.url = f"http://{self.process.stdout.readline().split('tcp:')[1].strip()}"
        self.client = Client(self.url)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class LocalTwin:
    """`TwinControl` over one process that listens on a Unix socket."""

    def __init__(
        self, directory: Path, command: list[str], model: ScriptedModel | None, **fields: Any
    ) -> None:
        self.directory = directory
        self.model = model
        self.key = secrets.token_hex(32)
        self._command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.target = Target(
            url=f"unix:{directory}/twin.sock",
            token=TOKEN,
            instance="twin-1",
            release=RELEASE,
            environment="dev",
            has_model=model is not None,
            ready_seconds=20.0,
            **{"stop_seconds": 10.0} | fields,
        )
        (directory / "control").mkdir()
        (directory / "workspace").mkdir()
        token = {"sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "until": None}
        values = dict(self.target.values)
        self.write_json("access.json", {"tokens": [token], "hosts": []})
        self.write_json("role.json", {"role": "twin", "for_seconds": None})
        self.write_json("toggles.json", {"generation": 1, "digest": digest(values), "values": values})
        self.start()

    def start(self) -> None:
        variables = {
            "DCOPS_LISTEN": self.target.url,
            "DCOPS_CONTROL_DIR": str(self.directory / "control"),
            "DCOPS_STATE_DIR": str(self.directory / "state"),
            "DCOPS_WORKSPACE": str(self.directory / "workspace"),
            "DCOPS_RELEASE": RELEASE,
            "DCOPS_INSTANCE": "twin-1",
            "DCOPS_ENVIRONMENT": "dev",
            "ANTHROPIC_BASE_URL": self.model.url if self.model else "http://127.0.0.1:9",
            "ANTHROPIC_API_KEY": self.key,
        }
        (self.directory / "twin.sock").unlink(missing_ok=True)
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=clean_environment(**variables), stdout=log, stderr=log
            )

    def end(self, number: int, timeout: float) -> float:
        assert self.process
        started = time.monotonic()
        self.process.send_signal(number)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return time.monotonic() - started

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        self.write_control(name, json.dumps(document).encode())

    # TwinControl

    def write_control(self, name: str, content: bytes) -> None:
        temporary = self.directory / "new"
        temporary.write_bytes(content)
        temporary.replace(self.directory / "control" / name)

    def restart(self) -> float:
        seconds = self.end(signal.SIGTERM, self.target.stop_seconds)
        self.start()
        return seconds

    def kill(self) -> None:
        self.end(signal.SIGKILL, 10)
        self.start()

    def logs(self, lines: int) -> list[str]:
        return (self.directory / "log").read_text(errors="replace").splitlines()[-lines:]

    def script(self, script: Mapping[str, Any] | None) -> None:
        if script is not None:
            self._model("PUT", "", script)
        else:
            assert self.model
            self.model.client.request("DELETE", self._path())

    def model_requests(self) -> list[dict[str, Any]]:
        return list(self._model("GET", "/requests")["requests"])

    def open_gate(self, name: str) -> None:
        self._model("POST", f"/gates/{name}")

    def _path(self) -> str:
        return f"/scripts/{hashlib.sha256(self.key.encode()).hexdigest()}"

    def _model(self, method: str, path: str, body: Any = None) -> Any:
        assert self.model
        return self.model.client.call(method, self._path() + path, body)

    def close(self) -> None:
        self.end(signal.SIGKILL, 10)


@pytest.fixture(scope="session")
def scripted_model() -> Iterator[ScriptedModel]:
    with closing(ScriptedModel()) as model:
        yield model


@contextmanager
def twins(factory: pytest.TempPathFactory) -> Iterator[Callable[..., LocalTwin]]:
    started: list[LocalTwin] = []

    def start(command: list[str], model: ScriptedModel | None = None, **fields: Any) -> LocalTwin:
        started.append(LocalTwin(factory.mktemp("t"), command, model, **fields))
        return started[-1]

    yield start
    for twin in started:
        twin.close()


@pytest.fixture
def start_twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LocalTwin]]:
    with twins(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def real_agent(
    tmp_path_factory: pytest.TempPathFactory, scripted_model: ScriptedModel
) -> Iterator[LocalTwin]:
    command = [sys.executable, "-m", "dcops.agent"]
    with twins(tmp_path_factory) as start:
        yield start(command, scripted_model, schema=SCHEMA, values={"thinking_budget": 2048})


@pytest.fixture
def fake_agent(start_twin: Callable[..., LocalTwin]) -> Callable[..., LocalTwin]:
    """Starts the fake with a fault; it has no sessions, and no roles unless told."""

    def start(fault: str = "none", *, roles: bool = False, **fields: Any) -> LocalTwin:
        command = [sys.executable, str(Path(__file__).with_name("fake_agent.py")), fault, str(int(roles))]
        return start_twin(command, roles=roles, **fields)

    return start


@pytest.fixture
def ready() -> Callable[[LocalTwin], None]:
    return lambda twin: wait_until_ready(client_of(twin.target), 20)
