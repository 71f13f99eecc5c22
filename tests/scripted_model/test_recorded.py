"""Recorded streams, replayed over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dcops.scripted_model.events import messages_of
from dcops.scripted_model.sse import parse, split

if TYPE_CHECKING:
    from .conftest import Caller

FOLDER = os.environ.get("DCOPS_STREAMS_DIR")
STREAMS = sorted(Path(FOLDER).glob("*.sse")) if FOLDER else []

pytestmark = pytest.mark.skipif(not STREAMS, reason="DCOPS_STREAMS_DIR names no folder of recorded streams")


@pytest.mark.parametrize("stream", STREAMS, ids=lambda path: path.stem)
def test_a_recorded_stream_arrives_byte_for_byte(caller: Caller, stream: Path) -> None:
    recorded = stream.read_bytes()
    reply = {"sse": recorded.decode()}
    caller.script(reply, reply | {"bytes": [1, 13, 400]})
    assert caller.post(stream=True).content == recorded
    assert caller.post(stream=True).content == recorded


@pytest.mark.parametrize("stream", STREAMS, ids=lambda path: path.stem)
def test_what_a_recorded_stream_says_is_accepted_back(caller: Caller, stream: Path) -> None:
    recorded = stream.read_bytes()
    caller.script({"sse": recorded.decode()}, {"content": [{"type": "text", "text": "taken"}]})
    caller.post(stream=True)
    spoken = [block for message in messages_of(parse(split(recorded))) for block in message["content"]]
    content = [block for block in spoken if block.get("text") is None or block["text"].strip()]
    calls = [block["id"] for block in content if block["type"] == "tool_use"]
    answers = [{"type": "tool_result", "tool_use_id": call, "content": "unknown tool"} for call in calls]
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": content or "(refused)"},
        {"role": "user", "content": [*answers, {"type": "text", "text": "go on"}]},
    ]
    response = caller.post(messages=messages, thinking={"type": "adaptive"})
    assert response.status_code == 200, response.text
