"""What the agent is told about itself: the same bytes for the same settings, so prompts stay cacheable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from .calls.prefix import SENTENCE
from .calls.xml import CLOSE, OPEN, is_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def system(tools: Sequence[str]) -> str:
    """The system prompt of an agent with the tools of these names, the same for all its sessions."""
    return (
        f"You are an agent that works for its user with the tools {', '.join(tools)}.\n"
        "Do what is asked with the tools rather than describing it. Independent calls may be made in one "
        "reply: they run side by side. A result that says `Not executed` had no effect; one that says "
        "`Interrupted while running` may have had some, so look before you repeat it.\n"
        "When you are done, say in a few words what you did and what you found."
    )


def place(workspace: Path) -> str:
    """Where the session works; it stands behind what all sessions have in common."""
    return f"You work in the directory {workspace}; relative paths begin there."


def calls_in_text(tools: Sequence[dict[str, Any]], *, announced: bool) -> str:
    """How the model writes its calls into its text, in four phases, and what it can call.

    Args:
        tools: the tools' definitions, as the API takes them.
        announced: whether a call is refused without the sentence that announces it.
    """
    must = (
        "\nA call without this sentence before it is not executed, so make one call in a reply."
        if announced
        else ""
    )
    return f"""

To call a tool, write the call into your text, in four phases.

1. PLANNING: think about which tool does the next step, and what each of its parameters must be.
2. CONSTRUCTION: begin with this sentence, with the tool's name for `tool`:
{SENTENCE.format(tool="tool")}{must}
3. STRUCTURE: write one {OPEN} with all calls of the reply in it, exactly in this form:
{OPEN}
<invoke name="TOOL">
<parameter name="NAME">value</parameter>
</invoke>
{CLOSE}
- A text parameter is taken as it stands, with its blanks and line ends and without quotes around it.
- In it, tags of this form are written with &lt; for <, and &amp; stands for & where an entity would be read.
- A long text may stand in <![CDATA[...]]>, where nothing is read but its end.
- The tag {CLOSE} ends your reply wherever it stands: as text it is always &lt;{CLOSE[1:]}.
- A parameter that is no text is JSON: 2.5, true, [1, 20].
4. VERIFICATION: before {CLOSE}, check that each tag is closed, that each parameter is one of the tool's,
and that none is missing. Then stop. The results come in the next message, in <function_results>, one <result>
for each call in their order; never write results yourself.

The tools:
{"".join(map(_tool, tools))}"""


def _tool(definition: dict[str, Any]) -> str:
    schema = definition["input_schema"]
    required = schema.get("required", [])
    parameters = "".join(
        f"- {name} ({'text' if is_text(declared) else 'JSON'}{', required' if name in required else ''}): "
        f"{orjson.dumps(declared).decode()}\n"
        for name, declared in schema.get("properties", {}).items()
    )
    return f"\n## {definition['name']}\n{definition['description']}\n{parameters}{_example(definition)}"


def _example(definition: dict[str, Any]) -> str:
    """A call that the tool's schema takes, with the parameters that it requires."""
    schema = definition["input_schema"]
    lines = [f'{OPEN}\n<invoke name="{definition["name"]}">']
    for name in schema.get("required", []):
        declared = schema.get("properties", {}).get(name, {})
        value = _value(declared)
        written = _escaped(value) if is_text(declared) else orjson.dumps(value).decode()
        lines.append(f'<parameter name="{name}">{written}</parameter>')
    return "\n".join([*lines, f"</invoke>\n{CLOSE}\n"])


def _value(schema: Any) -> Any:
    """Something that a schema allows."""
    if not isinstance(schema, dict):
        return "text"
    given = [
        *schema.get("examples", ()),
        *schema.get("enum", ()),
        *([schema["const"]] if "const" in schema else ()),
    ]
    if given:
        return given[0]
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return _value(schema[choice][0])
    kind = schema.get("type", "string")
    match kind if isinstance(kind, str) else kind[0]:
        case "integer" | "number":
            least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
            return min(max(least, 1), schema.get("maximum", max(least, 1)))
        case "boolean":
            return True
        case "array":
            return [_value(schema.get("items", {}))] * schema.get("minItems", 1)
        case "object":
            properties = schema.get("properties", {})
            return {name: _value(properties.get(name)) for name in schema.get("required", ())}
        case "null":
            return None
    return "text".ljust(schema.get("minLength", 0), "t")


def _escaped(text: Any) -> str:
    return str(text).replace("&", "&amp;").replace("<", "&lt;")
