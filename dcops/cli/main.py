"""The entry point: the commands by name, and the one place where errors become text and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from dcops import __version__
from dcops.cli.app import App
from dcops.cli.base import LazyGroup, root_options
from dcops.errors import DcopsError, Interrupted, UsageError, disk_full

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

COMMANDS = {
    "init": "Write environments and a small implementation into DIR.",
    "doctor": "Check everything that dcops needs, each with its fix.",
    "plan": "Show what a deploy would do; only reads.",
    "deploy": "Make the implementation serve: build, verify, back up, switch.",
    "resume": "Finish an operation that was interrupted.",
    "abort": "Take back an operation that was interrupted.",
    "rollback": "Return to the previous release, or to a backup.",
    "status": "Show what runs, where, and what has drifted.",
    "history": "Show what was done, by whom, why, with what result.",
    "logs": "Show the logs of an environment's instances.",
    "exec": "Run a command inside an instance.",
    "sessions": "List the conversations of an environment.",
    "chat": "Talk to the agent from the terminal.",
    "verify": "Run the suites against an isolated twin of what serves.",
    "toggle": "List, change and validate the features of a running agent.",
    "backup": "Make, list and show restorable snapshots.",
    "start": "Start again what served, after a stop or a reboot.",
    "stop": "Stop an environment's instances and proxy; everything is kept.",
    "maintenance": "Answer users that the agent is under maintenance.",
    "restart": "Replace the serving instance by a fresh one of the same release.",
    "down": "Remove an environment from its engine.",
    "token": "Change the bearer token that lets users in.",
    "service": "Bring an environment back after a reboot.",
    "completion": "Print the completion script of a shell.",
}
MODULES = {
    "plan": "deploy",
    "resume": "recovery",
    "abort": "recovery",
    "start": "lifecycle",
    "stop": "lifecycle",
    "restart": "lifecycle",
    "down": "lifecycle",
}
HELP = """Deploy and operate a streaming Claude agent, without dropping a request.

ENV is an environment's name; without it $DCOPS_ENV, else dev."""

cli = LazyGroup(
    "dcops",
    help=HELP,
    table=COMMANDS,
    package="dcops.cli.commands",
    modules=MODULES,
    params=root_options(),
    epilog="These options also work behind a command. dcops COMMAND --help shows examples and exit codes.",
)
click.version_option(__version__, prog_name="dcops", message="%(prog)s %(version)s")(cli)


class Terminated(KeyboardInterrupt):
    """SIGTERM; like Ctrl-C it passes by whatever catches errors on its way."""


def main() -> NoReturn:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, _terminated)
    _complete()
    code = run(sys.argv[1:])
    _flush()
    sys.exit(code)


def run(words: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        Its exit code.
    """
    # Known before the options are parsed, since parsing itself can fail.
    app = App(json="--json" in words, debug="--debug" in words)
    try:
        with cli.make_context("dcops", list(words), obj=app) as context:
            return int(cli.invoke(context) or 0)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        app.console.out(error.ctx.get_help() if error.ctx else "")
        return 0
    except click.ClickException as error:
        return _fail(app, _usage(error), error)
    except Terminated as error:
        return _fail(app, Interrupted("terminated", signal_number=signal.SIGTERM), error)
    except (KeyboardInterrupt, click.Abort) as error:
        return _fail(app, Interrupted("interrupted", signal_number=signal.SIGINT), error)
    except BrokenPipeError:
        return 0
    except DcopsError as error:
        return _fail(app, error, error)
    except Exception as error:
        if full := disk_full(error):
            return _fail(app, full, error)
        from dcops.cli.render.crash import crashed

        return _fail(app, crashed(app.command, error), error)


def _fail(app: App, error: DcopsError, cause: BaseException) -> int:
    if app.debug:
        import traceback

        app.console.tell("".join(traceback.format_exception(cause)).rstrip())
    if app.json:
        kind = {"type": "result"} if app.streams else {}
        app.console.report({"schema": "dcops.error/1", **kind, **error.to_json()})
    else:
        from dcops.cli.render.error import error_lines

        for line in error_lines(error):
            app.console.tell(line)
    return error.exit_code


def _usage(error: click.ClickException) -> DcopsError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "dcops"
    usage = context.get_usage() if context else ""
    return UsageError("DC-USAGE", error.format_message(), why=usage, do=f"{command} --help")


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _complete() -> None:
    """Answer the shell when it asks for completions."""
    if instruction := os.environ.get("_DCOPS_COMPLETE"):
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(cli, {"obj": App()}, "dcops", "_DCOPS_COMPLETE", instruction))


def _flush() -> None:
    """Write out what is left; a reader who went away is no error, also not at the interpreter's end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
