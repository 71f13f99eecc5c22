"""``dcops chat``: one message, or a conversation on the terminal."""

from __future__ import annotations

import contextlib
import re
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from dcops.cli import completion
from dcops.cli.base import command
from dcops.cli.options import default_environment
from dcops.cli.render.error import error_lines
from dcops.errors import DcopsError, PreconditionMissing, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from dcops.cli.app import App
    from dcops.operations.chat import Conversation

INTERRUPTED = 130
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@command(
    "chat",
    examples=(
        "dcops chat dev 'run: uname -a'",
        "dcops chat production 'and now?' --session ID",
        "dcops chat dev",
    ),
    exits=(6, 7, 130),
)
@click.argument("environment", required=False, metavar="[ENV]", shell_complete=completion.environments)
@click.argument("message", required=False, metavar="[MESSAGE]")
@click.option("--session", metavar="ID", help="Go on with this conversation; dcops sessions lists them.")
def chat_command(app: App, environment: str | None, message: str | None, session: str | None) -> int:
    """Talk to the agent from the terminal.

    With MESSAGE, the answer and what its tools print go to stdout as they come; what the agent does goes to
    stderr, and stdin is not read. Without MESSAGE it is a conversation: Ctrl-C stops a turn, Ctrl-D ends.
    """
    from dcops.operations.chat import converse

    if message is None and environment and not NAME.fullmatch(environment):
        # What cannot be a name is the message: dcops chat "run: date".
        environment, message = None, environment
    environment = environment or default_environment()
    if message is not None and not message.strip():
        raise UsageError("DC-NO-MESSAGE", "the message is empty", do=f"dcops chat {environment} 'MESSAGE'")
    if message is not None:
        return _turn(app, converse(app.world(), environment, session), environment, message)
    if app.json or not app.console.interactive:
        raise UsageError(
            "DC-NO-MESSAGE",
            "there is no message, and no terminal to ask for one",
            do=f"dcops chat {environment} 'MESSAGE'",
        )
    return _loop(app, converse(app.world(), environment, session), environment)


def _turn(app: App, conversation: Conversation, environment: str, message: str) -> int:
    """One turn, shown as it comes.

    Raises:
        PreconditionMissing: DC-TURN-FAILED: the agent could not finish it.
    """
    from dcops.cli.render.chat import JsonView, TextView
    from dcops.operations.chat import outcome

    app.streams = app.json
    view = JsonView(app.console) if app.json else TextView(app.console)
    ended = {"result": "failed", "message": "the stream ended before the turn did", "code": ""}
    with _stoppable(conversation):
        for seq, event in conversation.say(message):
            view.show(seq, event)
            ended = outcome(event)
    view.end()
    document = {"session": conversation.session, "turn": conversation.turn, **ended}
    if ended["result"] == "failed":
        raise PreconditionMissing(
            "DC-TURN-FAILED",
            "the turn failed",
            why=ended["message"],
            do=f"go on with it: dcops chat {environment} MESSAGE --session {conversation.session}",
            cause=ended["code"],
            session=conversation.session,
        )
    app.show("chat", document, lambda: ())
    return INTERRUPTED if ended["result"] == "stopped" else 0


def _loop(app: App, conversation: Conversation, environment: str) -> int:
    import readline  # noqa: F401 - gives input() a line editor and a history

    app.console.talk(f"{environment}, session {conversation.session}; Ctrl-C stops a turn, Ctrl-D ends")
    while True:
        try:
            message = input("> ").strip()
        except EOFError:
            app.console.talk()
            return 0
        except KeyboardInterrupt:
            app.console.talk()
            continue
        if not message:
            continue
        try:
            _turn(app, conversation, environment, message)
        except PreconditionMissing as error:
            # A failed turn is said, and the conversation goes on.
            for line in error_lines(error):
                app.console.talk(line)


@contextmanager
def _stoppable(conversation: Conversation) -> Iterator[None]:
    """Within it the first Ctrl-C stops the turn, whose end then still comes; the second one leaves.

    A handler and not an exception: an exception would end the generator that reads the events.
    """
    pressed = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        with contextlib.suppress(DcopsError):
            conversation.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
