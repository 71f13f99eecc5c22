"""What the parts expect of each other; they meet here and nowhere else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

Role = Literal["candidate", "serving", "warm", "draining", "twin", "model"]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Platform:
    """What a build is made for.

    Attributes:
        python: Version of the interpreter that will run it, ``3.11``.
        machine: As ``uname -m`` says, ``x86_64`` or ``aarch64``.
        system: ``linux`` or ``darwin``.
        libc: ``gnu`` or ``musl``; empty on darwin.
        base: Digest of the base image, or of the host's interpreter.
    """

    python: str
    machine: str
    system: str
    libc: str
    base: str


@dataclass(frozen=True, slots=True)
class BuildContext:
    """All that an engine needs to make a release runnable.

    Attributes:
        build: Build id, 64 hex digits; keys caches and images.
        release: Release id, 64 hex digits.
        name: Package name of the implementation (``agent``): its directory in the build.
        tree: A private copy of the implementation's files, exactly those that the release id covers.
        command: How it starts, ``("python", "-m", "agent")``.
        dependencies: Installed, compiled dependencies of its lock file for this platform.
        dependencies_id: Content key of that directory.
        dockerfile: Path of the implementation's own Dockerfile, when it has one.
    """

    build: str
    release: str
    name: str
    tree: Path
    command: tuple[str, ...]
    dependencies: Path
    dependencies_id: str
    dockerfile: Path | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one instance may use.

    Attributes:
        memory: Bytes.
        cpus: Processors.
        pids: Processes and threads.
        turns: Turns at the same time; the instance itself holds to it, as to the next one.
        disk_free: Bytes that must be free on its disks for a turn to start; 0 for any.
    """

    memory: int = 1 << 30
    cpus: float = 1.0
    pids: int = 512
    turns: int = 64
    disk_free: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Https:
    """How a domain is served.

    Attributes:
        redirect: Port that leads plain HTTP to HTTPS; 0 for none.
        issuer: Who signs the certificate: a public authority, or the proxy's own.
        email: Where the authority writes to; empty for nowhere.
    """

    domain: str
    bind: str = "0.0.0.0"  # noqa: S104 - whoever names a domain wants the world to reach it
    port: int = 443
    redirect: int = 80
    issuer: Literal["acme", "internal"] = "acme"
    email: str = ""

    @property
    def url(self) -> str:
        return f"https://{self.domain}" + ("" if self.port == 443 else f":{self.port}")


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One instance to start.

    Attributes:
        id: Matches ``^[a-z0-9][a-z0-9-]{0,30}$``; unique in the environment.
        role: The role that it starts with.
        build: Build id.
        release: Release id.
        command: ``python`` as the first word stands for the build's interpreter.
        variables: Environment variables besides those that the engine itself sets
            (``DCOPS_LISTEN``, ``DCOPS_CONTROL_DIR``, ``DCOPS_STATE_DIR``, ``DCOPS_WORKSPACE``,
            ``ANTHROPIC_BASE_URL``).
        control: Files of its control directory, written before it starts.
        shared_state: The environment's state and workspace, or throw-away ones that go with it.
        egress: Hosts that its tools may reach, ``host`` or ``host:port``; its gateway token lets it through.
        limits: What it may use.
        stop_seconds: Between SIGTERM and SIGKILL.
    """

    id: str
    role: Role
    build: str
    release: str
    command: tuple[str, ...]
    variables: Mapping[str, str]
    control: Mapping[str, bytes]
    shared_state: bool
    egress: tuple[str, ...] = ()
    limits: Limits = Limits()
    stop_seconds: float = 35.0


@dataclass(frozen=True, slots=True)
class InstanceState:
    """What the engine says of an instance; ``failed`` covers back-off, fatal and crash loops.

    ``role`` is the role at its start; the present one is in its control file.
    ``started`` is seconds since the epoch, 0 when it never ran. ``always`` says whether its keeper starts it
    again whatever its end; None where the keeper makes no such difference.
    """

    id: str
    role: Role
    release: str
    build: str
    status: Literal["starting", "running", "exited", "failed"]
    exit_code: int | None = None
    restarts: int = 0
    started: float = 0.0
    always: bool | None = None


TOOK_TOO_LONG = 124  # as timeout(1) says it


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, as a shell says it; 127 when there is no such command.

    ``lines`` is the end of what it said, on both streams.
    """

    code: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProxyLayout:
    """Where things lie, seen from the proxy; ``proxy.py`` makes a configuration from it.

    Attributes:
        listen: Caddy address of the plain public listener, ``127.0.0.1:8100`` or ``:8100`` in a container.
        gateway_listen: Caddy address of the gateway.
        control: Absolute directory with ``current``, ``model``, ``operator/`` and ``gateway/``.
        instance_dial: Caddy address of an instance, with ``{id}`` where its id goes.
        secret: Absolute path of the API key's file.
        data: Directory that Caddy may write (storage).
        log: File that the access log goes to; empty means stderr.
        https_listen: Caddy address of the domain's HTTPS; empty without a domain.
        redirect_listen: Caddy address of the plain HTTP that leads there; empty for none.
    """

    listen: str
    gateway_listen: str
    control: str
    instance_dial: str
    secret: str
    data: str
    log: str = ""
    https_listen: str = ""
    redirect_listen: str = ""


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """The proxy to run.

    Attributes:
        configuration: Caddy's, as JSON; it holds no secret.
        bind: Address of the host at which the plain listener is reached.
        port: Its port.
        https: How a domain is served beside it; None without a domain.
    """

    configuration: str
    bind: str
    port: int
    https: Https | None = None

    @property
    def digest(self) -> str:
        """sha256 of all of it: another one needs a new proxy."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where on the host it is reached: address and port, the plain listener's first."""
        plain, https = (self.bind, self.port), self.https
        if https is None:
            return (plain,)
        return plain, *((https.bind, port) for port in (https.port, https.redirect) if port)


