"""One run of a plan, as its steps see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dcops.errors import PreconditionMissing
from dcops.operations.current import Current, observe
from dcops.records.instances import InstanceRecord, parse, path

if TYPE_CHECKING:
    from dcops.core.deployment import ToggleState
    from dcops.core.plan import Plan
    from dcops.operations.world import Place


@dataclass(frozen=True, slots=True)
class Failure:
    """The step that failed, and how."""

    step: str
    error: Exception


@dataclass
class Run:
    """A plan at work.

    Attributes:
        current: What ran when the lock was taken.
        values: What steps leave for later ones; journaled, so JSON only.
        started: Seconds since the epoch.
        failure: Why it is being taken back, when a step of this very process has failed.
    """

    place: Place
    plan: Plan
    current: Current
    started: float
    values: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def toggles(self) -> ToggleState:
        """The toggle state that the candidate goes into service with."""
        values, state = self.plan.revision.toggles, self.plan.before
        return state if state.generation and state.values == values else state.next(values)

    @property
    def replaces(self) -> bool:
        """Whether another instance will serve than now."""
        return self.plan.candidate != self.current.serving

    def find(self, instance: str) -> InstanceRecord | None:
        content = self.place.store.read(path(instance))[path(instance)]
        return parse(content, instance) if content is not None else None

    def record(self, instance: str) -> InstanceRecord:
        """What was written down about an instance when it was started.

        Raises:
            PreconditionMissing: It is gone.
        """
        record = self.find(instance)
        if record is None:
            raise PreconditionMissing(
                "DC-INSTANCE-GONE",
                f"instance {instance} of this operation is gone",
                do=f"dcops abort {self.place.name}",
            )
        return record

    def say(self, step: str, text: str) -> None:
        self.place.say(step, text)

    def warn(self, step: str, text: str) -> None:
        """Say what is to be said again at the end."""
        self.values["warnings"] = [*self.values.get("warnings", ()), text]
        self.say(step, text)

    def look(self) -> Current:
        return observe(self.place)
