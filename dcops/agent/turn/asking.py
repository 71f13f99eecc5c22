"""Asks the model for the replies of one turn, on terms that stay the same to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import prompts
from ..calls.in_text import CallsInText
from ..calls.xml import CLOSE
from ..events import Fault
from ..model import request
from ..model.whole import as_events

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..events import Message, Toggles
    from ..model.request import Request, Terms
    from .parts import Parts
    from .reply import Reply


class Asking:
    """The requests of one turn."""

    def __init__(self, parts: Parts, toggles: Toggles, workspace: Path) -> None:
        """Takes what the turn shares with others, its toggles, and the directory that its tools work in."""
        self._parts = parts
        self._toggles = toggles
        self._workspace = workspace
        self._settled: Terms | None = None

    async def settle(self, messages: Sequence[Message]) -> None:
        """Settles what holds for all requests of a turn that begins after `messages`; once."""
        if self._settled is not None:
            return
        limits = await self._parts.transport.catalogue.limits(self._toggles["api_model"])
        registry = self._parts.registry
        system, place = prompts.system(registry.names), prompts.place(self._workspace)
        tools = registry.definitions(eager=limits.eager_input)
        closing = ""
        if self._toggles["use_xml_prompts"]:
            system += prompts.calls_in_text(tools, announced=self._toggles["enforce_construction_prefix"])
            closing = CLOSE
        self._settled = request.terms(
            self._toggles, limits, system, tools, messages, place=place, closing=closing
        )

    @property
    def can_grow(self) -> bool:
        """Whether a reply can have more tokens than `max_tokens` says."""
        return self._terms.max_tokens < self._terms.most_output

    def calls_in_text(self, name: str) -> CallsInText | None:
        """What finds the calls of the reply of that name, if the model writes them into its text."""
        if not self._toggles["use_xml_prompts"]:
            return None
        schemas = {tool["name"]: tool["input_schema"] for tool in self._parts.registry.definitions()}
        return CallsInText(name, schemas, announced=self._toggles["enforce_construction_prefix"])

    async def read(self, reply: Reply, messages: Sequence[Message], *, whole: bool, room: int) -> None:
        """Sends one request and reads its reply to the end.

        Args:
            reply: takes what comes.
            messages: the history that it goes on from.
            whole: whether it is asked for without a stream.
            room: how many times `max_tokens` it may have beyond the usual, as far as the model goes.

        Raises:
            Fault: it did not come, or broke off.
        """
        asked = self._request(messages, room)
        if whole:
            for event in as_events(await self._parts.transport.whole(asked)):
                reply.take(event)
        else:
            await self._stream(reply, asked)
        if not reply.done:
            raise Fault("stream_ended", "the stream ended before the reply did", mid_stream=True)

    async def _stream(self, reply: Reply, asked: Request) -> None:
        async with self._parts.transport.stream(asked, self._toggles["stall_seconds"]) as stream:
            async for event in stream:
                reply.take(event)
                if reply.done:
                    return

    def _request(self, messages: Sequence[Message], room: int) -> Request:
        return request.plan(messages, self._terms, more_output=room * self._terms.max_tokens)

    @property
    def _terms(self) -> Terms:
        assert self._settled is not None, "they are settled before anything is asked"
        return self._settled
