"""The agent's toggles: the schema that declares them and the values in force."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping
    from collections.abc import Set as AbstractSet

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
        schema: What declares them.
    """

    generation: int
    digest: str
    values: Mapping[str, Any]
    schema: Schema = field(repr=False, compare=False)

    def over(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """The values for a turn of a session that has values of its own.

        They were checked when they were set. What does not fit any more, as the environment's values or the
        release changed since, has no effect.
        """
        return self.schema.settle({**self.values, **self.schema.fitting(own)})


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
        return _exact_validator(self.document)

    def check(self, values: Any) -> dict[str, Any]:
        """Check some toggles' values, which need not be all.

        Args:
            values: A mapping of toggle names to values.

        Raises:
            ToggleError: An unknown toggle, a wrong type, a value out of range, or values that do not fit
                together: a toggle that is on while the one that it needs is off, a number that is not less
                than the one that it must be less than.
        """
        self._check_each(values)
        self._check_together(self._completed(values), values.keys())
        return dict(values)

    def complete(self, values: Any) -> dict[str, Any]:
        """Check values and fill in the defaults of those that are missing.

        A default that is true becomes false where the toggle has no effect, as the one that it needs is off.
        """
        return self._completed(self.check(values))

    def check_own(self, own: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """Check a session's own values together with those of the environment, over which they go.

        Args:
            own: The session's values.
            values: The environment's, complete.

        Raises:
            ToggleError: As `check`, for what the session's values bring about; or a toggle of the operators,
                which is the environment's alone.
        """
        self._check_each(own)
        if theirs := [name for name in own if self.properties[name].get("x-owner") == "operations"]:
            raise ToggleError(f"{', '.join(theirs)}: only the environment has a value for it")
        self._check_together(self.settle({**values, **own}, but=own), own.keys())
        return dict(own)

    def fitting(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the values that are allowed, each by itself."""
        known = {name: value for name, value in values.items() if name in self.properties}
        bad = {error.absolute_path[0] for error in self._validator.iter_errors(known)}
        return {name: value for name, value in known.items() if name not in bad}

    def settle(self, complete: Mapping[str, Any], *, but: Container[str] = ()) -> dict[str, Any]:
        """All values, with false for what is true without effect; those named in `but` stay as they are."""
        settled = dict(complete)
        open_ = [name for name, value in settled.items() if value is True and name not in but]
        while idle := [name for name in open_ if settled[name] and self._lacks(name, settled)]:
            settled.update(dict.fromkeys(idle, False))
        return settled

    def _completed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        defaults = {name: declaration["default"] for name, declaration in self.properties.items()}
        return self.settle(defaults | dict(values), but=values)

    def _check_each(self, values: Any) -> None:
        problems = [
            f"{'.'.join(map(str, error.absolute_path)) or 'values'}: {_short(error.message)}"
            for error in self._validator.iter_errors(values)
        ]
        if problems:
            raise ToggleError("; ".join(sorted(problems)))

    def _check_together(self, complete: Mapping[str, Any], named: AbstractSet[str]) -> None:
        """Raise for what does not fit together and has to do with a toggle in `named`."""
        problems = []
        for name, declaration in self.properties.items():
            value, limit = complete[name], declaration.get("x-less-than")
            lacking = self._lacks(name, complete)
            if lacking and value is True and name in named:
                problems.append(f"{name}: needs {lacking}, which is off")
            if limit and not lacking and value >= complete[limit] and named & {name, limit}:
                problems.append(f"{name}: must be less than {limit}, which is {complete[limit]}")
        if problems:
            raise ToggleError("; ".join(problems))

    def _lacks(self, name: str, complete: Mapping[str, Any]) -> str | None:
        """The toggle without which this one has no effect, if that is off."""
        needed: str | None = self.properties[name].get("x-needs")
        return needed if needed and not complete[needed] else None


def _short(message: str) -> str:
    """A fault as it is acknowledged: it quotes the value, however long, and then says what is wrong."""
    return message if len(message) <= 300 else f"{message[:150]} ... {message[-150:]}"


def _exact_validator(document: Mapping[str, Any]) -> Any:
    """JSON Schema with exact types: 2.0 is no whole number, and a pattern's end is the end of the text."""
    # Imported on first use: it costs 80 ms, and the service listens before that.
    from jsonschema import Draft202012Validator, ValidationError, validators  # noqa: PLC0415

    def pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
        # Python's `$` also stands before a last newline.
        if isinstance(value, str) and (value.endswith("\n") or not re.search(pattern, value)):
            yield ValidationError(f"{value!r} does not match {pattern!r}")

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    extend: Any = validators.extend
    return extend(Draft202012Validator, {"pattern": pattern}, type_checker=types)(document)


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
        return Snapshot(generation, digest, complete, self.schema)

    def _number(self, values: dict[str, Any]) -> Snapshot:
        generation = self.current.generation + 1 if self.current else 1
        return Snapshot(generation, canonical_digest(values), self.schema.complete(values), self.schema)


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
