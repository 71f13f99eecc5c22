"""Replies with calls in their text, in any pieces and cut at any character, with any end."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcops.agent.events import Fault
from dcops.agent.tools.registry import Registry
from dcops.agent.tools.tool import Effect, Tool, ToolResult
from dcops.agent.turn import conversation
from dcops.agent.turn.attempts import Attempts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.slow

OPEN, CLOSE = "<function_calls>", "</function_calls>"
BROKEN = ['<invoke name="probe"><invoke>', "<what>", '<invoke name="probe"><parameter name="n">9</invoke>']


class Probe(Tool):
    """A tool that notes what it was called with."""

    name = description = "probe"
    input_schema = {  # noqa: RUF012
        "type": "object",
        "properties": {"n": {"type": "integer"}, "text": {"type": "string"}},
        "required": ["n"],
        "additionalProperties": False,
    }

    def __init__(self) -> None:
        self.ran: list[int] = []

    def effect(self, arguments: dict[str, Any]) -> Effect:
        return Effect.READONLY if arguments["n"] % 2 else Effect.EFFECTS

    async def run(self, arguments: dict[str, Any], context: Any) -> AsyncGenerator[ToolResult, None]:
        del context
        self.ran.append(arguments["n"])
        yield ToolResult(f"ran {arguments['n']}")


def invoke(n: int, text: str) -> str:
    return (
        f'<invoke name="probe">\n<parameter name="n">{n}</parameter>\n'
        f'<parameter name="text">{text}</parameter>\n</invoke>\n'
    )


VALUES = st.sampled_from(["", "a &lt;b>", "<![CDATA[</invoke>]]>", "<p>x</p>", "&amp;", "]]>"])
CALLS = st.lists(st.one_of(VALUES, st.none()), min_size=1, max_size=4)
ENDS = st.sampled_from(
    ["max_tokens", "end_turn", "stop_sequence", "refusal", "odd", "fault", "fatal", "ended", "stop"]
)


@pytest.fixture
def home(house: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(conversation, "Attempts", partial(Attempts, chance=lambda: 0.0))
    house.toggles |= {"use_xml_prompts": True}
    return house


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=CALLS,
    broken=st.sampled_from([None, *BROKEN]),
    cuts=st.lists(st.integers(0, 600), max_size=6),
    said=st.one_of(st.just(10_000), st.integers(0, 600)),
    end=ENDS,
)
def test_nothing_runs_twice_or_unfinished_and_each_call_has_one_result(
    home: Any, say: Any, values: list[str | None], broken: str | None, cuts: list[int], said: int, end: str
) -> None:
    invokes = [
        invoke(n, value) if value is not None else f"{invoke(n, '')}word " for n, value in enumerate(values)
    ]
    whole = f"Look. {OPEN}\n{''.join(invokes)}{broken or ''}"
    text = whole[:said]
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(text)}), len(text)]
    pieces = [text[start:stop] for start, stop in pairwise(edges)]
    probe, turn = asyncio.run(play(home, say, pieces, end))

    assert max(Counter(probe.ran).values(), default=0) <= 1
    calls_alone = [written.removesuffix("word ").rstrip() for written in invokes]
    assert all(calls_alone[n] in text for n in probe.ran)
    if end not in {"end_turn", "stop_sequence"}:  # nothing proves that the last one is meant
        last = {n for n, call in enumerate(calls_alone) if n % 2 == 0 and text.rstrip().endswith(call)}
        assert not last & set(probe.ran)
    told = Counter(
        (event.type, event.data["toolCallId"]) for event in home.events if event.type.startswith("TOOL_CALL_")
    )
    calls = [call for kind, call in told if kind == "TOOL_CALL_START"]
    for call in calls:
        assert told["TOOL_CALL_END", call] == 1
    kept = home.messages[1:2] and home.messages[1]["role"] == "assistant"
    if kept:
        answers = re.findall(r'<result name="[^"]*" id="([^"]*)"', str(home.messages[2:3]))
        assert answers == [".".join(call.split(".")[-2:]) for call in calls]
        assert all(told["TOOL_CALL_RESULT", call] == 1 for call in calls)
    assert all(message.keys() == {"role", "content"} for message in home.messages)
    assert home.journal.turn(turn).state != "running"
    assert home.problems() == []


async def play(home: Any, say: Any, pieces: list[str], end: str) -> tuple[Probe, str]:
    probe = Probe()
    home.use(Registry([probe]))
    home.session = home.journal.create_session()
    reply = say.reply(say.text(""), stop=end)
    reply[2:3] = [{**reply[2], "delta": {"type": "text_delta", "text": piece}} for piece in pieces]
    match end:
        case "fault":
            reply[-3:] = [Fault("overloaded_error", "busy", mid_stream=True)]
        case "fatal":
            reply[-3:] = [Fault("invalid_request_error", "no", mid_stream=True)]
        case "ended":
            reply[-2:] = []
        case "stop":

            async def stop() -> None:
                home.journal.request_control(home.session, "stop")
                await asyncio.Event().wait()

            reply[-3:] = [stop]
    rest = [say.reply(say.text("done")) for _ in range(5)]
    turn = await home.turn("go", reply, *rest)
    return probe, turn.id
