"""The Messages API: POST /v1/messages and its token count."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import JSONResponse, Response

from . import sse
from .assistant import answer
from .callers import Gates, digest
from .errors import ApiError, invalid_request
from .events import message_events, messages_of, sealed
from .issued import sign
from .playback import Playback
from .player import Cut, Gate, Pause, Send, play
from .usage import input_tokens, usage
from .validator import validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request

    from .callers import Caller
    from .player import Step
    from .scripts import Reply
    from .state import State

_LARGEST_BODY = 32 * 1024 * 1024


async def create_message(http: Request) -> Response:
    """POST /v1/messages: the script's next reply, or the offline assistant's."""
    state: State = http.app.state.model
    caller, request = await _accepted(http)
    reply = _due(caller, request)
    streamed = request.get("stream") is True
    if reply.error and not (streamed and reply.error_after):
        raise replace(reply.error)
    name = secrets.token_hex(10)  # not derived from the request: ids must differ between sessions too
    frames, messages = _spoken(reply, request, name)
    for message in messages:
        state.issued.remember(message["content"])
    return Playback(
        play(reply, frames) if streamed else _whole(reply, frames, messages),
        gates=caller.gates if caller else Gates(),
        running=state.running,
        headers={"request-id": f"req_{name}"},
        media_type="text/event-stream" if streamed else "application/json",
    )


async def count_tokens(http: Request) -> Response:
    """POST /v1/messages/count_tokens: a rough count."""
    _, request = await _accepted(http, counting=True)
    return JSONResponse({"input_tokens": input_tokens(request)})


async def _accepted(http: Request, *, counting: bool = False) -> tuple[Caller | None, dict[str, Any]]:
    """Who calls, and the valid request.

    Raises:
        ApiError: as the API would refuse it.
    """
    state: State = http.app.state.model
    key = _key(http)
    if not key:
        raise ApiError(401, "authentication_error", "x-api-key header is required")
    if not http.headers.get("anthropic-version"):
        raise invalid_request("anthropic-version: header is required")
    body = await http.body()
    if len(body) > _LARGEST_BODY:
        raise ApiError(413, "request_too_large", "Request exceeds the maximum size")
    request = _object(body)
    beta = http.headers.get("anthropic-beta", "")
    problems = validate(request, state.issued, beta=bool(beta), counting=counting)
    caller = state.callers.find(digest(key))
    if caller:
        caller.requests.append({"path": http.url.path, "beta": beta, "body": request, "problems": problems})
    if problems:
        raise invalid_request(problems[0])
    return caller, request


def _key(http: Request) -> str:
    """The caller's key, which the API takes in either header."""
    kind, _, token = http.headers.get("authorization", "").partition(" ")
    return http.headers.get("x-api-key") or (token if kind.lower() == "bearer" else "")


def _object(body: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid_request(f"The request body is not valid JSON: {error}") from None
    if not isinstance(request, dict):
        raise invalid_request("Input should be a valid dictionary")
    return request


def _due(caller: Caller | None, request: dict[str, Any]) -> Reply:
    reply = caller.next_reply() if caller else None
    if reply:
        return reply
    if caller and caller.script.after == "error":
        used = len(caller.script.replies)
        raise invalid_request(f"The script has no more replies; all {used} were used")
    return answer(request)


def _spoken(reply: Reply, request: dict[str, Any], name: str) -> tuple[list[bytes], list[dict[str, Any]]]:
    """The reply's events on the wire, and the messages that they amount to."""
    if reply.content is not None:
        message = _message(reply, reply.content, request, name)
        frames = [sse.frame(event) for event in message_events(message, reply.chunk, reply.pings)]
        return frames, [message | {"content": [sealed(block) for block in message["content"]]}]
    if reply.sse is not None:
        frames = sse.split(reply.sse)
        return frames, messages_of(sse.parse(frames))
    events = reply.events or []
    return [sse.frame(event) for event in events], messages_of(events)


def _message(
    reply: Reply, content: list[dict[str, Any]], request: dict[str, Any], name: str
) -> dict[str, Any]:
    """The scripted content as the API's message; its ids carry the name."""
    content, stop = _until_stop(content, request.get("stop_sequences") or ())
    content = [_issued_block(block, f"{name}{n:02}") for n, block in enumerate(content)]
    calls = any(block["type"] == "tool_use" for block in content)
    usual = "tool_use" if calls else "end_turn"
    return {
        "id": f"msg_{name}",
        "type": "message",
        "role": "assistant",
        "model": reply.model or request["model"],
        "content": content,
        "stop_reason": "stop_sequence" if stop else reply.stop_reason or usual,
        "stop_sequence": stop,
        "stop_details": None,
        "usage": usage(request, content) | (reply.usage or {}),
    }


def _until_stop(
    content: list[dict[str, Any]], stops: Sequence[str]
) -> tuple[list[dict[str, Any]], str | None]:
    """The content up to the first stop sequence in a text, which is left out, and which one that is."""
    for n, block in enumerate(content):
        text = block["text"] if block["type"] == "text" else ""
        found = min(((text.index(stop), stop) for stop in stops if stop in text), default=None)
        if found:
            return [*content[:n], block | {"text": text[: found[0]]}], found[1]
    return content, None


def _issued_block(block: dict[str, Any], name: str) -> dict[str, Any]:
    """A scripted block with what the API would add: ids of calls, signatures of thinking."""
    if block["type"] == "tool_use":
        return {"id": f"toolu_{name}"} | block
    if block["type"] == "thinking":
        return {"signature": sign(block["thinking"])} | block
    return block


def _whole(reply: Reply, frames: Sequence[bytes], messages: list[dict[str, Any]]) -> Iterator[Step]:
    """The steps of a reply that is not streamed: the same waits and faults, and one body."""
    for step in play(reply, frames):
        if isinstance(step, Pause | Gate):
            yield step
    body = orjson.dumps(messages[-1] if messages else {})
    if reply.disconnect_after:
        yield Send(body[: len(body) // 2])
        yield Cut()
    else:
        yield Send(body)
