"""Values against a JSON Schema, with the exact types and plain words that people who edit files need.

The keywords that configuration needs are checked here, in microseconds; a schema that uses others is also
given to ``jsonschema``, whose import alone takes 80 ms.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dcops.core.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Path = tuple[str | int, ...]

_CHECKED = {
    *("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern"),
    *("minLength", "maxLength", "properties", "required", "additionalProperties", "items", "minItems"),
}
_ANNOTATIONS = {
    *("$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated"),
}
_TYPES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a value: where in the document, what, and what may have been meant."""

    path: Path
    message: str
    hint: str = ""

    @property
    def place(self) -> str:
        return ".".join(map(str, self.path))


def faults(value: Any, schema: Mapping[str, Any]) -> list[Fault]:
    """Everything that is wrong with a value; empty when it fits.

    A schema may carry ``x-expected`` (words in place of the generated ones) and ``x-secret`` (the value is
    never repeated in a message).
    """
    found = list(_faults(value, schema, ()))
    if not _is_simple(schema):
        known = {fault.path for fault in found}
        found += [fault for fault in _faults_of_jsonschema(value, schema) if fault.path not in known]
    return found


def expected(schema: Mapping[str, Any]) -> str:
    """What a value must be, in words: ``a whole number from 1024 to 128000``."""
    if "x-expected" in schema:
        return str(schema["x-expected"])
    if "enum" in schema:
        return "one of " + ", ".join(map(_word, schema["enum"]))
    words = " or ".join(_TYPES.get(name, name) for name in _type_names(schema)) or "anything"
    return f"{words}{_range(schema)}" + (f" like {schema['pattern']}" if "pattern" in schema else "")


def has_type(value: Any, name: str) -> bool:
    """Exact: a boolean is no number, 2.0 is no whole number, and not-a-number is no number."""
    match name:
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    return value is None


def _range(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    words = {
        "minimum": "of at least",
        "maximum": "of at most",
        "exclusiveMinimum": "above",
        "exclusiveMaximum": "below",
        "minLength": "of at least this many characters:",
        "maxLength": "of at most this many characters:",
    }
    return "".join(f" {word} {schema[keyword]}" for keyword, word in words.items() if keyword in schema)


def _type_names(schema: Mapping[str, Any]) -> list[str]:
    names = schema.get("type", [])
    return [names] if isinstance(names, str) else list(names)


def _word(value: Any) -> str:
    """A value as it is written in a file."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _faults(value: Any, schema: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    if not _fits(value, schema):
        got = "" if schema.get("x-secret") else f", not {_describe(value)}"
        hint = did_you_mean(value, schema["enum"]) if "enum" in schema and isinstance(value, str) else ""
        yield Fault(path, f"must be {expected(schema)}{got}", hint if hint.startswith("did") else "")
    elif isinstance(value, dict):
        yield from _faults_of_mapping(value, schema, path)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            yield from _faults(item, schema["items"], (*path, index))


def _describe(value: Any) -> str:
    if isinstance(value, dict | list):
        return _TYPES["object" if isinstance(value, dict) else "array"]
    return f'the text "{_word(value)}"' if isinstance(value, str) else _word(value)


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    names = _type_names(schema)
    if names and not any(has_type(value, name) for name in names):
        return False
    # 1 == True in Python, so equality alone would let a boolean pass for a number.
    if "enum" in schema and not any(value == each and type(value) is type(each) for each in schema["enum"]):
        return False
    if isinstance(value, str):
        return _fits_text(value, schema)
    if isinstance(value, list):
        return len(value) >= int(schema.get("minItems", 0))
    return not has_type(value, "number") or _fits_range(value, schema)


def _fits_text(value: str, schema: Mapping[str, Any]) -> bool:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
        return False
    # JSON Schema's `$` is the end of the text; Python's also stands before a last newline.
    return "pattern" not in schema or (
        re.search(schema["pattern"], value) is not None and not value.endswith("\n")
    )


def _fits_range(value: float, schema: Mapping[str, Any]) -> bool:
    above = schema.get("minimum", -math.inf) <= value and value > schema.get("exclusiveMinimum", -math.inf)
    below = value <= schema.get("maximum", math.inf) and value < schema.get("exclusiveMaximum", math.inf)
    return bool(above and below)


def _faults_of_mapping(value: dict[str, Any], schema: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name in schema.get("required", []):
        if name not in value:
            yield Fault(path, f"{name} is missing: it must be {expected(properties.get(name, {}))}")
    for name, item in value.items():
        if name in properties:
            yield from _faults(item, properties[name], (*path, name))
        elif others is False:
            yield Fault((*path, name), "is not a known key", did_you_mean(name, properties))
        elif isinstance(others, dict):
            yield from _faults(item, others, (*path, name))


def _is_simple(schema: Any) -> bool:
    """True when every keyword of a schema is checked here."""
    if not isinstance(schema, dict):
        return isinstance(schema, bool)
    if any(not (key in _CHECKED or key in _ANNOTATIONS or key.startswith("x-")) for key in schema):
        return False
    parts = [*schema.get("properties", {}).values()]
    parts += [schema[key] for key in ("additionalProperties", "items") if key in schema]
    return all(map(_is_simple, parts))


def _faults_of_jsonschema(value: Any, schema: Mapping[str, Any]) -> Iterator[Fault]:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - 80 ms, and few schemas need it

    for error in Draft202012Validator(schema).iter_errors(value):
        yield Fault(tuple(error.absolute_path), error.message)
