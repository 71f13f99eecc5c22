"""Calls as XML in the model's text, over HTTP, with the offline assistant and across a death."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow  # a real instance imports the SDK first

XML = {"use_xml_prompts": True, "enforce_construction_prefix": True}


def of_type(frames: list[Any], kind: str) -> list[dict[str, Any]]:
    return [event for _, event in frames if event["type"] == kind]


def test_the_offline_assistant_calls_by_xml_and_reports(shared: Any) -> None:
    session = shared.session(**XML)
    frames = shared.run(session, "run: echo 'a < b' && echo done")
    (result,) = of_type(frames, "TOOL_CALL_RESULT")
    assert result["content"] == "a < b\ndone\n"
    said = "".join(event["delta"] for event in of_type(frames, "TEXT_MESSAGE_CONTENT"))
    assert said.endswith("is done: 2 lines.")
    assert "<invoke" not in said
    assert of_type(frames, "RUN_FINISHED")[0]["result"] == {"stop_reason": "end_turn"}


@pytest.mark.parametrize("streaming", [True, False])
def test_a_session_changes_its_ways(shared: Any, streaming: bool) -> None:
    """The scripted model refuses what the API would."""
    session = shared.session(use_unified_streaming=streaming)
    seen = 0
    for xml in (False, True, False):
        shared.http.patch(
            f"/v1/sessions/{session}", json={"toggles": {"use_xml_prompts": xml}}
        ).raise_for_status()
        frames = shared.run(session, "run: echo hi", seen)
        seen += len(frames)
        assert of_type(frames, "RUN_ERROR") == []
        assert [event["content"] for event in of_type(frames, "TOOL_CALL_RESULT")] == ["hi\n"]


def test_a_killed_instances_calls_are_answered_by_the_next(make_agent: Callable[..., Any]) -> None:
    first = make_agent("first").start().ready()
    session = first.session(**XML)
    first.turn(session, "run: echo started; sleep 60")
    for _, event in first.stream(session):
        if event.get("name") == "tool.output":
            first.process.kill()
            first.process.wait()
            break
    second = make_agent("second").start().ready()
    frames = second.until_end(session)
    (result,) = of_type(frames, "TOOL_CALL_RESULT")
    assert result["content"].startswith("Interrupted while running")
    assert result["toolCallId"] == of_type(frames, "TOOL_CALL_START")[0]["toolCallId"]
    after = second.run(session, "run: echo again", len(frames))
    assert [event["content"] for event in of_type(after, "TOOL_CALL_RESULT")] == ["again\n"]
