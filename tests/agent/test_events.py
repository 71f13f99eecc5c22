"""Every event must be AG-UI's."""

from __future__ import annotations

import orjson
import pytest
from ag_ui.core import Event as AnyEvent
from ag_ui.core import EventType
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from dcops.agent import events
from dcops.agent.events import Event, coalesce

EVERY = [
    events.run_started("s", "t", "hello"),
    events.run_finished("s", "t", stop_reason="end_turn"),
    events.run_finished("s", "t", stop_reason="stopped", cancelled=True),
    events.run_error("it broke", "broken"),
    events.text_start("m"),
    events.text_start("m", "user"),
    events.text_content("m", "x"),
    events.text_end("m"),
    *events.reasoning_start("m"),
    events.reasoning_content("m", "x"),
    *events.reasoning_end("m"),
    events.tool_call_start("c", "bash"),
    events.tool_call_args("c", "{"),
    events.tool_call_end("c"),
    events.tool_call_result("c", "done"),
    events.custom("tool.output", {"call": "c", "text": "x"}),
]


@pytest.mark.parametrize("event", EVERY, ids=lambda event: event.type)
def test_an_event_parses_as_agui_and_keeps_its_data(event: Event) -> None:
    parsed = TypeAdapter(AnyEvent).validate_json(orjson.dumps(event.wire()))
    assert parsed.type == EventType(event.type)
    dumped = parsed.model_dump(mode="json", by_alias=True)
    assert {key: dumped[key] for key in event.wire() if key != "input"} == {
        key: value for key, value in event.wire().items() if key != "input"
    }


def test_a_run_carries_what_the_user_said() -> None:
    parsed = TypeAdapter(AnyEvent).validate_python(events.run_started("s", "t", "hello").wire())
    assert parsed.input.messages[0].content == "hello"


PIECES = st.one_of(
    st.builds(events.text_content, st.sampled_from("ab"), st.text(min_size=1)),
    st.builds(events.reasoning_content, st.sampled_from("ab"), st.text(min_size=1)),
    st.builds(events.tool_call_args, st.sampled_from("ab"), st.text(min_size=1)),
    st.builds(
        lambda call, text: events.custom("tool.output", {"call": call, "text": text}),
        st.sampled_from("ab"),
        st.text(min_size=1),
    ),
    st.sampled_from([events.text_end("a"), events.custom("drain", {})]),
)


def _told(stream: list[Event]) -> list[tuple[str, str, str]]:
    """One character an entry, so that joining pieces changes nothing."""
    told = []
    for event in stream:
        value = event.data.get("value") or {}
        source = event.data.get("messageId") or event.data.get("toolCallId") or value.get("call", "")
        text = event.data.get("delta") or value.get("text") or "\0"
        told += [(event.type, source, character) for character in text]
    return told


@given(st.lists(PIECES))
def test_joining_pieces_changes_neither_order_nor_text(stream: list[Event]) -> None:
    joined = coalesce(stream)
    assert _told(joined) == _told(stream)
    assert coalesce(joined) == joined


def test_neighbouring_pieces_of_one_text_become_one() -> None:
    stream = [events.text_content("m", letter) for letter in "hello"]
    assert coalesce(stream) == [events.text_content("m", "hello")]
