"""Who holds an environment's lock: a process on some machine, and whether it still lives."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that works on an environment.

    Attributes:
        by: ``user@host``.
        machine: A boot of a machine and a namespace of its processes: within these a pid means something.
        started: When its system says that the pid was started, in a unit of its own: pids come again.
        directory: The state directory whose flock it has.
        since: Seconds since the epoch.
    """

    by: str
    host: str
    machine: str
    pid: int
    started: str
    directory: str
    operation: str
    step: str
    since: float

    @classmethod
    def here(cls, by: str, directory: Path, operation: str) -> Holder:
        """This process."""
        pid = os.getpid()
        place = str(directory.resolve())
        return cls(by, socket.gethostname(), machine(), pid, _started(pid), place, operation, "", time.time())

    def gone(self) -> bool:
        """Whether it is known to have ended; on another machine nobody can know."""
        if self.machine != machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's, so it is there
        return _started(self.pid) not in {"", self.started}

    def told(self) -> dict[str, Any]:
        """What others want to know of it."""
        hidden = {"machine", "started", "directory"}
        return {name: value for name, value in asdict(self).items() if name not in hidden}


def machine() -> str:
    """What tells apart where pids come from; without /proc the host's name has to do."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """The start of a process that is there; empty where the system does not say."""
    try:
        # Its name, in parentheses, may hold anything.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return ENDED if state in {"Z", "X"} else fields[18]
