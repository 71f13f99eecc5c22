"""The twin's toggles: set with proof, and put back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dcops.core.toggles import digest, effective, master, switched_off, switched_on
from dcops.verification.expectations import eventually, expect
from dcops.verification.reach import wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dcops.client import Client
    from dcops.core.verification import Target, TwinControl

ACKNOWLEDGE_SECONDS = 5.0
COURSE = ("use_response_chunking", "use_xml_prompts", "enforce_construction_prefix", "max_requests_per_turn")
"""Toggles that change how a turn goes on; what they do is for checks of their own."""


class Toggles:
    """Sets values through the control file, as `dcops toggle set` does, and waits for the acknowledgement.

    Attributes:
        live: False when the implementation reads its toggles only at its start; `set` restarts it then.
        schema: What declares them.
        declared: The declaration of each toggle by its name.
        values: What was set last, as it stands in the document.
    """

    def __init__(self, agent: Client, twin: TwinControl, target: Target) -> None:
        self._agent = agent
        self._twin = twin
        self._target = target
        self.live = target.roles
        self.schema = target.schema
        self.declared: Mapping[str, Mapping[str, Any]] = target.schema.get("properties", {})
        self.values: dict[str, Any] = dict(target.values)
        self._touched = False

    def take_usual_course(self) -> None:
        """Have turns start, and go on as they do by default."""
        names = [name for name in (master(self.schema), *COURSE) if name in self.declared]
        usual = {name: self.declared[name]["default"] for name in names}
        if any(self.get(name) != value for name, value in usual.items()):
            self.set(**usual)

    def acknowledged(self) -> dict[str, Any]:
        """What the twin says: generation, digest and error."""
        return dict(self._agent.instance()["toggles"])

    def get(self, name: str) -> Any:
        """The value in force: what was set, else the default; None where there is no such toggle."""
        return effective(self.values, self.schema).get(name)

    def set(self, **values: Any) -> dict[str, Any]:
        """Change some values and wait until the twin acknowledged them.

        What needs a toggle that goes off goes off with it, and what one needs that goes on goes on.

        Returns:
            The document that was written.

        Raises:
            AssertionError: It did not within 5 s.
        """
        self.values = self.changed(values)
        document = self.document(self.values)
        self.write(json.dumps(document).encode())
        wanted = {"generation": document["generation"], "digest": document["digest"], "error": None}
        if self.live:
            subject = "toggles in GET /v1/instance after a change"
            eventually(subject, self.acknowledged, expected=wanted, seconds=ACKNOWLEDGE_SECONDS)
        else:
            self._twin.restart()
            wait_until_ready(self._agent, self._target.ready_seconds)
            got = self.acknowledged()
            expect("toggles in GET /v1/instance after a restart", expected=wanted, got=got)
        return document

    def changed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What would be set with these values changed."""
        wanted = self.values | dict(values)
        for name, value in values.items():
            if isinstance(value, bool):
                switched = switched_on if value else switched_off
                wanted = switched(wanted, name, self.schema)
        return wanted

    def document(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A toggle document with these values and the next generation."""
        generation = int(self.acknowledged()["generation"]) + 1
        return {"generation": generation, "digest": digest(values), "values": dict(values)}

    def write(self, content: bytes) -> None:
        """Put any bytes where the toggle document stands."""
        self._touched = True
        self._twin.write_control("toggles.json", content)

    def restore(self) -> None:
        """Put the values back that the twin was started with."""
        if self._touched:
            self.values = dict(self._target.values)
            self.set()
            self._touched = False
