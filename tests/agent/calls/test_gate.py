from __future__ import annotations

from typing import Any

from dcops.agent.calls.call import Call
from dcops.agent.calls.gate import Gate
from dcops.agent.tools.bash import Bash
from dcops.agent.tools.files import Files

TEXT = {"type": "text"}
RUN = Call("run", Bash(), {"command": "ls"})
LOOK = Call("look", Files(), {"command": "view", "path": "."})


def test_a_call_that_only_reads_runs_when_it_is_sealed() -> None:
    assert Gate().sealed(LOOK) == [LOOK]


def test_a_call_with_effects_waits_for_the_next_block_or_the_stop_reason() -> None:
    gate = Gate()
    assert gate.sealed(RUN) == []
    assert gate.started(TEXT) == [RUN]
    assert gate.sealed(RUN) == []
    assert gate.stopped("tool_use") == [RUN]
    assert gate.stopped("tool_use") == []


def test_any_other_stop_confirms_nothing() -> None:
    reasons: list[Any] = ["end_turn", "max_tokens", "refusal", "pause_turn", "something_new", None]
    for reason in reasons:
        gate = Gate()
        gate.sealed(RUN)
        assert gate.stopped(reason) == []


def test_a_call_without_arguments_waits_even_if_it_only_reads() -> None:
    gate = Gate()
    empty = Call("look", Files(), {})
    assert gate.sealed(empty) == []
    assert gate.stopped("tool_use") == [empty]


def test_after_a_fallback_nothing_runs_before_the_end() -> None:
    gate = Gate()
    gate.sealed(RUN)
    assert gate.started({"type": "fallback"}) == []
    assert gate.sealed(LOOK) == []
    assert gate.started(TEXT) == []
    assert gate.stopped("tool_use") == [RUN, LOOK]
