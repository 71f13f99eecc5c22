"""The Docker engine: instances and proxy as containers, truth in volumes, nothing bound to this machine.

The control store is reached by one command in the proxy's container, or in a helper container while the
proxy is down. Each instance has an internal network of its own, on which the proxy answers as ``gateway``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dcops.core.protocols import Finding, InstanceSpec, InstanceState, Outcome, ProxyLayout, ProxyState
from dcops.engines import control, gateway, ports, state
from dcops.engines.docker_builds import DockerBuilds
from dcops.engines.docker_checks import caddy_finding, check_version, findings
from dcops.engines.docker_daemon import Absent, Answer, Conversation, Daemon, document
from dcops.engines.docker_egress import DockerEgress
from dcops.engines.docker_objects import (
    CERTIFICATES,
    DATA_ROOTS,
    DATA_VOLUMES,
    GATEWAY_PORT,
    LAYOUT,
    ONE_OFF,
    SCRATCH,
    SPECIFICATION,
    VOLUMES,
    Config,
    Names,
    helper_config,
    inside_ports,
    instance_config,
    instance_network,
    layout,
    private_mounts,
    proxy_config,
    run_config,
    state_config,
    store_mounts,
    volume_mounts,
    words,
)
from dcops.engines.docker_one_off import attach, run_to_end
from dcops.engines.refusals import build_missing, not_running, state_failed, unknown_instance
from dcops.engines.store import Operations, Store
from dcops.errors import FULL, DcopsError, DiskFull, OperationFailed, PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dcops.core.environment import Environment, Project
    from dcops.core.protocols import ProxySpec

_CONTROL = ["python3", "-I", "-S", "-c", Path(control.__file__).read_text()]
_STATE = ["python3", "-I", "-S", "-c", Path(state.__file__).read_text()]
_GATEWAY = ["python3", "-I", "-c", Path(gateway.__file__).read_text()]
_STORE_ROOTS = {"": "/control", control.INSTANCES: "/instances"}
_SECRET_ROOTS = {"": "/secrets"}

PROXY_SECONDS = 30.0
ABANDONED_SECONDS = 600.0

_STATUSES: dict[str, Any] = {
    "created": "starting",
    "restarting": "failed",
    "exited": "exited",
    "dead": "failed",
    "removing": "exited",
}


class DockerEngine(DockerBuilds):
    """One environment on one Docker daemon.

    Args:
        project: Whose objects they are.
        environment: Which of its environments.
        daemon: The daemon; found as the ``docker`` command finds it when absent.
    """

    name = "docker"

    def __init__(self, project: Project, environment: Environment, daemon: Daemon | None = None) -> None:
        super().__init__(Names(project, environment), daemon or Daemon())
        self.project = project
        self._egress = DockerEgress(self._names, self._daemon, self._proxy_image)
        self._helpers = count()
        self._spoken: tuple[tuple[str, str], Conversation] | None = None
        # One at a time speaks to the store, and nobody while it goes: a volume is made by being mounted.
        self._store_lock = threading.RLock()
        self._store = Store(self._operate)

    def findings(self) -> list[Finding]:
        rows = findings(self._daemon, self._names.environment.base_image)
        if rows[0].status == "fail":
            return rows
        return [*rows, caddy_finding(self.proxy().version)]

    def check(self) -> None:
        check_version(self._daemon.version()["Version"])
        self._base()

    def prepare(self) -> None:
        """Volumes with their owners; the control volume is made last and stands for all of them."""
        names = self._names
        if self._daemon.volume(names.volume("control")) is not None:
            return
        image = self._proxy_image()
        for kind in VOLUMES[:-1]:
            self._daemon.create_volume(names.volume(kind), names.labels)
        # An empty volume takes the owner of the image's directory when it is first mounted.
        self._helper(image, ["true"], volume_mounts(names, VOLUMES[:-1]))
        self._daemon.create_volume(names.volume("control"), names.labels)

    def store(self) -> Store:
        return self._store

    def _operate(self, operations: Operations) -> list[Any]:
        with self._store_lock:
            return self._one_round_trip(operations)

    def _one_round_trip(self, operations: Operations) -> list[Any]:
        """In the proxy's container, or beside its volumes while it is down."""
        request = _request(_STORE_ROOTS, operations)
        proxy = self._daemon.container(self._names.proxy)
        if proxy is not None and proxy["State"]["Status"] == "running":
            # It may go in this moment; the operations have then not begun.
            with contextlib.suppress(Absent):
                return _results(self._asked(proxy, request))
        if self._daemon.volume(self._names.volume("control")) is None:
            if (results := control.without_store(operations)) is not None:
                return results
            self.prepare()
        image = self._proxy_image() if proxy is None else proxy["Image"]
        return _results(self._helper(image, [*_CONTROL, "once"], store_mounts(self._names), request))

    def _asked(self, proxy: Config, request: bytes) -> Answer:
        try:
            return self._conversation(proxy).ask(request)
        except BaseException:
            # Its answer may still come, and would be taken for that to the next request.
            self._hang_up()
            raise

    def _conversation(self, proxy: Config) -> Conversation:
        """One for as long as this proxy runs: a new exec for each call would cost 60 ms."""
        run = (proxy["Id"], proxy["State"]["StartedAt"])
        if self._spoken is None or self._spoken[0] != run:
            self._hang_up()
            self._spoken = (run, self._daemon.converse(self._names.proxy, _CONTROL))
        return self._spoken[1]

    def _hang_up(self) -> None:
        if self._spoken is not None:
            self._spoken[1].close()
            self._spoken = None

    def write_secret(self, name: str, value: bytes | None) -> None:
        """Put a secret into the proxy's secret volume; it travels on a stdin only."""
        if value is None and self._daemon.volume(self._names.volume("secrets")) is None:
            return
        self.prepare()
        Store(self._operate_secrets).write({name: value})

    def _operate_secrets(self, operations: Operations) -> list[Any]:
        mounts = volume_mounts(self._names, ["secrets"])
        request = _request(_SECRET_ROOTS, operations)
        return _results(self._helper(self._proxy_image(), [*_CONTROL, "once"], mounts, request))

    def _helper(self, image: str, command: list[str], mounts: list[Config], request: bytes = b"") -> Any:
        name = f"{self._names.prefix}-helper-{os.getpid()}-{next(self._helpers)}"
        return self._daemon.run(name, helper_config(self._names, image, command, mounts), request)

    def layout(self, port: int) -> ProxyLayout:  # noqa: ARG002 - inside its container the port is always the same
        return layout(self._names.environment.https)

    def proxy(self) -> ProxyState:
        found = self._daemon.container(self._names.proxy)
        if found is None:
            return ProxyState(running=False)
        labels = found["Config"]["Labels"]
        return ProxyState(
            running=found["State"]["Status"] == "running",
            configuration=labels["dcops.configuration"],
            port=int(labels["dcops.port"]),
            version=labels["dcops.caddy"],
        )

    def start_proxy(self, spec: ProxySpec) -> None:
        """Run the proxy exactly so; replacing another one cuts its streams."""
        names, daemon = self._names, self._daemon
        self.prepare()
        found = daemon.container(names.proxy)
        if found is not None and found["Config"]["Labels"]["dcops.configuration"] == spec.digest:
            with self._port_errors(spec):
                daemon.start(names.proxy)
            self._await_listening(names.proxy, spec)
            return
        self._make_public_network()
        fresh = f"{names.proxy}-new"
        daemon.remove(fresh)
        if spec.https is not None:
            daemon.create_volume(names.volume(CERTIFICATES), names.labels)
        daemon.create(fresh, proxy_config(names, self._proxy_image(), spec))
        for network in daemon.networks({**names.labels, "dcops.instance": ""}):
            daemon.connect(fresh, network["Name"], "gateway")
        self._replace_proxy(fresh, spec)

    def _make_public_network(self) -> None:
        if self._daemon.network(self._names.network) is None:
            self._daemon.create_network(self._names.network, {"labels": self._names.labels})

    def _replace_proxy(self, fresh: str, spec: ProxySpec) -> None:
        before = self._daemon.container(self._names.proxy)
        self._daemon.stop(self._names.proxy)
        try:
            with self._port_errors(spec):
                self._daemon.start(fresh)
            self._await_listening(fresh, spec)
        except DcopsError:
            self._daemon.remove(fresh)
            with contextlib.suppress(Absent):
                self._daemon.start(self._names.proxy)
            raise
        self._daemon.remove(self._names.proxy)
        self._daemon.rename(fresh, self._names.proxy)
        now = self._daemon.container(self._names.proxy)
        if before is not None and now is not None and before["Image"] != now["Image"]:
            self._daemon.remove_image(before["Image"])  # stays where another container has it

    def _await_listening(self, proxy: str, spec: ProxySpec) -> None:
        """Docker takes connections for it from the start, and drops them until it listens."""
        wanted = {*inside_ports(spec), GATEWAY_PORT}
        deadline = time.monotonic() + PROXY_SECONDS
        while not wanted <= self._listening(proxy):
            found = self._daemon.container(proxy)
            ended = found is None or found["State"]["Status"] != "running"
            if ended or time.monotonic() > deadline:
                said = [] if found is None else list(self._daemon.logs(proxy, lines=5))
                raise OperationFailed(
                    "DC-PROXY-START",
                    "the proxy does not start",
                    cause="start",
                    why="\n".join(said),
                    do=f"docker logs {self._names.proxy}",
                )

    def _listening(self, container: str) -> set[int]:
        """The ports that something in a container listens on; none while it is down."""
        with contextlib.suppress(Absent):
            tables = self._daemon.execute(container, ["cat", "/proc/net/tcp", "/proc/net/tcp6"]).output
            fields = [line.split() for line in tables.decode().splitlines()]
            return {int(each[1].rpartition(":")[2], 16) for each in fields if each[3] == ports.LISTENING}
        return set()

    @contextlib.contextmanager
    def _port_errors(self, spec: ProxySpec) -> Iterator[None]:
        """Docker says that a port is taken only when the container starts, and never by whom."""
        try:
            yield
        except DcopsError as error:
            if "already allocated" not in error.why and "already in use" not in error.why:
                raise
            named = (port for _, port in spec.addresses if re.search(rf":{port}\b", error.why))
            raise self._port_taken(next(named, spec.port)) from error

    def _port_taken(self, port: int) -> PreconditionMissing:
        containers = [f"container {name}" for name in self._daemon.published(port)]
        holder = containers[0] if containers else ports.owner(port) if self._daemon.local else ""
        return PreconditionMissing(
            "DC-PORT-TAKEN",
            f"port {port} is taken",
            why=f"{holder or 'another program'} listens on it",
            do="stop that program, or set another `port` (or `auto`) in environment.yaml",
            port=port,
            owner=holder,
        )

    def ask_gateway(self, path: str, token: str) -> int:
        request = json.dumps({"port": GATEWAY_PORT, "path": path, "token": token}).encode() + b"\n"
        return int(self._daemon.execute(self._names.proxy, _GATEWAY, request).output or 0)

    def address(self, instance: str) -> str:
        return LAYOUT.instance_dial.replace("{id}", instance)

    def start(self, spec: InstanceSpec) -> None:
        """Start an instance; one of that id that was started otherwise is replaced."""
        names, daemon = self._names, self._daemon
        container = names.instance(spec.id)
        config = instance_config(names, spec, names.build(spec.build))
        found = daemon.container(container)
        if found is not None and found["Config"]["Labels"][SPECIFICATION] != config["Labels"][SPECIFICATION]:
            daemon.stop(container)
            daemon.remove(container)
            found = None
        if daemon.network(container) is None:
            daemon.create_network(container, instance_network(names, spec))
        self._connect_proxy(container)
        if spec.egress:
            self._make_public_network()
            self._egress.ensure()
        if found is None:
            self.store().write({f"instances/{spec.id}/{name}": data for name, data in spec.control.items()})
            if not spec.shared_state:
                self._make_private_volumes(spec.id)
            daemon.create(container, config)
        daemon.start(container)

    def _make_private_volumes(self, instance: str) -> None:
        for kind in DATA_VOLUMES:
            self._daemon.create_volume(self._names.private_volume(instance, kind), self._names.labels)
        # As in `prepare`: the first mount gives them their owner.
        self._helper(self._proxy_image(), ["true"], private_mounts(self._names, instance))

    def _connect_proxy(self, network: str) -> None:
        proxy = self._daemon.container(self._names.proxy)
        if proxy is not None and network not in proxy["NetworkSettings"]["Networks"]:
            self._daemon.connect(self._names.proxy, network, "gateway")

    def stop(self, instance: str, *, remove: bool = True) -> None:
        container = self._names.instance(instance)
        if not remove:
            # A daemon that starts again would start it as well, where it did not end with 0.
            with contextlib.suppress(Absent):
                self._daemon.restart_policy(container, "no")
        self._daemon.stop(container)
        if remove:
            self._daemon.remove(container)
            # While the proxy is down its network does not list it, and would be missed when it starts.
            self._daemon.disconnect(self._names.proxy, container)
            self._egress.leave(container)
            self._daemon.remove_network(container)
            for kind in DATA_VOLUMES:
                self._daemon.remove_volume(self._names.private_volume(instance, kind))
            self.store().write({f"instances/{instance}": None})

    def kill(self, instance: str) -> None:
        """Kill all that runs in it, from inside: after a ``docker kill`` Docker would not restart it."""
        with contextlib.suppress(Absent):
            self._daemon.execute(self._names.instance(instance), ["sh", "-c", "kill -9 -1"])

    def keep(self, instance: str, *, always: bool) -> None:
        policy = "unless-stopped" if always else "on-failure"
        self._daemon.restart_policy(self._names.instance(instance), policy)

    def instances(self) -> list[InstanceState]:
        found = self._daemon.containers({**self._names.labels, "dcops.instance": ""})
        return sorted((_state(each) for each in found), key=lambda each: (each.started, each.id))

    def logs(
        self, instance: str, *, lines: int | None, follow: bool = False, since: float | None = None
    ) -> Iterator[str]:
        return self._daemon.logs(self._existing(instance), lines=lines, follow=follow, since=since)

    def access_log(self, since: float) -> Iterator[str]:
        with contextlib.suppress(Absent):
            yield from self._daemon.logs(self._names.proxy, since=since or None)

    def _existing(self, instance: str) -> str:
        container = self._names.instance(instance)
        if self._daemon.container(container) is None:
            raise unknown_instance(instance, self._names.environment.name)
        return container

    def run(self, spec: InstanceSpec, command: Sequence[str], *, seconds: float = 600) -> Outcome:
        names = self._names
        if not self.has_build(spec.build):
            raise build_missing(spec.build)
        self.prepare()
        config = run_config(names, spec, names.build(spec.build), command)
        return run_to_end(self._daemon, f"{names.prefix}-{ONE_OFF}-{spec.id}", config, seconds)

    def execute(self, instance: str, command: Sequence[str], *, tty: bool) -> int:
        container = self._existing(instance)
        if next((each.status for each in self.instances() if each.id == instance), "") != "running":
            raise not_running(instance, self._names.environment.name)
        return attach(self._daemon, container, words(command), tty=tty)

    def save_state(self, destination: Path) -> list[str]:
        try:
            with state.created(destination) as file:
                left_out: list[str] = self._beside_state("saved", ["save", SCRATCH], into=file)["left_out"]
                return left_out
        except OSError as error:
            raise state_failed("saved", error) from error

    def load_state(self, source: Path) -> None:
        with source.open("rb") as file:
            self._beside_state("loaded", ["load", str(source.stat().st_size)], given=file)

    def _beside_state(self, done: str, words: list[str], **streams: IO[bytes]) -> dict[str, Any]:
        """Run the script beside the volumes, as the user of the instances."""
        self.prepare()
        verb, last = words
        command = [*_STATE, verb, json.dumps(DATA_ROOTS), last]
        config = state_config(self._names, self._proxy_image(), command)
        name = f"{self._names.prefix}-state-{os.getpid()}-{next(self._helpers)}"
        said = document(Answer(self._daemon.run_between(name, config, **streams), b""))
        if "error" in said:
            raise state_failed(done, said["error"])
        found: dict[str, Any] = said
        return found

    def sweep(self) -> None:
        labels, daemon = self._names.labels, self._daemon
        for left in daemon.containers({**labels, "dcops.role": ONE_OFF}):
            daemon.remove(left["Id"])
        for helper in daemon.containers({**labels, "dcops.role": "helper"}):
            # One that runs ends with its dcops, one that has ended was read; the rest may be about to start.
            waits = helper["State"]["Status"] == "created" and _age(helper) < ABANDONED_SECONDS
            if helper["State"]["Status"] != "running" and not waits:
                daemon.remove(helper["Id"])

    def halt(self) -> None:
        instances = [self._names.instance(each.id) for each in self.instances()]
        _at_once(self._daemon.stop, [self._names.proxy, self._names.egress, *instances])

    def revive(self, instances: Sequence[str]) -> None:
        containers = [self._existing(each) for each in instances]
        self._egress.ensure()
        if self._daemon.container(self._names.proxy) is not None:
            containers.append(self._names.proxy)
        _at_once(self._daemon.start, containers)

    def remove(self, *, with_data: bool) -> None:
        with self._store_lock:
            self._remove(with_data=with_data)

    def _remove(self, *, with_data: bool) -> None:
        labels, daemon = self._names.labels, self._daemon
        _at_once(daemon.remove, [each["Id"] for each in daemon.containers(labels)])
        for network in daemon.networks(labels):
            daemon.remove_network(network["Id"])
        kept = set() if with_data else {self._names.volume(kind) for kind in DATA_VOLUMES}
        for volume in daemon.volumes(labels):
            if volume["Name"] not in kept:
                daemon.remove_volume(volume["Name"])
        self._remove_unused_dependencies()


