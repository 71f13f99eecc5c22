"""A turn as it comes: what the agent says and its tools print to stdout, what it does to stderr."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

from dcops.cli.console import style

if TYPE_CHECKING:
    from dcops.cli.console import Console

    Event = dict[str, Any]

# What a terminal may be told by others' text: colours, and nothing that moves, asks or writes a clipboard.
COLOR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system commands: titles, clipboard
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # cursor, screen, colours
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"  # single control characters, a bare escape among them
)
ARGUMENT_LENGTH = 100
PROGRESS_STEP = 10
"""Percent between two lines about a tool's progress."""

ENDINGS = {
    "refusal": "the model refused",
    "tool_use": "the turn ends with what its tools gave; the next message goes on",
    "max_tokens": "the turn ends there; the next message goes on",
    "model_context_window_exceeded": "the conversation is as long as the model can read; begin another",
}
"""What a turn's end needs to have said, by its stop reason; limits and stops have events of their own."""


class JsonView:
    """The AG-UI events as they are, one a line, each with its sequence number."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, seq: int, event: Event) -> None:
        self._console.document({"seq": seq, **event})

    def end(self) -> None:
        """Nothing is held back."""


class TextView:
    """Text for people and pipes; each line that a tool prints is written whole and at once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._fresh = True  # whether stdout is at the start of a line
        self._tools: dict[str, str] = {}
        self._arguments: dict[str, str] = {}
        self._partial: dict[str, str] = {}
        self._streamed: set[str] = set()  # calls whose output came while they ran
        self._unrun: set[str] = set()
        self._added: set[str] = set()  # texts that the user said while the turn ran
        self._shown_percent: dict[str, float] = {}

    def show(self, _seq: int, event: Event) -> None:
        kind = event["type"]
        if kind == "TEXT_MESSAGE_START" and event.get("role") == "user":
            self._added.add(event["messageId"])
        elif kind == "TEXT_MESSAGE_CONTENT" and event.get("messageId") in self._added:
            self._do(f"you: {printable(event['delta'])}")
        elif kind == "TEXT_MESSAGE_CONTENT":
            self._write(event["delta"])
        elif kind == "TEXT_MESSAGE_END":
            self._new_line()
        elif kind == "REASONING_START":
            self._do("thinking")
        elif kind == "REASONING_MESSAGE_CONTENT":
            self._think(event["delta"])
        elif kind == "REASONING_END":
            self._console.talk()
        elif kind == "TOOL_CALL_START":
            self._tools[event["toolCallId"]] = event["toolCallName"]
        elif kind == "TOOL_CALL_ARGS":
            call = event["toolCallId"]
            self._arguments[call] = self._arguments.get(call, "") + event["delta"]
        elif kind == "TOOL_CALL_RESULT" and event["toolCallId"] not in self._streamed:
            self._result(event["toolCallId"], event["content"])
        elif kind == "RUN_FINISHED":
            reason = (event.get("result") or {}).get("stop_reason")
            if reason in ENDINGS:
                self._do(ENDINGS[reason])
        elif kind == "CUSTOM":
            self._custom(event["name"], event.get("value") or {})

    def end(self) -> None:
        """Close a line that was left open."""
        for call in list(self._partial):
            self._finish_output(call)
        self._new_line()

    def _custom(self, name: str, value: Event) -> None:
        if name.startswith("tool."):
            self._tool(name, str(value.get("call", "")), value)
        elif name == "retry":
            self._do(f"retry {value.get('attempt')} in {_wait(value)}: {value.get('reason')}")
        elif name == "reply.cut":
            self._do(f"the reply was cut: {value.get('reason')}")
        elif name == "paused":
            self._do("paused" if value.get("paused") else "goes on")
        elif name == "turn.interrupted":
            self._do(f"interrupted: {value.get('reason')}")
        elif name == "turn.limited":
            self._do(f"the turn reached its limit: {value.get('limit')} is {value.get('value')}")

    def _tool(self, name: str, call: str, value: Event) -> None:
        tool = self._tools.get(call, "tool")
        if name == "tool.started":
            self._do(f"{tool} started  {self._brief(call)}")
        elif name == "tool.output":
            self._streamed.add(call)
            self._output(call, str(value.get("text", "")))
        elif name == "tool.progress":
            self._progress(call, float(value.get("percent") or 0), value.get("eta"))
        elif name == "tool.retry":
            self._do(f"{tool} is tried again in {_wait(value)}: {value.get('reason')}")
        elif name == "tool.finished" and value.get("status") == "not_run":
            self._unrun.add(call)  # its result says why
        elif name == "tool.finished":
            self._finish_output(call)
            self._do(f"{tool} finished  {_end(value)}")

    def _progress(self, call: str, percent: float, eta: float | None) -> None:
        """Say now and then how far a tool is that takes a while yet."""
        if eta and eta >= 1 and percent >= self._shown_percent.get(call, 0) + PROGRESS_STEP:
            self._shown_percent[call] = percent
            self._do(f"{self._tools.get(call, 'tool')} {percent:.0f}%, about {eta:.0f}s left")

    def _output(self, call: str, text: str) -> None:
        """Hold back only what is no whole line yet, so that tools side by side do not mix their lines."""
        *lines, rest = (self._partial.get(call, "") + text).split("\n")
        self._partial[call] = rest
        for line in lines:
            self._new_line()
            self._write(f"{line}\n")

    def _result(self, call: str, text: str) -> None:
        """The whole output of a tool that showed none while it ran, or why it did not run."""
        if call in self._unrun:
            self._do(f"{self._tools.get(call, 'tool')}  {printable(text)}")
            return
        self._output(call, text)
        self._finish_output(call)

    def _finish_output(self, call: str) -> None:
        if rest := self._partial.pop(call, ""):
            self._new_line()
            self._write(f"{rest}\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()
        self._fresh = text.endswith("\n") or (self._fresh and not text)

    def _new_line(self) -> None:
        if not self._fresh:
            self._write("\n")

    def _think(self, text: str) -> None:
        sys.stderr.write(style(printable(text), "dim") if self._console.talks_in_color else printable(text))
        sys.stderr.flush()

    def _do(self, text: str) -> None:
        if sys.stdout.isatty():
            self._new_line()
        self._console.talk(style(f"{self._console.glyphs['note']} {text}", "dim"))

    def _brief(self, call: str) -> str:
        """A call's arguments in one line: texts as they are, such as a command, others with their name."""
        try:
            arguments = json.loads(self._arguments.get(call) or "{}")
            text = " ".join(
                value if isinstance(value, str) else f"({name}={value})" for name, value in arguments.items()
            )
        except (ValueError, AttributeError):
            text = self._arguments.get(call, "")
        line = " ".join(printable(text).split())
        return line if len(line) <= ARGUMENT_LENGTH else f"{line[: ARGUMENT_LENGTH - 3]}..."


def printable(text: str) -> str:
    """Text without the control sequences that could do more to a terminal than colour it."""
    return CONTROL.sub(lambda match: match[0] if COLOR.fullmatch(match[0]) else "", text)


def _wait(value: Event) -> str:
    return f"{float(value.get('seconds') or 0):.1f}s"


def _end(value: Event) -> str:
    status = str(value.get("status", "")).replace("_", " ")
    code = value.get("exit_code")
    elapsed = f"{float(value.get('elapsed_ms') or 0) / 1000:.1f}s"
    return f"{status} {elapsed}" if code in {None, 0} else f"{status}, exit code {code}, {elapsed}"
