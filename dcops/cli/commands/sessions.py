"""``dcops sessions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dcops.cli.base import command
from dcops.cli.console import style, table
from dcops.cli.options import environment_argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App


@command("sessions", examples=("dcops sessions dev",), exits=(6, 7))
@environment_argument
def sessions_command(app: App, environment: str) -> None:
    """List the conversations of an environment.

    The newest comes first; those that checks made are left out.
    """
    from dcops.operations.sessions import list_sessions

    sessions = list_sessions(app.world(), environment)
    app.show(
        "sessions", {"environment": environment, "sessions": sessions}, lambda: _lines(sessions, environment)
    )


def _lines(sessions: list[dict[str, Any]], environment: str) -> Iterator[str]:
    if not sessions:
        yield f"there is no conversation yet: dcops chat {environment} 'run: date'"
        return
    yield from table(
        ["SESSION", "CREATED (UTC)", "STATE", "TITLE"],
        [
            [
                session["id"],
                str(session.get("created", ""))[: len("2026-11-20T19:08:12")].replace("T", " "),
                style("running", "good") if session.get("running") else "idle",
                session.get("title") or "",
            ]
            for session in sessions
        ],
    )
