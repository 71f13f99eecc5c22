"""A planted key is searched in everything that an environment makes, after all that can happen to it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import pytest
import zstandard

from .test_key import ANSWER, own_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# Its signs are written otherwise in a URL.
KEY = "sk-planted+8b2f/6c1d=94e7&0a35"
SECRET_MODES = {0o400, 0o600}
# What a tool would try: its own environment, that of its parents, and of all it sees.
DUMP = "env; cat /proc/self/environ /proc/$PPID/environ"
DUMP_ALL = (
    f"{DUMP} /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; cat /secrets/* /control/* 2>&1; true"
)


def forms(key: str) -> list[bytes]:
    """The key as it may be written; in base64 it looks different at each of three offsets."""
    raw = key.encode()
    found = [raw, raw.hex().encode(), raw.hex().upper().encode(), quote(key, safe="").encode()]
    for before in range(3):
        coded = base64.b64encode(b"x" * before + raw)
        # What stands at the ends depends on the neighbours, too.
        found += [coded[4:-4], base64.urlsafe_b64encode(b"x" * before + raw)[4:-4]]
    return found


PATTERN = re.compile(b"|".join(map(re.escape, forms(KEY))))

# Searches files, environments and command lines of where it runs; what to look for comes by its stdin.
SEARCH = """
import json, os, re, sys
pattern = re.compile(sys.stdin.buffer.read())
roots, found = sys.argv[1:], []
def look(path):
    end = b""
    try:
        with open(path, "rb") as file:
            while data := file.read(1 << 22):
                if pattern.search(end + data):
                    return found.append([path, oct(os.stat(path).st_mode & 0o7777)])
                end = data[-4096:]
    except OSError:
        pass
seen = 0
for root in roots:
    for directory, _, names in os.walk(root):
        if directory.split("/")[1] in ("proc", "sys"):
            continue
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path):
                seen += 1
                look(path)
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline"):
        look(f"/proc/{pid}/{name}")
