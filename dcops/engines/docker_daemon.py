"""The Docker daemon as far as the engine needs it: plain data in and out, and errors that say what to do.

Nothing else imports the SDK, and it is imported at the first call: it costs 100 ms.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import struct
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any

from dcops.engines.docker_streams import BLOCK, exactly, frames
from dcops.errors import DcopsError, NotFound, PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CONNECT_SECONDS = 2
CALL_SECONDS = 60
BUILD_SECONDS = 900
ANSWER_SECONDS = 300
SAID = 1 << 20


class Absent(NotFound):
    """The daemon has no such container, image, network or volume, or the container does not run."""


class InUseError(PreconditionMissing):
    """Something else still needs it."""


class BuildError(Exception):
    """An image could not be built; ``lines`` is what the builder said."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines[-1] if lines else "no output")
        self.lines = list(lines)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command in a container wrote."""

    output: bytes
    errors: bytes


class Daemon:
    """One daemon, found as the ``docker`` command finds it: ``$DOCKER_HOST``, else the local socket.

    Names are those of the objects; every method raises PreconditionMissing when the daemon cannot be used
    and Absent when the object is not there.
    """

    @cached_property
    def _api(self) -> Any:
        from docker import APIClient  # noqa: PLC0415
        from docker.utils import kwargs_from_env  # noqa: PLC0415

        with _translated():
            api: Any = APIClient(**kwargs_from_env(), version="auto", timeout=CONNECT_SECONDS)
        api.timeout = CALL_SECONDS
        return api

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        function = getattr(self._api, method)
        with _translated():
            return function(*args, **kwargs)

    def version(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call("version")
        return found

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call("info")
        return found

    @property
    def local(self) -> bool:
        """Whether its ports and files are those of this machine."""
        return str(self._api.base_url).startswith("http+docker://localhost")

    def image(self, name: str) -> dict[str, Any] | None:
        return self._found("inspect_image", name)

    def images(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("images", filters={"label": _filters(labels)})
        return found

    def remove_image(self, name: str) -> None:
        """Remove an image; one that a container still uses stays."""
        with contextlib.suppress(Absent, InUseError):
            self._call("remove_image", name)

    def prune_images(self, labels: Mapping[str, str]) -> None:
        """Remove what a failed build left: images without a name."""
        self._call("prune_images", filters={"dangling": True, "label": _filters(labels)})

    def build(self, context: IO[bytes], tag: str) -> None:
        """Build an image from a tar stream with its Dockerfile.

        Raises:
            BuildError: With the builder's lines.
        """
        steps = self._call(
            "build",
            fileobj=context,
            custom_context=True,
            tag=tag,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=BUILD_SECONDS,
            use_config_proxy=False,
            network_mode="none",
        )
        lines: list[str] = []
        with _translated():
            for step in steps:
                text = step.get("stream") or step.get("error") or ""
                lines += [line for line in text.splitlines() if line.strip()]
                if "error" in step:
                    raise BuildError(lines)

    def container(self, name: str) -> dict[str, Any] | None:
        return self._found("inspect_container", name)

    def containers(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """All that carry these labels, running or not, as ``docker inspect`` shows them."""
        listed = self._call("containers", all=True, filters={"label": _filters(labels)})
        # One may go between the listing and the look at it.
        inspected = [self.container(each["Id"]) for each in listed]
        return [each for each in inspected if each is not None]

    def published(self, port: int) -> list[str]:
        """Names of the running containers that publish this port of the host."""
        listed = self._call("containers", filters={"publish": str(port)})
        return [name.lstrip("/") for each in listed for name in each["Names"]]

    def create(self, name: str, config: Mapping[str, Any]) -> None:
        self._call("create_container_from_config", dict(config), name)

    def start(self, name: str) -> None:
        self._call("start", name)

    def stop(self, name: str) -> None:
        """SIGTERM, the container's own stop timeout, SIGKILL."""
        found = self.container(name)
        if found is not None and found["State"]["Status"] != "exited":
            with contextlib.suppress(Absent):
                self._call("stop", name, timeout=found["Config"].get("StopTimeout", 10))

    def remove(self, name: str) -> None:
        with contextlib.suppress(Absent):
            self._call("remove_container", name, force=True, v=True)

    def rename(self, name: str, to: str) -> None:
        self._call("rename", name, to)

    def restart_policy(self, name: str, policy: str) -> None:
        """Change who starts it again; one that is gone is nobody's to start."""
        with contextlib.suppress(Absent):
            self._call("update_container", name, restart_policy={"Name": policy})

    def execute(self, container: str, command: Sequence[str], request: bytes = b"") -> Answer:
        """Run a command in a running container and write ``request`` to its stdin."""
        created = self._call("exec_create", container, list(command), stdin=True)
        return _converse(self._call("exec_start", created["Id"], socket=True), request)

    def converse(self, container: str, command: Sequence[str]) -> Conversation:
        """Start a command in a running container that answers each line of its stdin by a line."""
        created = self._call("exec_create", container, list(command), stdin=True)
        return Conversation(self._call("exec_start", created["Id"], socket=True))

    def start_execution(
        self, container: str, command: Sequence[str], variables: Mapping[str, str], *, tty: bool
    ) -> tuple[str, Any]:
        """Start a command in a running container; its id, and the socket of its streams."""
        created = self._call(
            "exec_create",
            container,
            list(command),
            stdin=True,
            tty=tty,
            environment=dict(variables),
            detach_keys="ctrl-_,ctrl-^,ctrl-_",  # Docker's own, Ctrl-P Ctrl-Q, would hold back a Ctrl-P
        )
        return created["Id"], self._call("exec_start", created["Id"], socket=True, tty=tty)

    def resize_execution(self, execution: str, rows: int, columns: int) -> None:
        with contextlib.suppress(Absent):
            self._call("exec_resize", execution, height=rows, width=columns)

    def execution_code(self, execution: str) -> int:
        """The exit code of a command that has ended."""
        found: int = self._call("exec_inspect", execution)["ExitCode"]
        return found

    def run(self, name: str, config: Mapping[str, Any], request: bytes = b"") -> Answer:
        """Run a command in a container of its own, which is gone when this returns."""
        with self._attached(name, config) as sock:
            return _converse(sock, request)

    def run_to_end(self, name: str, config: Mapping[str, Any], seconds: float) -> tuple[int | None, bytes]:
        """Run a command in a container of its own, which is gone when this returns.

        Returns:
            Its exit code, None when it was ended after ``seconds``; the end of what it said on both streams.
        """
        self.remove(name)  # by one that was killed
        said = bytearray()
        with self._attached(name, config) as sock, _translated():
            try:
                for _, data in frames(getattr(sock, "_sock", sock), seconds=seconds):
                    said += data
                    del said[:-SAID]
            except TimeoutError:
                return None, bytes(said)
            return self._call("wait", name)["StatusCode"], bytes(said)

    def run_between(
        self,
        name: str,
        config: Mapping[str, Any],
        *,
        given: IO[bytes] | None = None,
        into: IO[bytes] | None = None,
    ) -> bytes:
        """Run a command in a container of its own: its stdin and stdout are files; returns its stderr."""
        errors = bytearray()
        with self._attached(name, config) as sock:
            connection = getattr(sock, "_sock", sock)
            connection.settimeout(None)
            # One that gives up reads no more; it says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while given is not None and (data := given.read(BLOCK)):
                    connection.sendall(data)
            for stream, data in _frames(connection):
                if stream == 1 and into is not None:
                    into.write(data)
                else:
                    errors += data
        return bytes(errors)

    @contextlib.contextmanager
    def _attached(self, name: str, config: Mapping[str, Any]) -> Iterator[Any]:
        """The socket of the streams of a container that was just started."""
        streams = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True, "AttachStdout": True}
        self.create(name, {**config, **streams, "AttachStderr": True})
        try:
            params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            sock = self._call("attach_socket", name, params=params)
            self.start(name)
            yield sock
        finally:
            self.remove(name)

    def archive(self, container: str, path: str, into: IO[bytes]) -> None:
        """Write what lies at a path of a container as a tar stream."""
        chunks, _ = self._call("get_archive", container, path)
        for chunk in chunks:
            into.write(chunk)

    def logs(
        self, name: str, *, lines: int | None = None, follow: bool = False, since: float | None = None
    ) -> Iterator[str]:
        tail = "all" if lines is None else lines
        chunks = self._call("logs", name, stream=True, follow=follow, tail=tail, since=since)
        rest = b""
        for chunk in chunks if not isinstance(chunks, bytes) else [chunks]:
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
        if rest:
            yield rest.decode(errors="replace")

    def network(self, name: str) -> dict[str, Any] | None:
        return self._found("inspect_network", name)

    def networks(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("networks", filters={"label": _filters(labels)})
        return found

    def create_network(self, name: str, config: Mapping[str, Any]) -> None:
        self._call("create_network", name, driver="bridge", check_duplicate=True, **config)

    def connect(self, container: str, network: str, alias: str) -> None:
        self._call("connect_container_to_network", container, network, aliases=[alias])

    def disconnect(self, container: str, network: str) -> None:
        with contextlib.suppress(Absent):
            self._call("disconnect_container_from_network", container, network, force=True)

    def remove_network(self, name: str) -> None:
        """Disconnect all that is connected, then remove it."""
        found = self.network(name)
        if found is None:
            return
        for container in found.get("Containers") or {}:
            self.disconnect(container, name)
        with contextlib.suppress(Absent):
            self._call("remove_network", name)

    def volume(self, name: str) -> dict[str, Any] | None:
        return self._found("inspect_volume", name)

    def volumes(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        found: dict[str, Any] = self._call("volumes", filters={"label": _filters(labels)})
        return found["Volumes"] or []

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        self._call("create_volume", name, labels=dict(labels))

    def remove_volume(self, name: str) -> None:
        with contextlib.suppress(Absent):
            self._call("remove_volume", name)

    def _found(self, method: str, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._call(method, name)
        except Absent:
            return None
        return found


def _filters(labels: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" if value else name for name, value in labels.items()]


def _frames(connection: Any) -> Iterator[tuple[int, bytes]]:
    """As `frames`; what goes wrong with what the caller does with them is not the daemon's fault."""
    with _translated():
        yield from frames(connection)


def _converse(sock: Any, request: bytes) -> Answer:
    """Write the request and read both streams to their end."""
    streams: dict[int, list[bytes]] = {1: [], 2: []}
    with _translated(), contextlib.closing(sock):
        # The SDK hands out a read-only file over the connection; writing needs the socket below it.
        connection = getattr(sock, "_sock", sock)
        connection.sendall(request)
        for stream, data in frames(connection, seconds=ANSWER_SECONDS):
            streams[stream].append(data)
    return Answer(b"".join(streams[1]), b"".join(streams[2]))


class Conversation:
    """Lines to a command in a container, and its answers; the command ends with the connection."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._connection = getattr(sock, "_sock", sock)

    def ask(self, line: bytes) -> Answer:
        """One line there, one line back.

        Raises:
            Absent: The command has ended; whether it took the line is not known.
        """
        streams: dict[int, bytes] = {1: b"", 2: b""}
        with _translated():
            self._connection.sendall(line)
            while not streams[1].endswith(b"\n"):
                header = exactly(self._connection, 8)
                if not header:
                    raise Absent("DC-ENGINE-OBJECT-MISSING", streams[2].decode(errors="replace"))
                stream, size = struct.unpack(">BxxxL", header)
                streams[stream] += exactly(self._connection, size)
        if streams[1].startswith((b"OCI runtime exec failed", b"cannot exec in a stopped")):
            # The container ended before the command began; the runtime says so in its place.
            raise Absent("DC-ENGINE-OBJECT-MISSING", streams[1].decode(errors="replace").strip())
        return Answer(streams[1], streams[2])

    def close(self) -> None:
        self._sock.close()


_POOL = "non-overlapping IPv4 address pool"


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    from docker import errors  # noqa: PLC0415

    try:
        yield
    except errors.NotFound as error:
        if _POOL in _said(error):  # Docker answers 404 to this as well
            raise _refused(_said(error)) from error
        raise Absent("DC-ENGINE-OBJECT-MISSING", _said(error)) from error
    except errors.APIError as error:
        # One that its keeper is about to start again cannot be spoken to either.
        if any(words in _said(error) for words in ("is not running", "is restarting", "is not connected")):
            raise Absent("DC-ENGINE-OBJECT-MISSING", _said(error)) from error
        if error.status_code == HTTPStatus.CONFLICT:
            raise _conflict(_said(error)) from error
        raise _refused(_said(error)) from error
    except (errors.DockerException, OSError) as error:
        raise _unreachable(error) from error


def _said(error: Any) -> str:
    return str(error.explanation or error).strip()


def _conflict(said: str) -> InUseError:
    return InUseError(
        "DC-ENGINE-CONFLICT",
        "Docker refused the request: another one is under way, or the object is in use.",
        why=said,
        do="Run the command again; dcops status shows what runs.",
    )


def _refused(said: str) -> DcopsError:
    if _POOL in said:
        return PreconditionMissing(
            "DC-ENGINE-NETWORKS-FULL",
            "Docker has no addresses left for another network.",
            why=said,
            do="Remove networks that nobody uses (docker network prune), or add "
            '"default-address-pools" to /etc/docker/daemon.json.',
        )
    return PreconditionMissing(
        "DC-ENGINE-REFUSED",
        "Docker refused the request.",
        why=said,
        do="Look at the daemon's log (journalctl -u docker), then run the command again.",
    )


def _unreachable(error: BaseException) -> PreconditionMissing:
    """Absent, forbidden and down have three different fixes."""
    found = _errno(error)
    if found in (errno.EACCES, errno.EPERM):
        return PreconditionMissing(
            "DC-ENGINE-DENIED",
            "This user may not use Docker.",
            why=f"the daemon's socket is closed to you ({error})",
            do="sudo usermod -aG docker $USER, log in again; or use the process engine (--engine process).",
        )
    if found == errno.ENOENT and not (shutil.which("dockerd") or shutil.which("docker")):
        return PreconditionMissing(
            "DC-ENGINE-ABSENT",
            "Docker is not installed here.",
            why="there is neither a socket nor a docker command",
            do="make docker (installs it, as root), or use the process engine (--engine process).",
        )
    return PreconditionMissing(
        "DC-ENGINE-DOWN",
        "The Docker daemon does not answer.",
        why=str(error),
        do="sudo systemctl start docker, or make docker where there is no systemd.",
    )


def _errno(error: BaseException) -> int | None:
    """The system's error number, however deep the libraries have wrapped it."""
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, OSError) and one.errno is not None:
            return one.errno
        if isinstance(one, BaseException):
            waiting += [*one.args, one.__cause__, one.__context__]
    return None


def document(answer: Answer) -> Any:
    """The JSON document that a command answered with.

    Raises:
        PreconditionMissing: It answered nothing that can be read; its last words are in ``why``.
    """
    try:
        return json.loads(answer.output)
    except ValueError:
        said = answer.errors.decode(errors="replace").strip()[-2000:]
        raise _refused(said or "a helper container ended without an answer") from None
