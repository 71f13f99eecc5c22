"""Changes of single values in the text of a toggles file; all other bytes stay as they are.

Every change is proven by reading the new text again: it must say exactly the old values with this change.
So the way of writing a value is found by trying, and a text that is too clever to be edited is refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from dcops.core.document import Document

if TYPE_CHECKING:
    from collections.abc import Iterator


class NotEditableError(ValueError):
    """The text is valid but written in a way that no single value can be changed in."""


def set_value(text: str, name: str, value: Any) -> str:
    """The text with one toggle's value changed or added.

    Raises:
        NotEditableError: Nothing that can be written there reads back as the value.
    """
    wanted = _values(text) | {name: value}
    root = _root(text)
    entry = _entry(root, name)
    for written in _writings(value, entry[1].style if entry and entry[1].id == "scalar" else None):
        candidate = _replaced(text, entry[1], written) if entry else _added(text, root, name, written)
        if _same(candidate, wanted):
            return candidate
    raise NotEditableError(f"the value of {name} cannot be changed in place")


def unset_value(text: str, name: str) -> str:
    """The text without one toggle; unchanged when it does not name it.

    Raises:
        NotEditableError: The entry cannot be taken out alone.
    """
    wanted = {key: value for key, value in _values(text).items() if key != name}
    root = _root(text)
    entry = _entry(root, name)
    if entry is None:
        return text
    for candidate in _without(text, root, *entry):
        if _same(candidate, wanted):
            return candidate
    raise NotEditableError(f"{name} cannot be taken out alone")


def _values(text: str) -> dict[str, Any]:
    document = Document.parse(text.encode(), "toggles")
    if document.faults or not isinstance(document.value, dict):
        raise NotEditableError("the file is not a mapping of toggles to values")
    return document.value


def _same(text: str, wanted: dict[str, Any]) -> bool:
    try:
        # As text, because 1 == True == 1.0.
        return repr(sorted(_values(text).items())) == repr(sorted(wanted.items()))
    except NotEditableError:
        return False


def _root(text: str) -> Any:
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _entry(root: Any, name: str) -> tuple[Any, Any] | None:
    """Nodes of a key and its value."""
    if root is None or root.id != "mapping":
        return None
    return next((pair for pair in root.value if pair[0].value == name), None)


def _writings(value: Any, style: str | None) -> Iterator[str]:
    """Ways to write a value, the one in the old value's style first."""
    if not isinstance(value, str):
        yield json.dumps(value, ensure_ascii=False)
        yield yaml.safe_dump(value, default_flow_style=True).split("\n", 1)[0]
        return
    single, double = "'" + value.replace("'", "''") + "'", json.dumps(value, ensure_ascii=False)
    first = {"'": [single], '"': [double]}.get(style or "", [])
    yield from [*first, value, single, double, json.dumps(value)]


def _replaced(text: str, node: Any, written: str) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    if start == end:  # `name:` with nothing behind it
        return f"{text[:start]} {written}{text[end:]}"
    tail = text[start:end]
    kept = tail[len(tail.rstrip()) :]  # a block value reaches over its line end
    return f"{text[:start]}{written}{kept}{text[end:]}"


def _added(text: str, root: Any, name: str, written: str) -> str:
    if yaml.safe_load(name) != name:  # `off` alone is no text
        name = json.dumps(name)
    line_end = "\r\n" if "\r\n" in text else "\n"
    if root is None or root.id != "mapping":
        gap = line_end if text and not text.endswith("\n") else ""
        return f"{text}{gap}{name}: {written}{line_end}"
    if root.flow_style:
        at = root.value[-1][1].end_mark.index if root.value else root.start_mark.index + 1
        comma = ", " if root.value else ""
        return f"{text[:at]}{comma}{name}: {written}{text[at:]}"
    at = _line_end(text, root.value[-1][1].end_mark.index)
    gap = "" if text[:at].endswith("\n") else line_end
    return f"{text[:at]}{gap}{' ' * root.start_mark.column}{name}: {written}{line_end}{text[at:]}"


def _without(text: str, root: Any, key: Any, value: Any) -> Iterator[str]:
    if not root.flow_style:
        start = text.rfind("\n", 0, key.start_mark.index) + 1
        yield text[:start] + text[_line_end(text, value.end_mark.index) :]
        return
    start, end = key.start_mark.index, value.end_mark.index
    after = text.find(",", end) + 1
    before = text.rfind(",", 0, start)
    if after:
        yield text[:start] + text[after:].lstrip(" ")
    if before >= 0:
        yield text[:before] + text[end:]
    yield text[:start] + text[end:]


def _line_end(text: str, index: int) -> int:
    """Where the line ends on which a value ends; a block value ends at the start of the next line."""
    if index and text[index - 1] == "\n":
        return index
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1
