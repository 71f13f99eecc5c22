"""The user's own programs at five points of an operation: ``environments/<environment>/hooks/``."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from dcops.core.events import OperationEvent
from dcops.core.secret import Secret, redacted
from dcops.errors import DcopsError, OperationFailed, PreconditionMissing
from dcops.operations.guarded import run_guarded
from dcops.records.lock import actor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from dcops.core.plan import Plan
    from dcops.operations.world import Place

HOOKS = ("pre-build", "pre-switch", "post-deploy", "post-rollback", "on-failure")
PRE_BUILD, PRE_SWITCH, POST_DEPLOY, POST_ROLLBACK, ON_FAILURE = HOOKS
LOG = "hooks.log"
LOG_SIZE = 10 << 20
LONGEST = 4096
MOST_LINES = 10_000
LAST_LINES = 5


def present(place: Place) -> frozenset[str]:
    """The hooks that this environment has.

    Raises:
        PreconditionMissing: One cannot be run, or leads out of the project.
    """
    found = {name: _file(place, name) for name in HOOKS}
    for name, file in found.items():
        # A link that leads nowhere is meant to be a hook as well.
        if os.path.lexists(file):
            _refuse_unusable(place, name, file)
    return frozenset(name for name, file in found.items() if os.path.lexists(file))


def run_hook(place: Place, name: str, plan: Plan, values: Mapping[str, Any], *, error: str = "") -> None:
    """Run a hook; each line that it says is an event, and stands in the log.

    Args:
        values: What the steps have left, as in the journal.
        error: What has failed, for ``on-failure``.

    Raises:
        OperationFailed: Cause ``hook``: it failed, or did not end in time.
        PreconditionMissing: It cannot be run.
    """
    file = _file(place, name)
    _refuse_unusable(place, name, file)
    told = _told(place, name, plan, values) | {"DCOPS_ERROR": error}
    secrets = _secrets(place)
    public = [told["DCOPS_RELEASE"], told["DCOPS_PREVIOUS_RELEASE"]]
    limit = place.environment.hook_timeout
    last: list[str] = []
    with _log(place, plan, name) as write:

        def say(line: str) -> None:
            text = redacted(line, secrets, public=public)[:LONGEST]
            last[:] = [*last, text][-LAST_LINES:]
            if write(text):
                place.say(name, text)

        code = run_guarded([str(file)], _inherited(place, secrets) | told, _root(place), limit, say)
        how = f"did not end within {limit:g} s, or was interrupted" if code is None else f"exit code {code}"
        write(f"ended: {how}")
    if code != 0:
        raise OperationFailed(
            "DC-HOOK-FAILED",
            f"the hook {name} of {place.name} failed",
            cause="hook",
            why="\n".join([how, *last]),
            do=f"mend {_shown(place, name)}; all that it said is in {place.environment.logs / LOG}",
            hook=name,
        )


def on_failure(place: Place, plan: Plan, values: Mapping[str, Any], error: DcopsError) -> None:
    """Tell the hook of a failure, where there is one; whatever becomes of it changes nothing."""
    if plan.kind not in {"deploy", "rollback"} or not os.path.lexists(_file(place, ON_FAILURE)):
        return
    emit, began = place.world.emit, time.monotonic()
    emit(OperationEvent(ON_FAILURE, "started", "run the hook on-failure"))
    state, text = "ok", "run the hook on-failure"
    try:
        run_hook(place, ON_FAILURE, plan, values, error=f"{error.code}: {error.what}")
    except (Exception, KeyboardInterrupt) as second:
        state, text = "failed", str(second) or "interrupted"
    emit(OperationEvent(ON_FAILURE, state, text, seconds=time.monotonic() - began))  # type: ignore[arg-type]


def _root(place: Place) -> Path:
    return place.world.project.root


def _file(place: Place, name: str) -> Path:
    return _root(place) / "environments" / place.name / "hooks" / name


def _shown(place: Place, name: str) -> str:
    return f"environments/{place.name}/hooks/{name}"


def _refuse_unusable(place: Place, name: str, file: Path) -> None:
    real, shown = file.resolve(), _shown(place, name)
    if not real.is_relative_to(_root(place).resolve()):
        why, do = f"it leads out of the project, to {real}", "put the program itself there"
    elif not real.is_file():
        why, do = f"there is no file {real}", "put a program there, or remove the name"
    elif not os.access(real, os.X_OK):
        why, do = "the file is not executable", f"chmod +x {shown}, or rename it"
    else:
        return
    raise PreconditionMissing("DC-HOOK-UNUSABLE", f"{shown} cannot be run", why=why, do=do, hook=name)


def _told(place: Place, name: str, plan: Plan, values: Mapping[str, Any]) -> dict[str, str]:
    """The variables that a hook is given; docs/reference/hooks.md lists them."""
    return {
        "DCOPS_HOOK": name,
        "DCOPS_PROJECT": place.world.project.name,
        "DCOPS_ENVIRONMENT": place.name,
        "DCOPS_ENGINE": plan.engine,
        "DCOPS_RELEASE": plan.revision.release,
        "DCOPS_PREVIOUS_RELEASE": plan.current.revision.release if plan.current else "",
        "DCOPS_OPERATION": plan.id,
        "DCOPS_KIND": plan.kind,
        "DCOPS_INSTANCE": plan.candidate,
        "DCOPS_URL": place.url,
        "DCOPS_REASON": plan.reason,
        "DCOPS_BACKUP": str(values.get("backup", "")),
        "DCOPS_ACTOR": actor(),
    }


def _secrets(place: Place) -> list[Secret]:
    found = [Secret(place.local.token().encode())]
    with suppress(PreconditionMissing):
        found += [place.key] if place.environment.key else []
    return found


def _inherited(place: Place, secrets: list[Secret]) -> dict[str, str]:
    """The operator's environment, less what holds a secret."""
    hidden = [secret.reveal().decode() for secret in secrets]
    kind, _, variable = place.environment.key.partition(":")
    return {
        name: value
        for name, value in place.world.environ.items()
        if not (kind == "env" and name == variable) and not any(each in value for each in hidden)
    }


@contextmanager
def _log(place: Place, plan: Plan, name: str) -> Iterator[Callable[[str], bool]]:
    """Where a hook's lines are kept; what is given says whether a line still had room."""
    path = place.environment.logs / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_SIZE:
        path.replace(path.with_name(f"{LOG}.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    left = MOST_LINES
    with os.fdopen(os.open(path, flags, 0o600), "w") as file:

        def write(text: str) -> bool:
            nonlocal left
            left -= 1
            if left == 0:
                text = f"it said more than {MOST_LINES} lines; the others are left out"
            if left >= 0:
                at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                file.write(f"{at} {plan.id} {name}  {text}\n")
                file.flush()
            return left >= 0

        yield write
