"""Toggle values that end on a known day, as a schema's ``x-retires`` names them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from dcops.core.toggles import declarations, effective

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Retirement:
    """A value in use that ends, or has ended.

    Attributes:
        toggle: The toggle's name.
        on: The day from which on it does not work.
        over: Whether that day has come.
    """

    toggle: str
    value: str
    on: date
    over: bool

    def __str__(self) -> str:
        return f"{self.toggle} {self.value} {'was' if self.over else 'will be'} retired on {self.on}"

    @property
    def do(self) -> str:
        """What to do about it, as half a sentence."""
        return f"choose another one: dcops toggle set {self.toggle} VALUE"


def retirements(values: Mapping[str, Any], schema: Mapping[str, Any], today: date) -> list[Retirement]:
    """What ends on a day that the schema knows, of some toggles' values and the others' defaults."""
    found = []
    for name, value in effective(values, schema).items():
        days = declarations(schema)[name].get("x-retires", {})
        if isinstance(value, str) and value in days:
            day = date.fromisoformat(days[value])
            found.append(Retirement(name, value, day, day <= today))
    return found
