"""The script behind `make docker`, with stand-ins for what it would install and start."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "docker"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a user is told to become root before this")

# An engine that answers once it was started, and knows the images that were imported.
STUBS = {
    "docker": """
case "$1 $2" in
"version "*) test -e "$STUBS/started" && echo 99.0 ;;
"image inspect") test -e "$STUBS/image" ;;
"import "*) cat >/dev/null; echo "$@" >"$STUBS/image" ;;
esac""",
    "dockerd": "touch $STUBS/started; echo dockerd says hello; sleep 2",
    "systemctl": "touch $STUBS/started",
    "apt-get": "",
    "debootstrap": 'echo "$@" >$STUBS/debootstrap-ran; mkdir -p "$4/usr/bin"',
}


def run(bin_: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": f"{bin_}:/usr/sbin:/usr/bin:/sbin:/bin",
        "STUBS": str(bin_),
        "TMPDIR": str(bin_),
        "DCOPS_DOCKERD_LOG": str(bin_ / "dockerd.log"),
        **variables,
    }
    return subprocess.run(
        ["sh", str(SCRIPT)], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    for name, text in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def test_what_is_ready_is_left_alone(stubs: Path) -> None:
    (stubs / "started").touch()
    (stubs / "image").touch()
    done = run(stubs)
    assert done.returncode == 0, done.stderr
    assert "engine 99.0 answers" in done.stderr
    assert not (stubs / "debootstrap-ran").exists()


def test_a_named_engine_that_is_down_is_not_replaced(stubs: Path) -> None:
    done = run(stubs, DOCKER_HOST="unix:///nonexistent.sock")
    assert done.returncode == 6
    assert "unset DOCKER_HOST" in done.stderr
    assert not (stubs / "started").exists()


@AS_ROOT
@pytest.mark.slow
def test_the_engine_is_started_and_the_image_made_once(stubs: Path) -> None:
    done = run(stubs, DCOPS_MIRROR="http://mirror.test/debian", DCOPS_BASE_IMAGE="base:1")
    assert done.returncode == 0, done.stderr
    asked = (stubs / "debootstrap-ran").read_text().split()
    assert asked[0] == "--variant=minbase"
    assert asked[2] == "bookworm"
    assert asked[4] == "http://mirror.test/debian"
    assert not Path(asked[3]).exists()
    assert (stubs / "image").read_text().split()[-1] == "base:1"
    (stubs / "debootstrap-ran").unlink()
    assert run(stubs).returncode == 0
    assert not (stubs / "debootstrap-ran").exists()


@AS_ROOT
@pytest.mark.slow
@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="there systemd starts it")
def test_a_daemon_that_ends_at_once_shows_its_last_words(stubs: Path) -> None:
    (stubs / "dockerd").write_text("#!/bin/sh\necho no cgroups here >&2\nexit 1\n")
    done = run(stubs)
    assert done.returncode == 6
    assert "no cgroups here" in done.stderr
    assert str(stubs / "dockerd.log") in done.stderr


@AS_ROOT
def test_a_bootstrap_that_fails_leaves_no_image_and_no_directory(stubs: Path) -> None:
    (stubs / "started").touch()
    (stubs / "debootstrap").write_text("#!/bin/sh\necho cannot reach the mirror\nexit 1\n")
    done = run(stubs)
    assert done.returncode == 6
    assert "cannot reach the mirror" in done.stderr
    assert not (stubs / "image").exists()
    assert [each for each in stubs.iterdir() if each.is_dir()] == []


@AS_ROOT
def test_a_user_is_told_to_become_root(stubs: Path) -> None:
    (stubs / "id").write_text("#!/bin/sh\necho 1000\n")
    (stubs / "id").chmod(0o755)
    done = run(stubs)
    assert done.returncode == 6
    assert "sudo make docker" in done.stderr