@dataclass(frozen=True, slots=True)
class ProxyState:
    """``configuration`` is the digest of the ProxySpec that it runs by; empty when there is no proxy."""

    running: bool
    configuration: str = ""
    port: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of ``doctor``."""

    check: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


class Seen(NamedTuple):
    """A file of the control store: its content, None where there is none; seconds since its last change."""

    content: bytes | None
    age: float


class ControlStore(Protocol):
    """The engine's own memory of an environment: pointer, tokens, records, control files.

    Paths are relative, with ``/``; ``..`` and absolute paths are refused.
    ``instances/<id>/...`` is what the instances see, all else only proxy and dcops.
    One call is one round trip, 3 ms on Docker while the proxy runs and 250 ms else, so callers batch.
    Threads may share a store.
    Whatever changes something raises LockLost when the fence has moved on; nothing of the call is done then.
    """

    def fence(self, path: str, number: int | None) -> None:
        """From now on change things only while the document at ``path`` has this ``fence``; None ends it."""
        ...

    def read(self, *paths: str) -> dict[str, bytes | None]:
        """Contents by path, None where there is no file."""
        ...

    def list(self, *directories: str) -> dict[str, list[str]]:
        """Sorted names in each directory, an empty list where there is none."""
        ...

    def look(self, path: str) -> Seen:
        """A file and its age, by the store's own clock."""
        ...

    def write(self, files: Mapping[str, bytes | None]) -> None:
        """Write each file atomically and synced, in the mapping's order; None removes a file or tree."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that must not exist yet, whole and synced; False when it does."""
        ...

    def swap(self, path: str, data: bytes, *, expect: bytes | None) -> Seen | None:
        """Write a file while it holds what is expected (None: it is not there), else return what it holds.

        Where there is no store nothing is written, and there is nothing to be seen.
        """
        ...

    def append(self, path: str, line: bytes) -> None:
        """Append a line (a newline is added) and sync it; a torn last line is cut off first."""
        ...

    def chain(self, path: str, line: bytes) -> None:
        """Append a JSON object as ``append`` does, with ``prev``: the sha256 of the line before it."""
        ...