def _request(roots: dict[str, str], operations: Operations) -> bytes:
    return json.dumps({"roots": roots, "operations": operations}).encode() + b"\n"


def _results(answer: Any) -> list[Any]:
    found = document(answer)
    if "error" in found:
        kind, _, text = found["error"].partition(": ")
        if kind == "ValueError":
            raise ValueError(text)
        if kind == "FenceMoved":
            raise control.FenceMoved(text)
        if found.get("errno") in FULL:
            raise DiskFull(text)
        raise PreconditionMissing(
            "DC-STORE-FAILED",
            "The control store refused an operation.",
            why=found["error"],
            do="Look at the disk that Docker's volumes are on.",
        )
    results: list[Any] = found["results"]
    return results


def _state(container: dict[str, Any]) -> InstanceState:
    labels, state = container["Config"]["Labels"], container["State"]
    status = state["Status"]
    ended = status in ("exited", "dead", "restarting")
    return InstanceState(
        id=labels["dcops.instance"],
        role=labels["dcops.role"],
        release=labels["dcops.release"],
        build=labels["dcops.build"],
        status=_STATUSES.get(status, "running"),
        exit_code=state["ExitCode"] if ended else None,
        restarts=container["RestartCount"],
        started=_seconds(state["StartedAt"]),
        always=container["HostConfig"]["RestartPolicy"]["Name"] in {"always", "unless-stopped"},
    )


def _age(container: dict[str, Any]) -> float:
    return time.time() - _seconds(container["Created"])


def _seconds(moment: str) -> float:
    """Docker writes nanoseconds, and year 1 for never."""
    whole, _, fraction = moment.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00").timestamp()
    return max(0.0, seconds)


def _at_once(action: Callable[[str], None], names: Iterable[str]) -> None:
    """Do it to all side by side; the first failure is raised after all have ended."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        for future in [pool.submit(action, name) for name in names]:
            future.result()
