"""The agent's toggles: the schema that declares them and the values in force."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_FILE = Path(__file__).with_name("toggles.schema.json")


class ToggleError(ValueError):
    """A toggle document that cannot be used; its text says which part and why."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The values of all toggles at one moment; a turn keeps the one it started with.

    Attributes:
        generation: Version number of the environment's toggles.
        digest: sha256 of the values as they were written, before defaults were filled in.
        values: Every declared toggle with its value.
    """

    generation: int
    digest: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Schema:
    """What toggles exist, with their types, ranges, defaults and `x-` fields."""

    document: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path = SCHEMA_FILE) -> Schema:
        """Read the schema from its file."""
        return cls(orjson.loads(path.read_bytes()))

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """The declaration of each toggle by its name."""
        properties: Mapping[str, Mapping[str, Any]] = self.document["properties"]
        return properties

    @cached_property
    def _validator(self) -> Any:
        # Imported on first use: it costs 80 ms, and the service listens before that.
        from jsonschema import Draft202012Validator  # noqa: PLC0415

        return Draft202012Validator(self.document)

    def check(self, values: Any) -> dict[str, Any]:
        """Check some toggles' values, which need not be all.

        Args:
            values: A mapping of toggle names to values.

        Returns:
            The values, whole numbers as integers.

        Raises:
            ToggleError: An unknown toggle, a wrong type or a value out of range.
        """
        problems = [
            f"{'.'.join(map(str, error.absolute_path)) or 'values'}: {error.message}"
            for error in self._validator.iter_errors(values)
        ]
        if problems:
            raise ToggleError("; ".join(sorted(problems)))
        # JSON Schema calls 2048.0 an integer, the Messages API does not.
        return {name: int(value) if isinstance(value, float) else value for name, value in values.items()}

    def complete(self, values: Any) -> dict[str, Any]:
        """Check values and fill in the defaults of those that are missing."""
        defaults = {name: declaration["default"] for name, declaration in self.properties.items()}
        return defaults | self.check(values)


def canonical_digest(values: Mapping[str, Any]) -> str:
    """sha256 (hex) of values as canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class LiveToggles:
    """The toggles in force: the last good document that was offered.

    Attributes:
        current: The snapshot in force; None until a good document came.
        error: Why the newest document is not in force, else None.
    """

    schema: Schema = field(default_factory=Schema.load)
    current: Snapshot | None = None
    error: str | None = "toggles have not been read yet"

    def offer(self, document: bytes | None) -> None:
        """Take a toggle document `{generation, digest, values}`; keep the last good one if it is bad."""
        self._take(document, self._parse)

    def offer_values(self, document: bytes | None) -> None:
        """Take a plain object of values, as an agent without dcops reads it; each one is a new generation."""
        self._take(document, self._number)

    def _take(self, document: bytes | None, parse: Any) -> None:
        try:
            self.current, self.error = parse(_decode(document)), None
        except ToggleError as error:
            self.error = str(error)

    def _parse(self, document: dict[str, Any]) -> Snapshot:
        if document.keys() != {"generation", "digest", "values"}:
            raise ToggleError("a toggle document has exactly the keys generation, digest and values")
        generation, digest, values = document["generation"], document["digest"], document["values"]
        if type(generation) is not int or generation < 0:
            raise ToggleError("generation must be a whole number, 0 or more")
        complete = self.schema.complete(values)
        if digest != canonical_digest(values):
            raise ToggleError("digest does not fit the values: the document is damaged or was edited by hand")
        return Snapshot(generation, digest, complete)

    def _number(self, values: dict[str, Any]) -> Snapshot:
        generation = self.current.generation + 1 if self.current else 1
        return Snapshot(generation, canonical_digest(values), self.schema.complete(values))


def _decode(document: bytes | None) -> dict[str, Any]:
    if document is None:
        raise ToggleError("the toggle file is missing")
    try:
        decoded = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise ToggleError(f"not JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise ToggleError("not a JSON object")
    return decoded
