"""After the switch: what users get decides whether it stays."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dcops.errors import DcopsError, Interrupted, OperationFailed
from dcops.operations.deploy import DeployRequest, deploy
from dcops.operations.resume import resume
from dcops.operations.rollback import RollbackRequest, plan_rollback

from .conftest import agree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dcops.core.events import OperationEvent
    from dcops.operations.deploy import DeployReport

    from .conftest import Site

pytestmark = pytest.mark.slow

GREETS = 'return self.answer(200, {"greeting"'
STREAMS = """\
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(LENGTH):
                self.wfile.write(b"3\\r\\nx\\n\\n\\r\\n")
                self.wfile.flush()
                time.sleep(0.02)
            self.close_connection = True
            if WHOLE:
                self.wfile.write(b"0\\r\\n\\r\\n")
            return None
"""


@pytest.fixture
def baked(site: Site) -> Site:
    """Without suites, watched for three seconds."""
    limits = "bake: {for: 3s, minimum: 10}"
    site.setting("verify: {suites: [smoke]}", f"verify: {{suites: []}}\n{limits}")
    return site


def answers(site: Site, old: str, new: str) -> None:
    file = site.root / "little" / "__main__.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def streams(site: Site, *, whole: bool, length: int = 3) -> None:
    text = STREAMS.replace("WHOLE", str(whole)).replace("LENGTH", str(length))
    answers(site, "        toggles, role =", f"{text}        toggles, role =")


@contextmanager
def traffic(call: Callable[[], object], pause: float = 0.05) -> Iterator[None]:
    """Do it again and again until the end; failures are what these tests are about."""
    over = threading.Event()

    def go() -> None:
        while not over.wait(pause):
            with suppress(OSError, ValueError, DcopsError):
                call()

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ask(site: Site, path: str, *, leave: bool = False) -> None:
    """A request as a browser sends it; one that leaves reads the first bytes only."""
    place = site.world.open("dev")
    host, _, port = place.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
        connection.sendall(f"{head}Authorization: Bearer {place.local.token()}\r\n\r\n".encode())
        while connection.recv(65536) and not leave:
            pass


def at_bake(site: Site, action: Callable[[], object]) -> DeployReport:
    """Deploy, and do something when the bake begins."""

    def emit(event: OperationEvent) -> None:
        site.events.append(event)
        if (event.step, event.state) == ("bake", "started"):
            threading.Timer(0.5, action).start()

    return deploy(replace(site.world, emit=emit), DeployRequest("dev"), agree)


def test_a_release_that_does_well_is_recorded_with_its_figures(baked: Site) -> None:
    first = baked.deploy()
    # Nobody asked for anything, so it could not be judged, and serves.
    assert first.to_json()["bake"]["verdict"] == "inconclusive"
    assert "too little traffic" in first.warnings[0]
    assert baked.look().entries[-1].data["bake"]["requests"] == 0
    baked.edit("X = 1")
    with traffic(baked.get):
        report = baked.deploy()
    seen = report.to_json()["bake"]
    assert (seen["verdict"], seen["errors"], seen["cut_streams"], report.warnings) == ("pass", 0, 0, ())
    assert 10 <= seen["requests"] <= 80
    assert baked.look().entries[-1].data["bake"] == seen
    assert not plan_rollback(baked.world, RollbackRequest("dev")).has("bake")


def test_errors_switch_back_and_the_candidate_is_kept(baked: Site) -> None:
    first = baked.deploy()
    answers(baked, GREETS, GREETS.replace("200", "500"))
    began = time.monotonic()
    with traffic(baked.get), pytest.raises(OperationFailed) as caught:
        baked.deploy()
    error = caught.value
    assert (error.code, error.cause, error.exit_code) == ("DC-BAKE-FAILED", "bake", 3)
    assert "100.0 % of the requests failed, and 5 % may" in error.what
    assert error.detail["bake"]["verdict"] == "fail"
    assert time.monotonic() - began < 20
    assert first.deployment is not None
    assert baked.serves() == first.deployment.revision.release
    current = baked.look()
    assert current.failed is not None
    assert (current.failed.step, current.unfinished) == ("bake", None)
    assert [entry.data["bake"]["verdict"] for entry in current.entries] == ["inconclusive", "fail"]


def test_streams_that_the_instance_cuts_switch_back(baked: Site) -> None:
    baked.deploy()
    streams(baked, whole=False)
    with traffic(lambda: ask(baked, "/stream")), pytest.raises(OperationFailed) as caught:
        baked.deploy()
    assert caught.value.code == "DC-BAKE-FAILED"
    assert "streams were cut, and 0 may be" in caught.value.what


def test_clients_that_go_away_cut_nothing(baked: Site) -> None:
    streams(baked, whole=True, length=50)
    with traffic(lambda: ask(baked, "/stream", leave=True), pause=0.02):
        report = baked.deploy()
    assert (report.bake["verdict"], report.bake["cut_streams"]) == ("pass", 0)


def test_an_instance_that_dies_counts_at_once(baked: Site) -> None:
    first = baked.deploy()
    baked.edit("X = 1")

    def kill() -> None:
        place = baked.world.open("dev")
        place.engine.kill(baked.look().serving)

    with pytest.raises(OperationFailed) as caught:
        at_bake(baked, kill)
    assert caught.value.code == "DC-BAKE-FAILED"
    assert "crashed" in caught.value.what or "ended" in caught.value.what
    assert first.deployment is not None
    assert baked.serves() == first.deployment.revision.release


def test_an_interruption_takes_it_back_and_keeps_nothing(baked: Site) -> None:
    first = baked.deploy()
    baked.edit("X = 1")
    with pytest.raises(Interrupted):
        at_bake(baked, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert first.deployment is not None
    assert baked.serves() == first.deployment.revision.release
    assert (baked.look().failed, baked.leftovers()) == (None, [])


def test_a_resumed_deploy_is_watched_anew(baked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    baked.deploy()
    answers(baked, GREETS, GREETS.replace("200", "500"))
    baked.crash(monkeypatch, "bake", after=False)
    with traffic(baked.get), pytest.raises(OperationFailed) as caught:
        resume(baked.world, "dev")
    assert caught.value.code == "DC-BAKE-FAILED"
    assert baked.look().failed is not None


def test_it_says_how_it_goes(baked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcops.operations.steps.bake.SAY_SECONDS", 1.0)
    baked.deploy()
    said = [event.text for event in baked.events if (event.step, event.state) == ("bake", "note")]
    assert said[0].startswith("0 requests, 0 failed, 0 streams cut, ")
    assert said[0].endswith(" s left")
