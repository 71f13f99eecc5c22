"""What operations work on: the project, and one opened environment of it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from dcops.client import Client
from dcops.core.environment import Environment, Project
from dcops.core.events import Emit, OperationEvent
from dcops.core.protocols import ControlStore, Engine
from dcops.errors import PreconditionMissing
from dcops.keys import resolve_key
from dcops.operations.tidy import tidy
from dcops.projects import record_project
from dcops.records import proxy
from dcops.records.access import Access, ends
from dcops.records.history import History
from dcops.records.instances import read_all
from dcops.records.journal import Journal
from dcops.records.lease import Lease
from dcops.records.local import EngineChoice, LocalState, new_token
from dcops.records.lock import EnvironmentLock, actor

if TYPE_CHECKING:
    from pathlib import Path

    from dcops.core.secret import Secret
    from dcops.environments import Environments
    from dcops.records.instances import InstanceRecord

ADMISSION_SECONDS = 5.0
POLL_SECONDS = 0.025

EngineFactory = Callable[[str, Project, Environment], Engine]


def _silent(_event: OperationEvent) -> None:
    return


def _no(_question: str) -> bool:
    return False


@dataclass(frozen=True)
class World:
    """One project, and how to reach its parts.

    Attributes:
        engines: Makes the engine of a name; the only place that knows the real ones is cli/wiring.py.
        probe: Whether a Docker daemon answers and the base image is there, and else why not.
        cache: For dependencies and other content that can be made again.
        environ: Environment variables of the user.
        ask: Puts a question that a gate leaves open to whoever is there; nobody is a no.
    """

    project: Project
    environments: Environments
    engines: EngineFactory
    probe: Callable[[Project, Environment], str]
    cache: Path
    emit: Emit = _silent
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    ask: Callable[[str], bool] = _no

    def local(self, name: str) -> LocalState:
        return LocalState(self.project.root / ".dcops" / name)

    def choice(self, environment: Environment) -> EngineChoice | None:
        """The engine that an environment was deployed to, from whatever machine; None when it was not."""
        return self.local(environment.name).choice() or self._found(environment)

    def _found(self, environment: Environment) -> EngineChoice | None:
        """Adopt what another operator of this project has deployed to the Docker that we reach too."""
        if environment.engine == "process" or self.probe(self.project, environment):
            return None
        store = self.engines("docker", self.project, environment).store()
        record = proxy.parse(store.read(proxy.PATH)[proxy.PATH])
        if record is None:
            return None
        choice = EngineChoice("docker", record.spec.port, "found on docker", record.spec.bind)
        record_project(self.project)
        self.local(environment.name).decide(choice)
        return choice

    def open(self, name: str, *, kept: bool = False) -> Place:
        """An environment that was deployed before, from whatever machine.

        Args:
            kept: Also one that was taken down and whose data was kept.

        Raises:
            NotFound: No such environment.
            PreconditionMissing: It was never deployed, or its engine cannot be reached from here.
        """
        environment = self.environments.load(name)
        choice = self.choice(environment) or (self.local(name).kept() if kept else None)
        if choice is None:
            raise PreconditionMissing(
                "DC-NOT-DEPLOYED", f"{name} is not deployed", do=f"dcops deploy {name}", environment=name
            )
        return self.place(environment, choice)

    def place(self, environment: Environment, choice: EngineChoice) -> Place:
        engine = self.engines(choice.engine, self.project, environment)
        return Place(self, environment, choice, engine, self.local(environment.name))


@dataclass(frozen=True)
class Place:
    """One environment with its engine: where the steps of a plan happen."""

    world: World
    environment: Environment
    choice: EngineChoice
    engine: Engine
    local: LocalState

    @property
    def name(self) -> str:
        return self.environment.name

    @property
    def url(self) -> str:
        """Where the plain listener is now; one on every interface is spoken to on loopback."""
        bind = self.choice.bind or self.environment.bind
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.choice.port}" if ":" in host else f"http://{host}:{self.choice.port}"

    @property
    def public_url(self) -> str:
        """Where the proxy serves the domain; empty without one."""
        record = proxy.parse(self.store.read(proxy.PATH)[proxy.PATH])
        return record.public_url if record else ""

    @cached_property
    def store(self) -> ControlStore:
        return self.engine.store()

    @property
    def history(self) -> History:
        return History(self.store)

    @property
    def journal(self) -> Journal:
        return Journal(self.store)

    @property
    def access(self) -> Access:
        return Access(self.store)

    @property
    def lock(self) -> EnvironmentLock:
        directory = self.local.directory
        lease = Lease(self.store, directory, lambda text: self.say("", text))
        return EnvironmentLock(
            directory / "lock", self.name, lease, lambda: tidy(self.world.project.root, self.environment)
        )

    def client(self, record: InstanceRecord | None = None, *, timeout: float = 10.0) -> Client:
        """Through the proxy: to whatever serves, or to exactly one instance."""
        return self._client(self.token, record, timeout)

    def _client(self, token: str, record: InstanceRecord | None, timeout: float) -> Client:
        if record is None:
            return Client(self.url, token, timeout=timeout)
        return Client(self.url, token, instance=record.id, operator=record.secret, timeout=timeout)

    @cached_property
    def key(self) -> Secret:
        """The API key; a command that prints it is run once.

        Raises:
            PreconditionMissing: The environment's reference leads to no key.
        """
        return resolve_key(self.environment, self.world.environ, self.world.project.root)

    @cached_property
    def token(self) -> str:
        """This machine's bearer token, which every instance knows now."""
        token = self.local.token()
        if ends(self.access.add(token, actor()), token):
            # It was ended from another machine; this one gets a token of its own again.
            token = new_token()
        self.admit(token)
        self.local.set_token(token)
        return token

    def admit(self, token: str) -> None:
        """Let a token in, and wait until those instances have read of it that had not."""
        self.access.add(token, actor())
        self._await(token, self.access.spread(), admitted=True)

    def await_admission(self, token: str) -> None:
        """Wait until what runs lets a token in."""
        self._await(token, self._running(), admitted=True)

    def await_refusal(self, token: str) -> None:
        """Wait until nothing that runs lets a token in."""
        self._await(token, self._running(), admitted=False)

    def _running(self) -> list[InstanceRecord]:
        states = self.engine.instances()
        running = {each.id for each in states if each.status == "running" and each.role != "model"}
        return [record for name, record in read_all(self.store).items() if name in running]

    def _await(self, token: str, records: Iterable[InstanceRecord], *, admitted: bool) -> None:
        """One that does not answer, or is late, reads of it when it can."""
        deadline = time.monotonic() + ADMISSION_SECONDS
        for record in records:
            client = self._client(token, record, 2.0)
            with contextlib.suppress(PreconditionMissing):
                while (client.request("GET", "/v1/instance").status == 401) == admitted:
                    if time.monotonic() >= deadline:
                        late = "does not let the new token in" if admitted else "still lets the old token in"
                        self.say("", f"instance {record.id} {late}: it has not read its access.json")
                        return
                    time.sleep(POLL_SECONDS)

    def say(self, step: str, text: str) -> None:
        self.world.emit(OperationEvent(step, "note", text))
