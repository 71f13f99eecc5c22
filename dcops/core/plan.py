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

Kind = Literal["deploy", "rollback", "restart", "toggle", "stop", "start", "maintenance", "token"]
_DEPLOYMENTS = {"deploy", "rollback", "restart"}


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it does and how it is undone, for people; ``id`` names the code that does both."""

    id: str
    title: str
    undo: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one operation will do.

    Attributes:
        id: Names the operation in journal and history.
        kind: Which verb asked for it.
        revision: What will serve; what serves now where an operation leaves it alone.
        current: Deployment that serves now.
        before: Toggles in force now.
        candidate: Id of the instance that will serve.
        twin: Id of the instance that verification runs against; empty without verification.
        based_on: Digest of what ran when the plan was made; another one makes it stale.
        suites: Suites to run against the twin.
        options: What single steps need to know, by step id.
        source: Directory or backup that the revision is built from; empty when its build is there.
        changes: For people: one line each of what will be different.
    """

    id: str
    kind: Kind
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
    options: dict[str, Any] = field(default_factory=dict)
    undoes: int | None = None
    restores: int | None = None
    source: str = ""
    reason: str = ""
    changes: tuple[str, ...] = ()

    @property
    def does_nothing(self) -> bool:
        return not self.steps

    @property
    def makes_deployment(self) -> bool:
        """Whether it ends in a new deployment, and not only in a line of history."""
        return self.kind in _DEPLOYMENTS

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
        Step("pre-build", "run the hook pre-build"),
        Step("build", "make the release runnable"),
        Step("proxy", "start the proxy", "put the earlier configuration and port back"),
        Step("model", "start the scripted model", "leave it running"),
        Step("stop", "stop all that has the session journal open", "start what served again"),
        Step("migrate", "add to the session journal what the release needs", "leave it: it only adds"),
        Step("start", "start the candidate beside what serves", "stop the candidate"),
        Step("probe", "probe the candidate"),
        Step("verify", "run the suites against a twin", "remove the twin"),
        Step("backup", "snapshot what is there now", "keep the backup"),
        Step("toggles", "write the new toggle generation", "write the earlier values as a newer generation"),
        Step("pre-switch", "run the hook pre-switch"),
        Step("switch", "point the proxy at the new instance", "point it back"),
        Step("smoke", "probe what now serves"),
        Step("bake", "watch what it answers"),
        Step("maintenance", "turn maintenance on or off", "turn it back"),
        Step("access", "change who may talk to the agent", "put the earlier tokens back"),
        Step("halt", "stop proxy and instances", "start what served"),
        Step("revive", "start proxy and what the pointer names", "stop them"),
        Step("record", "write it into the history"),
        Step("settle", "keep the old instance warm, let older ones drain"),
        Step("prune", "remove releases and builds that nothing needs"),
        Step("post-deploy", "run the hook post-deploy"),
        Step("post-rollback", "run the hook post-rollback"),
    )
}


OUTAGE: dict[str, Step] = {
    step.id: step
    for step in (
        Step("backup", "snapshot what is there now, with sessions and workspace", "keep the backup"),
        Step("restore", "put sessions and workspace of the backup in place", "put back those of before"),
        Step("migrate", "change the session journal", "put sessions and workspace back from the backup"),
    )
}
"""Steps between ``stop`` and ``start``, while nothing else has the session journal open."""


def digest(document: Any) -> str:
    """sha256 of a JSON document in canonical form."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
