"""Closing what a dead instance left running: from the journal alone, and the same by whoever does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import events, history

if TYPE_CHECKING:
    from .journal.journal import Journal
    from .journal.records import Turn

REASON = "the instance that ran it ended"


def recover(journal: Journal) -> list[Turn]:
    """Closes each turn whose owner is dead as interrupted; returns those turns.

    What a call's journal entry says is the model's answer; a call that was started and has none may have had
    effects, and the model is told so. Takes as long as a few reads and one commit per turn.
    """
    return [_close(journal, turn) for turn in journal.orphans()]


def _close(journal: Journal, turn: Turn) -> Turn:
    numbered = journal.numbered_messages(turn.session)
    position, last = numbered[-1] if numbered else (0, None)
    noted = journal.calls(turn)
    outcomes = {call.id: history.Outcome(**call.result) for call in noted.values() if call.result}

    def write() -> None:
        reply = None
        if last and last["role"] == "assistant":
            reply = history.assistant(last["content"], cut=True)
            journal.put_message(turn, position, reply)
        closing = history.closing(reply, outcomes, noted, REASON)
        journal.put_message(turn, position + 1, closing)
        told = [
            events.tool_call_result(block["tool_use_id"], block["content"][0]["text"])
            for block in closing["content"]
            if block["type"] == "tool_result" and block["tool_use_id"] not in outcomes
        ]
        interrupted = events.custom("turn.interrupted", {"reason": REASON})
        error = events.run_error(f"The turn was interrupted: {REASON}.", "interrupted")
        journal.finish_turn(turn, "interrupted", [*told, interrupted, error])

    journal.together(write)
    return turn
