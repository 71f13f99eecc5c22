"""A throw-away project, driven as its user would drive it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from dcops.cli.wiring import make_world
from dcops.operations.current import observe
from dcops.operations.deploy import DeployReport, DeployRequest, deploy
from dcops.operations.rollback import RollbackRequest, rollback
from dcops.operations.steps.verify import EngineTwin
from dcops.verification.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dcops.client import Client, Event
    from dcops.operations.current import Current
    from dcops.operations.world import Place, World

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[2]
DCOPS = Path(sys.executable).with_name("dcops")
OWN_VARIABLES = ("DCOPS_", "ANTHROPIC_", "XDG_RUNTIME_DIR")


def accept(_plan: object) -> None:
    """Nobody is asked."""


def until(condition: Callable[[], T], seconds: float = 30.0, what: str = "") -> T:
    """Wait until something holds, and return what was found."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}"
        time.sleep(0.02)
    return found


@dataclass
class Site:
    """One project with a `dev` environment of its own copy of an implementation.

    Args:
        root: The project's directory.
        engine: What `dev` is deployed to.
        source: The implementation; the agent, or a smaller one.
        settings: For `environment.yaml`, over the defaults of these tests.
        prefix: Words before each command, as of a program that runs it as somebody else.
        variables: For each command.
    """

    root: Path
    engine: str
    settings: dict[str, Any] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    source: Path = REPOSITORY / "dcops" / "agent"
    toggles: str = "# Of a test.\nuse_streaming_bash: true\n"
    _module: str = ""

    def write(self) -> None:
        """Write the project's files."""
        environment = self.root / "environments" / "dev"
        environment.mkdir(parents=True)
        shutil.copytree(self.source, self.agent, ignore=shutil.ignore_patterns("__pycache__"))
        self._module = self._changing.read_text()
        settings = {"engine": self.engine, "implementation": "agent", "model": "scripted", **self.settings}
        (environment / "environment.yaml").write_text(yaml.safe_dump(settings))
        (environment / "toggles.yaml").write_text(self.toggles)

    @property
    def agent(self) -> Path:
        return self.root / "agent"

    @property
    def _changing(self) -> Path:
        return next(path for name in ("__init__.py", "__main__.py") if (path := self.agent / name).exists())

    def change(self, text: str) -> None:
        """Make another release of the implementation; the same text makes the same release again."""
        self._changing.write_text(f"{self._module}\n# {text}\n" if text else self._module)

    # By the command line

    @property
    def environ(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(OWN_VARIABLES)}
        return {**own, "NO_COLOR": "1", **self.variables}

    def command(self, *words: str) -> list[str]:
        return [*self.prefix, str(DCOPS), *words]

    def dcops(self, *words: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's directory and hold its exit code."""
        return self.run(self.command(*words), code=code, **variables)

    def dying(
        self, number: int, moment: str, step: str, *words: str, code: int
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that gets a signal before a step or right after its effect."""
        script = str(Path(__file__).with_name("dying.py"))
        return self.run([sys.executable, script, str(number), moment, step, *words], code=code)

    def run(
        self, words: Sequence[str], *, code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words,
            cwd=self.root,
            env=self.environ | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        said = f"{words}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert done.returncode == code, said
        return done

    def json(self, *words: str, code: int = 0, **variables: str) -> dict[str, Any]:
        """The one JSON document, or the last line of a command that streams."""
        lines = self.dcops(*words, "--json", code=code, **variables).stdout.splitlines()
        document: dict[str, Any] = json.loads(lines[-1])
        return document

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json("status", "dev")["environments"][0]
        return found

    # In this process, where timing matters

    @property
    def world(self) -> World:
        return make_world(self.root, None)

    @property
    def place(self) -> Place:
        return self.world.open("dev")

    @property
    def client(self) -> Client:
        return self.place.client()

    def current(self) -> Current:
        return observe(self.place)

    def deploy(self, text: str | None = None) -> DeployReport:
        """Deploy, the release of this text when there is one."""
        if text is not None:
            self.change(text)
        return deploy(self.world, DeployRequest("dev", engine=self.engine), accept)

    def rollback(self) -> DeployReport:
        return rollback(self.world, RollbackRequest("dev"), accept)

    def model(self, instance: str = "") -> Model:
        """What the scripted model says to one instance, by default the one that serves."""
        current = self.current()
        return Model(EngineTwin(self.place, current.records[instance or current.serving]))

    # The end

    def down(self) -> None:
        """Take everything down: data, images, and what a failed test left."""
        world = self.world
        engine = world.engines(self.engine, world.project, world.environments.load("dev"))
        try:
            if world.local("dev").choice() is not None:
                self.dcops("down", "dev", "--with-data", "--yes")
        finally:
            engine.remove(with_data=True)
            for build in engine.builds():
                engine.remove_build(build)

    def remains(self) -> list[str]:
        """What is left of this project on the machine, besides its own directory."""
        processes = [f"process {number}: {command}" for number, command in self.processes().items()]
        return [*processes, *self._sockets(), *self._docker_objects()]

    def processes(self) -> dict[int, str]:
        """Command lines by pid of all processes on this host that name the project."""
        mark, found = f"{self.root}/".encode(), {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
                named = mark in command or mark in (process / "environ").read_bytes()
            except OSError:
                continue
            if named and int(process.name) != os.getpid():
                found[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    def _sockets(self) -> Iterator[str]:
        for directory in Path("/tmp").glob(f"dcops-*-{self.world.project.id}"):
            yield from map(str, [directory, *directory.rglob("*")])

    def _docker_objects(self) -> Iterator[str]:
        if self.engine != "docker":
            return
        label = f"label=dcops.project={self.world.project.slug}"
        for kind, words in {
            "container": ["ps", "--all", "--format", "{{.Names}}"],
            "volume": ["volume", "ls", "--format", "{{.Name}}"],
            "network": ["network", "ls", "--format", "{{.Name}}"],
        }.items():
            listed = subprocess.run(
                ["docker", *words, "--filter", label], check=True, capture_output=True, text=True
            )
            yield from (f"{kind} {name}" for name in listed.stdout.split())


def texts(events: list[Event]) -> str:
    """What the agent said in these events."""
    return "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")
