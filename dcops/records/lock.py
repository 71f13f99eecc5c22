"""One operation at a time per environment, on whatever machine, and everyone can see whose."""

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
from dcops.records.holder import Holder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from dcops.records.lease import Lease

POLL_SECONDS = 0.05


def _told(text: bytes) -> dict[str, Any]:
    """What the file of a held lock says of its holder."""
    with contextlib.suppress(ValueError, TypeError):
        return dict(json.loads(text))
    return {"by": "unknown", "operation": "", "step": ""}


def actor() -> str:
    """``user@host`` of whoever runs this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class EnvironmentLock:
    """An flock for this machine, which the kernel frees when its holder dies, and a lease for the others.

    Args:
        path: The file of the flock, which names its holder; its directory is made when missing.
        environment: For messages.
        lease: The lease in the engine's control store; None where there is no store.
        tidy: Called whenever the lock was taken: nobody else of this machine works on the environment then.
    """

    def __init__(
        self,
        path: Path,
        environment: str,
        lease: Lease | None = None,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._tidy = tidy
        self._environment = environment
        self._lease = lease
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
        while (holder := self._try(operation)) is not None:
            if time.monotonic() >= deadline:
                raise self._held(holder)
            time.sleep(POLL_SECONDS)
        self._tidy()
        return self

    def _try(self, operation: str) -> dict[str, Any] | None:
        """Who else holds it; None when we do now."""
        descriptor = self._flocked()
        if descriptor is None:
            return self._flock_holder() or {}
        mine = Holder.here(actor(), self._path.parent, operation)
        try:
            other = self._lease.take(mine) if self._lease else None
        except BaseException:
            os.close(descriptor)
            raise
        if other is not None:
            os.close(descriptor)
            return other
        self._file, self._holder = descriptor, mine.told()
        try:
            self._write()
        except BaseException:
            self.release()
            raise
        return None

    def _flocked(self) -> int | None:
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
        return self._flocked()

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
        if self._lease:
            self._lease.step(name)

    def release(self) -> None:
        if self._file is not None:
            if self._lease:
                self._lease.release()
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    def holder(self) -> dict[str, Any] | None:
        """Who holds the lock, on whatever machine; None when nobody does.

        Returns:
            ``by``, ``host``, ``pid``, ``operation``, ``step``, ``since``, and of another machine's ``heard``:
            seconds since its last heartbeat.
        """
        found = self._flock_holder()
        return self._lease.holder() if found is None and self._lease else found

    def _flock_holder(self) -> dict[str, Any] | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            # The holder may be between truncating and writing; an empty text is then "unknown".
            text = os.pread(descriptor, 4096, 0)
            return _told(text)
        else:
            return None
        finally:
            os.close(descriptor)

    def _write(self) -> None:
        assert self._file is not None
        text = json.dumps(self._holder).encode()
        try:
            os.pwrite(self._file, text.ljust(512), 0)
        except OSError as error:
            error.filename = str(self._path)
            raise

    def _held(self, holder: dict[str, Any]) -> PreconditionMissing:
        step = f", at step '{holder['step']}'" if holder.get("step") else ""
        pid = f" (pid {holder['pid']})" if holder.get("pid") else ""
        heard = f"; last heard of {holder['heard']:.0f} s ago" if "heard" in holder else ""
        return PreconditionMissing(
            "DC-LOCK-HELD",
            f"another operation works on {self._environment}",
            why=f"{holder.get('by', 'unknown')}{pid} runs '{holder.get('operation', '')}'{step}{heard}",
            do="wait for it, or give --lock-wait SECONDS",
            holder=holder,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
