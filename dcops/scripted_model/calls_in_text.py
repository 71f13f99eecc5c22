"""Calls as XML in a text, for a caller whose system prompt asks for them, and the results that come back."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

_RESULT = re.compile(r'<result name="[^"]*" id="([^"]*)" status="([^"]*)">(.*?)</result>', re.DOTALL)
_PARAMETER = re.compile(r'<parameter name="([^"]*)">(.*?)</parameter>', re.DOTALL)

Block = dict[str, Any]


def tools(request: dict[str, Any]) -> dict[str, str]:
    """What the system prompt says about each tool that is called in text; empty when it asks for none."""
    system = request.get("system") or ""
    if not isinstance(system, str):
        system = "\n".join(block["text"] for block in system)
    sections = system.split("\n## ")[1:]
    return {section.split("\n")[0]: section for section in sections if "<function_calls>" in section}


def call(tool: str, **given: str) -> Block:
    """A text with one call in it, announced as prompts want it."""
    escaped = {name: value.replace("&", "&amp;").replace("<", "&lt;") for name, value in given.items()}
    parameters = "".join(f'<parameter name="{name}">{value}</parameter>\n' for name, value in escaped.items())
    said = f"I'll now construct a complete function call for [{tool}]:\n"
    invoke = f'<invoke name="{tool}">\n{parameters}</invoke>'
    return {"type": "text", "text": f"{said}<function_calls>\n{invoke}\n</function_calls>"}


def results(text: str, asked: str) -> list[Block]:
    """The results in a text, as blocks with what the calls in the text before were given."""
    if not text.startswith("<function_results>"):
        return []
    invokes = re.findall(r"<invoke [^>]*>(.*?)</invoke>", asked, re.DOTALL)
    given = [{name: unescape(value) for name, value in _PARAMETER.findall(invoke)} for invoke in invokes]
    return [
        {
            "type": "tool_result",
            "tool_use_id": call,
            "content": unescape(content),
            "is_error": status == "error",
            "given": given[n] if n < len(given) else {},
        }
        for n, (call, status, content) in enumerate(_RESULT.findall(text))
    ]
