"""What the API refuses about the messages of a request."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from . import models
from .blocks import THOUGHTS, block_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .issued import Issued

Block = dict[str, Any]

_NO_RESULT = (
    "`tool_use` ids were found without `tool_result` blocks immediately after: {ids}. Each `tool_use` block"
    " must have a corresponding `tool_result` block in the next message."
)
_NO_CALL = (
    "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a"
    " corresponding `tool_use` block in the previous message."
)
_TWO_RESULTS = "each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
_CHANGED = (
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified."
    " These blocks must remain as they were in the original response."
)
_NO_THOUGHT = (
    "Expected `thinking` or `redacted_thinking`, but found `{type}`. When `thinking` is enabled, a final"
    " `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and"
    " `tool_result` blocks)."
)
_NO_PREFILL = (
    "This model does not support assistant message prefill. The conversation must end with a user message."
)


@dataclass
class _Turn:
    """Messages of one role in a row, which the API reads as one."""

    role: str
    blocks: list[tuple[str, Block]]


def history_problems(request: dict[str, Any], issued: Issued) -> Iterator[str]:
    """The problems of the messages; pairing and order are looked at once each message is right.

    Args:
        request: a request whose shape is right already.
        issued: the thinking that this server has sent out.
    """
    messages = request["messages"]
    if not messages:
        yield "messages: at least one message is required"
        return
    problems = list(
        chain.from_iterable(_message_problems(one, f"messages.{n}") for n, one in enumerate(messages))
    )
    yield from problems
    if problems:
        return
    turns = _turns(messages)
    if turns[0].role != "user":
        yield 'messages: first message must use the "user" role'
    yield from _pairing_problems(turns)
    yield from _genuine_problems(turns, issued)
    yield from _loop_problems(turns, issued, thinking=request.get("thinking") or {})
    yield from _end_problems(turns[-1], request["model"])


def _message_problems(message: dict[str, Any], path: str) -> Iterator[str]:
    for name in message.keys() - {"role", "content"}:
        yield f"{path}.{name}: Extra inputs are not permitted"
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        yield f"{path}.role: Input should be 'user', 'assistant' or 'system'"
    elif content is None:
        yield f"{path}.content: Field required"
    elif isinstance(content, str):
        if not content.strip():
            yield f"{path}: {role} messages must have non-empty content"
    elif not isinstance(content, list):
        yield f"{path}.content: Input should be a valid list"
    elif not content:
        yield f"{path}: {role} messages must have non-empty content"
    else:
        for n, block in enumerate(content):
            yield from block_problems(block, f"{path}.content.{n}", role)


def _turns(messages: list[dict[str, Any]]) -> list[_Turn]:
    turns: list[_Turn] = []
    for n, message in enumerate(messages):
        if message["role"] == "system":
            continue
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        placed = [(f"messages.{n}.content.{m}", block) for m, block in enumerate(blocks)]
        if turns and turns[-1].role == message["role"]:
            turns[-1].blocks.extend(placed)
        else:
            turns.append(_Turn(message["role"], placed))
    return turns or [_Turn("system", [])]


def _pairing_problems(turns: list[_Turn]) -> Iterator[str]:
    seen: set[str] = set()
    open_calls: list[str] = []
    for turn in turns:
        place = turn.blocks[0][0].partition(".content")[0] if turn.blocks else "messages"
        yield from _result_problems(turn, open_calls, place)
        open_calls = [block["id"] for _, block in turn.blocks if block["type"] == "tool_use"]
        for call in open_calls:
            if call in seen:
                yield f"{place}: `tool_use` ids must be unique: {call}"
            seen.add(call)
    if open_calls:
        yield f"{place}: " + _NO_RESULT.format(ids=", ".join(open_calls))


def _result_problems(turn: _Turn, calls: list[str], place: str) -> Iterator[str]:
    """What is wrong with a turn as the answer to the calls of the turn before."""
    answered: list[str] = []
    late: list[str] = []
    other = False
    for path, block in turn.blocks:
        if block["type"] != "tool_result":
            other = True
            continue
        call = block["tool_use_id"]
        if call not in calls:
            yield f"{path}: " + _NO_CALL.format(id=call)
        elif call in answered:
            yield f"{path}: " + _TWO_RESULTS.format(id=call)
        elif other:
            late.append(call)
        answered.append(call)
    missing = [call for call in calls if call not in answered or call in late]
    if missing:
        yield f"{place}: " + _NO_RESULT.format(ids=", ".join(missing))


def _genuine_problems(turns: list[_Turn], issued: Issued) -> Iterator[str]:
    for path, block in chain.from_iterable(turn.blocks for turn in turns):
        if block["type"] == "thinking" and not issued.is_genuine(block["thinking"], block["signature"]):
            yield f"{path}: Invalid `signature` in `thinking` block"


def _loop_problems(turns: list[_Turn], issued: Issued, thinking: dict[str, Any]) -> Iterator[str]:
    """In the loop of calls that is still open, thinking must be what it was when the calls were made."""
    if thinking.get("type") not in ("enabled", "adaptive"):
        return
    for turn in _open_loop(turns):
        calls = [n for n, (_, block) in enumerate(turn.blocks) if block["type"] == "tool_use"]
        if not calls:
            continue
        expected = issued.thoughts_before(turn.blocks[calls[0]][1]["id"])
        if expected is None:
            continue
        path, first = turn.blocks[0]
        before = [block for _, block in turn.blocks[: calls[0]]]
        found = [block for block in before if block["type"] in THOUGHTS]
        if any(block["type"] not in ("text", *THOUGHTS) for block in before):
            found = found[-len(expected) or len(found) :]  # the first ones can be of a reply that was paused
        if expected and first["type"] not in THOUGHTS and not found:
            yield f"{path}.type: " + _NO_THOUGHT.format(type=first["type"])
        elif [_bare(block) for block in found] != [_bare(block) for block in expected]:
            yield f"{path}: {_CHANGED}"


def _open_loop(turns: list[_Turn]) -> list[_Turn]:
    """The assistant's turns since the user last spoke of something other than results."""
    loop: list[_Turn] = []
    for turn in reversed(turns):
        if turn.role == "assistant":
            loop.append(turn)
        elif not any(block["type"] == "tool_result" for _, block in turn.blocks):
            break
    return loop[::-1]


def _bare(block: Block) -> tuple[Any, ...]:
    return tuple(block.get(name) for name in ("type", "thinking", "signature", "data"))


def _end_problems(last: _Turn, model: str) -> Iterator[str]:
    """A conversation ends with the user, or with a server's tool that was paused."""
    kinds = {block["type"] for _, block in last.blocks}
    if last.role != "assistant" or "tool_use" in kinds:
        return
    if any(kind not in {"text", *THOUGHTS} for kind in kinds):
        return
    if models.accepts_prefill(model):
        text = last.blocks[-1][1].get("text", "")
        if text != text.rstrip():
            yield "messages: final assistant content cannot end with trailing whitespace"
    else:
        yield _NO_PREFILL