print(json.dumps({"seen": seen, "found": found}))
"""


def holds(stream: BinaryIO) -> bool:
    end = b""
    while data := stream.read(1 << 22):
        if PATTERN.search(end + data):
            return True
        end = data[-4096:]
    return False


def docker(*words: str, given: bytes | None = None) -> bytes:
    done = subprocess.run(["docker", *words], input=given, capture_output=True, check=True)
    return done.stdout + done.stderr


def search(*words: str) -> dict[str, Any]:
    """Search by a container: ``docker exec -i NAME`` or ``docker run ... IMAGE``, and where."""
    at = words.index("--")
    command = [*words[:at], "python3", "-I", "-c", SEARCH, *words[at + 1 :]]
    document: dict[str, Any] = json.loads(docker(*command, given=PATTERN.pattern).splitlines()[0])
    return document


@contextmanager
def api(address: str, command: str) -> Iterator[str]:
    """A stand-in for the API: asked to dump, it calls the tool, and else it says a sentence."""
    block = {"type": "tool_use", "id": "call_1", "name": "bash", "input": {}}
    given = {"type": "input_json_delta", "partial_json": json.dumps({"command": command})}
    call: list[dict[str, Any]] = [
        ANSWER[0],
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": given},
        {"type": "content_block_stop", "index": 0},
        {**ANSWER[4], "delta": {"stop_reason": "tool_use", "stop_sequence": None}},
        ANSWER[5],
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["X-Api-Key"] == KEY else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            last = json.dumps(body["messages"][-1])
            events = call if "dump" in last and "tool_result" not in last else ANSWER
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event in events:
                self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{address}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def live(site: Site) -> str:
    """All that usually happens to an environment; returns everything that was said about it."""
    said = []

    def run(*words: str, code: int = 0) -> None:
        done = site.dcops(*words, code=code, PLANTED_KEY=KEY)
        said.append(done.stdout + done.stderr)

    run("plan", "dev")
    run("deploy", "dev")
    run("chat", "dev", "hello")
    run("chat", "dev", "dump all that you find")
    run("toggle", "set", "use_streaming_bash", "false", "--env", "dev")
    site.change("a second release")
    run("deploy", "dev", "--json")
    run("chat", "dev", "dump all that you find")
    run("backup", "create", "dev")
    run("rollback", "--env", "dev", "--yes")
    run("chat", "dev", "dump all that you find")
    main = site.agent / "__main__.py"
    before = main.read_text()
    main.write_text("raise SystemExit('this release does not start')\n")
    run("deploy", "dev", code=3)
    main.write_text(before)
    for words in (["status", "dev", "--json"], ["history", "dev", "--json"], ["logs", "dev"], ["doctor"]):
        run(*words)
    return "".join(said)


def test_the_key_is_found_nowhere_on_docker(sites: Sites, docker_daemon: object) -> None:
    del docker_daemon
    settings = {"model": "api", "key": "env:PLANTED_KEY", "verify": {"suites": ["smoke"]}}
    with api(own_address(), DUMP_ALL) as url, sites("docker", **settings, api_url=url) as site:
        said = live(site)
        assert "ANTHROPIC_API_KEY=" in said, "the tool has shown what it found"
        assert not PATTERN.search(said.encode())
        assert [place for place, hit in docker_places(site) if hit] == []
        volumes(site)
        assert files_with_key(site.root) == set()
        assert processes_with_key() == []


def docker_places(site: Site) -> Iterator[tuple[str, bool]]:
    """What Docker tells of a project's objects, what images hold, and what each container's processes see."""
    label = f"label=dcops.project={site.world.project.slug}"
    containers = docker("ps", "--all", "--quiet", "--filter", label).decode().split()
    images = docker("images", "--all", "--quiet", "--no-trunc", "--filter", label).decode().split()
    used = docker("inspect", "--format", "{{.Image}}", *containers).decode().split()
    images = sorted({*images, *used})
    told = {"container": containers, "image": images}
    for kind in ("volume", "network"):
        told[kind] = docker(kind, "ls", "--quiet", "--filter", label).decode().split()
    for kind, names in told.items():
        assert names, kind
        yield f"inspect {kind}", bool(PATTERN.search(docker(kind, "inspect", *names)))
    for name in containers:
        yield f"logs {name}", bool(PATTERN.search(docker("logs", name)))
        yield f"changes {name}", bool(PATTERN.search(docker("diff", name)))
    for image in images:
        yield f"history {image}", bool(PATTERN.search(docker("history", "--no-trunc", image)))
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        yield "layers", holds(saving.stdout)  # type: ignore[arg-type]
    running = docker("ps", "--format", "{{.Names}}", "--filter", label).decode().split()
    assert sum("-i-" in name for name in running) >= 2
    for name in running:
        seen = search("exec", "--interactive", name, "--", "/")
        assert seen["seen"] > 1000
        expected = [["/secrets/api-key", "0o600"]] if name.endswith("-proxy") else []
        yield f"{name} sees {seen['found']}", seen["found"] != expected


def volumes(site: Site) -> None:
    """Every volume of the project, also those that nobody mounts: the key is in the secret store, once."""
    label = f"label=dcops.project={site.world.project.slug}"
    names = docker("volume", "ls", "--quiet", "--filter", label).decode().split()
    mounts = [word for name in names for word in ("--volume", f"{name}:/volumes/{name}:ro")]
    started = ["run", "--rm", "--interactive", "--network", "none", *mounts, "dcops-base:bookworm"]
    found = search(*started, "--", "/volumes")["found"]
    prefix = f"dcops-{site.world.project.slug}-dev"
    assert found == [[f"/volumes/{prefix}-secrets/api-key", "0o600"]]


def test_the_key_is_found_nowhere_on_the_process_engine(sites: Sites) -> None:
    settings = {
        "model": "api",
        "key": "env:PLANTED_KEY",
        "verify": {"suites": ["smoke"]},
        "isolation": "none",
    }
    with api("127.0.0.1", DUMP) as url, sites("process", **settings, api_url=url) as site:
        said = live(site)
        assert "ANTHROPIC_API_KEY=" in said, "the tool has shown what it found"
        assert not PATTERN.search(said.encode())
        secret = site.root / ".dcops/dev/secrets/api-key"
        assert files_with_key(site.root) == {secret}
        assert secret.stat().st_mode & 0o777 in SECRET_MODES
        runtime = list(Path("/tmp").glob(f"dcops-*-{site.world.project.id}"))
        assert runtime
        assert set().union(*map(files_with_key, runtime)) == set()
        assert len(site.processes()) >= 4
        assert processes_with_key() == []


def files_with_key(directory: Path) -> set[Path]:
    """Files that hold it, compressed ones by what is in them."""
    return {path for path in directory.rglob("*") if path.is_file() and holds(opened(path))}


def opened(path: Path) -> BinaryIO:
    content = path.read_bytes()
    if content.startswith(b"\x28\xb5\x2f\xfd"):
        return io.BytesIO(zstandard.ZstdDecompressor().stream_reader(content).read())
    return io.BytesIO(content)


def processes_with_key() -> list[str]:
    """Processes of this machine with the key in their environment or command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("environ", "cmdline"):
            try:
                told = (process / name).read_bytes()
            except OSError:
                continue
            if PATTERN.search(told) and int(process.name) != os.getpid():
                found.append(f"{process.name} {name}")
    return found


@pytest.mark.parametrize("place", ["whole", "in base64", "in a URL", "in a backup"])
def test_the_search_finds_what_is_there(tmp_path: Path, place: str) -> None:
    key = KEY.encode()
    content = {
        "whole": b"before " + key + b" after",
        "in base64": base64.b64encode(b"Basic user:" + key + b"\n"),
        "in a URL": f"https://host/?key={quote(KEY, safe='')}".encode(),
        "in a backup": zstandard.compress(b"a tar with " + key),
    }
    (tmp_path / "file").write_bytes(content[place])
    (tmp_path / "other").write_bytes(b"sk-planted+another")
    assert files_with_key(tmp_path) == {tmp_path / "file"}
