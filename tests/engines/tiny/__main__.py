"""The smallest implementation that keeps the container contract, from the standard library alone.

Besides the contract it does what tests ask for: ``POST /exit/<code>``, ``POST /echo``, ``GET /stream``
(server-sent ticks), ``GET /environ``, ``POST /model`` (passes a request on to the gateway), ``POST /say``
(prints a line), ``POST /keep`` and ``GET /kept`` (a file of its state), ``GET /silent`` (never answers).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import socketserver
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

STARTED = time.time()
COUNTS = {"waiting": 0, "gone": 0}


def control(name: str) -> Any:
    try:
        return json.loads(Path(os.environ["DCOPS_CONTROL_DIR"], name).read_text())
    except (OSError, KeyError, ValueError):
        return None


def instance() -> dict[str, Any]:
    return {
        "instance": os.environ["DCOPS_INSTANCE"],
        "release": os.environ.get("DCOPS_RELEASE", ""),
        "role": (control("role.json") or {}).get("role"),
        "toggles": control("toggles.json"),
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "started": STARTED,
        **COUNTS,
    }


def model(body: bytes) -> dict[str, Any]:
    """Send ``{"method", "path", "headers", "body"}`` to the gateway as it is; tell what came back."""
    asked = json.loads(body)
    request = urllib.request.Request(
        os.environ["ANTHROPIC_BASE_URL"] + asked["path"],
        method=asked["method"],
        data=asked.get("body", "").encode() or None,
        headers={"X-Api-Key": os.environ.get("ANTHROPIC_API_KEY", "")} | asked.get("headers", {}),
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return {"status": reply.status, "body": reply.read().decode()}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        match self.path:
            case "/healthz" | "/readyz":
                self.reply({"reasons": []})
            case "/version":
                self.reply({"release": os.environ.get("DCOPS_RELEASE", ""), "implementation": "tiny"})
            case "/v1/instance":
                self.reply(instance())
            case "/environ":
                self.reply({"environ": dict(os.environ), "cwd": str(Path.cwd()), "path": sys.path})
            case "/kept":
                kept = Path(os.environ["DCOPS_STATE_DIR"], "kept")
                self.reply({"kept": kept.read_text() if kept.exists() else None})
            case "/silent":
                COUNTS["waiting"] += 1
                self.connection.recv(1)
                COUNTS["gone"] += 1
                self.close_connection = True
            case "/stream":
                self.stream()
            case _:
                self.reply(self.seen(b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/exit/"):
            self.reply({})
            self.wfile.flush()
            os._exit(int(self.path.rpartition("/")[2]))
        match self.path:
            case "/model":
                self.reply(model(body))
            case "/say":
                sys.stdout.write(body.decode() + "\n")
                sys.stdout.flush()
                self.reply({})
            case "/keep":
                Path(os.environ["DCOPS_STATE_DIR"], "kept").write_text(body.decode())
                self.reply({})
            case _:
                self.reply(self.seen(body))

    do_PUT = do_DELETE = do_POST  # noqa: N815 - names that http.server looks for

    def seen(self, body: bytes) -> dict[str, Any]:
        return {
            "instance": os.environ["DCOPS_INSTANCE"],
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): self.headers.get_all(name) for name in self.headers},
            "digest": hashlib.sha256(body).hexdigest(),
        }

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for number in range(100_000):
                self.wfile.write(f"id: {number}\ndata: {os.environ['DCOPS_INSTANCE']}\n\n".encode())
                time.sleep(0.02)
        except OSError:
            COUNTS["gone"] += 1
        self.close_connection = True

    def reply(self, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256


class UnixServer(Server):
    address_family = socket.AF_UNIX


def serve(listen: str) -> None:
    kind, _, where = listen.partition(":")
    if kind == "unix":
        Path(where).unlink(missing_ok=True)
        server: Server = UnixServer(where, Handler)  # type: ignore[arg-type]
    else:
        host, _, port = where.rpartition(":")
        server = Server((host, int(port)), Handler)
    if "TINY_STUBBORN" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sys.stdout.write(f"{os.environ['DCOPS_INSTANCE']} listens\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    if "TINY_EXIT" in os.environ:
        sys.exit(f"tiny was told to exit with {os.environ['TINY_EXIT']}")
    serve(os.environ["DCOPS_LISTEN"])
