"""Removing sessions: on request, or because nobody has used them for long."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ..journal.records import NoSession, TurnRunning

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..journal.journal import Journal
    from ..loop import TurnRunner

log = structlog.get_logger()

LOOK_SECONDS = 60.0


class Removal:
    """Removes sessions with all they have, in steps that keep no other writer waiting.

    A deleted session is out of sight at once. Its row in the journal goes last, so whoever looks finds what a
    dead instance has left half removed.

    Args:
        journal: Where the sessions are.
        runner: What ends the tools of a session.
        workspace: The directory that has the sessions' own workspaces.
        keep: Seconds without a turn after which a session is removed; None keeps all.
        serves: Whether this instance is the one that serves.
    """

    def __init__(
        self,
        journal: Journal,
        runner: TurnRunner,
        workspace: Path,
        keep: float | None,
        serves: Callable[[], bool],
    ) -> None:
        self._journal = journal
        self._runner = runner
        self._workspace = workspace
        self._keep = keep
        self._serves = serves
        self._going: set[str] = set()

    async def remove(self, session: str, idle: float | None = None) -> bool:
        """Remove a session with its outputs and its own workspace; returns when nothing is left.

        Args:
            session: Its id.
            idle: For how many seconds it must have been idle; None removes it in any case.

        Returns:
            Whether it was removed; false for one that was used meanwhile.

        Raises:
            NoSession: There is none.
            TurnRunning: It has a running turn.
        """
        workspace = self._journal.session(session).workspace
        deleted = await self._journal.submit(lambda: self._journal.delete_session(session, idle))
        if deleted:
            await self._take_away(session, workspace)
        return deleted

    async def run(self) -> None:
        """Remove idle sessions, and what was left half removed, until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:  # a full disk or a lock held too long: the next round may succeed
                log.exception("sessions.not_removed")
            await asyncio.sleep(min(LOOK_SECONDS, self._keep or LOOK_SECONDS))

    async def look(self) -> None:
        """Remove what there is to remove now, as long as this instance serves."""
        for session, workspace in self._journal.deleted_sessions():
            if self._serves() and session not in self._going:
                await self._take_away(session, workspace)
        idle = await asyncio.to_thread(self._journal.idle_sessions, self._keep) if self._keep else []
        for session in idle:
            if not self._serves():
                return
            with suppress(NoSession, TurnRunning):  # somebody was faster
                if await self.remove(session, self._keep):
                    log.info("session.expired", session=session)

    async def _take_away(self, session: str, workspace: str | None) -> None:
        self._going.add(session)
        try:
            await self._runner.end_session(session)
            await asyncio.to_thread(_remove_tree, self._journal.outputs(session))
            if workspace:
                await asyncio.to_thread(_remove_tree, self._workspace / workspace)
            while await self._journal.submit(lambda: self._journal.remove_some(session)):
                pass
        finally:
            self._going.discard(session)


def _remove_tree(path: Path) -> None:
    """Removes what is there, also where a tool has taken its own rights away."""
    try:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            _remove_directory(path)
    except FileNotFoundError:  # another instance removes the same, and may have stopped for the same reason
        _remove_tree(path)
    except OSError as error:  # the conversation goes all the same; nobody would ask again for the rest
        log.warning("session.files_left", path=str(path), error=str(error))


def _remove_directory(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except PermissionError:
        path.chmod(0o700)
        for folder, names, _ in os.walk(path):
            for inner in (Path(folder, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)  # before the walk comes to it
        shutil.rmtree(path)
