from __future__ import annotations

from typing import Any

import pytest

from dcops.scripted_model.fields import ScriptError
from dcops.scripted_model.script_reader import parse_script
from dcops.scripted_model.scripts import Hold, Point

TEXT = {"content": [{"type": "text", "text": "hi"}]}


def test_every_field_is_read() -> None:
    script = parse_script(
        {
            "replies": [
                TEXT
                | {
                    "stop_reason": "refusal",
                    "usage": {"output_tokens": 9},
                    "model": "claude-x",
                    "chunk": 3,
                    "bytes": [1, 7],
                    "delay": 0.5,
                    "first_delay": 1,
                    "pings": 2,
                    "error": {"type": "overloaded_error"},
                    "error_after": 4,
                    "disconnect_after": {"bytes": 100},
                    "stall_after": 2,
                    "gate": "g",
                    "holds": [{"after": 1, "seconds": 3}],
                }
            ],
            "after": "repeat",
        }
    )
    (reply,) = script.replies
    assert (script.after, reply.stop_reason, reply.model, reply.usage) == (
        "repeat",
        "refusal",
        "claude-x",
        {"output_tokens": 9},
    )
    assert (reply.chunk, reply.chunk_bytes, reply.delay, reply.first_delay, reply.pings) == (
        (3,),
        (1, 7),
        0.5,
        1,
        2,
    )
    assert reply.error
    assert (reply.error.status, reply.error_after) == (529, Point(4))
    assert reply.disconnect_after == Point(100, "bytes")
    assert reply.holds == (Hold(Point(1), seconds=3), Hold(Point(2), gate="g"))


def test_an_error_takes_its_type_from_its_status() -> None:
    (reply,) = parse_script({"replies": [{"error": {"status": 429, "headers": {"retry-after": 1}}}]}).replies
    assert reply.error
    assert (reply.error.type, reply.error.headers) == ("rate_limit_error", {"retry-after": "1"})


def test_an_error_within_a_stream_is_an_overload_unless_it_says_otherwise() -> None:
    (reply,) = parse_script({"replies": [TEXT | {"error_after": 0}]}).replies
    assert reply.error
    assert reply.error.type == "overloaded_error"


@pytest.mark.parametrize(
    ("script", "path"),
    [
        ([], ""),
        ({"reply": []}, "reply"),
        ({"replies": {}}, "replies"),
        ({"replies": [3]}, "replies[0]"),
        ({"replies": [{}]}, "replies[0]"),
        ({"replies": [TEXT | {"sse": ""}]}, "replies[0]"),
        ({"replies": [TEXT | {"error": {"status": 429}}]}, "replies[0]"),
        ({"replies": [TEXT | {"chunks": 3}]}, "replies[0].chunks"),
        ({"replies": [TEXT | {"chunk": 0}]}, "replies[0].chunk"),
        ({"replies": [TEXT | {"chunk": True}]}, "replies[0].chunk"),
        ({"replies": [TEXT | {"bytes": [2, "x"]}]}, "replies[0].bytes"),
        ({"replies": [TEXT | {"delay": -1}]}, "replies[0].delay"),
        ({"replies": [TEXT | {"pings": 1.5}]}, "replies[0].pings"),
        ({"replies": [TEXT | {"stall_after": 1}]}, "replies[0]"),
        ({"replies": [TEXT | {"stall_after": 1, "hold": 1, "gate": "g"}]}, "replies[0]"),
        ({"replies": [TEXT | {"holds": [{"at": 1, "gate": "g"}]}]}, "replies[0].holds[0].at"),
        ({"replies": [TEXT | {"disconnect_after": {"byte": 3}}]}, "replies[0].disconnect_after.events"),
        ({"replies": [TEXT | {"disconnect_after": -3}]}, "replies[0].disconnect_after"),
        ({"replies": [{"error": {"status": 200}}]}, "replies[0].error.status"),
        ({"replies": [{"content": [{"text": "hi"}]}]}, "replies[0].content[0].type"),
        ({"replies": [{"content": [{"type": "text", "text": 3}]}]}, "replies[0].content[0].text"),
        ({"replies": [TEXT, {"content": [{"type": "tool_use"}]}]}, "replies[1].content[0].name"),
        ({"replies": [{"events": [{"index": 0}]}]}, "replies[0].events[0].type"),
        ({"replies": [], "after": "repeat"}, "replies"),
        ({"after": "stop"}, "after"),
    ],
)
def test_a_fault_names_its_place(script: Any, path: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script(script)
    assert caught.value.path == path
