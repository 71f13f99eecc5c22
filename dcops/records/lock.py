"""One operation at a time per environment, and everyone can see whose."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Self

from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


def actor() -> str:
    """``user@host`` of whoever runs this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class EnvironmentLock:
    """An flock on a file that names its holder; the kernel frees it when the holder dies.

    Args:
        path: The lock file; its directory is made when missing.
        environment: For messages.
    """

    def __init__(self, path: Path, environment: str) -> None:
        self._path = path
        self._environment = environment
        self._file: int | None = None
        self._holder: dict[str, Any] = {}

    def acquire(self, operation: str, *, wait: float = 0.0) -> Self:
        """Take the lock or say who holds it.

        Args:
            operation: What the holder does, for others to read.
            wait: Seconds to wait for another holder.

        Raises:
            PreconditionMissing: Still held after ``wait`` seconds.
        """
        deadline = time.monotonic() + wait
        while (descriptor := self._try()) is None:
            if time.monotonic() >= deadline:
                raise self._held(self.holder() or {})
            time.sleep(0.05)
        self._file = descriptor
        self._holder = {
            "by": actor(),
            "pid": os.getpid(),
            "operation": operation,
            "step": "",
            "since": time.time(),
        }
        self._write()
        return self

    def _try(self) -> int | None:
        """The locked file; None when another one holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                return descriptor
        # A `down` removed the file while it was being locked: what is locked now is nobody's.
        os.close(descriptor)
        return self._try()

    def require_free(self, *, wait: float = 0.0) -> None:
        """Hold the lock for no time: what is read next is not in the middle of an operation.

        Raises:
            PreconditionMissing: Still held after ``wait`` seconds.
        """
        if self.holder() is not None:
            self.acquire("wait", wait=wait).release()

    def step(self, name: str) -> None:
        """Tell others which step runs."""
        self._holder["step"] = name
        self._write()

    def release(self) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    def holder(self) -> dict[str, Any] | None:
        """Who holds the lock: ``by``, ``pid``, ``operation``, ``step``, ``since``; None when nobody does."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            # The holder may be between truncating and writing; an empty text is then "unknown".
            text = os.pread(descriptor, 4096, 0)
            return dict(json.loads(text)) if text else {"by": "unknown", "operation": "", "step": ""}
        else:
            return None
        finally:
            os.close(descriptor)

    def _write(self) -> None:
        assert self._file is not None
        text = json.dumps(self._holder).encode()
        os.pwrite(self._file, text.ljust(512), 0)

    def _held(self, holder: dict[str, Any]) -> PreconditionMissing:
        step = f", at step '{holder['step']}'" if holder.get("step") else ""
        pid = f" (pid {holder['pid']})" if holder.get("pid") else ""
        return PreconditionMissing(
            "DC-LOCK-HELD",
            f"another operation works on {self._environment}",
            why=f"{holder.get('by', 'unknown')}{pid} runs '{holder.get('operation', '')}'{step}",
            do="wait for it, or give --lock-wait SECONDS",
            holder=holder,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
