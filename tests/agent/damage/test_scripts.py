"""Whole conversations made up at random: replies, tools, damage, controls and toggles; the same must hold.

`DCOPS_SCRIPTS=10000 pytest tests/agent/damage/test_scripts.py` tries as many others (with
`--hypothesis-seed=N` the same ones again); without it a few hundred are tried, the same ones at every run.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = int(os.environ.get("DCOPS_SCRIPTS", "250"))

SHRINKING = 30
"""Seconds in which a script that fails is made smaller; by itself that would take five minutes."""

Block = dict[str, Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + SCRIPTS)]


@dataclass(frozen=True)
class Said:
    """A reply: what it says, why it stops, and what happens to it at a part (0 to 1) of its events."""

    blocks: list[Block]
    stop: str | None
    damage: str
    at: float
    control: str
    control_at: float


@dataclass(frozen=True)
class Asked:
    """A turn: the model's replies, toggles that are not at their defaults, and what the user does when."""

    replies: list[Said]
    toggles: dict[str, Any] = field(default_factory=dict)
    controls: list[tuple[float, str]] = field(default_factory=list)


TOOLS = {name: {"n", "seconds", "lane", "fail", "raise"} for name in ("look", "work")}
STOPS = ["end_turn", "max_tokens", "model_context_window_exceeded", "pause_turn", "refusal", "stop_sequence"]
DAMAGES = [
    "cut",
    "torn",
    "reset",
    "stalled",
    "garbled",
    "error",
    "refused",
    "splice",
    "again",
    "length",
    "stop",
]
CONTROLS = ["stop", "pause", "steer"]

SOMETIMES = st.sampled_from([False, False, False, True])
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(0, 2),
        "seconds": st.sampled_from([0.01, 1, 100]),
        "lane": st.just("one"),
        "fail": SOMETIMES,
        "raise": SOMETIMES,
    },
)
INPUTS = ARGUMENTS.map(json.dumps) | st.sampled_from(
    ["", "{", '{"n": 1', '{"n": 1}{"n": 2}', '{"n": 1, "n": 2}', "[1]", '{"m": 1}', '{"n": NaN}', "null"]
)
CALLS = st.builds(
    lambda name, text: {"type": "tool_use", "name": name, "json": text},
    st.sampled_from(["look", "work", "look", "work", "hammer"]),
    ARGUMENTS.map(json.dumps) | INPUTS,
)
OTHERS = st.sampled_from(
    [
        {"type": "text", "text": "some words here"},
        {"type": "text", "text": " "},
        {"type": "text", "text": ""},
        {"type": "thinking", "thinking": "hm", "signature": "signed"},
        {"type": "thinking", "thinking": "", "signature": "hidden"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "server_tool_use", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "content": []},
        {"type": "mcp_tool_use", "name": "ask", "server_name": "s", "input": {"query": "x"}},
        {"type": "mcp_tool_result", "is_error": True, "content": []},
        {"type": "compaction", "content": "so far"},
        {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}},
        {"type": "hologram", "beam": 1},
    ]
)
REPLIES = st.builds(
    Said,
    st.lists(CALLS | OTHERS, max_size=5),
    st.just("tool_use") | st.sampled_from([*STOPS, "compaction", "something new", None]),
    st.just("") | st.sampled_from(DAMAGES),
    st.floats(0, 1),
    st.just("") | st.sampled_from(CONTROLS),
    st.floats(0, 1),
)
TOGGLES = st.fixed_dictionaries(
    {},
    optional={
        "eager_tools": st.sampled_from(["off", "readonly"]),
        "enable_tool_buffer": st.just(False),
        "enable_buffer_delay": st.just(True),
        "use_unified_streaming": st.just(False),
        "use_response_chunking": st.just(False),
        "use_streaming_thinking": st.just(False),
        "use_streaming_bash": st.just(False),
        "use_prompt_caching": st.just(False),
        "use_xml_prompts": st.just(True),
        "enforce_construction_prefix": st.just(True),
        "max_parallel_tools": st.integers(1, 2),
        "output_interval_ms": st.sampled_from([0, 1000]),
        "max_requests_per_turn": st.integers(1, 3),
        "max_turn_seconds": st.integers(1, 60),
        "api_model": st.sampled_from(["claude-opus-4-5", "claude-opus-4-6", "claude-haiku-4-5"]),
    },
)
TURNS = st.builds(
    Asked,
    st.lists(REPLIES, min_size=1, max_size=4),
    TOGGLES,
    st.lists(st.tuples(st.sampled_from([0, 0.01, 0.5, 5]), st.sampled_from(CONTROLS)), max_size=2),
)


