"""Recorded replies, served over HTTP byte for byte, through transport, turn and journal."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from dcops.agent.loop import TurnRunner
from dcops.agent.model.sse import Decoder
from dcops.agent.model.transport import Transport
from dcops.agent.tools.registry import default_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.environ.get("DCOPS_STREAMS_DIR")
STREAMS = sorted(Path(FOLDER).glob("*.sse")) if FOLDER else []
KEY = "a" * 64

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STREAMS, reason="DCOPS_STREAMS_DIR names no folder of recorded streams"),
]


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    command = [sys.executable, "-m", "dcops.scripted_model", "--listen", "tcp:127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    yield "http://" + process.stdout.readline().split("tcp:")[1].strip()
    process.terminate()
    process.wait()
    process.stdout.close()


def _first(path: Path) -> list[dict[str, Any]]:
    """The first reply of a file; some hold several."""
    decoder = Decoder()
    events = [*decoder.feed(path.read_bytes()), *decoder.end()]
    ends = [n for n, event in enumerate(events) if event["type"] == "message_stop"]
    return events[: ends[0] + 1]


def _said(events: list[dict[str, Any]], kind: str) -> str:
    pieces = [event["delta"].get(kind, "") for event in events if event["type"] == "content_block_delta"]
    return "".join(pieces)


def _told(house: Any, kind: str) -> str:
    return "".join(event.data["delta"] for event in house.events if event.type == kind)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_a_recorded_reply_arrives_as_it_was_said_and_is_taken_back(
    house: Any, model: str, path: Path
) -> None:
    events = _first(path)
    calls = [
        event["content_block"]["id"]
        for event in events
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use"
    ]
    last = [{"content": [{"type": "text", "text": "done"}]}] if calls else []
    script = {"replies": [{"sse": path.read_text()}, *last], "after": "error"}
    caller = hashlib.sha256(KEY.encode()).hexdigest()
    httpx2.put(f"{model}/scripts/{caller}", json=script).raise_for_status()

    async def run() -> str:
        transport = Transport(model, KEY)
        runner = TurnRunner(house.journal, transport, default_registry(), house.workspace)
        turn = house.journal.start_turn(house.session, "go")
        await runner.start(turn, house.toggles)
        await transport.close()
        return str(house.journal.turn(turn.id).state)

    assert asyncio.run(run()) == "done"
    text = _told(house, "TEXT_MESSAGE_CONTENT")
    assert text == _said(events, "text") + ("done" if calls else "")
    assert _told(house, "REASONING_MESSAGE_CONTENT") == _said(events, "thinking")
    assert list(house.results()) == calls
    assert all(result["is_error"] for result in house.results().values())
