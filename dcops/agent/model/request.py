"""From history, toggles and the model's limits to one API request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .caching import marked, marked_system
from .history import for_request
from .models import SHORT_CALLS
from .thinking import Thinking, settle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..events import Message, Toggles
    from .models import Model

USUAL_OUTPUT = 64_000
"""The most tokens of a reply without `use_extended_output`."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the Messages API: its body without `stream`, and the betas that it names."""

    body: dict[str, Any]
    betas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all requests of a turn, so that nothing of it changes between a call and its result.

    Attributes:
        model: its id.
        max_tokens: of a request that asks for no more.
        most_output: what `max_tokens` can grow to.
        system: the system prompt.
        place: where the session works; said behind the system prompt, which other sessions share.
        calls: how the model calls tools: what the API is told about them.
        caching: whether the API may keep the prompt.
        thinking: how the model thinks.
        betas: what else is asked for.
    """

    model: str
    max_tokens: int
    most_output: int
    system: str
    place: str
    calls: Mapping[str, Any]
    caching: bool
    thinking: Thinking
    betas: tuple[str, ...] = ()


def most_output(limits: Model, toggles: Toggles) -> int:
    """The most tokens of one reply, whatever `max_tokens` says."""
    return limits.max_output if toggles["use_extended_output"] else min(limits.max_output, USUAL_OUTPUT)


def terms(
    toggles: Toggles,
    limits: Model,
    system: str,
    tools: Sequence[dict[str, Any]],
    messages: Sequence[Message] = (),
    *,
    place: str = "",
    closing: str = "",
) -> Terms:
    """Settles the terms of a turn that begins after `messages`.

    Args:
        toggles: all values.
        limits: what the model takes.
        system: the system prompt.
        tools: the tools' definitions.
        messages: the history so far.
        place: where the session works.
        closing: what ends the calls that the model writes into its text; empty if tools are offered instead.
    """
    most = most_output(limits, toggles)
    max_tokens = min(toggles["max_tokens"], most)
    short = tools and toggles["use_token_efficient_tools"] and SHORT_CALLS in limits.betas
    return Terms(
        model=toggles["api_model"],
        max_tokens=max_tokens,
        most_output=most,
        system=system,
        place=place,
        calls=_in_text(messages, tools, closing) if closing else _offered(tools),
        caching=toggles["use_prompt_caching"],
        thinking=settle(limits, toggles, max_tokens, for_request(messages), tools=bool(tools)),
        betas=(SHORT_CALLS,) if short else (),
    )


def plan(messages: Sequence[Message], of: Terms, *, more_output: int = 0) -> Request:
    """The request that continues `messages`; the history itself is not touched.

    Args:
        messages: the history, which the user's message or results end.
        of: the terms of the turn.
        more_output: tokens that the reply may have beyond the usual, as far as the model goes.
    """
    joined = for_request(messages)
    body: dict[str, Any] = {
        "model": of.model,
        "max_tokens": min(of.max_tokens + more_output, of.most_output),
        "system": marked_system(of.system, of.place) if of.caching else f"{of.system}\n{of.place}".strip(),
        "messages": marked(joined) if of.caching else joined,
        **of.thinking.fields,
        **of.calls,
    }
    return Request(body, (*of.thinking.betas, *of.betas))


def _offered(tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"tools": list(tools)} if tools else {}


def _in_text(messages: Sequence[Message], tools: Sequence[dict[str, Any]], closing: str) -> dict[str, Any]:
    """Nothing on offer, and an end after the calls, so that the model writes no results itself."""
    # The API wants to know the tools as soon as the history has calls that are no text.
    known = any(block["type"] == "tool_use" for message in messages for block in message["content"])
    kept = {"tools": list(tools), "tool_choice": {"type": "none"}} if known else {}
    return {"stop_sequences": [closing], **kept}