class Stage:
    """Turns a script into the replies and controls of one agent."""

    def __init__(self, rig: Any, say: Any) -> None:
        self._rig = rig
        self._say = say
        self._session = rig.session()
        self._named = 0
        self._timers: list[Any] = []

    async def play(self, asked: Asked) -> Any:
        told = await self._rig.turn(
            self._session,
            *(self._reply(said, in_text="use_xml_prompts" in asked.toggles) for said in asked.replies),
            begun=lambda: self._schedule(asked.controls),
            **asked.toggles,
        )
        for timer in self._timers:
            timer.cancel()
        told.hold()
        return told

    def _schedule(self, controls: list[tuple[float, str]]) -> None:
        later = self._rig.loop.call_later
        self._timers += [later(seconds, self._control, kind) for seconds, kind in controls]

    def _control(self, kind: str) -> None:
        payload = {"input": "and this"} if kind == "steer" else {}
        self._rig.journal.request_control(self._session, kind, payload)
        if kind == "pause":
            self._timers.append(self._rig.loop.call_later(7, self._control, "resume"))

    def _reply(self, said: Said, *, in_text: bool) -> Any:
        say, reply = self._say, self._rig.reply
        blocks, stop = self._naming(said.blocks), said.stop
        if in_text:
            blocks, stop = _in_text(blocks), "stop_sequence" if stop == "tool_use" else stop
        events = say.reply(*blocks, stop=stop)
        place = round(said.at * len(events))
        cut, end = events[:place], "closed"
        match said.damage:
            case "":
                cut = events
            case "torn":
                cut, end = events[: place + 1], "torn"
            case "reset" | "stalled" | "garbled":
                end = said.damage
            case "refused":
                return reply(status=429 if place % 2 else 400)
            case "error":
                kind = "overloaded_error" if place % 2 else "invalid_request_error"
                cut = [*cut, {"type": "error", "error": {"type": kind, "message": "Sorry"}}]
            case "splice":
                cut = [*cut, *events]
            case "again":
                cut = [*cut, *say.block(0, say.call("again", "work", n=9)), *events[-2:]]
            case "length" | "stop":
                cut = [*cut, *(self._closing(cut) if said.damage == "stop" else ()), *self._length()]
        before = (
            {round(said.control_at * len(cut)): lambda: self._control(said.control)} if said.control else {}
        )
        return reply(cut, end, before=before)

    def _naming(self, blocks: list[Block]) -> list[Block]:
        """The blocks with ids of their own; a server's result belongs to the call before it."""
        named: list[Block] = []
        for block in blocks:
            if block["type"].endswith("tool_result"):
                if named and named[-1]["type"] in {"server_tool_use", "mcp_tool_use"}:
                    named.append({**block, "tool_use_id": named[-1]["id"]})
                continue
            self._named += 1
            named.append(
                {**block, "id": f"call{self._named}"} if block["type"].endswith("tool_use") else block
            )
        return named

    @staticmethod
    def _closing(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        begun = [event["index"] for event in events if event["type"] == "content_block_start"]
        ended = [event["index"] for event in events if event["type"] == "content_block_stop"]
        return [{"type": "content_block_stop", "index": index} for index in begun if index not in ended]

    @staticmethod
    def _length() -> list[dict[str, Any]]:
        ending = {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {}}
        return [ending, {"type": "message_stop"}]


def _in_text(blocks: list[Block]) -> list[Block]:
    """The blocks with the calls among them written into texts; the last text ends where the model stops."""
    written: list[Block] = []
    for block in blocks:
        if block["type"] != "tool_use":
            written.append(block)
            continue
        try:
            given = json.loads(block["json"] or "{}").items()
        except (ValueError, AttributeError):
            given = [("n", block["json"])]
        values = ((key, value if isinstance(value, str) else json.dumps(value)) for key, value in given)
        inner = "".join(f'<parameter name="{key}">{value}</parameter>' for key, value in values)
        call = f'<invoke name="{block["name"]}">{inner}</invoke>'
        sentence = f"I'll now construct a complete function call for [{block['name']}]: "
        if written and "<invoke" in written[-1].get("text", ""):
            text = written.pop()["text"] + call
        else:
            text = f"{sentence}<function_calls>{call}"
        written.append({"type": "text", "text": text})
    return [
        {**block, "text": block["text"] + "</function_calls>"}
        if "<invoke" in block.get("text", "") and block is not written[-1]
        else block
        for block in written
    ]


async def _play(rig: Any, say: Any, script: list[Asked]) -> None:
    rig.use(TOOLS, "look")
    rig.api.otherwise = lambda: rig.reply(say.reply(say.text("done")))
    stage = Stage(rig, say)
    for asked in script:
        told = await stage.play(asked)
        note(f"{told.turn.state} after {len(rig.api.requests)} requests")
    last = Said([{"type": "tool_use", "name": "work", "json": "{}"}], "tool_use", "", 0, "", 0)
    told = await stage.play(Asked([last]))
    assert told.turn.state == "done"
    assert rig.effects == {("work", "{}"): 1}


@pytest.fixture(scope="module", autouse=True)
def soon_told() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hypothesis.internal.conjecture.engine.MAX_SHRINKING_SECONDS", SHRINKING)
        yield


@settings(
    max_examples=SCRIPTS,
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    derandomize="DCOPS_SCRIPTS" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(script=st.lists(TURNS, min_size=1, max_size=2), seed=st.integers(0, 999))
def test_a_conversation_holds_whatever_happens(rig: Any, say: Any, script: list[Asked], seed: int) -> None:
    rig.api.random = Random(seed)
    rig.loop.run_until_complete(_play(rig, say, script))
