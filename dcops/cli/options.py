"""Arguments and options that several commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dcops.cli import completion

if TYPE_CHECKING:
    from dcops.cli.app import App

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
DEFAULT = "dev"


def default_environment() -> str:
    return os.environ.get("DCOPS_ENV") or DEFAULT


def environment_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """``[ENV]``, which may also be written ``--env ENV`` as other commands want it."""

    @functools.wraps(function)
    def call(app: App, environment: str | None, named: str | None, **rest: Any) -> Any:
        if environment and named and environment != named:
            raise click.UsageError(f"Which environment: {environment} or {named}?")
        return function(app, environment=environment or named or default_environment(), **rest)

    complete = completion.environments
    option = click.option("--env", "named", metavar="ENV", hidden=True, shell_complete=complete)
    argument = click.argument("environment", metavar="[ENV]", required=False, shell_complete=complete)
    return argument(option(call))


environment_option = click.option(
    "--env",
    "environment",
    metavar="ENV",
    default=default_environment,
    help="The environment; $DCOPS_ENV, else dev, when it is not given.",
    shell_complete=completion.environments,
)
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
yes_option = click.option(
    "--yes", is_flag=True, help="Do not ask; needed for protected environments without a terminal."
)
lock_wait_option = click.option(
    "--lock-wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait for another operation to end.",
)


def deploy_options(function: Decorated) -> Decorated:
    """What ``plan`` and ``deploy`` both take: the engine, toggles to set with it, the reason."""
    for decorate in reversed(
        (
            click.option(
                "--engine", type=click.Choice(["process", "docker"]), help="Instead of the recorded engine."
            ),
            click.option(
                "--set",
                "sets",
                multiple=True,
                metavar="K=V",
                help="Set a toggle with this deployment; repeatable.",
                shell_complete=completion.toggles,
            ),
            click.option(
                "--enable",
                "enables",
                multiple=True,
                metavar="K",
                help="Set a toggle to true; repeatable.",
                shell_complete=completion.toggles,
            ),
            click.option(
                "--disable",
                "disables",
                multiple=True,
                metavar="K",
                help="Set a toggle to false; repeatable.",
                shell_complete=completion.toggles,
            ),
            click.option(
                "--breaking",
                is_flag=True,
                help="Allow a migration that what runs cannot read: it is stopped first, and requests fail.",
            ),
            click.option(
                "--from",
                "origin",
                default="",
                metavar="ENV",
                help="Deploy exactly the release that ENV serves now.",
                shell_complete=completion.environments,
            ),
            reason_option,
        )
    ):
        function = decorate(function)
    return function


def toggle_texts(
    sets: tuple[str, ...], enables: tuple[str, ...], disables: tuple[str, ...]
) -> dict[str, str]:
    """Toggle values as text by name.

    Raises:
        click.BadParameter: No ``=``, or one toggle is given twice.
    """
    pairs = [text.partition("=") for text in sets]
    for name, equals, _value in pairs:
        if not (name and equals):
            raise click.BadParameter(f"{name!r} is not of the form NAME=VALUE.", param_hint="--set")
    given = [(name, value) for name, _equals, value in pairs]
    given += [(name, "true") for name in enables] + [(name, "false") for name in disables]
    values: dict[str, str] = {}
    for name, value in given:
        if values.setdefault(name, value) != value:
            raise click.BadParameter(
                f"{name} is given twice: {values[name]} and {value}.", param_hint="--set"
            )
    return values
