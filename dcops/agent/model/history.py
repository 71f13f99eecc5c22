"""What was said, kept so that the API takes it: pure functions over messages.

The API wants exactly one result per call in the next message, results before any text, signed thinking
untouched and in place, and no empty text. Everything here is deterministic: a history repaired twice, or on
two instances, is the same, so prompt caches stay warm.

Calls that the model wrote into its text are no blocks: until they have their results, a reply names them
beside its content, as `written`. What is sent, and what a session rests with, is free of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..events import Block, Message

_THOUGHTS = {"thinking", "redacted_thinking"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model is told about a call."""

    content: str
    is_error: bool = False


def user(text: str | list[Block]) -> Message:
    """What the user said."""
    return {"role": "user", "content": [_text(text)] if isinstance(text, str) else text}


def assistant(blocks: Sequence[Block], *, cut: bool = False, written: Sequence[Block] = ()) -> Message | None:
    """A reply, or as much of it as ended, in its order; None when nothing of it can be sent back.

    Thinking without a signature comes from a cut stream and is left out, as are empty texts and, in a `cut`
    reply, calls of server tools that got no result. A reply of nothing but thinking says nothing.
    The calls that it has `written` into its text are known by their `id` and `name`.
    """
    answered = {block.get("tool_use_id") for block in blocks}
    kept = [block for block in blocks if _sendable(block) and not (cut and _pending(block, answered))]
    spoken = any(block["type"] not in _THOUGHTS for block in kept)
    if not spoken:
        return None
    named = [{"id": call["id"], "name": call["name"]} for call in written]
    return {"role": "assistant", "content": kept} | ({"written": named} if named else {})


def resumable(message: Message | None) -> bool:
    """Whether the API goes on from a reply that it paused; words alone it would take for a prefill."""
    content = (message or {}).get("content", ())
    return any(block["type"] not in {"text", *_THOUGHTS} for block in content)


def calls(message: Message | None) -> list[Block]:
    """The client's calls in a message, in order; those of server tools have their results already."""
    blocks = [block for block in (message or {}).get("content", ()) if block["type"] == "tool_use"]
    return [*blocks, *(message or {}).get("written", ())]


def results(message: Message, outcomes: Mapping[str, Outcome], more: Sequence[Block] = ()) -> Message:
    """The answer to a message with calls: one result per call in their order, then what else is said."""
    written = message.get("written", ())
    answers = [_result(block, outcomes[block["id"]]) for block in calls(message) if block not in written]
    if written:
        answers.append(_text(_function_results(written, outcomes)))
    return {"role": "user", "content": [*answers, *more]}


def answered(message: Message) -> Message:
    """A reply whose calls have their results."""
    return {key: value for key, value in message.items() if key != "written"}


def not_executed(reason: str) -> Outcome:
    """For a call that did not start."""
    return Outcome(f"Not executed: {reason}.", is_error=True)


def interrupted(reason: str, partial: str = "") -> Outcome:
    """For a call that had started: it must not sound as if nothing happened."""
    told = f"Interrupted while running: {reason}. Its effects may have happened."
    return Outcome(f"{told} Its output so far:\n{partial}" if partial else told, is_error=True)


def cut_off(reason: str) -> Block:
    """What the model is told behind a reply of its own that a fault cut, so that it goes on."""
    return _text(f"[Your reply was cut off here by a fault: {reason}. Go on from there.]")


def closing(
    last: Message | None, outcomes: Mapping[str, Outcome], started: Iterable[str], reason: str
) -> Message:
    """The message that makes a history valid whose turn broke off after `last`.

    Args:
        last: the last message, if it is the assistant's; None otherwise.
        outcomes: what is known of its calls.
        started: the ids of calls that were started; those without an outcome were interrupted.
        reason: why the turn ended, as half a sentence.
    """
    known = fates(last, outcomes, started, reason)
    return results(last or {}, known, [_text(f"[This turn was interrupted: {reason}.]")])


def fates(
    last: Message | None, outcomes: Mapping[str, Outcome], started: Iterable[str], reason: str
) -> dict[str, Outcome]:
    """What became of each call of a turn that broke off; arguments as for `closing`."""
    begun = set(started)
    return {
        block["id"]: outcomes.get(block["id"])
        or (interrupted(reason) if block["id"] in begun else not_executed(reason))
        for block in calls(last)
    }


def for_request(messages: Sequence[Message]) -> list[Message]:
    """The history as it is sent: neighbouring messages of one role joined."""
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1] = {**joined[-1], "content": [*joined[-1]["content"], *message["content"]]}
        else:
            joined.append(message)
    return joined


def _pending(block: Block, answered: set[Any]) -> bool:
    """Whether it is a server tool's call without a result in the same reply."""
    kind = block["type"]
    return kind != "tool_use" and kind.endswith("tool_use") and block["id"] not in answered


def _sendable(block: Block) -> bool:
    match block["type"]:
        case "thinking":
            return bool(block.get("signature"))
        case "text":
            return bool(str(block.get("text", "")).strip())
        case _:
            return True


def _result(block: Block, outcome: Outcome) -> Block:
    answer: dict[str, Any] = {"type": "tool_result", "tool_use_id": block["id"]}
    if "toolset_name" in block:
        answer["toolset_name"] = block["toolset_name"]
    # An empty text is refused, and so is an error without one.
    answer["content"] = [_text(outcome.content if outcome.content.strip() else "[no output]")]
    return {**answer, "is_error": True} if outcome.is_error else answer


def _function_results(written: Sequence[Block], outcomes: Mapping[str, Outcome]) -> str:
    """The results of calls that stand in a text, as text; what a tool said cannot end its result."""
    lines = ["<function_results>"]
    for call in written:
        outcome = outcomes[call["id"]]
        number = ".".join(
            call["id"].split(".")[-2:]
        )  # of the reply in its turn, and of the call in its reply
        status = "error" if outcome.is_error else "ok"
        content = _escaped(outcome.content if outcome.content.strip() else "[no output]")
        head = f'name="{_escaped(call["name"])}" id="{number}" status="{status}"'
        lines.append(f"<result {head}>{content}</result>")
    return "\n".join([*lines, "</function_results>"])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _text(text: str) -> Block:
    return {"type": "text", "text": text}
