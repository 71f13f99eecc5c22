"""Recorded streams of the real API, as a deployed agent takes them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.verification.model import reply, text

from .site import Site, texts
from .traffic import ends

if TYPE_CHECKING:
    from dcops.client import Client, Event

FOLDER = os.environ.get("DCOPS_STREAMS_DIR")
STREAMS = sorted(Path(FOLDER).glob("*.sse")) if FOLDER else []

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STREAMS, reason="DCOPS_STREAMS_DIR names no folder of recorded streams"),
]
TAKEN = "Taken."


@dataclass
class Recorded:
    """What the first message of a stream says.

    Attributes:
        calls: Ids of calls that the caller has to answer.
        served: Ids of calls that the API has answered itself.
    """

    text: str = ""
    thinking: str = ""
    stop_reason: str = ""
    calls: list[str] = field(default_factory=list)
    served: list[str] = field(default_factory=list)

    def take(self, event: dict[str, Any]) -> None:
        block, delta = event.get("content_block", {}), event.get("delta", {})
        if block.get("type") == "tool_use":
            self.calls.append(block["id"])
        elif block.get("type", "").endswith("_tool_result"):
            self.served.append(block["tool_use_id"])
        self.text += block.get("text", "") + delta.get("text", "")
        self.thinking += block.get("thinking", "") + delta.get("thinking", "")
        self.stop_reason = delta.get("stop_reason") or self.stop_reason


def recorded(stream: str) -> Recorded:
    found = Recorded()
    for line in stream.splitlines():
        if not line.startswith("data:"):
            continue
        event = json.loads(line.removeprefix("data:"))
        if event["type"] == "message_stop":
            break
        found.take(event)
    return found


def ask(client: Client, session: str, words: str) -> list[Event]:
    after = int(client.session(session)["last_seq"])
    turn = client.start_turn(session, words)
    events: list[Event] = []
    for _, event in client.events(session, after):
        events.append(event)
        if ends(event, turn):
            break
    return events


@pytest.mark.parametrize("stream", STREAMS, ids=lambda path: path.stem)
def test_a_recorded_stream_arrives_as_recorded_and_is_accepted_back(deployed: Site, stream: Path) -> None:
    content = stream.read_bytes().decode()
    expected = recorded(content)
    client, model = deployed.client, deployed.model()
    model.replies({"sse": content}, *[reply(text(TAKEN))] * 2)
    session = client.create_session()
    events = ask(client, session, "Go.")
    goes_on = expected.stop_reason in {"tool_use", "pause_turn"}
    assert texts(events) == expected.text + (TAKEN if goes_on else "")
    thought = [event["delta"] for event in events if event["type"] == "REASONING_MESSAGE_CONTENT"]
    assert "".join(thought) == expected.thinking
    answered = [event["toolCallId"] for event in events if event["type"] == "TOOL_CALL_RESULT"]
    assert sorted(answered) == sorted(expected.calls + expected.served)
    assert texts(ask(client, session, "And now?")) == TAKEN
    assert model.problems() == []
