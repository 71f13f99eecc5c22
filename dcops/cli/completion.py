"""Words that the shell completes; a press of the tab key never fails and never waits for an engine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dcops.cli.app import App

if TYPE_CHECKING:
    import click

    from dcops.operations.world import World

Completer = Callable[["click.Context", "click.Parameter", str], list[str]]


def _completes(words: Callable[[World], Iterable[str]]) -> Completer:
    @functools.wraps(words)
    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            found = sorted(words(_world(ctx)))
        except Exception:
            # Broken files are the command's business to report, not the completion's.
            return []
        return [word for word in found if word.startswith(incomplete)]

    return complete


def _world(ctx: click.Context) -> World:
    from dcops.cli.wiring import make_world

    app = ctx.find_object(App)
    return make_world(app.project if app else None, None)


def _environment_names(world: World) -> list[str]:
    return world.environments.names()


def _backup_ids(world: World) -> list[str]:
    from dcops.operations.backup import list_backups

    return [backup.id for backup in list_backups(world)]


def _toggle_names(world: World) -> set[str]:
    # Of every implementation, as the environment may not be typed yet.
    from dcops.operations.declared import declared_toggles

    return declared_toggles(world)


def suites(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from dcops.core.verification import CHECKS, SUITES

    return [suite for suite in (*SUITES, CHECKS) if suite.startswith(incomplete)]


environments = _completes(_environment_names)
backups = _completes(_backup_ids)
toggles = _completes(_toggle_names)
