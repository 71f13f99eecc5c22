"""Engines of each kind, with the smallest implementation to run on them.

``rig`` runs a test over all engines, ``real`` over those that run programs.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.core.environment import Environment, Project
from dcops.core.protocols import BuildContext, Engine, InstanceSpec, ProxySpec, Role
from dcops.engines.docker import DockerEngine
from dcops.engines.fake import FakeEngine
from dcops.engines.ports import free_port
from dcops.engines.process import ProcessEngine
from dcops.proxy import configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TINY = Path(__file__).parent / "tiny"
OPERATOR = "c" * 64
LONG = "a project whose path has spaces and is about as long as people and their tools will ever make one"


def quiet(_: str) -> None:
    """Nobody listens."""


@dataclass
class Rig:
    """The engines that one test makes for one project; a second one of a name is the same environment."""

    root: Path
    create: Callable[[Project, Environment], Engine]
    engines: list[Engine] = field(default_factory=list)

    @property
    def project(self) -> Project:
        return Project(self.root, "tests", hashlib.sha256(str(self.root).encode()).hexdigest()[:8])

    def engine(self, name: str = "dev", **settings: Any) -> Engine:
        environment = Environment(name=name, engine="process", implementation=TINY, **settings)
        engine = self.create(self.project, environment)
        self.engines.append(engine)
        return engine

    def context(self, change: str = "") -> BuildContext:
        """The tiny implementation, with a module of this text added."""
        build = hashlib.sha256(change.encode()).hexdigest()
        tree, dependencies = self.root / f"tree-{build[:8]}", self.root / "dependencies"
        if not tree.exists():
            dependencies.mkdir(exist_ok=True)
            shutil.copytree(TINY, tree, ignore=shutil.ignore_patterns("__pycache__"))
            (tree / "change.py").write_text(change)
        command = ("python", "-m", "tiny")
        return BuildContext(build, "f" * 64, "tiny", tree, command, dependencies, "nothing")

    def spec(self, id_: str, role: Role = "serving", **variables: str) -> InstanceSpec:
        context = self.context()
        return InstanceSpec(
            id=id_,
            role=role,
            build=context.build,
            release=context.release,
            command=context.command,
            variables={"DCOPS_INSTANCE": id_, "DCOPS_RELEASE": context.release} | variables,
            control={"role.json": json.dumps({"role": role}).encode(), "toggles.json": b'{"generation": 1}'},
            shared_state=role != "twin",
            stop_seconds=0,
        )

    def start(self, engine: Engine, *specs: InstanceSpec) -> None:
        """Start instances and let operators in."""
        engine.prepare()
        engine.build(self.context(), quiet)
        engine.store().write({f"operator/{spec.id}/{OPERATOR}": b"" for spec in specs})
        for spec in specs:
            engine.start(spec)

    def serve(self, engine: Engine, *specs: InstanceSpec) -> Site:
        """Start instances behind a proxy; the first one serves, all answer."""
        self.start(engine, *specs)
        port = free_port(f"public {self.root}")
        content = configuration(engine.layout(port), api_url="https://api.invalid", grace_seconds=1)
        engine.start_proxy(ProxySpec(content.decode(), "127.0.0.1", port))
        engine.store().write({"current": engine.address(specs[0].id).encode()})
        site = Site(port)
        for spec in specs:
            site.wait_for(spec.id)
        return site

    def status(self, engine: Engine, instance: str) -> str:
        return next((each.status for each in engine.instances() if each.id == instance), "absent")

    def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        until(condition, seconds)


@dataclass
class Site:
    """A client of what the proxy publishes."""

    port: int

    def ask(
        self, path: str, *, of: str = "", method: str = "GET", body: bytes = b""
    ) -> tuple[int, dict[str, Any]]:
        """Ask whoever serves, or by the instance route the one that is named."""
        headers = {"X-Dcops-Instance": of, "Proxy-Authorization": OPERATOR} if of else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def get(self, path: str, *, of: str = "") -> dict[str, Any]:
        status, answer = self.ask(path, of=of)
        assert status == 200, answer
        return answer

    def post(self, path: str, body: bytes = b"", *, of: str = "") -> dict[str, Any]:
        status, answer = self.ask(path, of=of, method="POST", body=body)
        assert status == 200, answer
        return answer

    def answers(self, instance: str) -> bool:
        try:
            return self.ask("/v1/instance", of=instance)[0] == 200
        except OSError:
            return False

    def wait_for(self, instance: str) -> None:
        until(lambda: self.answers(instance), 20)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


MAKERS: dict[str, Callable[[Project, Environment], Engine]] = {
    "fake": lambda *_: FakeEngine(),
    "process": ProcessEngine,
    "docker": DockerEngine,
}


def rig_of(kind: str, root: Path) -> Iterator[Rig]:
    root.mkdir(parents=True)
    rig = Rig(root, MAKERS[kind])
    try:
        yield rig
    finally:
        for engine in rig.engines:
            engine.remove(with_data=True)
            for build in engine.builds():
                engine.remove_build(build)


REAL = [
    pytest.param("process", marks=pytest.mark.slow),
    pytest.param("docker", marks=[pytest.mark.slow, pytest.mark.docker]),
]


@pytest.fixture(params=["fake", *REAL])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    yield from rig_on(request, tmp_path)


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    yield from rig_on(request, tmp_path)


def rig_on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "docker":
        request.getfixturevalue("docker_daemon")
    yield from rig_of(request.param, tmp_path / LONG)
