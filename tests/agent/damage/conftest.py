"""An agent whose model is damaged on purpose: it answers in bytes at the HTTP client's end.

Everything between those bytes and the journal is the agent's own. Time is skipped whenever nothing but a
timer could happen next, so a stalled stream and the wait before a retry take none.
"""

from __future__ import annotations

import asyncio
import json
import re
import selectors
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from ag_ui.core import Event as AnyEvent
from pydantic import TypeAdapter

from dcops.agent.journal.journal import Journal
from dcops.agent.loop import TurnRunner
from dcops.agent.model.history import for_request
from dcops.agent.model.transport import Transport
from dcops.agent.toggles import Schema
from dcops.agent.tools.registry import Registry
from dcops.agent.tools.tool import Effect, Lane, Tool, ToolContext, ToolOutput, ToolResult
from dcops.scripted_model.issued import Issued
from dcops.scripted_model.validator import validate

from .server import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

    from dcops.agent.events import Event
    from dcops.agent.journal.records import Turn

AGUI: TypeAdapter[Any] = TypeAdapter(AnyEvent)
SHORT = 0.05
"""Seconds; what counts silence takes longer."""

MANY = 20
"""More requests than any turn of these tests may need."""


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: SkippingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if not timeout or self._loop.busy:
            return super().select(timeout)
        ready = super().select(self._loop.grace if timeout > SHORT else 0)
        if not ready:
            self._loop.skipped += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop that skips to its next timer while no thread works for it (`busy`).

    Bytes between two sockets of its own are under way for `grace` seconds at the most; meanwhile a short time
    may be skipped, but no long one.
    """

    def __init__(self) -> None:
        self.busy = 0
        self.grace = 0.0
        self.skipped = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return super().time() + self.skipped

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        future = super().run_in_executor(executor, func, *args)
        self.busy += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Any) -> None:
        self.busy -= 1

    @contextmanager
    def working(self) -> Iterator[None]:
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1


@dataclass
class Reply:
    """What the model sends: events, and how the connection ends.

    Attributes:
        events: the stream's events, damage included.
        end: `closed` as it should be, `stalled` (nothing comes any more), `reset` (the connection breaks),
            `garbled` (what follows is no JSON), or `torn` (the last event is cut amid its bytes).
        status: an HTTP status instead of a stream.
        before: what happens before the event of that number is sent.
        streamed: whether it was asked for as a stream.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    end: str = "closed"
    status: int = 200
    before: dict[int, Callable[[], object]] = field(default_factory=dict)
    streamed: bool = True


