import asyncio
import json
from typing import Any

import pytest

from dcops.agent.service.pulse import Pulse
from dcops.agent.service.roles import Roles


def document(role: str, seconds: Any = None) -> bytes:
    return json.dumps({"role": role, "for_seconds": seconds}).encode()


def roles(*documents: bytes) -> Roles:
    made = Roles(Pulse())
    for each in documents:
        made.offer(each)
    return made


@pytest.mark.parametrize("role", ["candidate", "serving", "twin"])
def test_roles_that_take_turns(role: str) -> None:
    made = roles(document(role))
    assert made.acknowledged == role
    assert made.takes_turns
    assert not made.goes_away
    assert not made.finished(0)


@pytest.mark.parametrize("role", ["warm", "draining"])
def test_roles_that_take_none(role: str) -> None:
    made = roles(document("serving"), document(role, 60))
    assert not made.takes_turns
    assert made.goes_away


def test_warm_may_serve_again_and_is_then_not_over() -> None:
    made = roles(document("warm", 0))
    assert made.finished(0)
    made.offer(document("serving"))
    assert made.takes_turns
    assert not made.finished(0)


def test_warm_is_over_when_its_time_is_up_and_no_turn_runs() -> None:
    assert not roles(document("warm", 60)).finished(0)
    assert not roles(document("warm", None)).finished(0)
    made = roles(document("warm", 0))
    assert not made.finished(1)
    assert not made.must_close_turns
    assert made.finished(0)


def test_draining_has_no_way_back() -> None:
    made = roles(document("draining", 60), document("serving"))
    assert made.report() == {"role": "serving", "role_acknowledged": "draining"}
    assert not made.takes_turns


def test_draining_is_over_when_no_turn_runs_and_closes_turns_at_its_time() -> None:
    made = roles(document("draining", 60))
    assert made.finished(0)
    assert not made.finished(1)
    assert not made.must_close_turns
    made.offer(document("draining", 0))
    assert made.must_close_turns


def test_a_stopped_instance_drains_whatever_its_document_says() -> None:
    made = roles(document("serving"))
    made.stop(0)
    made.offer(document("serving"))
    made.offer(document("draining", 60))
    assert made.acknowledged == "draining"
    assert made.must_close_turns


@pytest.mark.parametrize(
    "bad",
    [
        None,
        b"",
        b"[]",
        b"{}",
        document("boss"),
        document("model"),
        document("warm", -1),
        document("warm", "9"),
        document("warm", True),
        b'{"role": ["warm"], "for_seconds": null}',
    ],
)
def test_a_bad_document_changes_nothing(bad: bytes | None) -> None:
    made = roles(document("serving"))
    made.offer(bad)
    assert made.report() == {"role": "serving", "role_acknowledged": "serving"}


def test_a_change_wakes_who_asked_before_it() -> None:
    async def wait() -> None:
        pulse = Pulse()
        made = Roles(pulse)
        waiting = pulse.next()
        made.offer(document("serving"))
        await asyncio.wait_for(waiting, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pulse.next(), 0.01)

    asyncio.run(wait())
