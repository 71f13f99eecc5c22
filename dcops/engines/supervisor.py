"""The keeper of the process engine: one supervisord for an environment, spoken to over its socket."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcops.engines.interpreter import base_interpreter
from dcops.engines.store import LocalStore
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LAUNCHER = Path(__file__).with_name("launcher.py")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

ALREADY_STARTED, NOT_RUNNING, ALREADY_ADDED, BAD_NAME = 60, 70, 90, 10
ALIVE = frozenset({"STARTING", "RUNNING", "STOPPING"})

_MAIN = """\
[supervisord]
logfile = {directory}/supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 2
pidfile = {directory}/supervisord.pid
childlogdir = {directory}
{user}
[unix_http_server]
file = {socket}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = programs/*.conf
"""

# An exit 0 stays down, anything else is started again and again with growing pauses. A stop must not reach
# the tools of a draining instance before it has ended their turns, so only SIGKILL goes to the group.
_PROGRAM = """\
[program:{name}]
command = {command}
autostart = false
autorestart = unexpected
exitcodes = 0
startsecs = 1
startretries = 1000000
stopasgroup = false
killasgroup = true
stopwaitsecs = {stop_seconds}
redirect_stderr = true
stdout_logfile = {log}
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
"""


@dataclass(frozen=True, slots=True)
class Program:
    """Something to keep running.

    Attributes:
        name: Unique in the environment.
        command: Absolute path of the executable first.
        environment: All of it.
        directory: Where it starts.
        log: Where its output goes.
        stop_seconds: Between SIGTERM and SIGKILL.
        record: What the engine wants to know of it later; JSON.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    log: str
    stop_seconds: float
    record: Mapping[str, Any] = field(default_factory=dict)


SHUTDOWN_STATE = 6  # supervisor.xmlrpc.Faults


class KeeperDown(PreconditionMissing):
    """supervisord does not answer."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "DC-ENVIRONMENT-DOWN",
            "the environment is down: its keeper, supervisord, does not answer",
            why=why,
            do="dcops start",
        )


class Supervisor:
    """One supervisord and its programs.

    Args:
        directory: Its own: configuration, log, pid and ``programs/``.
        socket: Path of its Unix socket.
    """

    def __init__(self, directory: Path, socket: Path) -> None:
        self._directory = directory
        self._socket = socket
        self._files = LocalStore(directory, directory)

    def running(self) -> bool:
        with contextlib.suppress(KeeperDown):
            return bool(self._call("getState"))
        return False

    def start(self) -> None:
        """Start supervisord when it does not run; it outlives us.

        Raises:
            PreconditionMissing: It did not start; the message has what it said.
        """
        if self.running():
            return
        self._end_orphan()
        user = f"user = {os.getuid()}\n" if os.getuid() == 0 else ""
        main = _MAIN.format(directory=self._directory, socket=self._socket, user=user)
        self._files.write({"supervisord.conf": main.encode()})
        # Nothing of the operator's environment, but where Python finds supervisor and its libraries.
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", self._directory / "supervisord.conf"],
            env={"PATH": PATH, "LANG": "C.UTF-8"} | kept,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode or not self.running():
            raise PreconditionMissing(
                "DC-KEEPER",
                "supervisord, the keeper of the process engine, did not start",
                why="\n".join((done.stdout + done.stderr).strip().splitlines()[-5:]),
                do=f"look into {self._directory / 'supervisord.log'}",
            )

    def shutdown(self, *, last: str) -> None:
        """Stop all programs side by side, the one named ``last`` after the others, then supervisord."""
        names = [name for name in self.states() if name != last]
        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(self._end, names))
        self._end(last)
        with contextlib.suppress(KeeperDown):
            pid = self._call("getPID")
            self._call("shutdown")
            # Its socket and pid file go a moment before it does.
            _until(lambda: not self._is_ours(pid), 30)
        self._end_orphan()

    def programs(self) -> dict[str, dict[str, Any]]:
        """The record of every program by name."""
        records = {}
        for file in sorted((self._directory / "programs").glob("*.json")):
            # Another command may remove one while we look.
            with contextlib.suppress(FileNotFoundError):
                records[file.stem] = json.loads(file.read_bytes())["record"]
        return records

    def launched(self, name: str) -> dict[str, Any] | None:
        """How a program is started: its ``environment`` and ``directory``."""
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((self._directory / "programs" / f"{name}.json").read_bytes())
            return found
        return None

    def states(self) -> dict[str, dict[str, Any]]:
        """What supervisord says of each program, by name; empty when it does not run."""
        with contextlib.suppress(KeeperDown):
            return {info["name"]: info for info in self._call("getAllProcessInfo")}
        return {}

    def starts(self, name: str) -> int:
        """How often the program was started since `run` or `revive`."""
        with contextlib.suppress(FileNotFoundError):
            return (self._directory / "programs" / f"{name}.starts").stat().st_size
        return 0

    def runs(self, program: Program) -> bool:
        """Whether the program runs exactly so already."""
        files = self._program_files(program)
        state = self.states().get(program.name, {}).get("statename")
        return state in ("STARTING", "RUNNING") and self._files.read(*files) == files

    def run(self, program: Program) -> None:
        """Start a program, instead of another one of its name."""
        self._end(program.name)
        self._tolerate("removeProcessGroup", program.name, faults=(BAD_NAME,))
        self._files.write(self._program_files(program))
        self._call("reloadConfig")
        self._tolerate("addProcessGroup", program.name, faults=(ALREADY_ADDED,))
        self.revive(program.name)

    def revive(self, name: str) -> None:
        """Start a program again as it was configured, now also when it waits before its next attempt."""
        if self.states().get(name, {}).get("statename") in ("STARTING", "RUNNING"):
            return
        self._end(name)
        self._files.write({f"programs/{name}.starts": b""})
        self._tolerate("startProcess", name, False, faults=(ALREADY_STARTED,))

    def stop(self, name: str, *, remove: bool) -> None:
        """SIGTERM, its time, SIGKILL; returns when it is gone."""
        if self.running():
            self._end(name)
        if remove:
            files = (f"programs/{name}{suffix}" for suffix in (".conf", ".json", ".starts"))
            self._files.write(dict.fromkeys(files))
            if self.running():
                self._tolerate("removeProcessGroup", name, faults=(BAD_NAME,))
                self._call("reloadConfig")

    def kill(self, name: str) -> None:
        """SIGKILL to the process itself, as a crash would."""
        self._tolerate("signalProcess", name, "KILL", faults=(NOT_RUNNING, BAD_NAME))

    def _program_files(self, program: Program) -> dict[str, bytes | None]:
        file = self._directory / "programs" / f"{program.name}.json"
        launched = {
            "command": program.command,
            "environment": dict(program.environment),
            "directory": program.directory,
            "starts": str(file.with_suffix(".starts")),
            "keeper": str(self._directory / "supervisord.pid"),
            "record": dict(program.record),
        }
        words = (*death_signal(), base_interpreter(), "-I", "-S", str(LAUNCHER), str(file))
        conf = _PROGRAM.format(
            name=program.name,
            command=shlex.join(words),
            stop_seconds=int(program.stop_seconds + 5),
            log=program.log,
        )
        return {
            f"programs/{program.name}.json": json.dumps(launched, sort_keys=True).encode(),
            f"programs/{program.name}.conf": conf.encode(),
        }

    def _end(self, name: str) -> None:
        # One that has just crashed counts as not running, and is started again a moment later.
        while not _down(self.states().get(name)):
            self._tolerate("stopProcess", name, faults=(NOT_RUNNING, BAD_NAME), seconds=3600)
            time.sleep(0.02)

    def _end_orphan(self) -> None:
        """End a supervisord of ours that cannot be reached, as when its socket was deleted."""
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int((self._directory / "supervisord.pid").read_text())
            for sent, seconds in ((signal.SIGTERM, 60), (signal.SIGKILL, 5)):
                if self._is_ours(pid):
                    os.kill(pid, sent)
                    _until(lambda: not self._is_ours(pid), seconds)
        self._socket.unlink(missing_ok=True)

    def _is_ours(self, pid: int) -> bool:
        """Whether it is alive and our supervisord: a pid file outlives its process, and pids come again."""
        if Path("/proc/self").exists():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                return os.fsencode(self._directory / "supervisord.conf") in words
            return False
        asked = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        shown = subprocess.run(asked, capture_output=True, text=True, check=False)
        return str(self._directory / "supervisord.conf") in shown.stdout

    def _call(self, method: str, *arguments: Any, seconds: float = 30) -> Any:
        transport = _Transport(str(self._socket), seconds)
        try:
            with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport) as server:
                return getattr(server.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException) as error:
            raise KeeperDown(str(error)) from error
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == SHUTDOWN_STATE:
                raise KeeperDown("it is shutting down") from fault
            raise

    def _tolerate(self, method: str, *arguments: Any, faults: tuple[int, ...], seconds: float = 30) -> None:
        try:
            self._call(method, *arguments, seconds=seconds)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in faults:
                raise


@functools.cache
def death_signal() -> tuple[str, ...]:
    """Command prefix that ends a program with its parent; empty where the system has none."""
    tool = shutil.which("setpriv", path=PATH)
    if tool is None:
        return ()
    works = subprocess.run([tool, "--pdeathsig", "KILL", "true"], capture_output=True, check=False)
    return () if works.returncode else (tool, "--pdeathsig", "KILL")


def _down(info: Mapping[str, Any] | None) -> bool:
    if info is None or info["statename"] in ("STOPPED", "FATAL"):
        return True
    return bool(info["statename"] == "EXITED" and info["exitstatus"] == 0)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__()
        self._path = path
        self._seconds = seconds

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002 - there is but one
        return _Connection(self._path, self._seconds)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
