"""Who is let in, over a real socket."""

import socket
from typing import Any

import pytest

from dcops.agent.service.app import ROUTES

pytestmark = pytest.mark.slow  # a real instance imports the SDK first

OPEN = {"/", "/page.css", "/healthz", "/readyz"}


def test_only_health_and_the_page_are_open(shared: Any) -> None:
    for route in ROUTES:
        path = route.path.format(session="s", call="c")
        for method in route.methods - {"HEAD"}:
            answer = shared.http.request(method, path, headers={"Authorization": ""})
            assert (answer.status_code == 401) is (path not in OPEN), (method, path)


def test_a_refusal_says_what_to_do(shared: Any) -> None:
    answer = shared.http.get("/v1/instance", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"].keys() == {"code", "message", "do"}
    assert answer.json()["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize("path", ["/healthz", "/v1/instance", "/"])
def test_foreign_hosts_and_origins_are_refused(shared: Any, path: str) -> None:
    assert shared.http.get(path).status_code == 200
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        answer = shared.http.get(path, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] in {"host", "origin"}
    assert shared.http.get(path, headers={"Origin": "http://localhost"}).status_code == 200


def test_a_host_and_a_token_are_let_in_from_the_moment_they_are_named(listening: Any) -> None:
    named = {"Host": "agent.example", "Authorization": "Bearer new"}
    assert listening.http.get("/version", headers=named).status_code == 403
    listening.set_access(tokens=("new",), hosts=("agent.example",))
    listening.until(lambda: listening.http.get("/version", headers=named).status_code == 200)
    assert listening.http.get("/version").status_code == 401


def test_a_request_without_host_is_refused(shared: Any) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(shared.socket))
        raw.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 403 " in raw.recv(4096)


def test_a_token_may_not_be_in_the_address(shared: Any) -> None:
    answer = shared.http.get("/version?token=a+token+for+tests", headers={"Authorization": ""})
    assert answer.status_code == 401
