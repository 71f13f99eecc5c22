"""What a turn writes to the log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from dcops.agent.events import Fault

SAID = "hush-hush"


@pytest.mark.parametrize("in_xml", [False, True])
def test_debug_messages_tell_ids_sizes_and_states_and_never_what_was_said(
    house: Any, say: Any, in_xml: bool
) -> None:
    house.toggles["use_xml_prompts"] = in_xml
    calls = [
        say.call("good", "bash", command=f"echo {SAID} >&2; exit 3"),
        say.call("bad", "bash", nothing=SAID),
        say.call("none", SAID),
    ]
    if in_xml:
        written = f'<invoke name="bash"><parameter name="command">echo {SAID}</parameter></invoke>'
        calls = [say.text(f"<function_calls>{written}</function_calls>")]
    reply = say.reply(say.thinking(SAID), say.text(SAID), *calls, stop="end_turn" if in_xml else "tool_use")
    with capture_logs() as lines:
        faults = [[Fault("api_error", SAID)], [*say.reply(say.text(SAID))[:-2], Fault("api_error", SAID)]]
        asyncio.run(house.turn(SAID, *faults, reply, say.reply(say.text(SAID))))
    assert SAID not in str(lines)
    told = {line["event"]: line for line in lines}
    assert {"request", "retry", "call.sealed", "call.queued", "call.finished"} <= told.keys()
    assert told["call.sealed"]["held"] is True
    assert told["request"]["messages"] == len(house.model.requests[-1]["messages"])
    assert told["call.finished"]["size"] > 0
