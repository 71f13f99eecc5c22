from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

import dcops.scripted_model

from .conftest import HTTP, Caller, eventually, start

PACKAGE = Path(dcops.scripted_model.__file__).parent


def test_it_serves_on_the_socket_that_the_environment_names(tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    path.write_bytes(b"stale")
    server = start(DCOPS_LISTEN=f"unix:{path}")
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://model") as client:
        assert client.get("/healthz").status_code == 200
    server.process.terminate()
    assert server.process.wait(10) == 0


def test_a_script_file_is_every_caller_s_script(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"replies": [{"content": [{"type": "text", "text": "from the file"}]}]}))
    server = start("--listen", "tcp:127.0.0.1:0", "--script", str(script))
    for _ in range(2):
        assert Caller(server.url).post().json()["content"][0]["text"] == "from the file"
    server.process.terminate()
    assert server.process.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--listen", "udp:somewhere"], "cannot listen on 'udp:somewhere'"),
        (["--listen", "tcp:127.0.0.1:0", "--script", "/nowhere/script.json"], "No such file"),
    ],
)
def test_bad_arguments_end_it_with_a_reason(arguments: list[str], complaint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dcops.scripted_model", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_taken_address_and_a_bad_script_are_named(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"replies": [{}]}')
    server = start("--listen", "tcp:127.0.0.1:0")
    for arguments, complaint in (
        (["--listen", server.address], "Address already in use"),
        (["--listen", "tcp:127.0.0.1:0", "--script", str(script)], "replies[0]"),
    ):
        command = [sys.executable, "-m", "dcops.scripted_model", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, complaint in done.stderr) == (2, True), done.stderr
    server.process.terminate()
    assert server.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_lets_a_running_stream_finish(number: signal.Signals) -> None:
    server = start("--listen", "tcp:127.0.0.1:0")
    caller = Caller(server.url)
    caller.script({"content": [{"type": "text", "text": "one two three"}], "delay": 0.1})
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with HTTP.stream("POST", f"{server.url}/v1/messages", headers=caller.headers, json=body) as response:
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(number)
        assert "event: message_stop" in list(lines)
    assert server.process.wait(10) == 0


@pytest.mark.slow
def test_told_to_end_it_does_not_wait_for_gates() -> None:
    server = start("--listen", "tcp:127.0.0.1:0")
    caller = Caller(server.url)
    caller.script({"content": [{"type": "text", "text": "x"}], "stall_after": 1, "gate": "never"})
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with HTTP.stream("POST", f"{server.url}/v1/messages", headers=caller.headers, json=body):
        eventually(lambda: caller.state()["gates"]["waiting"] == ["never"])
        started = time.monotonic()
        server.process.terminate()
        assert server.process.wait(10) == 0
    assert time.monotonic() - started < 5


def test_it_runs_without_the_rest_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "scripted_model").symlink_to(PACKAGE)
    done = subprocess.run(
        [sys.executable, "-c", "import sys, scripted_model.__main__; print('dcops' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "False"


def test_the_lock_names_hashes_and_no_addresses() -> None:
    lock = (PACKAGE / "requirements.lock").read_text()
    names = {line.split("==")[0] for line in lock.splitlines() if "==" in line}
    assert {"starlette", "uvicorn", "orjson"} <= names
    assert "--hash=sha256:" in lock
    assert "://" not in lock