class Api:
    """The Messages API; strict about what it is asked, and remembering what it has said."""

    def __init__(self, seed: int = 0) -> None:
        self.replies: list[Reply] = []
        self.requests: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.sent: list[Reply] = []
        self.issued = Issued()
        self.otherwise: Callable[[], Reply] = Reply
        self.random = Random(seed)

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            return httpx2.Response(404, json={"type": "error", "error": {"type": "not_found_error"}})
        asked = json.loads(await request.aread())
        self.requests.append(asked)
        self.problems += validate(asked, self.issued)
        reply = self.replies.pop(0) if self.replies else self.otherwise()
        reply.streamed = bool(asked.get("stream"))
        self.sent.append(reply)
        if reply.status != 200:
            error = {"type": "overloaded_error", "message": "Overloaded"}
            return httpx2.Response(reply.status, json={"type": "error", "error": error})
        heard = hear(reply).blocks
        self.issued.remember([block for block, ended in heard if ended or block["type"] == "tool_use"])
        if not reply.streamed:
            return self._whole(reply)
        headers = {"content-type": "text/event-stream", "request-id": f"req_{len(self.requests)}"}
        return httpx2.Response(200, headers=headers, stream=_Stream(self._bytes(reply)))

    def _whole(self, reply: Reply) -> httpx2.Response:
        """The same without a stream: what is not complete breaks off, and a call that was cut is empty."""
        heard = hear(reply)
        if reply.end != "closed":
            raise httpx2.ReadError("the connection was reset")
        if not heard.whole:
            return httpx2.Response(200, content=b'{"type": "message", "content": [')
        start = next(event["message"] for event in reply.events if event["type"] == "message_start")
        message = {**start, "stop_reason": heard.stop}
        return httpx2.Response(200, json={**message, "content": [block for block, _ in heard.blocks]})

    async def _bytes(self, reply: Reply) -> AsyncIterator[bytes]:
        for number, event in enumerate(reply.events):
            if number in reply.before:
                reply.before[number]()
                await asyncio.sleep(0.001)
            name = self.random.choice((event["type"], event["type"], "other", None))
            raw = f"{f'event: {name}' if name else ': no name'}\ndata: {json.dumps(event)}\n\n".encode()
            if reply.end == "torn" and number == len(reply.events) - 1:
                raw = raw[: len(raw) // 2]
            async for piece in self._pieces(raw):
                yield piece
        if reply.end == "stalled":
            await asyncio.sleep(10_000)
            raise httpx2.ReadTimeout("nothing came")
        if reply.end == "garbled":
            yield b"data: <html>\n\n"
        if reply.end == "reset":
            raise httpx2.ReadError("the connection was reset")

    async def _pieces(self, raw: bytes) -> AsyncIterator[bytes]:
        """The bytes in some pieces; now and then everybody else may go on until nothing is left to do."""
        while raw:
            size = self.random.choice((len(raw), len(raw), self.random.randrange(1, len(raw) + 1)))
            piece, raw = raw[:size], raw[size:]
            yield piece
            if (pause := self.random.choice((None, None, 0, 0.001))) is not None:
                await asyncio.sleep(pause)


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            yield piece


@dataclass
class Heard:
    """What a stream proves; written apart from the assembler and the gates, which it judges.

    Attributes:
        blocks: each block that began, and whether it ended; an input that is no object is INVALID_JSON.
        sealed: the complete calls (name, arguments as JSON).
        early: those of them that may run at once where they only read.
        confirmed: those of them that something followed.
        stop: why the model stopped.
        whole: whether the reply came to its end.
    """

    blocks: list[tuple[dict[str, Any], bool]] = field(default_factory=list)
    sealed: list[tuple[str, str]] = field(default_factory=list)
    early: list[tuple[str, str]] = field(default_factory=list)
    confirmed: list[tuple[str, str]] = field(default_factory=list)
    stop: str | None = None
    whole: bool = False


def hear(reply: Reply) -> Heard:
    """Takes a stream up to its end, an error, or the point where it is no longer one reply."""
    heard = Heard()
    blocks: dict[int, dict[str, Any]] = {}
    texts: dict[int, str] = {}
    early = True
    begun = False
    stop: str | None = None
    for event in reply.events[: -1 if reply.end == "torn" else None]:
        match event["type"]:
            case "message_start" if begun:
                break
            case "message_start":
                begun, stop = True, event["message"].get("stop_reason")
                for index, block in enumerate(event["message"].get("content") or ()):
                    heard.confirmed = list(heard.sealed)
                    blocks[index] = _finish(block, "")
                    _seal(heard, blocks[index], early=True)
            case kind if kind not in EVENTS:
                continue
            case _ if not begun or event["type"] == "error":
                break
            case "content_block_start" if event["index"] in blocks:
                break
            case "content_block_start":
                block = blocks[event["index"]] = dict(event["content_block"])
                texts[event["index"]] = ""
                early = early and block["type"] != "fallback"
                if early:
                    heard.confirmed = list(heard.sealed)
            case "content_block_delta":
                texts[event["index"]] += _grow(blocks[event["index"]], event["delta"])
            case "content_block_stop":
                index = event["index"]
                blocks[index] = _finish(blocks[index], texts.pop(index))
                _seal(heard, blocks[index], early=early)
            case "message_delta":
                heard.stop = event["delta"].get("stop_reason") or heard.stop
            case "message_stop":
                heard.whole, heard.stop = True, heard.stop or stop
        if heard.stop == "tool_use":
            heard.confirmed = list(heard.sealed)
        if heard.whole:
            break
    for index, block in blocks.items():
        cut = index in texts
        whole = _finish(block, texts[index] if reply.streamed else "") if cut else block
        heard.blocks.append((whole, not (cut and reply.streamed)))
    return heard


EVENTS = {
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
    *("message_delta", "message_stop", "error"),
}
FIXED = {"text", "thinking", "redacted_thinking", "tool_use"}
"""The blocks that no delta of an unknown kind may change, as the API would refuse them then."""


def _seal(heard: Heard, block: dict[str, Any], *, early: bool) -> None:
    if block["type"] == "tool_use" and "INVALID_JSON" not in block["input"]:
        call = (block["name"], json.dumps(block["input"], sort_keys=True))
        heard.sealed.append(call)
        if early and block["input"]:
            heard.early.append(call)


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> str:
    match delta["type"]:
        case "text_delta":
            return str(delta["text"])
        case "thinking_delta":
            return str(delta["thinking"])
        case "input_json_delta":
            return str(delta["partial_json"])
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        case kind if kind == "signature_delta" or block["type"] not in FIXED:
            block |= {name: value for name, value in delta.items() if name != "type"}
    return ""


def _finish(block: dict[str, Any], text: str) -> dict[str, Any]:
    if block["type"] in {"text", "thinking"}:
        return {**block, block["type"]: block[block["type"]] + text}
    if not block["type"].endswith("tool_use"):
        return block
    text = text or json.dumps(block.get("input") or {})
    try:
        value = json.loads(text, parse_constant=Decimal, object_pairs_hook=_unique)
        json.dumps(value)
    except (ValueError, TypeError, RecursionError):
        value = None
    return {**block, "input": value if isinstance(value, dict) else {"INVALID_JSON": text}}


def _written(block: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The complete calls in XML in a text, as the tests write them."""
    if block["type"] == "text":
        for name, given in re.findall(r'<invoke name="(\w+)">(.*?)</invoke>', block["text"]):
            found = re.findall(r'<parameter name="(\w+)">(.*?)</parameter>', given)
            with suppress(ValueError):
                arguments = {key: value if key == "lane" else json.loads(value) for key, value in found}
                yield name, json.dumps(arguments, sort_keys=True)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Decimal:
    """The object; what JSON cannot hold if a key stands twice."""
    return dict(pairs) if len({key for key, _ in pairs}) == len(pairs) else Decimal()


TYPES = {"n": "integer", "seconds": "number", "lane": "string", "fail": "boolean", "raise": "boolean"}


class StandIn(Tool):
    """A tool that counts its effects by their arguments.

    Arguments say how it behaves: `seconds` of (skipped) time, `fail`, `raise`, `lane`.
    """

    def __init__(
        self, name: str, keys: Iterable[str], effect: Effect, effects: Counter[tuple[str, str]]
    ) -> None:
        self.name = name
        self.description = "Stands in."
        properties = {key: {"type": TYPES[key]} if key in TYPES else {} for key in keys}
        self.input_schema = {"type": "object", "properties": properties, "additionalProperties": False}
        self.readonly = effect is Effect.READONLY
        self._effects = effects

    def lane(self, arguments: dict[str, Any], context: ToolContext) -> Lane | None:
        del context
        return Lane(str(arguments["lane"])) if "lane" in arguments else None

    async def run(self, arguments: dict[str, Any], context: Any) -> AsyncIterator[Any]:
        del context
        self._effects[self.name, json.dumps(arguments, sort_keys=True)] += 1
        yield ToolOutput("some output\n")
        await asyncio.sleep(arguments.get("seconds", 0))
        if arguments.get("raise"):
            raise RuntimeError("broken tool")
        yield ToolResult("it ran", "failed" if arguments.get("fail") else "done")


class Rig:
    """One agent for many sessions, and what must hold after each of their turns."""

    reply = Reply
    hear = staticmethod(hear)

    def __init__(self, folder: Path, loop: SkippingLoop, url: str) -> None:
        self.journal = Journal.open(folder / "state", "one")
        self.journal._store._write.execute("PRAGMA synchronous=OFF")
        self.loop = loop
        self.readonly: set[str] = set()
        self.api = Api()
        self.effects: Counter[tuple[str, str]] = Counter()
        self.toggles: dict[str, Any] = dict(Schema.load().complete({"stall_seconds": 2}))
        self.workspace = folder
        self.transport = Transport(url, "k" * 64)
        loop.run_until_complete(self.transport.load())
        submit = self.journal.submit

        async def counted(work: Callable[[], Any]) -> Any:
            with loop.working():
                return await submit(work)

        self.journal.submit = counted  # type: ignore[method-assign]
        self.use({})

    def use(self, tools: dict[str, Iterable[str]], *readonly: str) -> None:
        """Gives new turns these tools: names, and the keys of their arguments; some only read."""
        self.readonly = set(readonly)
        kinds = {name: Effect.READONLY if name in readonly else Effect.EFFECTS for name in tools}
        stand_ins = [StandIn(name, keys, kinds[name], self.effects) for name, keys in tools.items()]
        self.runner = TurnRunner(self.journal, self.transport, Registry(stand_ins), self.workspace)

    def session(self) -> str:
        self.api.issued = Issued()  # ids of calls come again in other sessions
        return self.journal.create_session()

    async def turn(
        self, session: str, *replies: Reply, begun: Callable[[], object] | None = None, **toggles: Any
    ) -> Told:
        """Runs a turn to its end and returns what it left; `begun` is called once it runs."""
        api, journal = self.api, self.journal
        api.replies, api.requests, api.sent, api.problems = list(replies), [], [], []
        self.effects.clear()
        before = len(journal.messages(session))
        turn = journal.start_turn(session, "go on")
        after = journal.began_after(turn)
        running = self.runner.start(turn, {**self.toggles, **toggles})
        if begun:
            begun()
        await asyncio.wait_for(running, 100_000)
        ended = journal.turn(turn.id)
        assert ended is not None
        events = [event for _, event in journal.events(session, after, limit=100_000)]
        return Told(self, ended, events, journal.messages(session), before)

    def close(self) -> None:
        self.loop.run_until_complete(self.transport.close())
        self.journal.close()


@dataclass
class Told:
    """What a turn left: its events, the history with it (`before` messages are older), its effects."""

    rig: Rig
    turn: Turn
    events: list[Event]
    history: list[dict[str, Any]]
    before: int

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.history[self.before :]

    def hold(self) -> None:
        """What holds after every turn, whatever happened to it."""
        api = self.rig.api
        assert self.turn.state != "running"
        assert api.problems == []
        assert len(api.requests) <= MANY
        following = {"role": "user", "content": [{"type": "text", "text": "and now?"}]}
        request = {
            "model": "claude-sonnet-5",
            "max_tokens": 100,
            "messages": for_request([*self.history, following]),
        }
        assert validate(request, api.issued) == []
        assert self.rig.effects <= self.proven(), "a call ran twice, or unproven"
        self._results_hold()
        self._replies_hold()
        self._events_hold()

    def proven(self) -> Counter[tuple[str, str]]:
        """The calls that what came of the replies proves complete."""
        proven: Counter[tuple[str, str]] = Counter()
        for heard in map(hear, self.rig.api.sent):
            early = [call for call in heard.early if call[0] in self.rig.readonly]
            proven += Counter(heard.confirmed) | Counter(early)
            proven += Counter(call for block, _ in heard.blocks for call in _written(block))
        return proven

    def _results_hold(self) -> None:
        """Each call has one result in the next message, before anything else; what ran does not deny it."""
        started = {e.data["value"]["call"] for e in self.events if _name(e) == "tool.started"}
        for message, answer in zip(self.messages, [*self.messages[1:], {"content": []}], strict=True):
            calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
            results = answer["content"][: len(calls)]
            assert [block.get("tool_use_id") for block in results] == calls
            assert all(block["type"] != "tool_result" for block in answer["content"][len(calls) :])
            for block in results:
                text, ran = block["content"][0]["text"], block["tool_use_id"] in started
                assert not text.startswith("Not executed" if ran else ("it ran", "Interrupted")), block

    def _replies_hold(self) -> None:
        """Each message of the model is one reply, its blocks in their order; nothing cut is sent back."""
        replies = map(hear, self.rig.api.sent)
        for message in self.messages:
            if message["role"] != "assistant":
                continue
            assert any(_says(reply, message["content"]) for reply in replies), message

    def _events_hold(self) -> None:
        """AG-UI's words; what starts ends; the turn ends once."""
        for event in self.events:
            AGUI.validate_python(event.wire())
        kinds = [event.type for event in self.events]
        assert kinds[0] == "RUN_STARTED"
        assert kinds[-1] in {"RUN_FINISHED", "RUN_ERROR"}
        assert sum(kind in {"RUN_STARTED", "RUN_FINISHED", "RUN_ERROR"} for kind in kinds) == 2
        opened: dict[str, int] = {}
        for event in self.events:
            _follow(event, opened)
        assert not any(opened.values()), opened
        calls = [b["id"] for m in self.messages for b in m["content"] if b["type"] == "tool_use"]
        for call in calls:
            of_call = [
                _name(e) for e in self.events if call in (e.data.get("toolCallId"), _value(e).get("call"))
            ]
            for kind, least, most in CALL_EVENTS:
                assert least <= of_call.count(kind) <= most, (kind, of_call)
            assert of_call.index("TOOL_CALL_START") == 0


CALL_EVENTS = (
    ("TOOL_CALL_START", 1, 1),
    ("TOOL_CALL_END", 1, 1),
    ("TOOL_CALL_RESULT", 1, 1),
    ("tool.queued", 0, 1),
    ("tool.started", 0, 1),
    ("tool.finished", 1, 1),
)
PAIRS = {
    "TEXT_MESSAGE": "messageId",
    "REASONING_MESSAGE": "messageId",
    "TOOL_CALL": "toolCallId",
}


def _follow(event: Event, opened: dict[str, int]) -> None:
    """Content only between a start and an end."""
    kind, _, part = event.type.rpartition("_")
    if (key := PAIRS.get(kind)) is None or part == "RESULT":
        return
    name = f"{kind} {event.data[key]}"
    assert opened.get(name) == (None if part == "START" else 1), (event, opened.get(name))
    opened[name] = 0 if part == "END" else 1


def _name(event: Event) -> str:
    return str(event.data["name"]) if event.type == "CUSTOM" else event.type


def _value(event: Event) -> dict[str, Any]:
    return event.data.get("value") or {} if event.type == "CUSTOM" else {}


def _says(reply: Heard, content: list[dict[str, Any]]) -> bool:
    """Whether these are blocks of that reply, in order; a text may be cut, an unfinished call is empty."""
    blocks = iter(reply.blocks)
    for block in content:
        if not any(_is(block, sent, ended=ended) for sent, ended in blocks):
            return False
    calls = {block.get("tool_use_id") for block in content}
    pending = [b for b in content if b["type"].endswith("tool_use") and b["type"] != "tool_use"]
    return reply.stop in {"pause_turn", "tool_use", "compaction"} or all(b["id"] in calls for b in pending)


def _is(block: dict[str, Any], sent: dict[str, Any], *, ended: bool) -> bool:
    if block["type"] == "text" == sent["type"]:  # the API leaves out the tag that it stopped at
        return f"{sent['text']}</function_calls>".startswith(block["text"])
    return block == sent if ended else block["type"] == "tool_use" and block == {**sent, "input": {}}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The agent, with its model at the HTTP client's end."""
    loop = SkippingLoop()
    rig: Rig

    async def answer(_: Any, request: httpx2.Request) -> httpx2.Response:
        return await rig.api.answer(request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", answer)
        rig = Rig(tmp_path_factory.mktemp("rig"), loop, "https://model.test")
        yield rig
        rig.close()
    loop.close()


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The agent, with its model behind a socket, over the way that it takes to the gateway."""
    loop = SkippingLoop()
    loop.grace = 0.005
    rig: Rig
    serving = loop.create_server(lambda: Connection(rig.api), "127.0.0.1", 0)
    server = loop.run_until_complete(serving)
    port = server.sockets[0].getsockname()[1]
    rig = Rig(tmp_path_factory.mktemp("wired"), loop, f"http://127.0.0.1:{port}")
    yield rig
    rig.close()
    server.close()
    loop.close()
