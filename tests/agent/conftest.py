"""A model that plays raw stream events and refuses what the API would refuse, and turns run against it."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.events import Event, Fault
from dcops.agent.journal.journal import Journal
from dcops.agent.loop import TurnRunner
from dcops.agent.model.assembler import Assembler
from dcops.agent.model.catalogue import Catalogue
from dcops.agent.toggles import Schema
from dcops.agent.tools.registry import default_registry
from dcops.agent.turn import attempts
from dcops.scripted_model.issued import Issued
from dcops.scripted_model.models import MODELS
from dcops.scripted_model.validator import validate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

    from dcops.agent.journal.records import Turn
    from dcops.agent.model.request import Request
    from dcops.agent.tools.registry import Registry

TOGGLES = Schema.load().complete({})


class Say:
    """Words for replies as the API streams them."""

    @staticmethod
    def text(text: str) -> dict[str, Any]:
        return {"type": "text", "text": text}

    @staticmethod
    def thinking(text: str, signature: str = "signed") -> dict[str, Any]:
        return {"type": "thinking", "thinking": text, "signature": signature}

    @staticmethod
    def call(call: str, name: str, **arguments: Any) -> dict[str, Any]:
        return {"type": "tool_use", "id": call, "name": name, "input": arguments}

    @staticmethod
    def raw(call: str, name: str, text: str, size: int = 7) -> dict[str, Any]:
        """A call whose input is this text, JSON or not, in pieces of `size` characters."""
        return {"type": "tool_use", "id": call, "name": name, "json": text, "size": size}

    @classmethod
    def reply(cls, *blocks: dict[str, Any], stop: str = "end_turn") -> list[dict[str, Any]]:
        usage = {"input_tokens": 3, "output_tokens": 1}
        message = {"id": "msg", "type": "message", "role": "assistant", "model": "m", "content": []}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": {**message, "usage": usage}}]
        for index, block in enumerate(blocks):
            events += cls.block(index, block)
        events.append(
            {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 9}}
        )
        return [*events, {"type": "message_stop"}]

    @classmethod
    def block(cls, index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
        start, deltas = cls._parts(block)
        return [
            {"type": "content_block_start", "index": index, "content_block": start},
            *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": index},
        ]

    @staticmethod
    def _parts(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        match block["type"]:
            case "text":
                pieces = block["text"].split(" ")
                deltas = [{"type": "text_delta", "text": piece + " "} for piece in pieces[:-1]]
                return {**block, "text": ""}, [*deltas, {"type": "text_delta", "text": pieces[-1]}]
            case "thinking":
                signature = {"type": "signature_delta", "signature": block["signature"]}
                deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}]
                return {**block, "thinking": "", "signature": ""}, [*deltas, signature]
            case "tool_use":
                text = block["json"] if "json" in block else json.dumps(block["input"])
                start = {"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}
                size = block.get("size", 7)
                pieces = [text[n : n + size] for n in range(0, len(text), size)]
                return start, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
            case _:
                return block, []


def _bare(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != "cache_control"}


class PlayedModel:
    """Stands where the transport stands; an item of a reply is an event, a fault to raise, or a wait."""

    def __init__(self) -> None:
        self.replies: list[list[Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.streamed: list[bool] = []
        self.betas: list[tuple[str, ...]] = []
        self.catalogue = Catalogue(self._describe)
        self.closed = 0
        self._issued = Issued()

    def messages(self, number: int) -> list[dict[str, Any]]:
        """The messages of a request, without the marks for the API's cache."""
        return [
            {**message, "content": [_bare(block) for block in message["content"]]}
            for message in self.requests[number]["messages"]
        ]

    async def _describe(self, model: str) -> dict[str, Any]:
        return MODELS[model]

    @asynccontextmanager
    async def stream(self, request: Request, stall: float) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        del stall
        reply = self._asked(request, stream=True)
        try:
            yield self._play(reply)
        finally:
            self.closed += 1

    async def whole(self, request: Request) -> dict[str, Any]:
        assembler = Assembler()
        async for event in self._play(self._asked(request, stream=False)):
            assembler.feed(event)
        return {**assembler.message, "content": list(assembler.blocks.values())}

    def _asked(self, request: Request, *, stream: bool) -> list[Any]:
        asked = json.loads(json.dumps(request.body))
        problems = validate({**asked, "stream": stream}, self._issued, beta=bool(request.betas))
        assert problems == []
        self.requests.append(asked)
        self.betas.append(request.betas)
        self.streamed.append(stream)
        if not self.replies:
            raise Fault("script_over", "the test has no more replies")
        return self.replies.pop(0)

    async def _play(self, reply: list[Any]) -> AsyncIterator[dict[str, Any]]:
        for item in reply:
            if isinstance(item, Exception):
                raise item
            if callable(item):
                await item()
            else:
                yield json.loads(json.dumps(item))
                await asyncio.sleep(0)


class House:
    """An instance without its service: journal, tools, workspace, and the played model."""

    def __init__(self, folder: Path, instance: str = "one") -> None:
        self.workspaces = folder / "workspace"
        self.journal = Journal.open(folder / "state", instance)
        self.model = PlayedModel()
        self.runner = self._runner(default_registry())
        self.session = self.journal.create_session()
        self.workspace = self.workspaces / self.session
        self.workspace.mkdir(parents=True)
        self.toggles: dict[str, Any] = dict(TOGGLES)

    def _runner(self, registry: Registry) -> TurnRunner:
        return TurnRunner(self.journal, self.model, registry, self.workspaces)  # type: ignore[arg-type]

    def use(self, registry: Registry) -> None:
        self.runner = self._runner(registry)

    def begin(self, text: str, *replies: list[Any]) -> tuple[Turn, asyncio.Task[None]]:
        self.model.replies = list(replies)
        turn = self.journal.start_turn(self.session, text)
        return turn, self.runner.start(turn, self.toggles)

    async def turn(self, text: str, *replies: list[Any]) -> Turn:
        turn, task = self.begin(text, *replies)
        await asyncio.wait_for(task, 20)
        ended = self.journal.turn(turn.id)
        assert ended is not None
        return ended

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.journal.events(self.session)]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.journal.messages(self.session)

    def customs(self, name: str) -> list[dict[str, Any]]:
        return [e.data["value"] for e in self.events if e.type == "CUSTOM" and e.data["name"] == name]

    def results(self) -> dict[str, dict[str, Any]]:
        """All results in the history by call; fails when a call has two."""
        found: dict[str, dict[str, Any]] = {}
        for message in self.messages:
            for block in message["content"]:
                if block["type"] == "tool_result":
                    assert block["tool_use_id"] not in found
                    found[block["tool_use_id"]] = block
        return found

    def problems(self) -> list[str]:
        """What the API would say against going on from here."""
        following = {"role": "user", "content": [{"type": "text", "text": "go on"}]}
        messages = [*self.messages, following]
        return validate({"model": "claude-sonnet-5", "max_tokens": 100, "messages": messages})


async def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "what the test waits for does not come"
        await asyncio.sleep(0.002)
    return value


@pytest.fixture(scope="session")
def say() -> type[Say]:
    return Say


@pytest.fixture
def wait_until() -> Callable[..., Coroutine[Any, Any, Any]]:
    return until


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.0)  # tests are not made to wait for a retry
    house = House(tmp_path)
    yield house
    house.journal.close()
