"""Asking before something happens to a protected environment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from dcops.cli.app import App
    from dcops.operations.world import World


def approve(app: App, world: World, environment: str, action: str, *, yes: bool, because: str = "") -> None:
    """Have the name of a protected environment typed; others need approval for grave things only.

    Args:
        action: What will happen, ``deploy``.
        yes: ``--yes`` was given.
        because: What makes it grave.

    Raises:
        PreconditionMissing: DC-CONFIRMATION: there is nobody to ask, or the answer was another.
    """
    protected = world.environments.load(environment).protected
    if yes or not (protected or because):
        return
    if app.json or not app.console.interactive:
        raise PreconditionMissing(
            "DC-CONFIRMATION",
            f"{because or f'{environment} is protected'}: {action} needs a confirmation",
            why="there is no terminal to ask on" if not app.json else "--json asks no questions",
            do="give --yes when you mean it",
            environment=environment,
        )
    sys.stderr.write("Type the environment's name to continue: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != environment:
        raise PreconditionMissing(
            "DC-CONFIRMATION",
            f"{action} was not confirmed; nothing was changed",
            why=f"what was typed is not {environment}",
            do=f"run it again and type {environment}, or give --yes",
            environment=environment,
        )
