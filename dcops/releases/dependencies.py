"""Locked dependencies, installed once for a lock and a platform into a content-addressed cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dcops.errors import OperationFailed, PreconditionMissing
from dcops.files import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.core.protocols import Platform, Say

_FORMAT = 1
_TIME_LIMIT = 900  # seconds; a slow network must not look like a hang for ever


def install(lock: Path, platform: Platform, cache: Path, say: Say) -> tuple[Path, str]:
    """Install what a lock file pins, or find it installed already.

    Several may do so at the same time; one that is killed leaves nothing that is ever used.

    Args:
        lock: Requirements with hashes.
        platform: The interpreter and system that it must run on.
        cache: Holds one directory for each (lock, platform); it is made when absent.
        say: Takes a line when something is installed.

    Returns:
        The directory with the packages, compiled when this interpreter is of the platform's version; its id.

    Raises:
        OperationFailed: ``uv`` could not install it (DC-DEPENDENCIES, cause ``build``).
        PreconditionMissing: There is no ``uv`` (DC-UV-MISSING).
    """
    content = lock.read_bytes()
    key = _key(content, platform)
    final = cache / key
    if final.is_dir():
        return final, key
    cache.mkdir(parents=True, exist_ok=True)
    with _only_one(cache, key):
        if not final.is_dir():
            for left in cache.glob(f".{key}.*.tmp"):  # of an install that was killed
                shutil.rmtree(left, ignore_errors=True)
            _install(content, platform, final, say)
    return final, key


def _key(content: bytes, platform: Platform) -> str:
    parts = {
        "format": _FORMAT,
        "lock": hashlib.sha256(content).hexdigest(),
        "python": platform.python,
        "machine": platform.machine,
        "system": platform.system,
        "libc": platform.libc,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def _only_one(cache: Path, key: str) -> Iterator[None]:
    """A lock that the kernel frees when its holder dies."""
    with (cache / f".{key}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(content: bytes, platform: Platform, final: Path, say: Say) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=final.parent))
    try:
        temporary.chmod(0o755)
        packages = [line for line in content.splitlines() if line.strip() and line[:1] not in b"# \t"]
        if packages:
            name = f"Python {platform.python}, {platform.system} {platform.machine} {platform.libc}".rstrip()
            say(f"installing {len(packages)} locked packages for {name}")
            _run_uv(content, platform, temporary)
            _compile(platform, temporary)
        os.sync()
        temporary.rename(final)
        sync_directory(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _run_uv(content: bytes, platform: Platform, target: Path) -> None:
    command = [
        *(_uv(), "pip", "install", "--quiet", "--no-progress", "--python", sys.executable),
        *("--target", str(target), "--link-mode", "copy"),
        *("--require-hashes", "--only-binary", ":all:"),
        *("--python-version", platform.python, "--python-platform", _platform_name(platform)),
        *("--requirements", "-"),
    ]
    try:
        result = subprocess.run(command, input=content, capture_output=True, timeout=_TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise _failed(f"uv did not end within {_TIME_LIMIT} s", "") from None
    if result.returncode:
        raise _failed(f"uv exited with {result.returncode}", result.stderr.decode(errors="replace"))


def _compile(platform: Platform, directory: Path) -> None:
    """Compile with hashes that nobody checks: the directory never changes, and copies lose their times."""
    if platform.python.split(".")[:2] != [str(part) for part in sys.version_info[:2]]:
        return
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    # Its exit code says nothing: packages carry files that are for other versions of Python.
    subprocess.run([*command, str(directory)], capture_output=True, check=False)


def _platform_name(platform: Platform) -> str:
    if platform.system == "darwin":
        return f"{'aarch64' if platform.machine == 'arm64' else platform.machine}-apple-darwin"
    return f"{platform.machine}-unknown-linux-{platform.libc or 'gnu'}"


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
    if found is None:
        raise PreconditionMissing(
            "DC-UV-MISSING",
            "there is no uv, which installs an implementation's dependencies",
            why=f"neither {beside} nor uv on the PATH is there",
            do="install dcops with its dependencies: pip install dcops",
        )
    return found


def _failed(what: str, output: str) -> OperationFailed:
    lines = output.strip().splitlines()[-15:]
    return OperationFailed(
        "DC-DEPENDENCIES",
        f"the locked dependencies could not be installed: {what}",
        cause="build",
        why="\n".join(lines),
        do="check the lock file and the network; make a new lock: "
        "uv pip compile --universal --generate-hashes requirements.in -o requirements.lock",
        log=lines,
    )
