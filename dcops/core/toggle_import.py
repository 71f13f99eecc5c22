"""A toggle schema made from an existing set of values."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from dcops.errors import UsageError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")


def schema_of(content: bytes, source: str) -> dict[str, Any]:
    """Declare each toggle of a JSON object by the type of its value, which becomes its default.

    Args:
        content: ``{"use_streaming_bash": true, "max_tokens": 64000}``.
        source: The file's name, for messages and descriptions.

    Raises:
        UsageError: It is not an object of single values (DC-TOGGLES-FILE).
    """
    try:
        values = json.loads(content)
    except ValueError as error:
        raise _refuse(source, f"it is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise _refuse(source, "it must be an object of names and values")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _declare(name, value, source) for name, value in values.items()},
    }


def _declare(name: str, value: Any, source: str) -> dict[str, Any]:
    if not _NAME.fullmatch(name):
        raise _refuse(source, f"{name!r} is no name for a toggle")
    # bool first, because it is an int to Python.
    types = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if type(value) not in types or (isinstance(value, float) and not math.isfinite(value)):
        raise _refuse(source, f"{name} must be true, false, a number or text")
    return {
        "type": types[type(value)],
        "default": value,
        "description": f"Taken over from {source}.",
        "x-applies": "restart",
    }


def _refuse(source: str, why: str) -> UsageError:
    return UsageError(
        "DC-TOGGLES-FILE",
        f"the toggles in {source} cannot be taken over; nothing was changed",
        why=why,
        do='write them as {"use_streaming_bash": true, "max_tokens": 64000}',
        file=source,
    )
