"""Whether what the model wrote is a call of ours: a known tool, and arguments that fit its schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .call import Call

if TYPE_CHECKING:
    from ..events import Block
    from ..tools.registry import Registry
    from ..tools.tool import Tool


class Validation:
    """Checks calls; each schema is compiled once."""

    def __init__(self, registry: Registry) -> None:
        """Takes the tools that there are."""
        self._registry = registry
        self._validators: dict[str, Any] = {}

    def check(self, block: Block, fault: str | None = None) -> Call | str:
        """The call, or what the model is told about why there is none.

        Args:
            block: the `tool_use` block as it ended.
            fault: what the assembler found wrong with its input.
        """
        if fault:
            return f"Not executed: {fault}."
        tool = self._registry.get(block["name"])
        if tool is None:
            names = ", ".join(self._registry.names)
            return f"There is no tool {block['name']!r}; there are: {names}."
        error = next(iter(self._validator(tool).iter_errors(block["input"])), None)
        if error is not None:
            where = "".join(f"[{part!r}]" for part in error.absolute_path)
            return f"Not executed: the input{where} does not fit the tool's schema: {error.message}."
        return Call(block["id"], tool, block["input"])

    def _validator(self, tool: Tool) -> Any:
        if tool.name not in self._validators:
            from jsonschema import Draft202012Validator  # noqa: PLC0415 - costs 80 ms, and only calls need it

            self._validators[tool.name] = Draft202012Validator(tool.input_schema)
        return self._validators[tool.name]
