from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.cli.wiring import cache_directory
from dcops.core.protocols import Platform
from dcops.environments import Environments
from dcops.errors import PreconditionMissing, UsageError
from dcops.operations.init import init
from dcops.projects import find_project
from dcops.releases.context import load_release
from dcops.releases.dependencies import install

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Platform(".".join(map(str, sys.version_info[:2])), os.uname().machine, "linux", "gnu", "base")


def test_what_is_written_is_a_valid_project(tmp_path: Path) -> None:
    written = init(tmp_path / "new")
    assert all(path.is_file() for path in written)
    assert not any(path.name.endswith(".template") for path in written)
    environments = Environments(find_project(tmp_path / "new"))
    assert environments.names() == ["dev", "production"]
    for name in environments.names():
        environment = environments.load(name)
        release = load_release(environment.implementation)
        assert not release.implementation.roles
        environments.check_toggles(name, release.schema)
    assert environments.load("production").protected


def test_a_lock_has_hashes_and_no_address(tmp_path: Path) -> None:
    init(tmp_path)
    lock = (tmp_path / "my_agent" / "requirements.lock").read_text()
    assert lock.count("--hash=sha256:") > lock.count("==") > 5
    assert "http" not in lock


def test_existing_toggles_are_taken_over(tmp_path: Path) -> None:
    values = {"use_streaming_bash": True, "max_tokens": 64000, "api_model": "claude-sonnet-5", "off": "yes"}
    (tmp_path / "feature_toggles.json").write_text(json.dumps(values))
    init(tmp_path / "new", tmp_path / "feature_toggles.json")
    environments = Environments(find_project(tmp_path / "new"))
    assert environments.load("dev").toggles == environments.load("production").toggles == values
    environments.check_toggles("dev", load_release(tmp_path / "new" / "my_agent").schema)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "environments" / "dev").mkdir(parents=True)
    (tmp_path / "environments" / "dev" / "toggles.yaml").write_text("mine: true\n")
    with pytest.raises(PreconditionMissing) as caught:
        init(tmp_path)
    assert caught.value.detail["files"] == ["environments/dev/toggles.yaml"]
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "environments/dev/toggles.yaml"
    ]


@pytest.mark.parametrize("content", [None, "[]"])
def test_bad_toggles_write_nothing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "toggles.json").write_text(content)
    with pytest.raises(UsageError) as caught:
        init(tmp_path / "new", tmp_path / "toggles.json")
    assert caught.value.code == "DC-TOGGLES-FILE"
    assert not (tmp_path / "new").exists()


class Running:
    """The written implementation, started as an engine would start it."""

    def __init__(self, address: Path, process: subprocess.Popen[bytes]) -> None:
        self.address = address
        self.process = process

    def request(
        self, method: str, path: str, *, token: str = "", host: str = "localhost", body: Any = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(host)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.address))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        response = connection.getresponse()
        result = response.status, response.read()
        connection.close()
        return result


def grant(control: Path, *, hosts: tuple[str, ...] = (), until: str | None = None) -> None:
    entry = {"sha256": hashlib.sha256(b"good").hexdigest(), "until": until}
    (control / "access.json").write_text(json.dumps({"tokens": [entry], "hosts": hosts}))


@contextmanager
def running(project: Path, control: Path, address: Path) -> Iterator[Running]:
    dependencies, _ = install(
        project / "my_agent" / "requirements.lock", HERE, cache_directory() / "dependencies", lambda _: None
    )
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{dependencies}:{project}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DCOPS_CONTROL_DIR": str(control),
        "DCOPS_LISTEN": f"unix:{address}",
        "DCOPS_RELEASE": "release-1",
        "DCOPS_INSTANCE": "instance-1",
    }
    process = subprocess.Popen([sys.executable, "-m", "my_agent"], env=variables, cwd=control)
    instance = Running(address, process)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                assert instance.request("GET", "/readyz")[0] == 200
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield instance
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.slow
def test_the_implementation_keeps_the_container_contract(tmp_path: Path) -> None:
    init(tmp_path / "project")
    control = tmp_path / "control"
    control.mkdir()
    document = {"generation": 4, "digest": "d4", "values": {"shout": True}}
    (control / "toggles.json").write_text(json.dumps(document))
    (control / "role.json").write_text('{"role": "serving", "for_seconds": null}')
    grant(control)
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as short,  # a socket's path holds 107 bytes
        running(tmp_path / "project", control, Path(short) / "s") as instance,
    ):
        for path in ("/healthz", "/readyz"):
            assert instance.request("GET", path)[0] == 200
        for path in ("/version", "/v1/instance", "/nowhere"):
            assert instance.request("GET", path)[0] == 401
            assert instance.request("GET", path, token="bad")[0] == 401
            assert instance.request("GET", path, token="good", host="elsewhere.example")[0] == 403
        assert json.loads(instance.request("GET", "/version", token="good")[1]) == {
            "release": "release-1",
            "implementation": "my_agent",
        }
        assert json.loads(instance.request("GET", "/v1/instance", token="good")[1]) == {
            "instance": "instance-1",
            "release": "release-1",
            "role": "serving",
            "role_acknowledged": "serving",
            "toggles": {"generation": 4, "digest": "d4", "error": None},
            "running_turns": 0,
            "draining_done": False,
        }
        answer = instance.request("POST", "/v1/answer", token="good", body={"input": "hi"})
        assert json.loads(answer[1]) == {"text": "YOU SAID: HI"}
        grant(control, hosts=("elsewhere.example",), until="2000-01-01T00:00:00+00:00")
        assert instance.request("GET", "/version", token="good", host="elsewhere.example")[0] == 401
        grant(control, hosts=("elsewhere.example",), until="2999-01-01T00:00:00+00:00")
        assert instance.request("GET", "/version", token="good", host="elsewhere.example:8100")[0] == 200
        instance.process.send_signal(signal.SIGTERM)
        assert instance.process.wait(20) == 0
