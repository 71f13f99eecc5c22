"""Reads an implementation's own description: ``implementation.yaml``, its toggle schema, what it ignores."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcops.core.document import Document, refuse
from dcops.core.ignore import Ignore
from dcops.core.release import Implementation, SessionJournal
from dcops.core.schema import Fault
from dcops.core.toggles import declarations, validate

if TYPE_CHECKING:
    from dcops.errors import PreconditionMissing

FILE = "implementation.yaml"
IGNORE_FILE = ".dcopsignore"
_ALWAYS_IGNORED = ("__pycache__", "*.pyc", "*.pyo", ".git", ".DS_Store")
_SCHEMA = Path(__file__).with_name("implementation.schema.json")


def read_implementation(directory: Path) -> Implementation:
    """What an implementation says of itself.

    Raises:
        PreconditionMissing: The directory or a file is missing or bad (DC-IMPLEMENTATION-INVALID), with file,
            line and everything that is wrong in ``faults``.
    """
    try:
        document = Document.parse((directory / FILE).read_bytes(), str(directory / FILE))
    except OSError as error:
        raise invalid(directory / FILE, f"cannot be read: {error.strerror}") from None
    if found := document.check(_schema()) or _missing(directory, document.value):
        raise refuse("DC-IMPLEMENTATION-INVALID", document.rows(found), do=f"correct {directory / FILE}")
    values = document.value
    return Implementation(
        name=values["name"],
        command=tuple(values["command"]),
        lock=values["lock"],
        toggles=values.get("toggles", ""),
        roles=values.get("roles", True),
        journal=SessionJournal.from_json(values["journal"]) if "journal" in values else None,
        ignore=tuple(values.get("ignore", ())),
        description=values.get("description", ""),
    )


def read_toggle_schema(directory: Path, implementation: Implementation) -> dict[str, Any]:
    """The implementation's toggle schema; without one, a schema that knows no toggles.

    Raises:
        PreconditionMissing: It is no JSON, no usable schema, or a default does not fit its own declaration.
    """
    if not implementation.toggles:
        return {"type": "object", "additionalProperties": False, "properties": {}}
    file = directory / implementation.toggles
    try:
        schema = json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        raise invalid(file, f"is not valid JSON: {error.msg}", line=error.lineno) from None
    except (OSError, ValueError) as error:
        raise invalid(file, f"cannot be read: {error}") from None
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        raise invalid(file, "must be a JSON Schema with properties, one for each toggle")
    for name, declared in declarations(schema).items():
        _check_declaration(file, name, declared)
    _check_rules(file, schema)
    return schema


def read_ignore(directory: Path, implementation: Implementation) -> Ignore:
    """What is no part of the release: always-ignored names, ``.dcopsignore`` and the ``ignore`` list."""
    try:
        lines = (directory / IGNORE_FILE).read_text().splitlines()
    except FileNotFoundError:
        lines = []
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(directory / IGNORE_FILE, f"cannot be read: {error}") from None
    return Ignore([*_ALWAYS_IGNORED, *lines, *implementation.ignore])


def invalid(file: Path, message: str, *, line: int = 1) -> PreconditionMissing:
    """The error for one fault of an implementation's file."""
    row = {"file": str(file), "line": line, "path": "", "message": message, "hint": ""}
    return refuse("DC-IMPLEMENTATION-INVALID", [row], do=f"correct {file}")


def _missing(directory: Path, values: dict[str, Any]) -> list[Fault]:
    """Files that are named and not there, or lie outside; a journal that not even its writer could read."""
    found = []
    journal = values.get("journal")
    if journal and journal["min_reader"] > journal["schema"]:
        found.append(Fault(("journal", "min_reader"), f"must not be above schema, {journal['schema']}"))
    for key in ("lock", "toggles"):
        name = values.get(key)
        if name is None:
            continue
        if Path(name).is_absolute() or ".." in Path(name).parts:
            found.append(Fault((key,), f"must be a file in this directory, not {name}"))
        elif not (directory / name).is_file():
            found.append(Fault((key,), f"names {name}, which is not there"))
    return found


def _check_declaration(file: Path, name: str, declared: Any) -> None:
    if not isinstance(declared, dict) or not ("type" in declared or "enum" in declared):
        raise invalid(file, f"properties.{name} needs a type or an enum")
    if "default" not in declared:
        raise invalid(file, f"properties.{name} needs a default")
    try:
        # Alone: rules between toggles are held against the values in force, not against one default.
        found = validate({name: declared["default"]}, {"properties": {name: declared}})
    except Exception as error:  # a schema can be wrong in every way that jsonschema knows
        raise invalid(file, f"properties.{name} is no usable JSON Schema: {error}") from None
    if found:
        raise invalid(file, f"properties.{name}.default {found[0].message}")
    try:
        for day in declared.get("x-retires", {}).values():
            date.fromisoformat(day)
    except (AttributeError, TypeError, ValueError):
        message = "must give the day, as YYYY-MM-DD, for each value that ends"
        raise invalid(file, f"properties.{name}.x-retires {message}") from None


def _check_rules(file: Path, schema: dict[str, Any]) -> None:
    """Rules between toggles: they name toggles that there are, and the defaults keep them."""
    declared = declarations(schema)
    booleans = {name for name, each in declared.items() if each.get("type") == "boolean"}
    numbers = {name for name, each in declared.items() if each.get("type") in ("integer", "number")}
    for name, each in declared.items():
        if "x-needs" in each and each["x-needs"] not in booleans - {name}:
            raise invalid(file, f"properties.{name}.x-needs must name another toggle that is a boolean")
        if "x-less-than" in each and not {name, each["x-less-than"]} <= numbers:
            raise invalid(file, f"properties.{name}.x-less-than must name a number, for a number")
        if each.get("x-master") is True and name not in booleans:
            raise invalid(file, f"properties.{name} cannot be the master switch: it is no boolean")
    if found := validate({}, schema):
        raise invalid(file, f"properties.{found[0].place}.default {found[0].message}")


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(_SCHEMA.read_bytes())
    return schema
