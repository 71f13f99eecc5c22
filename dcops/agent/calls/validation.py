"""Whether what the model wrote is a call that may run: whole, of a known tool, fitting, and not refused."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from ..tools.output import plain_text
from .call import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Block
    from ..tools.registry import Registry
    from ..tools.tool import Tool, ToolContext

MOST_ERRORS = 3
LONGEST_ERROR = 300
"""Characters; the message of a schema's error may quote all of the input."""


class Validation:
    """Checks calls; each schema is compiled once."""

    def __init__(self, registry: Registry) -> None:
        """Takes the tools that there are."""
        self._registry = registry
        self._validators: dict[Tool, Any] = {}

    def check(
        self, block: Block, context: Callable[[str], ToolContext], fault: str | None = None
    ) -> Call | str:
        """The call, or what the model is told about why there is none and what to correct.

        Args:
            block: the `tool_use` block as it ended.
            context: gives a call, by its id, its surroundings.
            fault: what the assembler found wrong with its input.
        """
        if fault:
            return f"Not executed: {fault}."
        tool = self._registry.get(block["name"], block.get("toolset_name"))
        if tool is None:
            names = ", ".join(self._registry.names)
            return f"Not executed: there is no tool {block['name']!r}; there are: {names}."
        if wrong := self._misfit(tool, block["input"]):
            return f"Not executed: {wrong}."
        try:
            return _asked(tool, block, context(block["id"]))
        except Exception as error:  # what a tool cannot judge it must not do; the turn goes on
            why = plain_text(f"{type(error).__name__}: {error}")
            return f"Not executed: {tool.name} could not check the input ({_short(why)})."

    def _misfit(self, tool: Tool, arguments: dict[str, Any]) -> str:
        errors = list(islice(self._validator(tool).iter_errors(arguments), MOST_ERRORS))
        if not errors:
            return ""
        told = "; ".join(f"input{_place(error)}: {_short(error.message)}" for error in errors)
        known = ", ".join(tool.input_schema.get("properties", ()))
        return f"the input does not fit the schema of {tool.name} ({told}); it takes: {known}"

    def _validator(self, tool: Tool) -> Any:
        if tool not in self._validators:
            from jsonschema import Draft202012Validator  # noqa: PLC0415 - costs 80 ms, and only calls need it

            self._validators[tool] = Draft202012Validator(tool.input_schema)
        return self._validators[tool]


def _asked(tool: Tool, block: Block, context: ToolContext) -> Call | str:
    """The call with all that its tool says of it, or why the tool refuses it."""
    arguments = block["input"]
    if refusal := tool.refusal(arguments, context):
        return f"Not executed: {plain_text(refusal).rstrip('.')}."
    effect, lane = tool.effect(arguments), tool.lane(arguments, context)
    return Call(block["id"], tool, arguments, effect, lane, tool.timeout(arguments))


def _place(error: Any) -> str:
    return "".join(f"[{part!r}]" for part in error.absolute_path)


def _short(message: str) -> str:
    if len(message) <= LONGEST_ERROR:
        return message
    half = LONGEST_ERROR // 2
    return f"{message[:half]} ... {message[-half:]}"
