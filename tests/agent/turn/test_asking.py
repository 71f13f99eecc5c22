"""The toggles of requests, each by its difference on the wire; and what a turn keeps to its end."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

BUDGETED = "claude-haiku-4-5"


def _asked(house: Any, say: Any, **toggles: Any) -> dict[str, Any]:
    """The body of the first request of a turn with these toggles."""
    house.toggles.update(toggles)
    asyncio.run(house.turn("hi", say.reply(say.text("hello"))))
    body: dict[str, Any] = house.model.requests[-1]
    return body


def _marks(body: dict[str, Any]) -> int:
    blocks = [*body["system"], *(block for message in body["messages"] for block in message["content"])]
    return sum("cache_control" in block for block in blocks if isinstance(block, dict))


def test_api_model_is_the_one_that_is_asked(house: Any, say: Any) -> None:
    assert _asked(house, say)["model"] == "claude-sonnet-5"
    assert _asked(house, say, api_model="claude-opus-5")["model"] == "claude-opus-5"


def test_max_tokens_and_use_extended_output(house: Any, say: Any) -> None:
    assert _asked(house, say)["max_tokens"] == 64_000
    assert _asked(house, say, max_tokens=700)["max_tokens"] == 700
    assert _asked(house, say, max_tokens=128_000)["max_tokens"] == 128_000
    assert _asked(house, say, use_extended_output=False)["max_tokens"] == 64_000


def test_use_prompt_caching(house: Any, say: Any) -> None:
    assert _marks(_asked(house, say)) == 2
    assert _marks(_asked(house, say)) == 3
    assert _marks(_asked(house, say)) == 4
    assert _marks(_asked(house, say)) == 4
    without = _asked(house, say, use_prompt_caching=False)
    assert _marks(without) == 0
    assert isinstance(without["system"], str)
    assert "cache_control" not in str(house.messages)


def test_use_streaming_thinking(house: Any, say: Any) -> None:
    assert _asked(house, say)["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert _asked(house, say, use_streaming_thinking=False)["thinking"] == {"type": "disabled"}
    assert "thinking" not in _asked(house, say, api_model=BUDGETED)
    assert _asked(house, say, use_streaming_thinking=True)["thinking"]["type"] == "enabled"


def test_thinking_budget(house: Any, say: Any) -> None:
    assert _asked(house, say)["output_config"] == {"effort": "high"}
    assert _asked(house, say, thinking_budget=2_000)["output_config"] == {"effort": "low"}
    assert _asked(house, say, api_model=BUDGETED)["thinking"]["budget_tokens"] == 2_000 + 2_000


def test_enable_tool_thinking_and_tool_thinking_budget(house: Any, say: Any) -> None:
    assert _asked(house, say, api_model=BUDGETED)["thinking"]["budget_tokens"] == 32_768 + 2_000
    assert _asked(house, say, tool_thinking_budget=4_000)["thinking"]["budget_tokens"] == 32_768 + 4_000
    assert _asked(house, say, enable_tool_thinking=False)["thinking"]["budget_tokens"] == 32_768


def test_use_token_efficient_tools(house: Any, say: Any) -> None:
    house.toggles["use_token_efficient_tools"] = True
    _asked(house, say)
    _asked(house, say, api_model="claude-3-7-sonnet-20250219")
    _asked(house, say, use_token_efficient_tools=False)
    assert house.model.betas == [(), ("token-efficient-tools-2025-02-19",), ()]


def test_calls_between_thoughts_are_asked_of_models_that_have_to_be(house: Any, say: Any) -> None:
    _asked(house, say, api_model=BUDGETED)
    _asked(house, say, api_model="claude-opus-4-8")
    assert house.model.betas == [("interleaved-thinking-2025-05-14",), ()]


def test_large_inputs_are_streamed_as_they_are_written_where_the_model_can(house: Any, say: Any) -> None:
    def eager(name: str) -> list[str]:
        tools = _asked(house, say, api_model=name)["tools"]
        return [tool["name"] for tool in tools if tool.get("eager_input_streaming")]

    assert eager("claude-sonnet-5") == eager("claude-sonnet-4-5") == ["bash"]
    assert eager(BUDGETED) == eager("claude-3-7-sonnet-20250219") == []


@pytest.mark.parametrize("name", ["claude-sonnet-5", BUDGETED])
def test_h7_nothing_but_max_tokens_changes_within_a_turn(house: Any, say: Any, name: str) -> None:
    """Neither what the models endpoint tells meanwhile, nor more room after a cut, nor toggles."""
    house.toggles["api_model"] = name

    async def told() -> None:
        house.model.catalogue = None
        house.toggles.update(
            use_streaming_thinking=False, api_model="claude-opus-5", use_prompt_caching=False
        )

    first = [
        told,
        *say.reply(say.thinking("hm"), say.call("one", "files", command="view", path="."), stop="tool_use"),
    ]
    cut = say.reply(say.text("so"), say.call("two", "files", command="view", path="."), stop="max_tokens")
    asyncio.run(house.turn("hi", first, cut, say.reply(say.text("done"))))
    bodies = house.model.requests
    assert len(bodies) == 3
    assert [body["max_tokens"] for body in bodies] == [
        64_000,
        64_000,
        128_000 if name != BUDGETED else 64_000,
    ]
    for field in ("model", "system", "tools", "thinking", "output_config"):
        assert len({str(body.get(field)) for body in bodies}) == 1, field
    assert len(set(house.model.betas)) == 1


def test_h7_a_budget_begins_only_behind_calls_that_were_made_without_it(house: Any, say: Any) -> None:
    house.toggles.update(api_model=BUDGETED, use_streaming_thinking=False, use_response_chunking=False)
    call = say.call("one", "files", command="view", path=".")
    asyncio.run(house.turn("hi", say.reply(call, stop="tool_use")))
    house.toggles.update(use_streaming_thinking=True)
    asyncio.run(house.turn("go on", say.reply(say.text("done"))))
    asyncio.run(house.turn("and now", say.reply(say.thinking("hm"), say.text("done"))))
    assert [body.get("thinking", {}).get("type") for body in house.model.requests] == [None, None, "enabled"]


def test_the_prompt_of_each_request_begins_with_the_one_before(house: Any, say: Any) -> None:
    call = say.call("one", "files", command="view", path=".")
    asyncio.run(
        house.turn("hi", say.reply(say.thinking("hm"), call, stop="tool_use"), say.reply(say.text("a")))
    )
    asyncio.run(house.turn("more", say.reply(say.text("b"))))
    asked = [house.model.messages(number) for number in range(3)]
    for before, after in pairwise(asked):
        assert after[: len(before)] == before
    for field in ("system", "tools"):
        assert len({str(body[field]) for body in house.model.requests}) == 1
