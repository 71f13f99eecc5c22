"""One small turn with the model that the instance really has; it costs tokens."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from dcops.errors import DcopsError
from dcops.verification.conversation import Conversation, joined, kind_of

if TYPE_CHECKING:
    from dcops.client import Client
    from dcops.core.verification import Target

SECONDS = 60.0
SMALL = {"max_tokens": 16, "use_streaming_thinking": False}


@pytest.mark.usefixtures("usual_course")
def test_turn(agent: Client, target: Target) -> None:
    if not target.live:
        pytest.skip("live checks spend tokens: ask for them with --live")
    declared = target.schema.get("properties", {})
    small = {name: value for name, value in SMALL.items() if name in declared}
    session = agent.create_session(small, synthetic=True)
    try:
        conversation = Conversation(agent, session)
        conversation.say("Reply with the word ready.")
        events = conversation.finish(SECONDS)
        kinds = ", ".join(map(kind_of, events[-6:]))
        assert joined(events, "TEXT_MESSAGE_CONTENT"), f"a live turn: expected text, got {kinds}"
    finally:
        # A turn that still runs is told by the failed check; it must not be hidden by this refusal.
        with contextlib.suppress(DcopsError):
            agent.stop(session)
            agent.delete_session(session)