class Engine(Protocol):
    """What runs the instances of one environment. All methods are idempotent unless they say otherwise."""

    name: str

    def findings(self) -> list[Finding]:
        """What ``doctor`` says of the engine: reachable, permitted, base image, disk."""
        ...

    def check(self) -> None:
        """Raise PreconditionMissing (with the fix) when the engine cannot be used now."""
        ...

    def platform(self) -> Platform: ...

    def has_build(self, build: str) -> bool: ...

    def build(self, context: BuildContext, say: Say) -> None:
        """Make the release runnable.

        Raises:
            OperationFailed: With cause ``build`` and the last lines, when it does not compile.
        """
        ...

    def builds(self) -> list[str]:
        """Ids of the builds of this project that are there."""
        ...

    def remove_build(self, build: str) -> None:
        """Remove a build with all that only it needs; one that an instance still has stays."""
        ...

    def export(self, build: str, name: str, destination: Path) -> None:
        """Copy the implementation's files out of a build, exactly; the caller compares the release id.

        Args:
            build: Build id.
            name: Package name of the implementation.
            destination: A directory that does not exist yet; after a failure it may hold a part.

        Raises:
            PreconditionMissing: There is no such build, or its image does not hold the files in a place that
                is known.
        """
        ...

    def prepare(self) -> None:
        """Directories or volumes, so that the store can be written."""
        ...

    def store(self) -> ControlStore: ...

    def layout(self, port: int) -> ProxyLayout:
        """Where the proxy finds things, with the plain listener at this port of the host."""
        ...

    def proxy(self) -> ProxyState: ...

    def start_proxy(self, spec: ProxySpec) -> None:
        """Run the proxy exactly so; one that already does is left alone.

        Raises:
            PreconditionMissing: A port is taken (the message names the owner), or may not be used.
        """
        ...

    def ask_gateway(self, path: str, token: str) -> int:
        """The status of a GET through the gateway with an instance's token; 0 when nothing answers."""
        ...

    def address(self, instance: str) -> str:
        """The Caddy address of an instance: what the pointer file holds."""
        ...

    def start(self, spec: InstanceSpec) -> None:
        """Start an instance beside the others; returns when it was handed to its keeper, not when ready."""
        ...

    def stop(self, instance: str, *, remove: bool = True) -> None:
        """SIGTERM, its stop timeout, SIGKILL; then forget it with its control and throw-away files.

        Args:
            instance: Its id; one that is not there is no error.
            remove: Without it the instance stays, stopped; only `start` or `revive` start it again.
        """
        ...

    def kill(self, instance: str) -> None:
        """SIGKILL, as a crash would; the keeper restarts it where its policy says so."""
        ...

    def keep(self, instance: str, *, always: bool) -> None:
        """Restart policy: always (serving), or only after a failure (an exit 0 stays down)."""
        ...

    def instances(self) -> list[InstanceState]: ...

    def logs(
        self, instance: str, *, lines: int | None, follow: bool = False, since: float | None = None
    ) -> Iterator[str]:
        """Log lines of an instance that is there, running or not, the oldest first.

        Args:
            instance: Its id.
            lines: At most so many from the end; None for all.
            follow: Then new ones.
            since: Seconds since the epoch. On the process engine a line's time is what it carries itself, as
                JSON, or that of the line before it; where none does all are given.
        """
        ...

    def access_log(self, since: float) -> Iterator[str]:
        """The proxy's own lines since a time (seconds since the epoch): JSON, requests and its errors."""
        ...

    def run(self, spec: InstanceSpec, command: Sequence[str], *, seconds: float = 600) -> Outcome:
        """Run one command of a build on the environment's shared state, as an instance's user, to its end.

        It has the instance's variables and limits, and no network; it needs no control directory.

        Args:
            spec: As of an instance; its own command does not run.
            command: ``python`` as the first word stands for the build's interpreter.
            seconds: After these it is ended.
        """
        ...

    def execute(self, instance: str, command: Sequence[str], *, tty: bool) -> int:
        """Run a command beside a running instance: its variables, directory and user; our streams.

        Args:
            instance: Its id.
            command: As for `run`.
            tty: Whether our stdin and stdout are a terminal that it shall have.

        Returns:
            Its exit code as a shell says it: 127 when there is no such command, 126 when it cannot be run.

        Raises:
            NotFound: There is no such instance.
            PreconditionMissing: It does not run.
        """
        ...

    def save_state(self, destination: Path) -> list[str]:
        """Write the state and workspace that instances share as one tar file; they may run.

        Each SQLite database is in it as it was at one moment, without its ``-wal`` and ``-shm``.

        Args:
            destination: A file that does not exist yet; beside it is room for one database meanwhile.

        Returns:
            Names of what is not in it: closed to the instances' user, or links that lead out.

        Raises:
            PreconditionMissing: It cannot be read or written.
        """
        ...

    def load_state(self, source: Path) -> None:
        """Make state and workspace hold what `save_state` wrote, and nothing else; no instance may run.

        What was there goes only when all has been unpacked; after a crash between, load again.

        Raises:
            PreconditionMissing: It cannot be read or written, or is no such file.
        """
        ...

    def sweep(self) -> None:
        """Remove what `run` has left where dcops was killed; nothing may run at the same time."""
        ...

    def write_secret(self, name: str, value: bytes | None) -> None:
        """Put a secret where only the proxy reads it; None removes it."""
        ...

    def halt(self) -> None:
        """Stop proxy and instances; everything needed to ``revive`` stays."""
        ...

    def revive(self, instances: Sequence[str]) -> None:
        """Start keeper and proxy and these instances again, as they were configured."""
        ...

    def remove(self, *, with_data: bool) -> None:
        """Remove proxy, instances, networks, secrets and control store; state data only when asked."""
        ...
