"""An unexpected error: a report in a file, without secrets, and what to do with it."""

from __future__ import annotations

import os
import platform
import tempfile
import time
import traceback
from pathlib import Path

from dcops import __version__
from dcops.core.secret import redacted
from dcops.errors import DcopsError


def crashed(command: str, error: BaseException) -> DcopsError:
    """The error for a bug.

    Args:
        command: The words that named the command; its arguments may hold secrets and are left out.
    """
    where = _write(command, error)
    summary = redacted(f"{type(error).__name__}: {error}")
    return DcopsError(
        "DC-BUG",
        "something unexpected happened: this is a bug in dcops",
        why=summary,
        do=f"send the report {where}" if where else "run it again with --debug and send what it shows",
        report=where,
    )


def _write(command: str, error: BaseException) -> str:
    text = "\n".join(
        (
            f"dcops {__version__}, Python {platform.python_version()}, {platform.platform()}",
            f"command: {command}",
            time.strftime("at: %Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "",
            "".join(traceback.format_exception(error)),
        )
    )
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    directory = state / "dcops" / "reports"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=directory, prefix="report-", suffix=".txt")
        with os.fdopen(descriptor, "w") as file:
            file.write(redacted(text))
    except OSError:
        return ""
    return name
