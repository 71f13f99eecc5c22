from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dcops.engines.docker_daemon import Absent, Answer, BuildError, Daemon, document
from dcops.engines.docker_images import Recipe
from dcops.errors import PreconditionMissing


def code_at(host: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(PreconditionMissing) as caught:
        Daemon().version()
    assert caught.value.do
    return caught.value.code


def test_a_socket_that_nobody_answers_is_an_engine_that_is_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "d.sock"))
    assert code_at(f"unix://{tmp_path}/d.sock", monkeypatch) == "DC-ENGINE-DOWN"
    assert code_at("tcp://127.0.0.1:1", monkeypatch) == "DC-ENGINE-DOWN"


def test_no_socket_is_absent_or_down_by_whether_docker_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_at(f"unix://{tmp_path}/none.sock", monkeypatch) == "DC-ENGINE-DOWN"
    docker.unlink()
    assert code_at(f"unix://{tmp_path}/none.sock", monkeypatch) == "DC-ENGINE-ABSENT"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without rights")
def test_a_closed_socket_is_a_matter_of_permission(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "d.sock"))
        listening.listen()
        # All is imported before the step down: the interpreter may lie where that user cannot read.
        code = (
            "import os, docker, docker.utils, encodings.idna\n"
            "from dcops.engines.docker_daemon import Daemon\nfrom dcops.errors import DcopsError\n"
            "os.setuid(65534)\n"
            "try: Daemon().version()\n"
            "except DcopsError as error: print(error.code)"
        )
        root = Path(__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"DOCKER_HOST": f"unix://{tmp_path}/d.sock", "PYTHONPATH": str(root), "HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.stdout.strip() == "DC-ENGINE-DENIED", done.stderr


@pytest.mark.slow
def test_a_daemon_that_hangs_is_given_up_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "d.sock"))
        listening.listen()
        assert code_at(f"unix://{tmp_path}/d.sock", monkeypatch) == "DC-ENGINE-DOWN"


def test_an_answer_that_is_no_document_shows_the_last_words() -> None:
    with pytest.raises(PreconditionMissing) as caught:
        document(Answer(b"", b"no space left on device"))
    assert "no space left" in caught.value.why


@pytest.mark.docker
def test_what_is_not_there(docker_daemon: Daemon) -> None:
    assert docker_daemon.container("dcops-test-none") is None
    assert docker_daemon.image("dcops-test-none:1") is None
    docker_daemon.remove("dcops-test-none")
    docker_daemon.remove_image("dcops-test-none:1")
    docker_daemon.remove_network("dcops-test-none")
    docker_daemon.remove_volume("dcops-test-none")
    docker_daemon.stop("dcops-test-none")
    with pytest.raises(Absent):
        docker_daemon.start("dcops-test-none")


@pytest.mark.docker
def test_a_command_gets_its_request_and_both_streams_come_back(docker_daemon: Daemon) -> None:
    command = ["python3", "-c", "import sys; line = input(); print(len(line)); sys.exit('to stderr')"]
    config = {"Image": "dcops-base:bookworm", "Cmd": command}
    answer = docker_daemon.run(f"dcops-test-run-{os.getpid()}", config, b"x" * 3_000_000 + b"\n")
    assert answer == Answer(b"3000000\n", b"to stderr\n")
    assert docker_daemon.container(f"dcops-test-run-{os.getpid()}") is None


@pytest.mark.docker
def test_a_refused_build_tells_the_builders_lines(docker_daemon: Daemon) -> None:
    recipe = Recipe("FROM dcops-base:bookworm\nRUN echo it broke here; false\n", {})
    with recipe.context() as stream, pytest.raises(BuildError) as caught:
        docker_daemon.build(stream, "dcops-test-refused:1")
    assert "it broke here" in caught.value.lines
    assert docker_daemon.image("dcops-test-refused:1") is None
