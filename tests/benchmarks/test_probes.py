from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from benchmarks.common.probes import Probes

if TYPE_CHECKING:
    from collections.abc import Iterator


class Versions(BaseHTTPRequestHandler):
    release = "old"
    status = 200

    def do_GET(self) -> None:
        body = json.dumps({"release": type(self).release}).encode()
        self.send_response(type(self).status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[tuple[str, type[Versions]]]:
    class Own(Versions):
        protocol_version = "HTTP/1.1"

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Own
    server.shutdown()
    server.server_close()


def test_the_moment_of_the_new_release_is_seen(service: tuple[str, type[Versions]]) -> None:
    url, versions = service
    with Probes(url, "token", clients=2, every=0.005) as probes:
        probes.first("old", after=0)
        began = time.perf_counter()
        versions.release = "new"
        assert probes.first("new", after=began) > began
        with pytest.raises(TimeoutError):
            probes.first("newer", after=began, timeout=0.05)


def test_refusals_are_silence(service: tuple[str, type[Versions]]) -> None:
    url, versions = service
    with Probes(url, "token", clients=2, every=0.005) as probes:
        probes.first("old", after=0)
        began = time.perf_counter()
        versions.status = 503
        time.sleep(0.2)
        versions.status = 200
        probes.first("old", after=time.perf_counter())
        silence = probes.longest_silence(began, time.perf_counter())
    assert silence >= 0.19
    assert probes.longest_silence(began - 5, began) > 4, "no answer before the first one"
