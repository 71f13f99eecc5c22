"""Toggle values and their schema: typing, defaults, projection, digests. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dcops.core.schema import Fault, expected, faults, has_type
from dcops.core.suggestion import did_you_mean
from dcops.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_UNCHANGED = "nothing was changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One toggle before and after; None stands for a toggle that only one side has."""

    name: str
    old: Any
    new: Any


def digest(values: Mapping[str, Any]) -> str:
    """sha256 of the values as canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def validate(values: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Fault]:
    """Everything wrong with some toggles' values, which need not be all.

    Toggles that do not exist, wrong types (exactly: a boolean is no number), values out of range, and
    ``x-less-than``: a toggle that must stay below another one, defaults included.
    """
    found = faults(dict(values), {"type": "object", "additionalProperties": False, **schema})
    if found:
        return found
    complete = defaults(schema) | dict(values)
    return [
        Fault(
            (name,),
            f"must be less than {other}, which is {complete[other]}, but is {complete[name]}",
            f"lower {name} or raise {other}",
        )
        for name, declaration in declarations(schema).items()
        if (other := declaration.get("x-less-than")) in complete
        and name in complete
        and not complete[name] < complete[other]
    ]


def declarations(schema: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What the schema says of each toggle."""
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    return properties


def defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The default of every toggle."""
    return {name: each["default"] for name, each in declarations(schema).items() if "default" in each}


def effective(values: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Every toggle with its value or its default, in the schema's order."""
    return {name: values.get(name, default) for name, default in defaults(schema).items()}


def project(values: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Values as an instance with another schema can take them.

    Toggles that it does not know and values that it would refuse are left out, so it uses its defaults.
    """
    kept = dict(values)
    while bad := {str(fault.path[0]) for fault in validate(kept, schema) if fault.path} & kept.keys():
        kept = {name: value for name, value in kept.items() if name not in bad}
    return kept


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What differs, by name; 1 and true differ."""
    return [
        Change(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if (name in old) != (name in new)
        or old.get(name) != new.get(name)
        or type(old.get(name)) is not type(new.get(name))
    ]


def declaration(name: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the schema says of a toggle.

    Raises:
        UsageError: It does not exist (DC-TOGGLE-UNKNOWN).
    """
    if name not in declarations(schema):
        raise UsageError(
            "DC-TOGGLE-UNKNOWN",
            f"there is no toggle {name}; {_UNCHANGED}",
            why=did_you_mean(name, declarations(schema)) or "this implementation has no toggles",
            do="see all: dcops toggle list",
            toggle=name,
        )
    return declarations(schema)[name]


def parse(name: str, text: str, schema: Mapping[str, Any]) -> Any:
    """A value as it is written on the command line: ``true``, ``off``, ``-5``, ``claude-sonnet-5``.

    Raises:
        UsageError: The toggle does not exist (DC-TOGGLE-UNKNOWN), the text is no value of its type
            (DC-TOGGLE-TYPE), or the value is not allowed (DC-TOGGLE-RANGE).
    """
    declared = declaration(name, schema)
    types = declared.get("type", "string")
    readings = [
        value
        for each in ([types] if isinstance(types, str) else types)
        if (value := _read(text, each)) is not None
    ]
    if not readings:
        raise _unfit("DC-TOGGLE-TYPE", name, text, declared)
    fitting = [value for value in readings if not faults(value, declared)]
    if not fitting:
        raise _unfit("DC-TOGGLE-RANGE", name, text, declared)
    return fitting[0]


def invalid(found: list[Fault]) -> UsageError:
    """The error for values that do not fit together: the first fault in words, all in ``faults``."""
    first = found[0]
    return UsageError(
        "DC-TOGGLE-RANGE",
        f"{first.place} {first.message}; {_UNCHANGED}",
        why="; ".join(f"{fault.place} {fault.message}" for fault in found[1:]),
        do=first.hint,
        toggle=first.place,
        faults=[{"path": fault.place, "message": fault.message, "hint": fault.hint} for fault in found],
    )


def _read(text: str, kind: str) -> Any:
    """The text as a value of one type; None when it is none."""
    if kind == "string":
        return text
    if kind == "boolean":
        return _WORDS.get(text.strip().lower())
    if kind == "integer":
        return int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,4000}\s*", text) else None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if has_type(value, kind) else None


def _unfit(code: str, name: str, text: str, declared: Mapping[str, Any]) -> UsageError:
    return UsageError(
        code,
        f"{name} must be {expected(declared)}, not {text[:60]!r}; {_UNCHANGED}",
        why=str(declared.get("description", "")),
        do=f"default: dcops toggle set {name} {_written(declared['default'])}"
        if "default" in declared
        else "",
        toggle=name,
        value=text,
        expected=expected(declared),
        default=declared.get("default"),
    )


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
