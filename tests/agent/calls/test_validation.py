from __future__ import annotations

from typing import Any

import pytest

from dcops.agent.calls.call import Call
from dcops.agent.calls.validation import Validation
from dcops.agent.tools.registry import default_registry


def _check(name: str, arguments: Any, fault: str | None = None) -> Call | str:
    block = {"type": "tool_use", "id": "c", "name": name, "input": arguments}
    return Validation(default_registry()).check(block, fault)


def test_a_valid_call_is_a_call() -> None:
    call = _check("bash", {"command": "ls", "timeout": 2.5})
    assert isinstance(call, Call)
    assert (call.id, call.tool.name, call.arguments) == ("c", "bash", {"command": "ls", "timeout": 2.5})


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("nope", {}, "There is no tool 'nope'; there are: bash, files."),
        ("bash", {}, "'command' is a required property"),
        ("bash", {"cmd": "ls"}, "required"),
        ("bash", {"command": "ls", "else": 1}, "Additional properties"),
        ("bash", {"command": ""}, "['command']"),
        ("bash", {"command": "ls", "timeout": 99999}, "['timeout']"),
        ("files", {"command": "remove", "path": "x"}, "'remove' is not one of ['view']"),
        ("files", {"command": "view", "path": "x", "view_range": [1, "2"]}, "['view_range'][1]"),
    ],
)
def test_what_is_no_call_is_told_with_its_place(name: str, arguments: Any, told: str) -> None:
    answer = _check(name, arguments)
    assert isinstance(answer, str)
    assert told in answer


def test_the_assemblers_fault_is_told() -> None:
    assert _check("bash", {"INVALID_JSON": "{"}, "the input is cut") == "Not executed: the input is cut."
