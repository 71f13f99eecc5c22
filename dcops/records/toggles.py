"""The toggle values in force in an environment, and their generation, which only ever grows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dcops.core.protocols import ControlStore
from dcops.core.toggles import digest

PATH = "records/toggles.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ToggleState:
    """``values`` are those of ``toggles.yaml`` when they were applied, without the schema's defaults."""

    generation: int = 0
    values: dict[str, Any] = field(default_factory=dict)

    def next(self, values: Mapping[str, Any]) -> ToggleState:
        return ToggleState(self.generation + 1, dict(values))

    def files(self) -> dict[str, bytes | None]:
        document = {"format": FORMAT, "generation": self.generation, "values": self.values}
        return {PATH: json.dumps(document, sort_keys=True).encode()}


def parse(content: bytes | None) -> ToggleState:
    if not content:
        return ToggleState()
    document = json.loads(content)
    return ToggleState(document["generation"], document["values"])


def read(store: ControlStore) -> ToggleState:
    return parse(store.read(PATH)[PATH])


def control_document(generation: int, values: Mapping[str, Any]) -> bytes:
    """``toggles.json`` for one instance: values already projected on that instance's schema."""
    document = {"generation": generation, "digest": digest(values), "values": dict(values)}
    return json.dumps(document, sort_keys=True).encode()
