"""Closing what a dead instance left running: from the journal alone, and the same by whoever does it."""

from __future__ import annotations

from itertools import chain
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

    Raises:
        ExceptionGroup: why some could not be closed; all the others are.
    """
    unclosed = [turn for turn in map(journal.turn, (turn.id for turn in lost)) if turn]
    own = [(turn, UNWRITTEN) for turn in unclosed if turn.state == "running"]
    recovered: list[Turn] = []
    failures: list[Exception] = []
    for turn, reason in chain(own, ((turn, REASON) for turn in journal.orphans())):
        try:
            _close(journal, turn, reason)
            recovered.append(turn)
        except Exception as error:  # what is wrong with one of them must not keep the others from their end
            error.add_note(f"turn {turn.id} of session {turn.session}")
            failures.append(error)
    if failures:
        raise ExceptionGroup("turns could not be closed", failures)
    return recovered


def unheard(journal: Journal, turn: Turn) -> list[Event]:
    """Keeps what the user added when the turn could take it no more; for the transaction that ends it.

    Returns:
        The events that show it.
    """
    told: list[Event] = []
    for control in journal.take_controls(turn):
        if not control.input:
            continue
        position = journal.next_position(turn.session)
        message = history.user(control.input)
        journal.put_message(turn, position, message)
        told += events.user_text(f"{turn.id}.unheard.{position}", message["content"])
    return told


def _close(journal: Journal, turn: Turn, reason: str) -> None:
    numbered = journal.numbered_messages(turn.session)
    position, last = numbered[-1] if numbered else (0, None)
    noted = journal.calls(turn)
    # A call that was answered without having been started stands in the events alone: it was refused.
    outcomes = {
        call: history.Outcome(told, is_error=True) for call, told in journal.results_told(turn).items()
    }
    outcomes |= {call.id: history.Outcome(**call.result) for call in noted.values() if call.result}

    def write() -> None:
        reply = None
        if last and last["role"] == "assistant":
            reply = history.assistant(last["content"], cut=True, written=last.get("written", ()))
            journal.put_message(turn, position, history.answered(reply) if reply else None)
        journal.put_message(turn, position + 1, history.closing(reply, outcomes, noted, reason))
        told = [
            event
            for call, outcome in history.fates(reply, outcomes, noted, reason).items()
            if call not in outcomes
            for event in (
                _finished(call, begun=call in noted),
                events.tool_call_result(call, outcome.content),
            )
        ]
        interrupted = events.custom("turn.interrupted", {"reason": reason})
        error = events.run_error(f"The turn was interrupted: {reason}.", "interrupted")
        journal.finish_turn(turn, "interrupted", [*told, *unheard(journal, turn), interrupted, error])

    journal.together(write)


def _finished(call: str, *, begun: bool) -> Event:
    status = "cancelled" if begun else "not_run"
    return events.custom(
        "tool.finished",
        {"call": call, "status": status, "exit_code": None, "elapsed_ms": None if begun else 0},
    )
