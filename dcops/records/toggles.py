"""The toggle values in force in an environment, and their generation, which only ever grows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dcops.core.deployment import ToggleState
from dcops.core.toggles import digest
from dcops.records.intact import intact

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "records/toggles.json"
FORMAT = 1


def files(state: ToggleState) -> dict[str, bytes | None]:
    """The record of a generation."""
    document = {"format": FORMAT, "generation": state.generation, "values": state.values}
    return {PATH: json.dumps(document, sort_keys=True).encode()}


def parse(content: bytes | None) -> ToggleState:
    if content is None:
        return ToggleState()
    with intact(PATH):
        document = json.loads(content)
        return ToggleState(int(document["generation"]), dict(document["values"]))


def control_document(generation: int, values: Mapping[str, Any]) -> bytes:
    """``toggles.json`` for one instance: values already projected on that instance's schema."""
    document = {"generation": generation, "digest": digest(values), "values": dict(values)}
    return json.dumps(document, sort_keys=True).encode()
