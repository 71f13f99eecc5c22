"""The record of making a release serve, and which one came before."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from dcops.core.release import SessionJournal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FORMAT = 1
_POWER = {"deploy", "rollback", "restart", "start", "stop"}


@dataclass(frozen=True, slots=True)
class ToggleState:
    """The toggle values in force and their generation, which only ever grows.

    ``values`` are those of ``toggles.yaml`` when they were applied, without the schema's defaults.
    """

    generation: int = 0
    values: dict[str, Any] = field(default_factory=dict)

    def next(self, values: Mapping[str, Any]) -> ToggleState:
        return ToggleState(self.generation + 1, dict(values))


@dataclass(frozen=True, slots=True)
class Revision:
    """A release with what an environment gives it: enough to start it again without its source.

    Attributes:
        release: Release id.
        build: Build id on the engine that serves it.
        name: The implementation's package name.
        command: How an instance starts.
        roles: Whether instances follow roles.
        schema: Its toggle schema, empty when it has no toggles.
        configuration: What the environment gave it: limits, variables, model, hosts.
        toggles: Values in force, as in ``toggles.yaml`` (without defaults).
        journal: The session journal that it needs, where it keeps one that is migrated.
    """

    release: str
    build: str
    name: str
    command: tuple[str, ...]
    roles: bool
    schema: dict[str, Any]
    configuration: dict[str, Any]
    toggles: dict[str, Any]
    journal: SessionJournal | None = None

    @property
    def short(self) -> str:
        return self.release[:12]

    @property
    def real_model(self) -> bool:
        """Whether its instances talk to the API."""
        return bool(self.configuration.get("model") == "api")

    def like(self, other: Revision) -> bool:
        """Whether both are one and the same but for their toggles."""
        return replace(self, toggles={}) == replace(other, toggles={})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Revision:
        journal = document.get("journal")  # older records know nothing of it
        parsed = {"journal": SessionJournal.from_json(journal) if journal else None}
        return cls(**{**document, "command": tuple(document["command"]), **parsed})


@dataclass(frozen=True, slots=True)
class Deployment:
    """One release made to serve.

    Attributes:
        number: Grows by one with each deployment of the environment.
        revision: What was made to serve.
        instance: Which instance serves it.
        generation: Toggle generation it went into service with.
        operation: Id of the plan that made it.
        undoes: Number of the deployment that this one, a rollback, took back.
        restores: Number of the deployment whose place it takes: the one that a rollback returned to, or of
            which this is another instance.
        toggles_set: Values that this deployment itself changed: name to [before, after].
        backup: Backup that was made before the switch, if any.
        state: Id of the session journal that the instance found; another one later means it was lost.
    """

    number: int
    revision: Revision
    instance: str
    generation: int
    operation: str
    undoes: int | None = None
    restores: int | None = None
    toggles_set: dict[str, list[Any]] = field(default_factory=dict)
    backup: str = ""
    state: str = ""
    at: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Deployment:
        fields = {key: value for key, value in document.items() if key != "format"}
        return cls(**{**fields, "revision": Revision.from_json(fields["revision"])})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an environment's history.

    Attributes:
        kind: What was done.
        result: How it ended.
        at: Seconds since the epoch when it began.
        seconds: How long it took.
        by: ``user@host``.
        reason: What ``--reason`` said.
        deployment: For deploy, rollback and restart that succeeded.
        data: What else there is to say, by kind.
        operation: Id of its plan, where there was one.
    """

    kind: Literal[
        "deploy", "rollback", "restart", "toggle", "stop", "start", "maintenance", "token", "down", "backup"
    ]
    result: Literal["ok", "failed", "aborted", "interrupted"]
    at: float
    seconds: float
    by: str
    reason: str = ""
    deployment: Deployment | None = None
    data: dict[str, Any] = field(default_factory=dict)
    operation: str = ""

    def to_json(self) -> dict[str, Any]:
        deployment = self.deployment.to_json() if self.deployment else None
        return {"format": FORMAT, **asdict(self), "deployment": deployment}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Entry:
        fields = {key: value for key, value in document.items() if key != "format"}
        made = fields.get("deployment")
        return cls(**{**fields, "deployment": Deployment.from_json(made) if made else None})


def deployments(entries: Iterable[Entry]) -> list[Deployment]:
    return [entry.deployment for entry in entries if entry.deployment is not None]


def stopped(entries: Sequence[Entry]) -> bool:
    """Whether somebody has stopped the environment on purpose, and nobody has started it since."""
    power = (each.kind for each in reversed(entries) if each.result == "ok" and each.kind in _POWER)
    return next(power, "") == "stop"


def recorded_toggles(entries: Iterable[Entry]) -> dict[str, Any] | None:
    """The toggle values that the history says are in force; None before the first deployment."""
    values: dict[str, Any] | None = None
    for each in entries:
        if each.deployment is not None:
            values = dict(each.deployment.revision.toggles)
        elif values is not None and each.kind == "toggle" and each.result == "ok":
            set_ = {name: new for name, (_old, new) in each.data.get("changed", {}).items()}
            values = {name: value for name, value in (values | set_).items() if value is not None}
    return values


def previous(made: Iterable[Deployment]) -> Deployment | None:
    """The newest release that served before the current one and was not itself rolled back from.

    Deployments are a stack: a rollback takes its target back on top and drops what it undid. One that
    differs in nothing from the current one, as after a return to a backup of it, is passed over.
    """
    stack: list[Deployment] = []
    for deployment in made:
        if deployment.restores is not None:
            while stack and stack.pop().number != deployment.restores:
                pass
        elif deployment.undoes is not None and stack and stack[-1].number == deployment.undoes:
            stack.pop()
        stack.append(deployment)
    if not stack:
        return None
    top = stack.pop()
    below = (each for each in reversed(stack) if top.toggles_set or not each.revision.like(top.revision))
    return next(below, None)
