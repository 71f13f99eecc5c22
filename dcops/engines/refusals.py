"""What every engine refuses in the same words."""

from __future__ import annotations

from dcops.errors import NotFound, PreconditionMissing


def build_missing(build: str) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-BUILD-MISSING", f"build {build[:12]} is not on this engine", do="deploy its release again"
    )


def unknown_instance(instance: str, environment: str) -> NotFound:
    return NotFound(
        "DC-INSTANCE-UNKNOWN",
        f"there is no instance {instance} in {environment}",
        do=f"dcops status {environment}",
    )


def state_failed(done: str, why: object) -> PreconditionMissing:
    """State that could not be ``saved`` or ``loaded``."""
    return PreconditionMissing(
        "DC-STATE-FAILED",
        f"the environment's state could not be {done}",
        why=str(why),
        do="remove what `why` names, as a full disk or a closed directory, and run the command again",
    )


def not_running(instance: str, environment: str) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-INSTANCE-DOWN", f"the instance {instance} does not run", do=f"dcops status {environment}"
    )
