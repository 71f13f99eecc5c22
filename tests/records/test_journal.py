from __future__ import annotations

import json
from typing import Any

import pytest

from dcops.core.deployment import Revision, ToggleState
from dcops.core.plan import STEPS, Plan
from dcops.engines.store import MemoryStore
from dcops.errors import PreconditionMissing
from dcops.records import history, instances, journal, toggles
from dcops.records.instances import InstanceRecord
from dcops.records.journal import Journal
from dcops.records.lines import parse_lines

REVISION = Revision("a" * 64, "b" * 64, "agent", ("python",), True, {}, {}, {})


def plan() -> Plan:
    return Plan(
        id="deploy-1",
        kind="deploy",
        environment="dev",
        engine="fake",
        revision=REVISION,
        current=None,
        before=ToggleState(),
        candidate="c",
        twin="",
        based_on="0",
        steps=tuple(STEPS.values()),
    )


def test_nothing_is_unfinished_before_and_after_an_operation() -> None:
    book = Journal(MemoryStore())
    assert book.unfinished() is None
    book.begin(plan(), [])
    book.end()
    assert book.unfinished() is None


def test_the_journal_says_how_far_it_came() -> None:
    book = Journal(MemoryStore())
    book.begin(plan(), ["build"])
    book.advance(start="proxy")
    book.advance(done="proxy", start="start", values={"backup": "b1"})
    left = book.unfinished()
    assert left is not None
    assert left.plan == plan()
    assert (left.done, left.started, left.values, left.undoing) == (
        ("build", "proxy"),
        "start",
        {"backup": "b1"},
        False,
    )


def test_the_journal_says_what_was_taken_back() -> None:
    book = Journal(MemoryStore())
    book.begin(plan(), [])
    book.advance(start="start")
    book.undoing("start")
    book.undoing(undone="start")
    left = book.unfinished()
    assert left is not None
    assert (left.undoing, left.undone) == (True, ("start",))


def test_a_line_that_a_crash_has_torn_is_left_out() -> None:
    assert parse_lines(b'{"a": 1}\n{"b": 2') == [{"a": 1}]
    assert parse_lines(b"") == parse_lines(None) == []


@pytest.mark.parametrize("read", [history.parse, journal.parse])
def test_a_newer_format_is_refused(read: Any) -> None:
    line = json.dumps({"format": 99, "event": "begin"}).encode() + b"\n"
    with pytest.raises(PreconditionMissing) as caught:
        read(line)
    assert caught.value.code == "DC-STATE-NEWER"


def test_an_instance_record_holds_its_tokens_as_paths_and_goes_with_them() -> None:
    store = MemoryStore()
    record = InstanceRecord("i1", REVISION, f"gateway/scripted/{'1' * 64}", f"operator/i1/{'2' * 64}")
    store.write(record.files())
    assert instances.read_all(store) == {"i1": record}
    assert (record.gateway_token, record.secret) == ("1" * 64, "2" * 64)
    store.write(record.removal())
    assert store.files == {}


def test_a_toggle_state_is_read_as_it_was_written() -> None:
    state = ToggleState(3, {"a": [1]})
    assert toggles.parse(toggles.files(state)[toggles.PATH]) == state
    assert toggles.parse(None) == ToggleState()
