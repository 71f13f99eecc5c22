"""What is done about a fault, without any waiting."""

from __future__ import annotations

import pytest

from dcops.agent.events import Fault
from dcops.agent.turn.attempts import (
    BROKEN_STREAMS,
    CONTINUATIONS,
    FIRST_WAIT,
    LONGEST_ASKED,
    LONGEST_WAIT,
    RETRIES,
    Attempts,
)

OVERLOADED = Fault("overloaded_error", "Overloaded")
STALLED = Fault("stream_stalled", "the model was silent")


def _attempts(chance: float = 1.0) -> Attempts:
    return Attempts(chance=lambda: chance)


def test_waits_double_up_to_the_longest_and_are_a_random_part_of_that() -> None:
    attempts = _attempts()
    waits = [again.seconds for _ in range(RETRIES) if (again := attempts.after(OVERLOADED, begun=False))]
    assert waits == [min(LONGEST_WAIT, FIRST_WAIT * 2**n) for n in range(RETRIES)]
    half = _attempts(0.5).after(OVERLOADED, begun=False)
    assert half is not None
    assert half.seconds == FIRST_WAIT / 2
    assert half.reason == "Overloaded (overloaded_error)"


def test_retries_are_counted_and_end() -> None:
    attempts = _attempts()
    told = [attempts.after(OVERLOADED, begun=False) for _ in range(RETRIES + 1)]
    assert [again.attempt if again else None for again in told] == [*range(1, RETRIES + 1), None]


def test_a_reply_that_came_to_its_end_ends_the_count() -> None:
    attempts = _attempts()
    for _ in range(RETRIES):
        assert attempts.after(OVERLOADED, begun=False)
    for _ in range(CONTINUATIONS):
        assert attempts.after(OVERLOADED, begun=True)
    attempts.succeeded()
    for begun in (True, False):
        again = attempts.after(OVERLOADED, begun=begun)
        assert again is not None
        assert again.attempt == 1


def test_continuations_are_fewer_and_retries_in_between_do_not_renew_them() -> None:
    attempts = _attempts()
    for _ in range(CONTINUATIONS):
        assert attempts.after(OVERLOADED, begun=True)
        assert attempts.after(OVERLOADED, begun=False)
    assert attempts.after(OVERLOADED, begun=True) is None


def test_what_came_of_a_reply_renews_the_retries() -> None:
    attempts = _attempts()
    for _ in range(RETRIES):
        assert attempts.after(OVERLOADED, begun=False)
    assert attempts.after(OVERLOADED, begun=True)
    assert attempts.after(OVERLOADED, begun=False)


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize(
    "code", ["invalid_request_error", "authentication_error", "permission_error", "not_found_error", "new"]
)
def test_what_would_not_pass_ends_the_turn(code: str, begun: bool) -> None:
    assert _attempts().after(Fault(code, "no"), begun=begun) is None


@pytest.mark.parametrize(("code", "passing"), [("overloaded_error", False), ("http_502", True)])
def test_the_apis_word_goes_before_the_kind_of_fault(code: str, passing: bool) -> None:
    assert (_attempts().after(Fault(code, "x", passing=passing), begun=False) is not None) == passing


@pytest.mark.parametrize(("asked", "chance", "seconds"), [(8.0, 0.0, 8.0), (8.0, 1.0, 10.0), (0.0, 1.0, 0.0)])
def test_a_wait_that_is_asked_for_is_kept_and_spread(asked: float, chance: float, seconds: float) -> None:
    again = _attempts(chance).after(Fault("rate_limit_error", "slower", retry_after=asked), begun=False)
    assert again is not None
    assert again.seconds == seconds


def test_a_wait_that_is_too_long_ends_the_turn() -> None:
    fault = Fault("rate_limit_error", "slower", passing=True, retry_after=LONGEST_ASKED + 1)
    assert _attempts().after(fault, begun=False) is None


def test_streams_that_break_before_their_first_block_lead_to_whole_replies() -> None:
    attempts = _attempts()
    for n in range(1, BROKEN_STREAMS + 1):
        again = attempts.after(STALLED, begun=False)
        assert again is not None
        assert attempts.whole == (n == BROKEN_STREAMS) == ("asked for whole" in again.reason)
    again = attempts.after(Fault("stream_broken", "no JSON"), begun=False)
    assert again is not None
    assert "asked for whole" not in again.reason  # said once
    attempts.succeeded()
    assert attempts.whole  # what breaks streams is likely to break the next one, too


@pytest.mark.parametrize("fault", [OVERLOADED, Fault("connection_error", "refused")])
def test_what_a_whole_reply_would_not_survive_does_not_lead_to_one(fault: Fault) -> None:
    attempts = _attempts()
    while attempts.after(fault, begun=False):
        assert not attempts.whole


def test_what_was_shown_is_never_asked_for_again() -> None:
    attempts = _attempts()
    while attempts.after(STALLED, begun=True):
        assert not attempts.whole


def test_a_whole_reply_that_does_not_come_in_time_ends_the_turn() -> None:
    assert Attempts(whole=True).after(Fault("reply_timeout", "late"), begun=False) is None
