"""The Python that runs instances on this host."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
from pathlib import Path

from dcops.core.protocols import Platform

_QUESTION = """
import json, os, platform, sys, sysconfig
print(json.dumps({
    "python": "%d.%d" % sys.version_info[:2],
    "machine": platform.machine(),
    "system": sys.platform,
    "libc": "musl" if "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or "") else "gnu",
    "identity": [sys.version, sysconfig.get_config_var("SOABI"), os.path.realpath(sys.executable)],
}))
"""


def base_interpreter() -> str:
    """The interpreter behind our virtual environment: an instance must not see what dcops has installed."""
    return str(Path(getattr(sys, "_base_executable", "") or sys.executable).resolve())


@functools.cache
def platform_of(python: str) -> Platform:
    """What an interpreter says of itself; two checkouts that use the same one get the same answer."""
    asked = [python, "-I", "-S", "-c", _QUESTION]
    said = json.loads(subprocess.run(asked, capture_output=True, timeout=30, check=True).stdout)
    return Platform(
        python=said["python"],
        machine=said["machine"],
        system=said["system"],
        libc=said["libc"] if said["system"] == "linux" else "",
        base="sha256:" + hashlib.sha256(json.dumps(said["identity"]).encode()).hexdigest(),
    )
