"""The steps of a plan that run hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.errors import DcopsError
from dcops.operations.hooks import POST_DEPLOY, POST_ROLLBACK, PRE_SWITCH, run_hook

if TYPE_CHECKING:
    from dcops.operations.steps.run import Run


def pre_switch(run: Run) -> None:
    run_hook(run.place, PRE_SWITCH, run.plan, run.values)


def post_deploy(run: Run) -> None:
    _after(run, POST_DEPLOY)


def post_rollback(run: Run) -> None:
    _after(run, POST_ROLLBACK)


def _after(run: Run, name: str) -> None:
    """What was recorded stands, whatever the hook makes of it."""
    try:
        run_hook(run.place, name, run.plan, run.values)
    except DcopsError as error:
        run.warn(name, f"{error.what}: {error.why}")
