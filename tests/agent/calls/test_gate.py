from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dcops.agent.calls.call import Call
from dcops.agent.calls.gate import Gate
from dcops.agent.toggles import Schema
from dcops.agent.tools.bash import Bash
from dcops.agent.tools.files import Files
from dcops.agent.tools.tool import Effect

TOGGLES = Schema.load().complete({})
TEXT = {"type": "text"}
RUN = Call("run", Bash(), {"command": "ls"}, Effect.EFFECTS, None, 60)
LOOK = Call("look", Files(), {"command": "view", "path": "."}, Effect.READONLY, None, 60)


def test_a_call_that_only_reads_runs_when_it_is_sealed() -> None:
    assert Gate(TOGGLES).sealed(LOOK) == [LOOK]


def test_a_call_with_effects_waits_for_the_next_block_or_the_stop_reason() -> None:
    gate = Gate(TOGGLES)
    assert gate.sealed(RUN) == []
    assert gate.started(TEXT) == [RUN]
    assert gate.sealed(RUN) == []
    assert gate.stopped("tool_use") == [RUN]
    assert gate.stopped("tool_use") == []


def test_any_other_stop_confirms_nothing() -> None:
    reasons: list[Any] = ["end_turn", "max_tokens", "refusal", "pause_turn", "something_new", None]
    for reason in reasons:
        gate = Gate(TOGGLES)
        gate.sealed(RUN)
        assert gate.stopped(reason) == []


def test_a_call_without_arguments_waits_even_if_it_only_reads() -> None:
    gate = Gate(TOGGLES)
    empty = replace(LOOK, arguments={})
    assert gate.sealed(empty) == []
    assert gate.stopped("tool_use") == [empty]


def test_after_a_fallback_nothing_runs_before_the_end() -> None:
    gate = Gate(TOGGLES)
    gate.sealed(RUN)
    assert gate.started({"type": "fallback"}) == []
    assert gate.sealed(LOOK) == []
    assert gate.started(TEXT) == []
    assert gate.stopped("tool_use") == [RUN, LOOK]


MODES: list[tuple[dict[str, Any], list[list[str]]]] = [
    ({}, [["look"], ["run"], [], [], ["last"], []]),
    ({"eager_tools": "readonly"}, [["look"], [], [], [], [], ["run", "last"]]),
    ({"eager_tools": "off"}, [[], [], [], [], [], ["look", "run", "last"]]),
    ({"enable_tool_buffer": False}, [[], [], [], [], [], ["look", "run", "last"]]),
]


@pytest.mark.parametrize(("toggles", "released"), MODES)
def test_the_toggles_say_how_long_calls_wait(toggles: dict[str, Any], released: list[list[str]]) -> None:
    gate = Gate({**TOGGLES, **toggles})
    steps = [gate.sealed(LOOK)]
    gate.sealed(RUN)
    steps += [gate.started(TEXT), gate.started(TEXT)]
    steps += [gate.sealed(replace(RUN, id="last")), gate.stopped("tool_use"), gate.ended()]
    assert [[call.id for call in step] for step in steps] == released


@pytest.mark.parametrize("toggles", [toggles for toggles, _ in MODES])
@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "refusal", None])
def test_no_setting_runs_what_is_not_confirmed(toggles: dict[str, Any], reason: str | None) -> None:
    gate = Gate({**TOGGLES, **toggles})
    gate.sealed(RUN)
    assert gate.stopped(reason) == []
    assert gate.ended() == []
