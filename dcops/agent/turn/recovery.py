"""Closing what a dead instance left running: from the journal alone, and the same by whoever does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import events
from ..model import history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..events import Event
    from ..journal.journal import Journal
    from ..journal.records import Turn

REASON = "the instance that ran it ended"
UNWRITTEN = "the journal could not be written"


def recover(journal: Journal, lost: Sequence[Turn] = ()) -> list[Turn]:
    """Closes as interrupted each turn whose owner is dead, and this instance's `lost` ones; returns them.

    What a call's journal entry says is the model's answer; a call that was started and has none may have had
    effects, and the model is told so. Takes as long as a few reads and one commit per turn.
    """
    unclosed = [turn for turn in map(journal.turn, (turn.id for turn in lost)) if turn]
    recovered = [_close(journal, turn, UNWRITTEN) for turn in unclosed if turn.state == "running"]
    return [*recovered, *(_close(journal, turn, REASON) for turn in journal.orphans())]


def unheard(journal: Journal, turn: Turn) -> list[Event]:
    """Keeps what the user added when the turn could take it no more; for the transaction that ends it.

    Returns:
        The events that show it.
    """
    told: list[Event] = []
    for control in journal.take_controls(turn):
        if control.kind != "steer":
            continue
        position = journal.next_position(turn.session)
        message = history.user(control.payload["input"])
        journal.put_message(turn, position, message)
        told += events.user_text(f"{turn.id}.unheard.{position}", message["content"])
    return told


def _close(journal: Journal, turn: Turn, reason: str) -> Turn:
    numbered = journal.numbered_messages(turn.session)
    position, last = numbered[-1] if numbered else (0, None)
    noted = journal.calls(turn)
    outcomes = {call.id: history.Outcome(**call.result) for call in noted.values() if call.result}

    def write() -> None:
        reply = None
        if last and last["role"] == "assistant":
            reply = history.assistant(last["content"], cut=True, written=last.get("written", ()))
            journal.put_message(turn, position, history.answered(reply) if reply else None)
        journal.put_message(turn, position + 1, history.closing(reply, outcomes, noted, reason))
        told = [
            events.tool_call_result(call, outcome.content)
            for call, outcome in history.fates(reply, outcomes, noted, reason).items()
            if call not in outcomes
        ]
        interrupted = events.custom("turn.interrupted", {"reason": reason})
        error = events.run_error(f"The turn was interrupted: {reason}.", "interrupted")
        journal.finish_turn(turn, "interrupted", [*told, *unheard(journal, turn), interrupted, error])

    journal.together(write)
    return turn
