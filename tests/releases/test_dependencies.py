from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dcops.core.protocols import Platform
from dcops.errors import OperationFailed, PreconditionMissing
from dcops.releases import dependencies
from dcops.releases.context import build_context, load_release
from dcops.releases.dependencies import install

HERE = Platform(".".join(map(str, sys.version_info[:2])), os.uname().machine, "linux", "gnu", "base")
# Runs in place of uv: notes that it ran, and "installs" one package.
FAKE_UV = """#!/bin/sh
echo "$@" >> "{log}"
while [ "$1" != --target ]; do shift; done
cat > "$2/requirements.txt"
echo 'x = 1' > "$2/package.py"
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    (tmp_path / "requirements.lock").write_text("# comment\npackage==1.0 \\\n    --hash=sha256:00\n")
    return tmp_path / "requirements.lock"


@pytest.fixture
def uv_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "uv"
    script.write_text(FAKE_UV.format(log=tmp_path / "uv.log"))
    script.chmod(0o755)
    monkeypatch.setattr(dependencies, "_uv", lambda: str(script))
    return tmp_path / "uv.log"


def test_one_lock_and_platform_is_installed_once_and_compiled(
    lock: Path, uv_log: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    path, key = install(lock, HERE, tmp_path / "cache", said.append)
    assert install(lock, HERE, tmp_path / "cache", said.append) == (path, key)
    assert len(uv_log.read_text().splitlines()) == len(said) == 1
    assert (path / "requirements.txt").read_bytes() == lock.read_bytes()
    assert list((path / "__pycache__").glob("package.*.pyc"))
    assert path.name == key


def test_each_platform_and_lock_has_its_own(lock: Path, uv_log: Path, tmp_path: Path) -> None:
    other = Platform("3.99", "aarch64", "linux", "musl", "base")
    paths = {install(lock, each, tmp_path / "cache", print)[0] for each in (HERE, other)}
    lock.write_text("package==1.1 --hash=sha256:01\n")
    paths.add(install(lock, HERE, tmp_path / "cache", print)[0])
    assert len(paths) == 3
    commands = uv_log.read_text().splitlines()
    assert "--python-version 3.99 --python-platform aarch64-unknown-linux-musl" in commands[1]
    assert all("--require-hashes --only-binary :all:" in command for command in commands)
    # Code for another version of Python is left for that one to compile.
    assert sum((path / "__pycache__").exists() for path in paths) == 2


def test_several_at_once_install_once(lock: Path, uv_log: Path, tmp_path: Path) -> None:
    results: list[tuple[Path, str]] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(install(lock, HERE, tmp_path / "cache", lambda _: None))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(results)) == 1
    assert len(results) == 4
    assert len(uv_log.read_text().splitlines()) == 1


def test_what_a_killed_install_left_is_never_used_and_removed(
    lock: Path, uv_log: Path, tmp_path: Path
) -> None:
    key = install(lock, HERE, tmp_path / "first", print)[1]
    left = tmp_path / "cache" / f".{key}.killed.tmp"
    left.mkdir(parents=True)
    path, _ = install(lock, HERE, tmp_path / "cache", print)
    assert (path / "package.py").exists()
    assert not left.exists()
    assert uv_log.exists()


SLOW_INSTALL = """
import sys, subprocess
from pathlib import Path
from dcops.core.protocols import Platform
from dcops.releases import dependencies
dependencies._uv = lambda: sys.argv[1]
platform = Platform(*sys.argv[2:6], "base")
dependencies.install(Path(sys.argv[6]), platform, Path(sys.argv[7]), print)
"""


def test_an_install_that_is_killed_does_no_harm(lock: Path, uv_log: Path, tmp_path: Path) -> None:
    (tmp_path / "slow").write_text(f"#!/bin/sh\necho begun > '{tmp_path}/begun'\nexec sleep 60\n")
    (tmp_path / "slow").chmod(0o755)
    platform = (HERE.python, HERE.machine, HERE.system, HERE.libc)
    arguments = [str(tmp_path / "slow"), *platform, str(lock), str(tmp_path / "cache")]
    killed = subprocess.Popen([sys.executable, "-c", SLOW_INSTALL, *arguments], start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert list((tmp_path / "cache").glob(".*.tmp"))
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait(10)
    path, _ = install(lock, HERE, tmp_path / "cache", lambda _: None)
    assert (path / "package.py").exists()
    assert not list((tmp_path / "cache").glob(".*.tmp"))
    assert len(uv_log.read_text().splitlines()) == 1


def test_no_dependencies_need_no_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock").write_text("# nothing\n\n")
    monkeypatch.setattr(dependencies, "_uv", lambda: pytest.fail("uv was called"))
    path, _ = install(tmp_path / "lock", HERE, tmp_path / "cache", print)
    assert list(path.iterdir()) == []


def test_a_failed_install_leaves_nothing_and_shows_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("no-hash==1.0\n")
    with pytest.raises(OperationFailed) as caught:
        install(tmp_path / "lock", HERE, tmp_path / "cache", lambda _: None)
    assert (caught.value.code, caught.value.cause, caught.value.exit_code) == ("DC-DEPENDENCIES", "build", 3)
    assert "no-hash" in caught.value.why
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_without_uv_it_says_what_to_install(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PreconditionMissing, match="there is no uv"):
        install(lock, HERE, tmp_path / "cache", lambda _: None)


@pytest.mark.slow
def test_a_real_lock_is_installed_importable_and_compiled(implementation: Path, tmp_path: Path) -> None:
    locked = subprocess.run(
        [
            dependencies._uv(),
            "pip",
            "compile",
            "--python",
            sys.executable,
            "-q",
            "--generate-hashes",
            "--no-emit-index-url",
            "--no-header",
            "-",
        ],
        input=b"click\n",
        capture_output=True,
        check=True,
    ).stdout
    (implementation / "requirements.lock").write_bytes(locked)
    release = load_release(implementation)
    context = build_context(release, implementation, HERE, tmp_path / "cache", lambda _: None)
    program = "import click; print(click.__file__, click.__cached__, sep=chr(10))"
    output = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(context.dependencies)!r}); {program}",
        ],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.splitlines()
    assert all(path.startswith(str(context.dependencies)) for path in output)
    assert Path(output[1]).exists()
    assert (context.release, context.name, context.dockerfile) == (release.id, "mine", None)
