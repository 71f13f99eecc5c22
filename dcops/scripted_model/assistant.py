"""The offline assistant: answers without a script, always the same way.

It runs what it is told to run, views what it is told to view, thinks when it is asked why, and
otherwise says what it is.
"""

from __future__ import annotations

import re
from typing import Any

from . import calls_in_text
from .issued import sign
from .scripts import Reply
from .usage import output_tokens

WORD_DELAY = 0.015

_RUN = re.compile(r"\s*run:\s*(\S.*)", re.IGNORECASE | re.DOTALL)
_VIEW = re.compile(
    r"\s*(?:please\s+)?(?:view|show\s+me|show|read)\s+(?:the\s+)?(?:file\s+)?"
    r"(?:[\"'`](?P<quoted>[^\"'`]+)[\"'`]|(?P<path>\S+?))[.?!,]?\s*",
    re.IGNORECASE,
)
_WHY = re.compile(r"\bwhy\b", re.IGNORECASE)
_EXIT = re.compile(r"\bexit(?:ed)?(?:\s+with)?(?:[\s_]+(?:code|status))?[\s:=]+(-?\d+)", re.IGNORECASE)

_SELF = (
    "I am the offline assistant: a scripted stand-in for the model, so that nothing here needs a key."
    " Try: run: ls, view README.md, or ask me why."
)
Block = dict[str, Any]


def answer(request: dict[str, Any]) -> Reply:
    """The assistant's reply to a valid request, within its `max_tokens`."""
    asked, results = _last_input(request["messages"])
    if run := _RUN.fullmatch(asked):
        content = _run(request, run[1].strip())
    elif view := _VIEW.fullmatch(asked):
        content = _view(request, view["quoted"] or view["path"])
    elif results and not asked:
        content = [_text(" ".join(_remark(one, request["messages"]) for one in results))]
    elif _WHY.search(asked):
        content = _why(request, asked)
    else:
        content = [_text(_SELF)]
    content, cut = _within(content, request["max_tokens"])
    return Reply(content=content, stop_reason="max_tokens" if cut else None, delay=WORD_DELAY)


def _last_input(messages: list[dict[str, Any]]) -> tuple[str, list[Block]]:
    """The last text of the user after the assistant's last message, and the results beside it."""
    asked = said = ""
    results: list[Block] = []
    for message in messages:
        if message["role"] == "assistant":
            asked, said, results = "", "", []
        content = message["content"]
        for block in [_text(content)] if isinstance(content, str) else content:
            if message["role"] == "assistant":
                said += block.get("text", "")
            elif block["type"] == "text" and (told := calls_in_text.results(block["text"], said)):
                results += told
            elif message["role"] == "user" and block["type"] == "text":
                asked = block["text"]
            elif block["type"] == "tool_result":
                results.append(block)
    return asked.strip(), results


def _run(request: dict[str, Any], command: str) -> list[Block]:
    if "bash" in calls_in_text.tools(request):
        return [calls_in_text.call("bash", command=command)]
    tool = next((one for one in _tools(request) if one["name"] == "bash"), None)
    if tool is None:
        return [_text("I cannot run that: no tool named bash was offered to me.")]
    return [{"type": "tool_use", "name": "bash", "input": {"command": command}}]


def _view(request: dict[str, Any], path: str) -> list[Block]:
    in_text = calls_in_text.tools(request).items()
    if named := next((name for name, told in in_text if '"view"' in told), None):
        return [calls_in_text.call(named, command="view", path=path)]
    tool = next((one for one in _tools(request) if _views(one)), None)
    if tool is None:
        return [_text(f"I cannot view {path}: no tool with the command view was offered to me.")]
    return [{"type": "tool_use", "name": tool["name"], "input": {"command": "view", "path": path}}]


def _tools(request: dict[str, Any]) -> list[dict[str, Any]]:
    if (request.get("tool_choice") or {}).get("type") == "none":
        return []
    return [tool for tool in request.get("tools") or [] if "name" in tool]


def _views(tool: dict[str, Any]) -> bool:
    if str(tool.get("type", "")).startswith("text_editor_"):
        return True
    command = (tool.get("input_schema") or {}).get("properties", {}).get("command")
    return isinstance(command, dict) and "view" in command.get("enum", [])


def _why(request: dict[str, Any], asked: str) -> list[Block]:
    content = []
    thinking = request.get("thinking") or {}
    if thinking.get("type") in ("enabled", "adaptive"):
        thought = (
            f"The question is: {asked!r} A reason would need knowledge, and I am a script."
            " So the honest answer says what I cannot do, and who can."
        )
        content.append(_thinking("" if thinking.get("display") == "omitted" else thought))
    text = "I cannot know why: I am a script, not a model. With a key, the real model answers here."
    return [*content, _text(text)]


def _remark(result: Block, messages: list[dict[str, Any]]) -> str:
    """One line about a tool's result."""
    given = result.get("given") or _input_of(result["tool_use_id"], messages)
    subject = f"`{' '.join(str(given.get('path') or given.get('command') or 'that call').split())[:60]}`"
    output = _output(result)
    lines = [line for line in output.splitlines() if line.strip()]
    status = _EXIT.search(lines[-1]) if lines else None
    if status and status[1] != "0":
        return f"{subject} ended with exit code {status[1]}."
    if result.get("is_error"):
        return f"{subject} failed: {' '.join(output.split())[:120]}"
    count = len(lines) - bool(status)
    amount = f"{count} line{'' if count == 1 else 's'}" if count else "no output"
    return f"{subject} is done: {amount}."


def _input_of(call: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    for message in messages:
        for block in message["content"]:
            if isinstance(block, dict) and block["type"] == "tool_use" and block["id"] == call:
                given: dict[str, Any] = block["input"]
                return given
    return {}


def _output(result: Block) -> str:
    content = result.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def _within(content: list[Block], limit: int) -> tuple[list[Block], bool]:
    """The content as far as the limit of tokens reaches, and whether something was cut."""
    kept: list[Block] = []
    for block in content:
        if (used := output_tokens(block)) <= limit:
            kept.append(block)
            limit -= used
            continue
        if limit > 0:
            kept.append(_cut(block, limit * 4))
        return kept, True
    return kept, False


def _cut(block: Block, characters: int) -> Block:
    if block["type"] == "text":
        return _text(block["text"][:characters])
    if block["type"] == "thinking":
        return {"type": "thinking", "thinking": block["thinking"][:characters], "signature": ""}
    return block | {"input_json": str(block["input"])[:1]}


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _thinking(thinking: str) -> Block:
    return {"type": "thinking", "thinking": thinking, "signature": sign(thinking)}
