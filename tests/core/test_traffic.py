"""On lines that Caddy 2.11 has written, by what happened."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dcops.core.traffic import Traffic, traffic

BEGAN = 1795221361.0
REQUEST = (
    '"request":{"remote_ip":"127.0.0.1","remote_port":"40520","client_ip":"127.0.0.1","proto":"HTTP/1.1",'
    '"method":"GET","host":"127.0.0.1:18231","uri":"/x"}'
)


def access(*, status: int, at: float = 0.5, took: float = 0.002, logger: str = "http.log.access") -> str:
    level = "error" if status >= 500 else "info"
    return (
        f'{{"level":"{level}","ts":{BEGAN + at},"logger":"{logger}","msg":"handled request",{REQUEST},'
        f'"bytes_read":0,"user_id":"","duration":{took},"size":2,"status":{status}}}'
    )


def aborted(error: str, upstream: str = "{file./p/control/current}", at: float = 0.5) -> str:
    return (
        f'{{"level":"warn","ts":{BEGAN + at},"logger":"http.handlers.reverse_proxy",'
        f'"msg":"aborting with incomplete response","upstream":"{upstream}","duration":0.003298695,{REQUEST},'
        f'"error":"{error}"}}'
    )


def counted(*lines: str) -> Traffic:
    return traffic(lines, since=BEGAN)


def test_answers_with_5xx_have_failed_and_others_have_not() -> None:
    answered = [access(status=status) for status in (200, 202, 404, 429, 499, 500, 502, 503)]
    assert counted(*answered) == Traffic(requests=8, errors=3)
    assert counted(*answered).share == 37.5


def test_an_instance_that_breaks_an_answer_off_cuts_a_stream() -> None:
    # Its answer had begun, so the request itself is logged with the status that it had.
    lines = [aborted("reading: unexpected EOF"), access(status=200, took=0)]
    lines += [aborted("reading: read unix @->/i.sock: read: connection reset by peer")]
    assert counted(*lines) == Traffic(requests=1, cut=2)


@pytest.mark.parametrize("error", ["reading: context canceled", "writing: write tcp: broken pipe"])
def test_a_client_that_goes_away_cuts_nothing(error: str) -> None:
    assert counted(aborted(error), access(status=200, took=0)) == Traffic(requests=1)


@pytest.mark.parametrize("upstream", ["{file./p/control/model}", "api.anthropic.com:443", "one:8000"])
def test_what_the_gateway_or_the_instance_route_cuts_is_no_users_stream(upstream: str) -> None:
    assert counted(aborted("reading: unexpected EOF", upstream)) == Traffic()


@pytest.mark.parametrize("logger", ["http.log.access.gateway", "http.log.access.maintenance"])
def test_requests_that_are_not_users_meeting_the_instance_do_not_count(logger: str) -> None:
    assert counted(access(status=503, logger=logger)) == Traffic()


def test_what_began_earlier_was_asked_of_another_instance() -> None:
    early = [access(status=500, at=-0.1), access(status=500, at=20, took=20.1)]
    assert counted(*early, aborted("reading: unexpected EOF", at=-0.1)) == Traffic()


def test_other_lines_are_passed_over() -> None:
    others: list[Any] = [{}, [], 7, None, {"logger": "http.log", "msg": "server running"}]
    assert counted(*map(json.dumps, others), "", "exiting; byeee!!", '{"logger":') == Traffic()


def test_it_says_its_figures() -> None:
    assert str(Traffic(60, 2, 1)) == "60 requests, 2 failed, 1 streams cut"
    assert Traffic().share == 0
