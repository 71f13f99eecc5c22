"""Words that the shell completes; a press of the tab key never fails and never waits for an engine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dcops.cli.app import App

if TYPE_CHECKING:
    import click

    from dcops.core.environment import Project

Completer = Callable[["click.Context", "click.Parameter", str], list[str]]
SUITES = ("smoke", "toggles", "streaming", "contract", "checks")


def _completes(words: Callable[[Project], Iterable[str]]) -> Completer:
    @functools.wraps(words)
    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            found = sorted(words(_project(ctx)))
        except Exception:
            # Broken files are the command's business to report, not the completion's.
            return []
        return [word for word in found if word.startswith(incomplete)]

    return complete


def _project(ctx: click.Context) -> Project:
    from dcops.projects import find_project

    app = ctx.find_object(App)
    return find_project(Path.cwd(), app.project if app else None)


def _environment_names(project: Project) -> list[str]:
    return [file.parent.name for file in (project.root / "environments").glob("*/environment.yaml")]


def _backup_ids(project: Project) -> list[str]:
    from dcops.cli.wiring import make_world
    from dcops.operations.backup import list_backups

    return [backup.id for backup in list_backups(make_world(project.root, None), None)]


def _toggle_names(project: Project) -> set[str]:
    import json

    names: set[str] = set()
    for directory in {project.root, *(project.root / "environments").parent.glob("*/")}:
        for file in directory.glob("**/toggles.schema.json") if directory.name == "agent" else ():
            names |= set(json.loads(file.read_bytes()).get("properties", {}))
    return names


def suites(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [suite for suite in SUITES if suite.startswith(incomplete)]


environments = _completes(_environment_names)
backups = _completes(_backup_ids)
toggles = _completes(_toggle_names)
