"""The history of a session as its running turn holds it, written down as it grows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..model import history

if TYPE_CHECKING:
    from ..events import Message
    from ..journal.journal import Journal
    from .recorder import Recorder


class Transcript:
    """Messages by position; positions grow, and may have gaps.

    What was said before is read once: by `load`, or when it is needed first, since a turn may be broken off
    before anything was loaded, and must not write over it.
    """

    def __init__(self, session: str, journal: Journal, recorder: Recorder) -> None:
        """Reads nothing yet."""
        self._session = session
        self._journal = journal
        self._recorder = recorder
        self._loaded: dict[int, Message] | None = None

    async def load(self) -> None:
        """Reads what was said before, without stopping the loop; once, as later the journal may be behind."""
        if self._loaded is None:
            self._loaded = dict(await asyncio.to_thread(self._journal.numbered_messages, self._session))

    @property
    def _messages(self) -> dict[int, Message]:
        if self._loaded is None:
            self._loaded = dict(self._journal.numbered_messages(self._session))
        return self._loaded

    @property
    def messages(self) -> list[Message]:
        """What was said, in order."""
        return list(self._messages.values())

    @property
    def next(self) -> int:
        """The first position behind all messages."""
        return max(self._messages, default=0) + 1

    @property
    def reply(self) -> Message | None:
        """The last message, if it is the model's."""
        last = self._messages[max(self._messages)] if self._messages else None
        return last if last and last["role"] == "assistant" else None

    def calls(self) -> set[str]:
        """The ids of all calls that were ever made."""
        return {call["id"] for message in self._messages.values() for call in history.calls(message)}

    def say(self, message: Message) -> None:
        """Adds a message, and writes it down; it answers what the last one asks."""
        if (reply := self.reply) and "written" in reply:
            self._put(self.next - 1, history.answered(reply))
        self._put(self.next, message)

    def _put(self, position: int, message: Message) -> None:
        self._recorder.put(position, message)
        self.keep(position, message)

    def keep(self, position: int, message: Message) -> None:
        """Adds a message that its author has written down."""
        self._messages[position] = message
