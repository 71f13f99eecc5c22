"""Every error that a user can meet: what happened, why, what to do, and an exit code."""

from __future__ import annotations

import errno
from typing import Any


class DcopsError(Exception):
    """An expected failure.

    Args:
        code: Stable identifier such as ``DC-LOCK-HELD``; users search for it and scripts match it.
        what: One sentence: what happened.
        why: The reason, as far as it is known.
        do: The next command or action.
        **detail: JSON values that scripts may want (``file``, ``line``, ``cause`` ...).
    """

    exit_code = 1

    def __init__(self, code: str, what: str, *, why: str = "", do: str = "", **detail: Any) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.why = why
        self.do = do
        self.detail = detail

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "what": self.what,
            "why": self.why,
            "do": self.do,
            "exit_code": self.exit_code,
            **self.detail,
        }


class UsageError(DcopsError):
    """Wrong arguments or value; nothing was changed."""

    exit_code = 2


class OperationFailed(DcopsError):
    """A deploy or rollback failed and the earlier state serves; ``cause`` says what failed."""

    exit_code = 3

    def __init__(
        self, code: str, what: str, *, cause: str, why: str = "", do: str = "", **detail: Any
    ) -> None:
        super().__init__(code, what, why=why, do=do, cause=cause, **detail)
        self.cause = cause


class NotRestored(DcopsError):
    """A failure after which the earlier state could not be put back."""

    exit_code = 4


class CheckFailed(DcopsError):
    """A check of ``verify`` or ``backup verify`` failed."""

    exit_code = 5


class PreconditionMissing(DcopsError):
    """Something that must be there is not: lock, engine, valid files, a fresh plan, a confirmation."""

    exit_code = 6


class LockLost(PreconditionMissing):
    """Another operator took the lock over: nothing more of this one is written, so nothing is taken back."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "DC-LOCK-LOST",
            "another operator took over",
            why=f"this one was taken for dead; what it had begun is theirs to finish or to take back ({why})",
            do="dcops status",
        )


FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a system says where there is no space left, or a quota is used up."""


class DiskFull(PreconditionMissing):
    """There is no space for what must be written."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "DC-DISK-FULL",
            "the disk is full",
            why=why,
            do="free some space there, then run the command again",
        )


def disk_full(error: BaseException) -> DiskFull | None:
    """An error of the system as one for users, where no space is left or a quota is used up."""
    if not isinstance(error, OSError):
        return None
    # Where a whole tree was copied the reasons are texts, one for each file.
    told = any(f"[Errno {number}]" in str(error) for number in FULL)
    return DiskFull(str(error)[:500]) if error.errno in FULL or told else None


class NotFound(DcopsError):
    """A named thing does not exist."""

    exit_code = 7


class NotAcknowledged(DcopsError):
    """Applied, but an instance did not acknowledge it in time."""

    exit_code = 9


class PartialBackup(DcopsError):
    """A backup was made and marked, with files that could not be read."""

    exit_code = 10


class Interrupted(DcopsError):
    """Stopped by a signal and undone cleanly.

    Args:
        signal_number: 2 for SIGINT, 15 for SIGTERM; the exit code is 128 plus it.
    """

    def __init__(self, what: str, *, signal_number: int, why: str = "", do: str = "") -> None:
        super().__init__("DC-INTERRUPTED", what, why=why, do=do)
        self.exit_code = 128 + signal_number
