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
    from collections.abc import Iterator, Mapping

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

    Toggles that do not exist, wrong types (exactly: a boolean is no number), values out of range, and what
    does not fit together, defaults included: ``x-needs`` (a toggle that is set to true while the one that it
    needs is off) and ``x-less-than`` (a toggle that must stay below another one, while it has an effect).
    """
    found = faults(dict(values), {"type": "object", "additionalProperties": False, **schema})
    return found or [*_without_need(values, schema), *_not_less(values, schema)]


def _without_need(values: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Fault]:
    complete = effective(values, schema)
    for name in values:
        if values[name] is True and (needed := _lacking(name, complete, schema)):
            hint = f"turn {needed} on, or leave {name} off"
            yield Fault((name,), f"needs {needed}, which is off", hint)


def _not_less(values: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Fault]:
    complete = effective(values, schema)
    for name, declared in declarations(schema).items():
        other = declared.get("x-less-than")
        if other not in complete or name not in complete or _lacking(name, complete, schema):
            continue
        if not complete[name] < complete[other]:
            told = f"must be less than {other}, which is {complete[other]}, but is {complete[name]}"
            yield Fault((name,), told, f"lower {name} or raise {other}")


def _lacking(name: str, complete: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The toggle that this one needs and that is off, so that this one has no effect; else empty."""
    needed = str(declarations(schema).get(name, {}).get("x-needs", ""))
    return needed if complete.get(needed) is False else ""


def declarations(schema: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What the schema says of each toggle."""
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    return properties


def defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The default of every toggle."""
    return {name: each["default"] for name, each in declarations(schema).items() if "default" in each}


def effective(values: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Every toggle with its value or its default, in the schema's order.

    A default that is true is false where the toggle has no effect, as the one that it needs is off.
    """
    complete = {name: values.get(name, default) for name, default in defaults(schema).items()}
    unset = [name for name, value in complete.items() if value is True and name not in values]
    while idle := [name for name in unset if complete[name] and _lacking(name, complete, schema)]:
        complete |= dict.fromkeys(idle, False)
    return complete


def project(values: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Values as an instance with another schema can take them.

    Toggles that it does not know and values that it would refuse are left out, so it uses its defaults.
    """
    kept = dict(values)
    while bad := {_cause(fault, kept, schema) for fault in validate(kept, schema)} & kept.keys():
        kept = {name: value for name, value in kept.items() if name not in bad}
    return kept


def _cause(fault: Fault, values: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The value that must go for a fault to go: where a default is too large, the one that it is held to."""
    name = str(fault.path[0]) if fault.path else ""
    declared = declarations(schema).get(name, {})
    return name if name in values else str(declared.get("x-less-than", ""))


def switched_off(values: Mapping[str, Any], name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The values with a toggle off, and with it those that need it and are set to true."""
    wanted = {**values, name: False}
    while idle := [
        each
        for each, value in wanted.items()
        if value is True and _lacking(each, effective(wanted, schema), schema)
    ]:
        wanted |= dict.fromkeys(idle, False)
    return wanted


def switched_on(values: Mapping[str, Any], name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The values with a toggle on, and with it what it needs."""
    wanted, needed = {**values, name: True}, name
    while needed := _lacking(needed, effective(wanted, schema), schema):
        wanted[needed] = True
    return wanted


def master(schema: Mapping[str, Any]) -> str:
    """The switch that lets new turns start (``x-master``); empty where there is none."""
    found = (name for name, declared in declarations(schema).items() if declared.get("x-master") is True)
    return next(found, "")


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


def shown(value: Any) -> str:
    """A value as people write it; None stands for the default."""
    return "(default)" if value is None else _written(value)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
