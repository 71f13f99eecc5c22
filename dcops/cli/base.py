"""What every command is: a Click command with examples, exit codes and the options that work anywhere."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcops.cli.app import App

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from click.shell_completion import CompletionItem

EXITS = {
    0: "done",
    1: "a bug: unexpected, with a report to send",
    2: "wrong arguments or value; nothing was changed",
    3: "failed, and the earlier state serves",
    4: "failed, and the earlier state could not be put back",
    5: "a check failed",
    6: "a precondition is missing: lock, engine, valid files, confirmation",
    7: "not found",
    8: "there are changes",
    9: "applied, but not acknowledged in time",
    10: "partial backup: some files could not be read",
    130: "interrupted, undone cleanly",
    143: "terminated, undone cleanly",
}
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _note(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.ensure_object(App), attribute, value)

    return callback


def _anywhere(*, hidden: bool) -> list[click.Parameter]:
    """Options of ``dcops`` itself, understood also behind the command's name, as people type them."""

    def option(name: str, text: str, **settings: Any) -> click.Option:
        attribute = name.removeprefix("--")
        return click.Option(
            [name], help=text, hidden=hidden, expose_value=False, callback=_note(attribute), **settings
        )

    directory = click.Path(path_type=Path)
    return [
        option("--project", "Project directory.", type=directory, metavar="DIR", envvar="DCOPS_PROJECT"),
        option("--color", "When to use colours.", type=click.Choice(["auto", "always", "never"])),
        option("--debug", "Show a traceback with each error.", is_flag=True),
    ]


class Command(click.Command):
    """A leaf command.

    Args:
        examples: Command lines for its help, at least one.
        exits: Exit codes besides 0, 1 and 2.
    """

    def __init__(
        self, *args: Any, examples: Iterable[str], exits: Iterable[int] = (), **settings: Any
    ) -> None:
        settings["context_settings"] = CONTEXT | settings.get("context_settings", {})
        super().__init__(*args, **settings)
        self.examples = tuple(examples)
        self.exits = sorted({0, 1, 2, *exits})
        text = "Print JSON instead of text."
        self.params.append(
            click.Option(["--json"], is_flag=True, help=text, expose_value=False, callback=_note("json"))
        )
        self.params += _anywhere(hidden=True)

    def invoke(self, ctx: click.Context) -> Any:
        ctx.ensure_object(App).command = ctx.command_path
        return super().invoke(ctx)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples and exit codes stand at the end of each help."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"  {example}\n")
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), EXITS[code]) for code in self.exits])


class ValueCommand(Command):
    """A command with a value that may be a negative number: ``-5`` is a value, ``-x`` an unknown option."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings["context_settings"] = {"ignore_unknown_options": True, "allow_extra_args": True}
        super().__init__(*args, **settings)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As Click, after which whatever it let through is looked at."""
        literal = set(args[args.index("--") :]) if "--" in args else set()
        super().parse_args(ctx, args)
        arguments = [str(ctx.params[p.name]) for p in self.params if isinstance(p, click.Argument) and p.name]
        for word in (*arguments, *ctx.args):
            if re.match(r"-[^\d.]", word) and word not in literal:
                names = [name for parameter in self.params for name in parameter.opts]
                raise click.NoSuchOption(word, possibilities=_close(word, names), ctx=ctx)
        if ctx.args:
            ctx.fail(f"Got unexpected extra argument ({ctx.args[0]})")
        return ctx.args


class LazyGroup(click.Group):
    """Commands that are imported when they run; help and completion read their summaries from a table.

    Args:
        table: Summary of each command by its name.
        package: Where the modules lie; command ``backup`` is ``backup`` in module ``backup``.
        modules: Module of a command that does not have one of its own name.
    """

    def __init__(
        self,
        *args: Any,
        table: Mapping[str, str],
        package: str,
        modules: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        settings |= {"context_settings": CONTEXT, "no_args_is_help": True}
        super().__init__(*args, **settings)
        self.table = table
        self._package = package
        self._modules = modules or {}

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        module = import_module(f"{self._package}.{self._modules.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.table and not args[0].startswith("-"):
            raise _unknown(ctx, args[0], self.table)
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table, so that nothing is imported for a press of the tab key."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=text)
            for name, text in self.table.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)


class Group(click.Group):
    """A group inside one module, such as ``dcops toggle``; a mistyped name gets a "did you mean"."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The first line of each command's help, whole."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(100)) for name, each in self.commands.items()])

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings |= {"context_settings": CONTEXT, "no_args_is_help": True}
        super().__init__(*args, **settings)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise _unknown(ctx, args[0], self.commands)
        return super().resolve_command(ctx, args)


def command(
    name: str,
    *,
    examples: Iterable[str],
    exits: Iterable[int] = (),
    parent: click.Group | None = None,
    cls: type[Command] = Command,
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Make a function, whose first argument is the App, a command; what it returns is the exit code."""
    make = parent.command if parent is not None else click.command

    def decorate(function: Callable[..., int | None]) -> click.Command:
        decorator = make(name, cls=cls, examples=examples, exits=exits)
        made: click.Command = decorator(click.pass_obj(function))
        return made

    return decorate


def root_options() -> list[click.Parameter]:
    return _anywhere(hidden=False)


def _close(word: str, words: Iterable[str]) -> list[str]:
    import difflib

    return difflib.get_close_matches(word, list(words), n=1)


def _unknown(ctx: click.Context, name: str, names: Iterable[str]) -> click.UsageError:
    close = _close(name, names)
    hint = f" Did you mean {close[0]}?" if close else ""
    return click.UsageError(f"No such command: {name}.{hint}", ctx=ctx)
