"""A small implementation of the container contract, in the standard library, with a fault on demand.

python fake_agent.py FAULT ROLES: the fault is a name below or `none`; with ROLES 1 it follows its control
files, with 0 it reads its toggles once.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

FAULT, ROLES = sys.argv[1], sys.argv[2] == "1"
CONTROL = Path(os.environ["DCOPS_CONTROL_DIR"])
LOOPBACK = {"localhost", "127.0.0.1"}


def control(name: str) -> Any:
    return json.loads((CONTROL / name).read_bytes())


def digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class State:
    def __init__(self) -> None:
        document = control("toggles.json")
        self.toggles = {"generation": document["generation"], "digest": document["digest"], "error": None}
        self.access = control("access.json")

    def look(self) -> None:
        if FAULT != "keeps_access":
            self.access = control("access.json")
        if not ROLES or FAULT == "ignores_toggles":
            return
        try:
            document = control("toggles.json")
        except ValueError as error:
            self.refuse(str(error))
            return
        if FAULT != "takes_anything" and digest(document["values"]) != document["digest"]:
            self.refuse("digest")
            return
        self.toggles = {"generation": document["generation"], "digest": document["digest"], "error": None}

    def refuse(self, why: str) -> None:
        self.toggles["error"] = None if FAULT == "hides_errors" else why

    def role(self) -> str:
        return "twin" if FAULT == "ignores_role" else str(control("role.json")["role"])

    def instance(self) -> dict[str, Any]:
        role = self.role()
        report = {
            "instance": "somebody" if FAULT == "wrong_instance" else os.environ["DCOPS_INSTANCE"],
            "release": "0" * 64 if FAULT == "wrong_release" else os.environ["DCOPS_RELEASE"],
            "role": role,
            "role_acknowledged": role,
            "toggles": self.toggles,
            "running_turns": "none" if FAULT == "wrong_type" else 0,
            "draining_done": True,
        }
        if FAULT == "missing_field":
            del report["draining_done"]
        return report

    def allows(self, header: str) -> bool:
        sha256 = hashlib.sha256(header.removeprefix("Bearer ").encode()).hexdigest()
        entries = [each for each in self.access["tokens"] if each["sha256"] == sha256]
        if FAULT == "forgets_until":
            return bool(entries)
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        return any(each["until"] is None or each["until"] > now for each in entries)


class Handler(BaseHTTPRequestHandler):
    state: State

    def do_GET(self) -> None:
        self.state.look()
        host = self.headers["Host"].partition(":")[0]
        is_open = self.path in {"/healthz", "/readyz"} and FAULT != "guards_probes"
        if host not in LOOPBACK | set(self.state.access["hosts"]) and FAULT != "any_host":
            self.answer(403, {})
        elif not (is_open or FAULT == "any_token" or self.state.allows(self.headers["Authorization"] or "")):
            self.answer(401, {})
        else:
            self.route()

    def do_POST(self) -> None:
        self.answer(404, {})

    def route(self) -> None:
        if self.path == "/v1/instance":
            self.answer(200, self.state.instance())
        elif self.path == "/version":
            release = self.state.instance()["release"]
            self.answer(200, {"release": release, "implementation": "fake"})
        elif self.path == "/healthz":
            self.answer(500 if FAULT == "sick" else 200, {})
        elif self.path == "/readyz":
            self.answer(200, {"reasons": []})
        else:
            self.answer(404, {})

    def answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def main() -> None:
    Handler.state = State()
    server = Server(os.environ["DCOPS_LISTEN"].removeprefix("unix:"), Handler)
    if FAULT == "ignores_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)


main()
