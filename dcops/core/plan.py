"""The plan: data that says each step, what it does and how it is undone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dcops.core.deployment import Deployment, Revision, ToggleState

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it does and how it is undone, for people; ``id`` names the code that does both."""

    id: str
    title: str
    undo: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one deploy or rollback will do.

    Attributes:
        id: Names the operation in journal and history.
        kind: Which verb asked for it.
        revision: What will serve.
        current: Deployment that serves now.
        before: Toggles in force now.
        candidate: Id of the instance that will serve.
        twin: Id of the instance that verification runs against; empty without verification.
        based_on: Digest of what ran when the plan was made; another one makes it stale.
        suites: Suites to run against the twin.
        source: Directory or backup that the revision is built from; empty when its build is there.
        changes: For people: one line each of what will be different.
    """

    id: str
    kind: Literal["deploy", "rollback", "restart"]
    environment: str
    engine: str
    revision: Revision
    current: Deployment | None
    before: ToggleState
    candidate: str
    twin: str
    based_on: str
    steps: tuple[Step, ...]
    suites: tuple[str, ...] = ()
    toggles_set: dict[str, list[Any]] = field(default_factory=dict)
    undoes: int | None = None
    restores: int | None = None
    source: str = ""
    reason: str = ""
    changes: tuple[str, ...] = ()

    @property
    def does_nothing(self) -> bool:
        return not self.steps

    def has(self, step: str) -> bool:
        return any(each.id == step for each in self.steps)

    def to_json(self) -> dict[str, Any]:
        current = self.current.to_json() if self.current else None
        return {"format": FORMAT, **asdict(self), "current": current}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        fields = {key: value for key, value in document.items() if key != "format"}
        current = fields["current"]
        return cls(
            **{
                **fields,
                "revision": Revision.from_json(fields["revision"]),
                "current": Deployment.from_json(current) if current else None,
                "before": ToggleState(**fields["before"]),
                "steps": tuple(Step(**step) for step in fields["steps"]),
                "suites": tuple(fields["suites"]),
                "changes": tuple(fields["changes"]),
            }
        )


STEPS: dict[str, Step] = {
    step.id: step
    for step in (
        Step("build", "make the release runnable"),
        Step("proxy", "start the proxy", "put the earlier configuration and port back"),
        Step("model", "start the scripted model", "leave it running"),
        Step("start", "start the candidate beside what serves", "stop and remove the candidate"),
        Step("verify", "run the suites against a twin", "remove the twin"),
        Step("backup", "snapshot what is there now", "keep the backup"),
        Step("toggles", "write the new toggle generation", "write the earlier values as a newer generation"),
        Step("switch", "point the proxy at the new instance", "point it back"),
        Step("smoke", "probe what now serves"),
        Step("record", "write the deployment into the history"),
        Step("settle", "keep the old instance warm, let older ones drain"),
    )
}


def digest(document: Any) -> str:
    """sha256 of a JSON document in canonical form."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
