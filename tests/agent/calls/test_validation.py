from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.calls.call import Call
from dcops.agent.calls.validation import Validation
from dcops.agent.tools.registry import Registry, default_registry
from dcops.agent.tools.tool import Effect, Lane, Tool, ToolContext, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def _context(call: str) -> ToolContext:
    return ToolContext("s", Path("/workspace"), Path("/outputs") / call)


def _check(name: str, arguments: Any, fault: str | None = None, **more: Any) -> Call | str:
    block = {"type": "tool_use", "id": "c", "name": name, "input": arguments, **more}
    return Validation(default_registry()).check(block, _context, fault)


def test_a_valid_call_is_a_call() -> None:
    call = _check("bash", {"command": "ls", "timeout": 2.5})
    assert isinstance(call, Call)
    assert (call.id, call.tool.name, call.arguments) == ("c", "bash", {"command": "ls", "timeout": 2.5})
    assert (call.effect, call.lane, call.timeout) == (Effect.EFFECTS, Lane("shell"), 12.5)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("nope", {}, "there is no tool 'nope'; there are: bash, files."),
        ("bash", {}, "'command' is a required property"),
        ("bash", {"cmd": "ls"}, "required"),
        ("bash", {"command": "ls", "else": 1}, "Additional properties"),
        ("bash", {"command": ""}, "['command']"),
        ("bash", {"command": "ls", "timeout": 99999}, "['timeout']"),
        ("files", {"command": "remove", "path": "x"}, "'remove' is not one of ['view']"),
        ("files", {"command": "view", "path": "x", "view_range": [1, "2"]}, "['view_range'][1]"),
        ("files", {"command": "view", "path": "x", "view_range": [1, 2**63]}, "['view_range'][1]"),
        ("files", {"command": "view", "path": "a/" * 500_000}, "is too long"),
    ],
)
def test_what_is_no_call_is_told_with_its_place(name: str, arguments: Any, told: str) -> None:
    answer = _check(name, arguments)
    assert isinstance(answer, str)
    assert told in answer


def test_the_assemblers_fault_is_told() -> None:
    told = _check("bash", {"INVALID_JSON": "{"}, "the input is cut")
    assert told == "Not executed: the input is cut."


def test_what_may_stand_in_an_input_is_told_but_not_the_whole_of_it() -> None:
    told = _check("bash", {"cmd": "ls", "x": 1})
    assert isinstance(told, str)
    assert "'command' is a required property" in told
    assert told.endswith("; it takes: command, timeout.")
    long = _check("bash", {"command": "x" * 1_000_000, "timeout": "soon " * 100_000})
    assert isinstance(long, str)
    assert len(long) < 1000


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("bash", {"command": "a\0b"}, "Not executed: a command cannot contain a NUL character."),
        ("files", {"command": "view", "path": "a\0b"}, "a path cannot contain a NUL character"),
        ("files", {"command": "view", "path": "../x"}, "../x is outside the workspace /workspace"),
        ("files", {"command": "view", "path": "/etc/passwd"}, "/etc/passwd is outside the workspace"),
        ("files", {"command": "view", "path": "/workspace2"}, "outside the workspace"),
    ],
)
def test_what_a_tools_policy_refuses_is_told(name: str, arguments: Any, told: str) -> None:
    answer = _check(name, arguments)
    assert isinstance(answer, str)
    assert told in answer


@pytest.mark.parametrize("path", ["a", "./a/../b", "/workspace", "/workspace/a", "..a"])
def test_a_path_in_the_workspace_is_not_refused(path: str) -> None:
    assert isinstance(_check("files", {"command": "view", "path": path}), Call)


class Member(Tool):
    """A tool of a toolset."""

    name = "bash"
    description = "Stands in."
    input_schema = {"type": "object", "additionalProperties": False}  # noqa: RUF012

    def __init__(self, toolset: str | None = "desk") -> None:
        self.toolset = toolset

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> AsyncGenerator[ToolResult, None]:
        yield ToolResult(f"{arguments} {context}")


def test_a_member_of_a_toolset_is_known_by_toolset_and_name() -> None:
    assert "there is no tool 'bash'" in str(_check("bash", {"command": "ls"}, toolset_name="desk"))
    desk = Member()
    registry = Registry([*default_registry(), desk])
    assert registry.get("bash", "desk") is desk
    assert registry.get("bash") is not desk


@pytest.mark.parametrize("asked", ["refusal", "effect", "lane", "timeout"])
def test_a_tool_that_cannot_say_what_it_is_asked_refuses_the_call_and_not_the_turn(asked: str) -> None:
    tool = Member(None)

    def broken(arguments: dict[str, Any], *_: ToolContext) -> str:
        raise LookupError(f"no caf\udce9 for {arguments}")

    setattr(tool, asked, broken)
    block = {"type": "tool_use", "id": "c", "name": "bash", "input": {}}
    told = Validation(Registry([tool])).check(block, _context)
    assert told == "Not executed: bash could not check the input (LookupError: no caf? for {})."


@pytest.mark.parametrize("schema", [{"type": "object"}, {"additionalProperties": True}, {}])
def test_a_tool_with_effects_that_lets_anything_through_is_not_registered(schema: dict[str, Any]) -> None:
    tool = Member()
    tool.input_schema = schema
    with pytest.raises(ValueError, match="add additionalProperties: false"):
        Registry([tool])
    tool.readonly = True
    assert Registry([tool]).get("bash", "desk") is tool


def test_two_tools_of_one_name_are_not_registered() -> None:
    with pytest.raises(ValueError, match="two tools 'bash'"):
        Registry([Member(), Member()])
