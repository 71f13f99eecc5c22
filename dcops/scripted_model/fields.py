"""Reading a JSON object field by field, so that a fault names its place."""

from __future__ import annotations

from typing import Any

NUMBER = (int, float)
_KINDS = {str: "a string", int: "a whole number", NUMBER: "a number", list: "a list", dict: "an object"}


class ScriptError(Exception):
    """A script that cannot be played.

    Args:
        path: the place of the fault, e.g. `replies[0].content[1].name`.
        message: what is wrong there.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path or 'script'}: {message}")
        self.path = path
        self.message = message


class Fields:
    """One JSON object; `done` refuses what nobody asked for."""

    def __init__(self, value: Any, path: str = "") -> None:
        self.path = path
        self._left: dict[str, Any] = dict(checked(value, dict, path))

    def __contains__(self, name: str) -> bool:
        return self._left.get(name) is not None

    def at(self, name: str) -> str:
        """The path of a field of this object."""
        return f"{self.path}.{name}" if self.path else name

    def take(self, name: str, kind: Any, default: Any = None) -> Any:
        """The field's value, or the default when it is absent or null.

        Raises:
            ScriptError: it is of another kind.
        """
        value = self._left.pop(name, None)
        return default if value is None else checked(value, kind, self.at(name))

    def raw(self, name: str) -> Any:
        """The field's value of whatever kind; None when it is absent."""
        return self._left.pop(name, None)

    def require(self, name: str, kind: Any) -> Any:
        """The field's value.

        Raises:
            ScriptError: it is absent or of another kind.
        """
        if name not in self:
            raise ScriptError(self.at(name), "is missing")
        return self.take(name, kind)

    def amount(self, name: str, kind: Any, default: float = 0) -> Any:
        """A number that is not negative."""
        value = self.take(name, kind, default)
        if value < 0:
            raise ScriptError(self.at(name), f"is {value}, but must not be negative")
        return value

    def rest(self) -> dict[str, Any]:
        """All fields not taken so far, taken now."""
        left, self._left = self._left, {}
        return left

    def done(self) -> None:
        """Refuse unknown fields.

        Raises:
            ScriptError: something is left.
        """
        for name in self._left:
            raise ScriptError(self.at(name), "is not a field that scripts have")


def checked(value: Any, kind: Any, path: str) -> Any:
    """The value, if it is of the kind; True and False are not numbers here."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ScriptError(path, f"must be {_KINDS[kind]}")
    return value
