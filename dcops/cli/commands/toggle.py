"""``dcops toggle``: list, get, set, unset, kill, apply and validate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dcops.cli import completion
from dcops.cli.base import Group, ValueCommand, command
from dcops.cli.console import style, table
from dcops.cli.options import environment_argument, environment_option, reason_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App
    from dcops.operations.toggles import ToggleReport


@click.group("toggle", cls=Group, short_help="List, change and validate the features of a running agent.")
def toggle_command() -> None:
    """List, change and validate the features of a running agent."""


name_argument = click.argument("name", shell_complete=completion.toggles)


@command(
    "list",
    parent=toggle_command,
    examples=("dcops toggle list", "dcops toggle list --env production"),
    exits=(6, 7),
)
@environment_argument
def list_command(app: App, environment: str) -> None:
    """List the toggles with their values, defaults and when a change takes effect."""
    from dcops.operations.toggles import list_toggles

    rows = [row.to_json() for row in list_toggles(app.world(), environment)]
    app.show("toggle.list", {"environment": environment, "toggles": rows}, lambda: _list_lines(rows))


@command(
    "get", parent=toggle_command, examples=("dcops toggle get thinking_budget --env dev",), exits=(2, 6, 7)
)
@name_argument
@environment_option
def get_command(app: App, name: str, environment: str) -> None:
    """Print one toggle's value."""
    from dcops.operations.toggles import get_toggle

    row = get_toggle(app.world(), environment, name).to_json()
    app.show("toggle.get", {"environment": environment, **row}, lambda: [_text(row["value"])])


@command(
    "set",
    parent=toggle_command,
    cls=ValueCommand,
    examples=(
        "dcops toggle set use_streaming_bash false --env dev --reason 'try'",
        "dcops toggle set thinking_budget 8000",
    ),
    exits=(6, 7, 9),
)
@name_argument
@click.argument("value")
@environment_option
@reason_option
def set_command(app: App, name: str, value: str, environment: str, reason: str) -> None:
    """Change a toggle while the agent runs, and wait until the instances follow."""
    from dcops.operations.toggles import set_toggle

    report = set_toggle(app.world(), environment, name, value, reason=reason)
    _show_report(app, "toggle.set", report)


@command(
    "unset",
    parent=toggle_command,
    examples=("dcops toggle unset thinking_budget --env dev",),
    exits=(6, 7, 9),
)
@name_argument
@environment_option
@reason_option
def unset_command(app: App, name: str, environment: str, reason: str) -> None:
    """Take a toggle's value out of the file, so that its default holds."""
    from dcops.operations.toggles import unset_toggle

    report = unset_toggle(app.world(), environment, name, reason=reason)
    _show_report(app, "toggle.unset", report)


@command(
    "kill",
    parent=toggle_command,
    examples=("dcops toggle kill --env production --reason 'runs away'", "dcops toggle kill use_xml_prompts"),
    exits=(6, 7, 9),
)
@click.argument("name", required=False, default="", shell_complete=completion.toggles)
@environment_option
@reason_option
def kill_command(app: App, name: str, environment: str, reason: str) -> None:
    """Turn a toggle off at once, and what needs it; without NAME the master switch: no new turn starts.

    Nothing is asked. While another operation works on the environment what serves is held off, and the
    command waits to record it.
    """
    from dcops.operations.kill import kill

    _show_report(app, "toggle.kill", kill(app.world(), environment, name, reason=reason))


@command("apply", parent=toggle_command, examples=("dcops toggle apply --env dev",), exits=(6, 7, 9))
@environment_argument
@reason_option
def apply_command(app: App, environment: str, reason: str) -> None:
    """Bring a toggles.yaml that was edited by hand to the running instances."""
    from dcops.operations.toggles import apply_toggles

    report = apply_toggles(app.world(), environment, reason=reason)
    _show_report(app, "toggle.apply", report)


@command(
    "validate",
    parent=toggle_command,
    examples=("dcops toggle validate", "dcops toggle validate --env dev"),
    exits=(6, 7),
)
@click.option(
    "--env",
    "environment",
    metavar="ENV",
    help="The environment; all of them when it is not given.",
    shell_complete=completion.environments,
)
def validate_command(app: App, environment: str | None) -> None:
    """Check the values of toggles.yaml against the implementation's schema; only reads."""
    from dcops.operations.toggles import validate_toggles

    names = validate_toggles(app.world(), environment)
    app.show(
        "toggle.validate", {"environments": names, "valid": True}, lambda: [f"valid: {', '.join(names)}"]
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _list_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield "this implementation has no toggles"
        return
    yield from table(
        ["TOGGLE", "TYPE", "DEFAULT", "VALUE", "APPLIES", "DESCRIPTION"],
        [
            [row["name"], row["type"], _text(row["default"]), _value(row), row["applies"], _described(row)]
            for row in rows
        ],
    )
    if any(row["value"] != row["default"] for row in rows):
        yield style("* differs from the default", "dim")
    for row in rows:
        if row["drift"] is not None:
            drift = f"{row['name']} is {_text(row['drift'])} in toggles.yaml, which is not applied yet"
            yield f"{style('drift', 'warn')}  {drift}: dcops toggle apply"


def _described(row: dict[str, Any]) -> str:
    """What a toggle means, and the rules that bind it to others."""
    rules = [("Needs", row["needs"]), ("Less than", row["less_than"])]
    return " ".join([row["description"], *(f"{rule} {name}." for rule, name in rules if name)])


def _value(row: dict[str, Any]) -> str:
    text = _text(row["value"])
    return text if row["value"] == row["default"] else f"{style(text, 'name')} *"


def _show_report(app: App, name: str, report: ToggleReport) -> None:
    app.show(name, report.to_json(), lambda: _report_lines(report, app.console.glyphs["arrow"]))


def _report_lines(report: ToggleReport, arrow: str) -> Iterator[str]:
    if not report.changed:
        yield f"{style('Unchanged', 'good')}  {report.environment} has these values already"
        return
    for name, (before, after) in report.changed.items():
        old, new = ("(default)" if value is None else _text(value) for value in (before, after))
        yield f"{style('Set', 'good')}  {name}  {old} {arrow} {style(new, 'name')}  in {report.environment}"
    for warning in report.warnings:
        yield f"  {style('ends', 'warn')}  {warning}"
    if not report.generation:
        yield "  written to toggles.yaml; nothing is deployed that could follow"
        return
    followed = [f"{each.instance} in {each.milliseconds} ms" for each in report.acknowledged]
    if followed or not report.at_next_start:
        by = ", ".join(followed) or "nobody: none runs"
        yield f"  generation {report.generation}, acknowledged by {by}"
    if report.at_next_start:
        late = ", ".join(report.at_next_start)
        yield f"  takes effect when {late} starts again: dcops restart {report.environment}"
    if report.lagging:
        yield f"  {style('behind', 'warn')}  {', '.join(report.lagging)} does not serve and follows later"
