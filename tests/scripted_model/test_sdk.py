"""The real SDK against the real server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest

from dcops.scripted_model.models import MODELS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Caller

ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "hello"}],
}
CONTENT = [
    {"type": "thinking", "thinking": "Let me look.", "signature": "sig"},
    {"type": "text", "text": "I will look — twice.\n"},
    {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls", "n": [1, 2.5, None]}},
    {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
]


def client(caller: Caller) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=caller.url, api_key=caller.key, max_retries=0)


async def streamed(caller: Caller, **more: Any) -> Any:
    async with client(caller) as api, api.messages.stream(**ASK | more) as stream:
        return await stream.get_final_message()


async def raw_events(caller: Caller) -> AsyncIterator[Any]:
    async with client(caller) as api:
        async for event in await api.messages.create(**ASK, stream=True):
            yield event


def content_of(message: Any) -> list[dict[str, Any]]:
    return [block.model_dump(include=set(CONTENT[n])) for n, block in enumerate(message.content)]


@pytest.mark.parametrize("timing", [{}, {"chunk": 1}, {"bytes": [1, 2, 50]}, {"pings": 20}])
def test_the_stream_helper_accumulates_what_the_script_says(caller: Caller, timing: dict[str, Any]) -> None:
    caller.script({"content": CONTENT, "usage": {"output_tokens": 77}} | timing)
    message = asyncio.run(streamed(caller))
    assert content_of(message) == CONTENT
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 77)


def test_the_whole_message_is_the_same(caller: Caller) -> None:
    async def whole() -> Any:
        async with client(caller) as api:
            return await api.messages.create(**ASK)

    caller.script({"content": CONTENT, "stop_reason": "pause_turn", "model": "claude-other"})
    message = asyncio.run(whole())
    assert content_of(message) == CONTENT
    assert (message.stop_reason, message.model) == ("pause_turn", "claude-other")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"status": 429, "headers": {"retry-after": "7"}}, anthropic.RateLimitError),
        ({"type": "overloaded_error"}, anthropic.APIStatusError),
        ({"status": 401}, anthropic.AuthenticationError),
        ({"status": 404, "message": "model: x"}, anthropic.NotFoundError),
        ({}, anthropic.InternalServerError),
    ],
)
def test_errors_arrive_as_the_sdk_s_exceptions(caller: Caller, error: dict[str, Any], expected: type) -> None:
    caller.script({"error": error})
    with pytest.raises(expected) as caught:
        asyncio.run(streamed(caller))
    raised: Any = caught.value
    assert raised.response.headers.get("retry-after") == error.get("headers", {}).get("retry-after")
    assert error.get("message", "Scripted error") in str(raised)


def test_an_error_within_the_stream_comes_after_what_was_sent(caller: Caller) -> None:
    caller.script({"content": CONTENT, "error_after": 4})
    seen = []

    async def read() -> None:
        async for event in raw_events(caller):
            seen.append(event.type)  # noqa: PERF401  what came before the error counts

    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        asyncio.run(read())
    assert seen == [
        "message_start",
        "content_block_start",
        "content_block_delta",
    ]  # and a ping, which it hides


@pytest.mark.parametrize("place", [3, {"bytes": 400}, 0])
def test_a_cut_connection_is_an_error_to_the_client(caller: Caller, place: Any) -> None:
    caller.script({"content": CONTENT, "disconnect_after": place})
    with pytest.raises((anthropic.APIConnectionError, httpx2.RemoteProtocolError)):
        asyncio.run(streamed(caller))


def test_refused_history_is_a_bad_request_and_uses_no_reply(caller: Caller) -> None:
    caller.script({"content": CONTENT})
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]},
        {"role": "user", "content": "go on"},
    ]
    with pytest.raises(
        anthropic.BadRequestError, match="`tool_use` ids were found without `tool_result` blocks"
    ):
        asyncio.run(streamed(caller, messages=messages))
    assert caller.state()["consumed"] == 0
    (request,) = caller.requests()
    assert request["body"]["messages"] == messages
    assert len(request["problems"]) == 1


def test_the_next_request_must_carry_the_thinking_that_was_sent(caller: Caller) -> None:
    caller.script({"content": [CONTENT[0], CONTENT[2]]}, {"content": [CONTENT[1]]})
    thinking = {"type": "adaptive"}

    async def loop(*, keep: bool) -> Any:
        message = await streamed(caller, thinking=thinking)
        content = [block.model_dump(exclude_none=True) for block in message.content]
        results = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
        messages = [
            *ASK["messages"],
            {"role": "assistant", "content": content if keep else content[1:]},
            {"role": "user", "content": [results]},
        ]
        return await streamed(caller, thinking=thinking, messages=messages)

    assert asyncio.run(loop(keep=True)).content[0].text == CONTENT[1]["text"]
    caller.script({"content": [CONTENT[0], CONTENT[2]]})
    with pytest.raises(anthropic.BadRequestError, match="Expected `thinking` or `redacted_thinking`"):
        asyncio.run(loop(keep=False))


def test_models_are_listed_and_found(caller: Caller) -> None:
    async def ask() -> tuple[list[str], Any]:
        async with client(caller) as api:
            listed = [model.id async for model in api.models.list()]
            found = await api.models.retrieve("claude-sonnet-5")
            with pytest.raises(anthropic.NotFoundError):
                await api.models.retrieve("claude-none")
            return listed, found

    listed, found = asyncio.run(ask())
    assert listed == list(MODELS)
    assert (found.max_tokens, found.capabilities.thinking.types.adaptive.supported) == (128_000, True)


def test_tokens_are_counted(caller: Caller) -> None:
    async def ask(words: str) -> int:
        async with client(caller) as api:
            messages: Any = [{"role": "user", "content": words}]
            return (await api.messages.count_tokens(model="claude-sonnet-5", messages=messages)).input_tokens

    assert asyncio.run(ask("word " * 400)) - asyncio.run(ask("word " * 200)) == pytest.approx(250, abs=1)
