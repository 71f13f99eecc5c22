"""The real service as a process, with the scripted model behind it."""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

ROOT = Path(__file__).parents[3]
TOKEN = "a token for tests"
Frame = tuple[int | None, dict[str, Any]]


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.01)
    return value


def replace(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content))
    temporary.rename(path)


def _lines(answer: httpx2.Response) -> Iterator[str]:
    """Lines as SSE has them; `iter_lines` also ends one at characters that a text may contain."""
    rest = ""
    for text in answer.iter_text():
        *lines, rest = (rest + text).split("\n")
        yield from lines


class Model:
    """The scripted model as a process of its own; callers are told apart by their key."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "dcops.scripted_model", "--listen", "tcp:127.0.0.1:0"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        address = self.process.stdout.readline().split("tcp:")[1].strip()
        self.url = f"http://{address}"

    def script(self, key: str, script: dict[str, Any]) -> None:
        caller = hashlib.sha256(key.encode()).hexdigest()
        httpx2.put(f"{self.url}/scripts/{caller}", json=script).raise_for_status()

    def requests(self, key: str) -> list[dict[str, Any]]:
        """What the caller asked since its script was set."""
        caller = hashlib.sha256(key.encode()).hexdigest()
        answer = httpx2.get(f"{self.url}/scripts/{caller}/requests").raise_for_status()
        return list(answer.json()["requests"])

    def open_gate(self, key: str, gate: str) -> None:
        caller = hashlib.sha256(key.encode()).hexdigest()
        httpx2.post(f"{self.url}/scripts/{caller}/gates/{gate}").raise_for_status()


class Agent:
    """One instance with a control directory of its own; several may share a state directory."""

    until = staticmethod(until)

    def __init__(self, directory: Path, model: Model, name: str, **variables: str) -> None:
        self.control = directory / f"{name}.control"
        self.control.mkdir()
        self.socket = directory / f"{name}.sock"
        self.state = directory / "state"
        self.workspace = directory / "workspace"
        self.workspace.mkdir(exist_ok=True)
        self.log = directory / f"{name}.log"
        self.model = model
        self.key = secrets.token_hex(32)
        self.name = name
        self.variables = variables
        self.process: subprocess.Popen[bytes]
        self.http: httpx2.Client
        self.set_access()
        self.set_role("serving")
        self.set_toggles(1)

    def set_access(self, *, tokens: tuple[str, ...] = (TOKEN,), hosts: tuple[str, ...] = ()) -> None:
        entries = [{"sha256": hashlib.sha256(token.encode()).hexdigest(), "until": None} for token in tokens]
        replace(self.control / "access.json", {"tokens": entries, "hosts": list(hosts)})

    def set_role(self, role: str, for_seconds: float | None = None) -> None:
        replace(self.control / "role.json", {"role": role, "for_seconds": for_seconds})

    def set_toggles(self, generation: int, digest: str | None = None, **values: Any) -> str:
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        fitting = hashlib.sha256(text.encode()).hexdigest()
        document = {"generation": generation, "digest": digest or fitting, "values": values}
        replace(self.control / "toggles.json", document)
        return fitting

    def start(self) -> "Agent":
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC")},
            "DCOPS_LISTEN": f"unix:{self.socket}",
            "DCOPS_CONTROL_DIR": str(self.control),
            "DCOPS_STATE_DIR": str(self.state),
            "DCOPS_WORKSPACE": str(self.workspace),
            "DCOPS_RELEASE": "release-1",
            "DCOPS_INSTANCE": self.name,
            "DCOPS_ENVIRONMENT": "tests",
            "ANTHROPIC_BASE_URL": self.model.url,
            "ANTHROPIC_API_KEY": self.key,
            **self.variables,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dcops.agent"], cwd=ROOT, env=environment, stderr=log
            )
        transport = httpx2.HTTPTransport(uds=str(self.socket))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.http = httpx2.Client(
            transport=transport, base_url="http://localhost", headers=headers, timeout=10
        )
        until(lambda: self.answers("/healthz"))
        return self

    def answers(self, path: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with suppress(httpx2.TransportError):
            return self.http.get(path).status_code == 200
        return False

    def ready(self) -> "Agent":
        until(lambda: self.answers("/readyz"), 30)
        return self

    def report(self) -> dict[str, Any]:
        return dict(self.http.get("/v1/instance").raise_for_status().json())

    def acknowledged(self, role: str) -> None:
        until(lambda: self.report()["role_acknowledged"] == role)

    def session(self, **toggles: Any) -> str:
        return str(self.http.post("/v1/sessions", json={"toggles": toggles}).raise_for_status().json()["id"])

    def turn(self, session: str, text: str, **headers: str) -> str:
        answer = self.http.post(f"/v1/sessions/{session}/turns", json={"input": text}, headers=headers)
        return str(answer.raise_for_status().json()["turn"])

    def stream(self, session: str, after: int = 0) -> Iterator[Frame]:
        """The frames of one connection until the server ends it."""
        headers = {"Last-Event-ID": str(after)}
        with self.http.stream("GET", f"/v1/sessions/{session}/events", headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            seq: int | None = None
            for line in _lines(answer):
                if line.startswith("id: "):
                    seq = int(line[4:])
                elif line.startswith("data: "):
                    yield seq, json.loads(line[6:])
                    seq = None

    def run(self, session: str, text: str, after: int = 0) -> list[Frame]:
        """A whole turn's frames."""
        self.turn(session, text)
        return self.until_end(session, after)

    def until_end(self, session: str, after: int = 0) -> list[Frame]:
        frames: list[Frame] = []
        stream = self.stream(session, after)
        for frame in stream:
            frames.append(frame)
            if frame[1]["type"] in {"RUN_FINISHED", "RUN_ERROR"}:
                break
        stream.close()  # type: ignore[attr-defined]
        return frames

    def exit_code(self, seconds: float = 15) -> int:
        return self.process.wait(seconds)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@pytest.fixture(scope="session")
def model() -> Iterator[Model]:
    running = Model()
    yield running
    running.process.terminate()
    running.process.wait(10)


@contextmanager
def agents(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Callable[..., Agent]]:
    directory = tmp_path_factory.mktemp("a")
    made: list[Agent] = []

    def make(name: str = "i1", **variables: str) -> Agent:
        made.append(Agent(directory, model, name, **variables))
        return made[-1]

    yield make
    for agent in made:
        if hasattr(agent, "process") and agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


@pytest.fixture
def make_agent(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Callable[..., Agent]]:
    with agents(tmp_path_factory, model) as make:
        yield make


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Agent]:
    """One instance for all tests that leave its control files and its script alone."""
    with agents(tmp_path_factory, model) as make:
        yield make().start().ready()


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Agent]:
    """One instance for the tests of a module, each of which sets its script."""
    with agents(tmp_path_factory, model) as make:
        yield make().start().ready()


@pytest.fixture
def agent(make_agent: Callable[..., Agent]) -> Agent:
    """One instance that serves."""
    return make_agent().start().ready()


@pytest.fixture
def listening(make_agent: Callable[..., Agent]) -> Agent:
    """One instance that answers and has its toggles, but does not wait for the SDK: it runs no turns."""
    agent = make_agent().start()
    until(lambda: agent.report()["toggles"]["generation"])
    return agent
