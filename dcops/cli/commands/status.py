"""``dcops status``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from dcops.cli import completion
from dcops.cli.base import command
from dcops.cli.console import ago, style, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App
    from dcops.operations.status import EnvironmentStatus

LOOKS = {"running": "good", "degraded": "warn", "empty": "dim", "absent": "dim"}


@command("status", examples=("dcops status", "dcops status production", "dcops status --json"), exits=(6, 7))
@click.argument("environment", metavar="[ENV]", required=False, shell_complete=completion.environments)
def status_command(app: App, environment: str | None) -> None:
    """Show what runs, where, and what has drifted.

    Without ENV all environments are shown in a table; with ENV everything about one.
    """
    from dcops.operations.status import status

    rows = status(app.world(), environment)
    app.show(
        "status",
        {"environments": [row.to_json() for row in rows]},
        lambda: _detail(rows[0]) if environment else _overview(rows),
    )


def _overview(rows: list[EnvironmentStatus]) -> Iterator[str]:
    if not rows:
        yield "there is no environment yet: dcops init"
        return
    yield from table(
        ["ENV", "STATE", "ENGINE", "RELEASE", "UP", "DRIFT", "URL"],
        [
            [
                style(row.name, "name"),
                _state(row),
                row.engine or "-",
                row.release[:12] or "-",
                _up(row),
                str(len(row.drift) or "none") if row.release else "-",
                row.public_url or row.url or "-",
            ]
            for row in rows
        ],
        whole=True,
    )
    for row in rows:
        if row.state != "absent":
            yield from _remarks(row)
    if all(row.state == "absent" for row in rows):
        yield f"  begin with: dcops deploy {rows[0].name}"


def _detail(row: EnvironmentStatus) -> Iterator[str]:
    yield f"{style(row.name, 'name')}  {_state(row)}"
    toggles = row.toggles
    followed = ", acknowledged" if toggles.acknowledged == toggles.generation else ", not acknowledged"
    followed = followed if row.state in {"running", "degraded"} else ""
    facts = {
        "url": row.public_url or row.url,
        "local": row.url if row.public_url else "",
        "token": row.token_file,
        "engine": f"{row.engine} ({row.why})" if row.engine else "",
        "release": f"{row.release[:12]}, deployed {ago(time.time() - row.deployed)} ago"
        if row.release
        else "",
        "toggles": f"generation {toggles.generation}{followed}" if toggles.generation else "",
        "tokens": _tokens(row.tokens) if row.tokens and any(row.tokens.values()) else "",
    }
    yield from (f"  {name:<8} {text}" for name, text in facts.items() if text)
    for index, drift in enumerate(row.drift):
        yield f"  {'' if index else 'drift':<8} {drift.what}"
    if row.instances:
        yield from table(
            ["  INSTANCE", "ROLE", "STATUS", "UP", "TURNS", "RESTARTS"],
            [
                [
                    f"  {each.id}",
                    each.role,
                    each.status,
                    ago(time.time() - each.started) if each.started else "-",
                    "-" if each.turns is None else str(each.turns),
                    str(each.restarts),
                ]
                for each in row.instances
            ],
        )
    yield from _remarks(row)


def _state(row: EnvironmentStatus) -> str:
    return style(row.state, LOOKS.get(row.state, "bad"))


def _tokens(tokens: dict[str, int]) -> str:
    of = f" of {tokens['budget']:,}" if tokens.get("budget") else ""
    spent = "; no turn starts before midnight" if 0 < tokens.get("budget", 0) <= tokens["total"] else ""
    return f"{tokens['total']:,}{of} today (UTC), {tokens['output']:,} of them written{spent}"


def _up(row: EnvironmentStatus) -> str:
    started = [each.started for each in row.instances if each.role == "serving" and each.started]
    return ago(time.time() - started[0]) if started and row.state in {"running", "degraded"} else "-"


def _remarks(row: EnvironmentStatus) -> Iterator[str]:
    """What is wrong or under way, each with the next command."""
    if row.maintenance is not None:
        told = f"users get 503 and come back after {row.maintenance} s"
        yield f"  {style(row.name, 'warn')}: under maintenance, {told}"
        yield f"    {style('do', 'dim')} dcops maintenance off {row.name}"
    if row.failed is not None:
        when = ago(time.time() - row.failed["at"])
        yield (
            f"  {style(row.name, 'warn')}: candidate {row.failed['instance']} failed at step "
            f"'{row.failed['step']}' {when} ago and is kept, stopped, until the next deploy"
        )
        yield f"    {style('do', 'dim')} dcops logs {row.name} --candidate"
    if row.operation is not None:
        step = f" at step '{row.operation['step']}'" if row.operation.get("step") else ""
        yield f"  {row.name}: {row.operation['by']} runs '{row.operation['operation']}'{step}"
    for problem in row.problems:
        yield f"  {style(row.name, 'warn')}: {problem.what}"
        if problem.do:
            yield f"    {style('do', 'dim')} {problem.do}"
    if any(drift.remedy != "deploy" for drift in row.drift):
        yield f"  {row.name}: has drifted: dcops doctor {row.name} --repair"
    elif row.drift and not row.problems:
        commands = {drift.do for drift in row.drift}
        do = commands.pop() if len(commands) == 1 else f"dcops plan {row.name}"
        yield f"  {row.name}: what serves is not what the files say: {do}"
