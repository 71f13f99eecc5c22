"""An engine in memory, for tests of what stands above engines: it remembers calls and fails when told to."""

from __future__ import annotations

import shutil
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dcops.core.protocols import Finding, InstanceState, Outcome, Platform, ProxyLayout, ProxyState
from dcops.engines.refusals import build_missing, unknown_instance
from dcops.engines.store import MemoryStore
from dcops.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from dcops.core.protocols import BuildContext, ControlStore, InstanceSpec, ProxySpec, Say

    Action = Callable[[], None]


@dataclass
class FakeEngine:
    """An Engine whose instances run as soon as they are started.

    Attributes:
        calls: Every call that changes something: the method's name, then its arguments.
        states: What `instances` says; tests replace entries by `become`.
        specs: What was started, by id; kept after a stop.
        lines: What `logs` says, by id.
        state: What `save_state` saves.
        outcomes: What the next `run` and `execute` end with.
        secrets: What was written by `write_secret`.
    """

    name: str = "fake"
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    states: dict[str, InstanceState] = field(default_factory=dict)
    specs: dict[str, InstanceSpec] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    secrets: dict[str, bytes] = field(default_factory=dict)
    state: bytes = b""
    outcomes: deque[Outcome] = field(default_factory=deque)
    _builds: dict[str, Path] = field(default_factory=dict)
    _proxy: ProxyState = field(default_factory=lambda: ProxyState(running=False))
    _store: MemoryStore = field(default_factory=MemoryStore)
    _actions: dict[str, deque[Action | None]] = field(default_factory=lambda: defaultdict(deque))

    def before(self, method: str, action: Action, *, skip: int = 0) -> None:
        """Run an action before a method's next call, or after so many calls of it: to fail, or to wait."""
        self._actions[method].extend([*[None] * skip, action])

    def fail(self, method: str, error: Exception, *, skip: int = 0) -> None:
        """Raise an error instead of a method's next call, or after so many calls of it."""

        def action() -> None:
            raise error

        self.before(method, action, skip=skip)

    def become(self, instance: str, **changes: Any) -> None:
        """Change what is said of an instance, as ``status="failed"``."""
        self.states[instance] = replace(self.states[instance], **changes)

    def findings(self) -> list[Finding]:
        return [Finding("fake engine", "ok", "in memory")]

    def check(self) -> None:
        self._call("check")

    def platform(self) -> Platform:
        return Platform("3.11", "x86_64", "linux", "gnu", "sha256:fake")

    def has_build(self, build: str) -> bool:
        return build in self._builds

    def build(self, context: BuildContext, say: Say) -> None:
        self._call("build", context.build)
        say(f"build {context.name}")
        self._builds[context.build] = context.tree

    def builds(self) -> list[str]:
        return sorted(self._builds)

    def remove_build(self, build: str) -> None:
        self._call("remove_build", build)
        if build not in {each.build for each in self.states.values()}:
            self._builds.pop(build, None)

    def export(self, build: str, name: str, destination: Path) -> None:
        """Copy the tree that the build was made from."""
        self._call("export", build, name)
        if build not in self._builds:
            raise build_missing(build)
        shutil.copytree(self._builds[build], destination, symlinks=True)

    def prepare(self) -> None:
        self._call("prepare")

    def store(self) -> ControlStore:
        return self._store

    def layout(self, port: int) -> ProxyLayout:
        return ProxyLayout(f"127.0.0.1:{port}", "127.0.0.1:1", "/control", "{id}:8000", "/key", "/data")

    def proxy(self) -> ProxyState:
        return self._proxy

    def start_proxy(self, spec: ProxySpec) -> None:
        self._call("start_proxy", *spec.addresses)
        self._proxy = ProxyState(True, spec.digest, spec.port, "fake")

    def ask_gateway(self, path: str, token: str) -> int:
        self._call("ask_gateway", path, token)
        return 200

    def address(self, instance: str) -> str:
        return f"{instance}:8000"

    def start(self, spec: InstanceSpec) -> None:
        self._call("start", spec.id)
        state = self.states.get(spec.id)
        if state is not None and state.status == "running" and self.specs[spec.id] == spec:
            return
        self.specs[spec.id] = spec
        self._store.write({f"instances/{spec.id}/{name}": data for name, data in spec.control.items()})
        self.states[spec.id] = InstanceState(
            spec.id, spec.role, spec.release, spec.build, "running", started=float(len(self.calls))
        )

    def stop(self, instance: str, *, remove: bool = True) -> None:
        self._call("stop", instance)
        if remove:
            self.states.pop(instance, None)
            self._store.write({f"instances/{instance}": None})
        elif instance in self.states:
            self.become(instance, status="exited")

    def kill(self, instance: str) -> None:
        self._call("kill", instance)
        if instance in self.states:
            self.become(instance, restarts=self.states[instance].restarts + 1)

    def keep(self, instance: str, *, always: bool) -> None:
        self._call("keep", instance, always)

    def instances(self) -> list[InstanceState]:
        return [self.states[each] for each in sorted(self.states)]

    def logs(
        self,
        instance: str,
        *,
        lines: int | None,
        follow: bool = False,  # noqa: ARG002
        since: float | None = None,  # noqa: ARG002 - they have no times
    ) -> Iterator[str]:
        """What was put into `lines`; following ends there."""
        if instance not in self.states and instance not in self.lines:
            raise NotFound("DC-LOG-UNKNOWN", f"there is no log of {instance}")
        found = self.lines[instance]
        return iter(found if lines is None else found[max(0, len(found) - lines) :])

    def access_log(self, since: float) -> Iterator[str]:  # noqa: ARG002
        """What was put into `lines` of ``proxy``."""
        return iter(self.lines["proxy"])

    def run(self, spec: InstanceSpec, command: Sequence[str], *, seconds: float = 600) -> Outcome:  # noqa: ARG002
        """The next of `outcomes`, else a success that says nothing."""
        self._call("run", spec.id, *command)
        return self.outcomes.popleft() if self.outcomes else Outcome(0, ())

    def execute(self, instance: str, command: Sequence[str], *, tty: bool) -> int:
        """The code of the next of `outcomes`, else 0."""
        self._call("execute", instance, tty, *command)
        if instance not in self.states:
            raise unknown_instance(instance, self.name)
        return self.outcomes.popleft().code if self.outcomes else 0

    def save_state(self, destination: Path) -> list[str]:
        self._call("save_state")
        destination.write_bytes(self.state)
        return []

    def load_state(self, source: Path) -> None:
        self._call("load_state")
        self.state = source.read_bytes()

    def sweep(self) -> None:
        """Nothing is ever left."""

    def write_secret(self, name: str, value: bytes | None) -> None:
        self._call("write_secret", name)
        if value is None:
            self.secrets.pop(name, None)
        else:
            self.secrets[name] = value

    def halt(self) -> None:
        self._call("halt")
        self._proxy = replace(self._proxy, running=False)
        for instance in self.states:
            self.become(instance, status="exited")

    def revive(self, instances: Sequence[str]) -> None:
        self._call("revive", *instances)
        unknown = [each for each in instances if each not in self.states]
        if unknown:
            raise unknown_instance(", ".join(unknown), self.name)
        self._proxy = replace(self._proxy, running=bool(self._proxy.configuration))
        for instance in instances:
            self.become(instance, status="running")

    def remove(self, *, with_data: bool) -> None:
        self._call("remove", with_data)
        self.states.clear()
        self.secrets.clear()
        self._store.files.clear()
        self._proxy = ProxyState(running=False)

    def _call(self, method: str, *arguments: Any) -> None:
        self.calls.append((method, *arguments))
        if self._actions[method]:
            action = self._actions[method].popleft()
            if action is not None:
                action()
