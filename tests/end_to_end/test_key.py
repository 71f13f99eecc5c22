"""The API key reaches the API, and nothing else ever sees it."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .site import Site, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KEY = "sk-planted-8b2f6c1d94e7"
ANSWER: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "I am the real one."},
    },
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 5},
    },
    {"type": "message_stop"},
]


@dataclass
class Api:
    """A stand-in for the API, which keeps the headers of each request."""

    url: str
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def api(address: str) -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["X-Api-Key"] == KEY
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            kept.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event in ANSWER:
                self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((address, 0), Handler) as server:
        kept = Api(f"http://{address}:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()


def own_address() -> str:
    """Where this machine is found from a container's network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))  # sends nothing
        address: str = probe.getsockname()[0]
        return address


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], check=True, capture_output=True, text=True, errors="replace")
    return done.stdout + done.stderr


def docker_places(site: Site) -> Iterator[tuple[str, str]]:
    """Everything that Docker tells or keeps of a project, but the volume with the key."""
    label = f"label=dcops.project={site.world.project.slug}"
    containers = docker("ps", "--all", "--format", "{{.Names}}", "--filter", label).split()
    for name in containers:
        yield f"inspect {name}", docker("inspect", name)
        yield f"logs {name}", docker("logs", name)
        yield f"changes {name}", docker("diff", name)
    for image in set(docker("inspect", "--format", "{{.Image}}", *containers).split()):
        yield f"image {image}", docker("image", "inspect", image)
        yield f"history {image}", docker("history", "--no-trunc", image)
    serving = next(name for name in containers if name.endswith(site.current().serving))
    search = (
        f"import os; print(os.environ); os.system('grep -rlaF {KEY} / --exclude-dir=proc --exclude-dir=sys')"
    )
    found = docker("exec", serving, "python3", "-c", search)
    yield "environment and files of the instance", found.replace(f"grep -rlaF {KEY}", "")
    proxy = next(name for name in containers if name.endswith("-proxy"))
    files = docker("exec", proxy, "sh", "-c", f"grep -rlaF {KEY} /control /instances /data || true")
    yield "control store", f"{KEY} in {files}" if files else ""


def processes_with_key() -> list[str]:
    """Instances, proxy, keeper and whatever else has the key in its environment or arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if KEY.encode() in told:
            found.append((process / "cmdline").read_text())
    return found


def files_with_key(site: Site) -> set[str]:
    return {
        str(path.relative_to(site.root))
        for path in site.root.rglob("*")
        if path.is_file() and KEY.encode() in path.read_bytes()
    }


def test_the_key_reaches_the_api_and_nothing_else(engine: str, sites: Sites) -> None:
    address = "127.0.0.1" if engine == "process" else own_address()
    settings = {"model": "api", "key": "env:PLANTED_KEY", "verify": {"suites": ["smoke"]}}
    isolation = {"isolation": "none"} if engine == "process" else {}
    with api(address) as server, sites(engine, **settings, **isolation, api_url=server.url) as site:
        report = site.json("deploy", "dev", PLANTED_KEY=KEY)
        assert KEY not in json.dumps(report)
        site.change("a second release")
        said = site.dcops("deploy", "dev", PLANTED_KEY=KEY)
        assert KEY not in said.stdout + said.stderr
        assert server.headers == [], "verification talks to the scripted model"
        assert "I am the real one." in site.dcops("chat", "dev", "hello").stdout
        [headers] = server.headers
        shown = [headers.get("x-api-key"), headers.get("authorization", "").removeprefix("Bearer ")]
        assert KEY in shown
        assert all(each in {KEY, None, ""} for each in shown)
        token = site.current().records[site.current().serving].gateway_token
        assert token not in json.dumps(headers)
        site.dcops("backup", "create", "dev")
        assert processes_with_key() == []
        expected = {".dcops/dev/secrets/api-key"} if engine == "process" else set()
        assert files_with_key(site) == expected
        if engine == "docker":
            places = dict(docker_places(site))
            assert len(places) > 10
            assert [place for place, text in places.items() if KEY in text] == []
        else:
            assert (site.root / ".dcops/dev/secrets/api-key").stat().st_mode & 0o777 == 0o600
        assert KEY not in site.dcops("logs", "dev").stdout
        site.dcops("down", "dev")
        assert files_with_key(site) == set()


def test_a_key_that_the_api_refuses_is_found_after_the_switch(engine: str, sites: Sites) -> None:
    address = "127.0.0.1" if engine == "process" else own_address()
    settings = {"model": "api", "key": "env:PLANTED_KEY", "verify": {"suites": ["smoke"]}}
    isolation = {"isolation": "none"} if engine == "process" else {}
    with api(address) as server, sites(engine, **settings, **isolation, api_url=server.url) as site:
        failed = site.json("deploy", "dev", code=3, PLANTED_KEY="sk-another")
        assert (failed["cause"], "refuses the key" in failed["why"]) == ("smoke", True)


def test_a_deploy_without_the_key_changes_nothing(engine: str, sites: Sites) -> None:
    isolation = {"isolation": "none"} if engine == "process" else {}
    with sites(engine, model="api", key="env:PLANTED_KEY", **isolation) as site:
        failed = site.json("deploy", "dev", code=6)
        assert "PLANTED_KEY" in json.dumps(failed)
        assert until(lambda: not list(site.processes()), 5)
        assert site.status()["state"] == "absent"


def test_tools_of_a_real_model_do_not_run_on_the_host_unasked(sites: Sites) -> None:
    with sites("process", model="api", key="env:PLANTED_KEY") as site:
        refused = site.json("deploy", "dev", code=6, PLANTED_KEY=KEY)
        assert refused["code"] == "DC-ISOLATION"
