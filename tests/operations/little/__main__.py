"""Serves the container contract with nothing but the standard library."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

QUIET_SECONDS = 0.3
CONTROL = Path(os.environ["DCOPS_CONTROL_DIR"])
RELEASE, INSTANCE = os.environ["DCOPS_RELEASE"], os.environ["DCOPS_INSTANCE"]


def control(name: str) -> Any:
    return json.loads((CONTROL / f"{name}.json").read_bytes())


class Requests:
    """How many are being answered, and since when there are none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = 0
        self.quiet_since = time.monotonic()

    def __enter__(self) -> None:
        with self.lock:
            self.running += 1

    def __exit__(self, *_error: object) -> None:
        with self.lock:
            self.running -= 1
            self.quiet_since = time.monotonic()

    def none_left(self) -> bool:
        with self.lock:
            return not self.running and time.monotonic() - self.quiet_since > QUIET_SECONDS


REQUESTS = Requests()
TERMINATED = threading.Event()


def leave_when_told() -> None:
    """Warm and draining instances end by themselves when their time is up; no request is cut."""
    while not (goes_away() and REQUESTS.none_left()):
        time.sleep(0.05)
    os._exit(0)


def goes_away() -> bool:
    if TERMINATED.is_set():
        return True
    role = control("role")
    return role["role"] == "draining" or (role["role"] == "warm" and role.get("for_seconds") == 0)


def let_in() -> set[str]:
    tokens = control("access")["tokens"]
    now = datetime.now(UTC)
    ends = {each["sha256"]: datetime.fromisoformat(each["until"]) for each in tokens if each["until"]}
    return {each["sha256"] for each in tokens if ends.get(each["sha256"], now) >= now}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        # Waits for the next request of a connection that is kept alive.
        if self.rfile.peek(1):
            with REQUESTS:
                super().handle_one_request()
        else:
            self.close_connection = True

    def do_POST(self) -> None:
        """Says how much it was sent."""
        length = int(self.headers.get("Content-Length", 0))
        self.answer(200, {"read": len(self.rfile.read(length)), "release": RELEASE})

    def log_message(self, *_arguments: object) -> None:
        """Probes are no news."""

    def do_GET(self) -> None:
        if self.path in {"/healthz", "/readyz"}:
            return self.answer(200, {"reasons": []})
        shown = hashlib.sha256(self.headers.get("Authorization", "")[7:].encode()).hexdigest()
        if shown not in let_in():
            return self.answer(401, {})
        if self.headers.get("Host", "").rpartition(":")[0] not in {"127.0.0.1", "localhost"}:
            return self.answer(403, {})
        toggles, role = control("toggles"), control("role")["role"]
        if self.path == "/version":
            return self.answer(200, {"release": RELEASE, "implementation": "little"})
        if self.path == "/v1/instance":
            seen = {"generation": toggles["generation"], "digest": toggles["digest"], "error": None}
            return self.answer(
                200,
                {
                    "instance": INSTANCE,
                    "release": RELEASE,
                    "role": role,
                    "role_acknowledged": role,
                    "toggles": seen,
                    "running_turns": 0,
                    "draining_done": role in {"warm", "draining"},
                },
            )
        return self.answer(200, {"greeting": "hello" if toggles["values"]["polite"] else "what?"})

    def answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    kind, _, where = os.environ["DCOPS_LISTEN"].partition(":")
    address_family = socket.AF_UNIX if kind == "unix" else socket.AF_INET

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _ = self.socket.accept()
        return connection, ("proxy", 0)


def main() -> None:
    place: Any = Server.where
    if Server.kind == "unix":
        Path(place).unlink(missing_ok=True)
    else:
        host, _, port = place.rpartition(":")
        place = (host, int(port))
    signal.signal(signal.SIGTERM, lambda *_: TERMINATED.set())
    threading.Thread(target=leave_when_told, daemon=True).start()
    Server(place, Handler).serve_forever()


main()
