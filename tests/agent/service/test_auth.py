import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from dcops.agent.service.auth import Access, same_origin

Entry = tuple[str, str | float | None]


def sha(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def document(*tokens: Entry, hosts: tuple[str, ...] = ()) -> bytes:
    entries = [{"sha256": sha(token), "until": until} for token, until in tokens]
    return json.dumps({"tokens": entries, "hosts": list(hosts)}).encode()


def access(*tokens: Entry, hosts: tuple[str, ...] = ()) -> Access:
    made = Access()
    made.offer(document(*tokens, hosts=hosts))
    return made


def test_nothing_is_let_in_before_a_document() -> None:
    made = Access()
    assert not made.allows_token("Bearer secret")
    made.offer(None)
    assert not made.allows_token("Bearer secret")


def test_named_tokens_are_let_in() -> None:
    made = access(("one", None), ("two", None))
    assert made.allows_token("Bearer one")
    assert made.allows_token("bearer two")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic one", "one", "Bearer three", "Bearer on"]
)
def test_others_are_not(header: str | None) -> None:
    assert not access(("one", None), ("two", None)).allows_token(header)


def test_the_hash_itself_is_no_token() -> None:
    assert not access(("one", None)).allows_token(f"Bearer {sha('one')}")


@pytest.mark.parametrize(("minutes", "allowed"), [(1, True), (-1, False)])
def test_a_token_ends_at_its_time(minutes: int, allowed: bool) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    assert access(("one", moment.isoformat())).allows_token("Bearer one") is allowed
    assert access(("one", moment.timestamp())).allows_token("Bearer one") is allowed


@pytest.mark.parametrize(
    "bad",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b'{"tokens": [], "hosts": null}',
        b'{"tokens": [], "hosts": "a.example"}',
        b'{"tokens": {}, "hosts": []}',
        b'{"tokens": [{"sha256": "short", "until": null}], "hosts": []}',
        b'{"tokens": [{"sha256": 5, "until": null}], "hosts": []}',
        json.dumps({"tokens": [{"sha256": sha("x"), "until": "2030-01-01T00:00:00"}], "hosts": []}).encode(),
        json.dumps({"tokens": [{"sha256": sha("x"), "until": "soon"}], "hosts": []}).encode(),
        json.dumps({"tokens": [{"sha256": sha("x"), "until": True}], "hosts": []}).encode(),
    ],
)
def test_a_bad_document_keeps_the_last_good_one(bad: bytes | None) -> None:
    made = access(("one", None), hosts=("a.example",))
    made.offer(bad)
    assert made.allows_token("Bearer one")
    assert made.allows_host("a.example")
    assert not made.allows_token("Bearer x")


def test_a_removed_token_is_out() -> None:
    made = access(("one", None))
    made.offer(document(("two", None)))
    assert not made.allows_token("Bearer one")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]", "[::1]:80", "Agent.Example:443"],
)
def test_hosts_that_are_served(host: str) -> None:
    assert access(hosts=("agent.example",)).allows_host(host)


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "127.0.0.1.evil.example", "localhost.evil", "x:127.0.0.1"]
)
def test_hosts_that_are_not(host: str | None) -> None:
    assert not access(hosts=("agent.example",)).allows_host(host)


@pytest.mark.parametrize(
    ("origin", "same"),
    [
        (None, True),
        ("http://localhost:8000", True),
        ("http://localhost:8001", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_origin_must_be_the_host(origin: str | None, same: bool) -> None:
    assert same_origin(origin, "localhost:8000") is same


@pytest.mark.parametrize(("until", "allowed"), [(1e300, True), (-1e18, False), (0, False)])
def test_any_number_is_a_time(until: float, allowed: bool) -> None:
    made = Access()
    made.offer(json.dumps({"tokens": [{"sha256": sha("one"), "until": until}], "hosts": []}).encode())
    assert made.allows_token("Bearer one") is allowed
