from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.core.protocols import Https, ProxyLayout
from dcops.proxy import configuration, knows_maintenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TINY = Path(__file__).parent / "engines" / "tiny"
KEY = "sk-ant-the-real-key"
API, SCRIPTED, OPERATOR = "a" * 64, "b" * 64, "c" * 64
DOMAIN = "agent.example.test"


def caddy() -> str:
    beside = Path(sys.executable).parent / "caddy"
    return str(beside) if beside.exists() else shutil.which("caddy") or "caddy"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


@dataclass
class Proxy:
    """A running Caddy with two instances, ``a`` and ``b``, behind it; ``a`` serves."""

    root: Path
    port: int
    gateway: int
    https: Https
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def send(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        *,
        body: bytes = b"",
        port: int = 0,
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        given = list(headers.items()) if isinstance(headers, dict) else headers or []
        host = [] if any(name == "Host" for name, _ in given) else [("Host", "localhost")]
        for name, value in host + given:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        assert reply.headers["Content-Type"] == "application/json", (reply.status, content)
        return reply.status, json.loads(content)

    def secure(self, name: str = DOMAIN, alpn: str = "http/1.1") -> ssl.SSLSocket:
        """A TLS connection whose certificate is held against the proxy's own authority."""
        context = ssl.create_default_context(cafile=str(self.root / "data/pki/authorities/local/root.crt"))
        context.set_alpn_protocols([alpn])
        plain = socket.create_connection(("127.0.0.1", self.https.port), timeout=10)
        return context.wrap_socket(plain, server_hostname=name)

    def securely(self, path: str, host: str = DOMAIN) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.https.port)
        connection.sock = self.secure()
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse()

    def ask(self, method: str, path: str, token: str = API, **headers: str) -> tuple[int, dict[str, Any]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(method, path, {"X-Api-Key": token} | named, port=self.gateway)

    def write(self, path: str, content: str) -> None:
        file = self.root / "control" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / ".new").write_text(content)
        (file.parent / ".new").replace(file)

    def serve(self, instance: str) -> None:
        self.write("current", f"unix/{self.root}/{instance}.sock\n")

    def logs(self) -> str:
        return (self.root / "caddy.log").read_text() + (self.root / "log" / "access.log").read_text()


def start_instance(proxy: Proxy, name: str, listen: str = "") -> None:
    variables = {"DCOPS_LISTEN": listen or f"unix:{proxy.root}/{name}.sock", "DCOPS_INSTANCE": name}
    command = [sys.executable, str(TINY)]
    proxy.processes.append(subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.DEVNULL))


@pytest.fixture(scope="module")
def running() -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="dc proxy ") as directory:
        https = Https(DOMAIN, "127.0.0.1", free_port(), free_port(), issuer="internal")
        proxy = Proxy(Path(directory), free_port(), free_port(), https)
        real = free_port()
        layout = ProxyLayout(
            listen=f"127.0.0.1:{proxy.port}",
            gateway_listen=f"127.0.0.1:{proxy.gateway}",
            control=f"{directory}/control",
            instance_dial=f"unix/{directory}/{{id}}.sock",
            secret=f"{directory}/api-key",
            data=f"{directory}/data",
            log=f"{directory}/log/access.log",
            https_listen=f"127.0.0.1:{https.port}",
            redirect_listen=f"127.0.0.1:{https.redirect}",
        )
        (proxy.root / "api-key").write_text(KEY + "\n")
        (proxy.root / "caddy.json").write_bytes(
            configuration(layout, api_url=f"http://127.0.0.1:{real}/base/", https=https)
        )
        with (proxy.root / "caddy.log").open("wb") as log:
            command = [caddy(), "run", "--config", f"{directory}/caddy.json"]
            # What serves here is never asked by way of a proxy that the host names.
            proxied = os.environ | {"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}
            proxy.processes.append(subprocess.Popen(command, stderr=log, env=proxied))
        try:
            for name in ("a", "b", "model"):
                start_instance(proxy, name)
            start_instance(proxy, "api", f"tcp:127.0.0.1:{real}")
            until(lambda: all((proxy.root / f"{name}.sock").exists() for name in ("a", "b", "model")))
            listening = (real, proxy.port, proxy.gateway, https.port, https.redirect)
            until(lambda: all(answers(port) for port in listening))
            yield proxy
        finally:
            for process in proxy.processes:
                process.kill()
                process.wait()


@pytest.fixture
def proxy(running: Proxy) -> Proxy:
    (running.root / "control" / "maintenance").unlink(missing_ok=True)
    running.serve("a")
    running.write("model", f"unix/{running.root}/model.sock")
    running.write(f"operator/a/{OPERATOR}", "")
    running.write(f"gateway/api/{API}", "")
    running.write(f"gateway/scripted/{SCRIPTED}", "")
    return running


def test_the_same_arguments_give_the_same_bytes_and_no_secret() -> None:
    layout = ProxyLayout(":1", ":2", "/control", "{id}:8000", "/secrets/api-key", "/data")
    first = configuration(layout, api_url="https://api.anthropic.com")
    assert first == configuration(layout, api_url="https://api.anthropic.com")
    assert first != configuration(layout, api_url="https://example.com")
    api = next(each for each in _handlers(json.loads(first)) if each.get("transport", {}).get("tls") == {})
    assert api["upstreams"] == [{"dial": "api.anthropic.com:443"}]
    assert api["headers"]["request"]["set"] == {
        "Host": ["api.anthropic.com"],
        "X-Api-Key": ["{file./secrets/api-key}"],
    }


def _handlers(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "handler" in node:
            yield node
        for value in node.values():
            yield from _handlers(value)
    elif isinstance(node, list):
        for value in node:
            yield from _handlers(value)


def test_the_pointer_says_who_serves(proxy: Proxy) -> None:
    assert proxy.send("GET", "/x")[1]["instance"] == "a"
    proxy.serve("b")
    assert proxy.send("GET", "/x")[1]["instance"] == "b"


def test_the_instance_sees_the_host_that_the_client_named(proxy: Proxy) -> None:
    _, seen = proxy.send("GET", "/x?y=%2e", {"Host": "agent.example:81", "X-Forwarded-Host": "evil"})
    assert seen["headers"]["host"] == ["agent.example:81"]
    assert seen["headers"]["x-forwarded-host"] == ["agent.example:81"]
    assert seen["path"] == "/x?y=%2e"
    assert "accept-encoding" not in seen["headers"]


@pytest.mark.parametrize("pointer", [None, "", "unix//nowhere.sock", "127.0.0.1:1", "nonsense"])
def test_without_a_live_instance_the_answer_is_short_json(proxy: Proxy, pointer: str | None) -> None:
    if pointer is None:
        (proxy.root / "control" / "current").unlink()
    else:
        proxy.write("current", pointer)
    status, answer = proxy.send("POST", "/v1/sessions", body=b"{}")
    assert status in (502, 503)
    assert answer["error"]["code"] == "DC-NO-INSTANCE"


def test_an_operator_reaches_exactly_the_named_instance(proxy: Proxy) -> None:
    proxy.serve("b")
    headers = {"X-Dcops-Instance": "a", "Proxy-Authorization": OPERATOR}
    status, seen = proxy.send("POST", "/v1/instance", headers, body=b"x")
    assert (status, seen["instance"]) == (200, "a")
    assert seen["digest"] == hashlib.sha256(b"x").hexdigest()
    assert not {"x-dcops-instance", "proxy-authorization"} & set(seen["headers"])


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Dcops-Instance", "a")],
        [("X-Dcops-Instance", "")],
        [("X-Dcops-Instance", "a"), ("Proxy-Authorization", "d" * 64)],
        [("X-Dcops-Instance", "a"), ("Proxy-Authorization", "")],
        [("X-Dcops-Instance", "a"), ("Proxy-Authorization", OPERATOR.upper())],
        [("X-Dcops-Instance", "a"), ("Proxy-Authorization", f"../a/{OPERATOR}")],
        [("X-Dcops-Instance", "b"), ("Proxy-Authorization", OPERATOR)],
        [("X-Dcops-Instance", "../operator/a"), ("Proxy-Authorization", OPERATOR)],
        [("X-Dcops-Instance", "A"), ("Proxy-Authorization", OPERATOR)],
        [("X-Dcops-Instance", "{file.x}"), ("Proxy-Authorization", OPERATOR)],
        [("X-Dcops-Instance", "b"), ("X-Dcops-Instance", "x"), ("Proxy-Authorization", OPERATOR)],
    ],
)
def test_any_other_request_with_that_header_is_not_found(
    proxy: Proxy, headers: list[tuple[str, str]]
) -> None:
    status, answer = proxy.send("GET", "/v1/instance", headers)
    assert (status, answer["error"]["code"]) == (404, "DC-INSTANCE-UNKNOWN")


def test_of_several_ids_only_the_one_that_the_secret_belongs_to_is_reached(proxy: Proxy) -> None:
    headers = [("X-Dcops-Instance", "a"), ("X-Dcops-Instance", "b"), ("Proxy-Authorization", OPERATOR)]
    assert proxy.send("GET", "/x", headers)[1]["instance"] == "a"


def test_a_secret_ends_with_its_file(proxy: Proxy) -> None:
    headers = {"X-Dcops-Instance": "a", "Proxy-Authorization": OPERATOR}
    assert proxy.send("GET", "/x", headers)[0] == 200
    (proxy.root / "control" / "operator" / "a" / OPERATOR).unlink()
    assert proxy.send("GET", "/x", headers)[0] == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages?beta=true"),
        ("POST", "/v1/messages/count_tokens"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models?limit=5"),
        ("GET", "/v1/models/claude-sonnet-4-5.1"),
    ],
)
def test_the_gateway_leads_each_token_to_its_model(proxy: Proxy, method: str, path: str) -> None:
    status, api = proxy.ask(
        method, path, API, Authorization="Bearer x", Cookie="c", X_Forwarded_For="1.2.3.4"
    )
    assert (status, api["instance"], api["path"]) == (200, "api", "/base" + path)
    assert api["headers"]["x-api-key"] == [KEY]
    assert api["headers"]["host"][0].startswith("127.0.0.1:")
    assert not {"authorization", "cookie", "x-forwarded-for", "via"} & set(api["headers"])
    status, scripted = proxy.ask(method, path, SCRIPTED)
    assert (status, scripted["instance"], scripted["path"]) == (200, "model", path)
    assert scripted["headers"]["x-api-key"] == [SCRIPTED]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/messages"),
        ("POST", "/v1/models"),
        ("DELETE", "/v1/models/x"),
        ("GET", "/v1/models/../messages"),
        ("GET", "/v1/models/%2e%2e/messages"),
        ("GET", "/v1/models/..%2fmessages"),
        ("GET", "/v1/models/"),
        ("POST", "/v1/messages/"),
        ("POST", "//v1/messages"),
        ("POST", "/v1/./messages"),
        ("POST", "/v1%2Fmessages"),
        ("POST", "/V1/messages"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/messages/../files"),
        ("POST", "/v1/messages;x"),
        ("GET", "/v1/organizations"),
        ("GET", "/"),
    ],
)
def test_the_gateway_passes_nothing_else(proxy: Proxy, method: str, path: str) -> None:
    status, answer = proxy.ask(method, path, API)
    assert (status, answer["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    "token", ["", "d" * 64, API.upper(), API[:-1], API + "a", f"../api/{API}", "*", KEY, "{file.x}"]
)
def test_the_gateway_refuses_other_tokens(proxy: Proxy, token: str) -> None:
    status, answer = proxy.ask("POST", "/v1/messages", token)
    assert (status, answer["error"]["type"]) == (401, "authentication_error")


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Api-Key", API), ("X-Api-Key", "evil")],
        [("X-Api-Key", API), ("Connection", "x-api-key")],
        [("X-Api-Key", API), ("Host", "evil.example")],
    ],
)
def test_headers_do_not_change_where_or_with_what_the_gateway_goes(
    proxy: Proxy, headers: list[tuple[str, str]]
) -> None:
    status, seen = proxy.send("POST", "/v1/messages", headers, port=proxy.gateway)
    assert (status, seen["instance"], seen["headers"]["x-api-key"]) == (200, "api", [KEY])
    assert seen["headers"]["host"][0].startswith("127.0.0.1:")


@pytest.mark.parametrize("extra", [[], [("Connection", "authorization")], [("X-Api-Key", "evil")]])
def test_the_gateway_knows_callers_that_show_their_token_as_a_bearer(
    proxy: Proxy, extra: list[tuple[str, str]]
) -> None:
    headers = [("Authorization", f"Bearer {API}"), *extra]
    status, seen = proxy.send("POST", "/v1/messages", headers, port=proxy.gateway)
    assert (status, seen["instance"]) == (200, "api")
    assert seen["headers"]["authorization"] == [f"Bearer {KEY}"]
    assert "x-api-key" not in seen["headers"]
    headers = [("Authorization", f"Bearer {SCRIPTED}")]
    status, seen = proxy.send("POST", "/v1/messages", headers, port=proxy.gateway)
    assert (status, seen["instance"]) == (200, "model")


@pytest.mark.parametrize("shown", [f"bearer {API}", f"Bearer {API}x", f"Bearer  {API}", API, f"Bearer {KEY}"])
def test_the_gateway_refuses_other_bearers(proxy: Proxy, shown: str) -> None:
    status, _ = proxy.send("POST", "/v1/messages", {"Authorization": shown}, port=proxy.gateway)
    assert status == 401


def test_the_gateway_says_that_no_model_answers(proxy: Proxy) -> None:
    (proxy.root / "control" / "model").unlink()
    status, answer = proxy.ask("POST", "/v1/messages", SCRIPTED)
    assert (status, answer["error"]["type"]) == (502, "api_error")


def test_logs_hold_requests_without_headers_and_never_the_key(proxy: Proxy) -> None:
    proxy.send("GET", "/marked-public", {"Proxy-Authorization": OPERATOR})
    proxy.send("GET", "/marked-refused", {"X-Dcops-Instance": "b", "Proxy-Authorization": OPERATOR})
    proxy.send("GET", "/marked-operator", {"X-Dcops-Instance": "a", "Proxy-Authorization": OPERATOR})
    proxy.ask("POST", "/v1/messages?marked-gateway", API)
    (proxy.root / "control" / "model").unlink()
    proxy.ask("POST", "/v1/messages?marked-failure", SCRIPTED)
    until(lambda: "marked-failure" in proxy.logs())
    logs = proxy.logs()
    assert "marked-public" in logs
    assert "marked-refused" in logs
    assert "marked-operator" not in logs
    assert "marked-gateway" in logs
    for secret in (KEY, API, SCRIPTED, OPERATOR):
        assert secret not in logs
    assert (proxy.root / "log" / "access.log").stat().st_mode & 0o777 == 0o600


def maintenance(proxy: Proxy, seconds: int = 90) -> None:
    proxy.write("maintenance", f"{seconds}\n")


def test_under_maintenance_users_are_told_when_to_come_back(proxy: Proxy) -> None:
    maintenance(proxy)
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    for method, path in (("GET", "/"), ("POST", "/v1/sessions"), ("GET", "/healthz/x")):
        connection.request(method, path, b"{}" if method == "POST" else None)
        reply = connection.getresponse()
        assert (reply.status, reply.headers["Retry-After"]) == (503, "90")
        assert json.loads(reply.read())["error"]["code"] == "DC-MAINTENANCE"
    connection.request("GET", "/", headers={"Accept": "text/html,application/xhtml+xml;q=0.9"})
    reply = connection.getresponse()
    assert (reply.status, reply.headers["Retry-After"]) == (503, "90")
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<h1>Under maintenance</h1>" in reply.read()
    (proxy.root / "control" / "maintenance").unlink()
    assert proxy.send("POST", "/x")[0] == 200


def test_requests_under_maintenance_are_logged_apart(proxy: Proxy) -> None:
    maintenance(proxy)
    for path in ("/marked-shut", "/healthz?marked-probe"):
        proxy.send("GET", path)
    proxy.ask("POST", "/v1/messages?marked-model")
    loggers = {
        "shut": "http.log.access.maintenance",
        "probe": "http.log.access",
        "model": "http.log.access.gateway",
    }

    def logged() -> dict[str, str]:
        lines = [json.loads(line) for line in (proxy.root / "log" / "access.log").read_text().splitlines()]
        found = {line["request"]["uri"].partition("marked-")[2]: line["logger"] for line in lines}
        return {name: logger for name, logger in found.items() if name in loggers}

    until(lambda: logged() == loggers)


def test_under_maintenance_probes_and_operators_reach_the_instance(proxy: Proxy) -> None:
    maintenance(proxy)
    assert proxy.send("GET", "/healthz") == proxy.send("GET", "/readyz") == (200, {"reasons": []})
    headers = {"X-Dcops-Instance": "a", "Proxy-Authorization": OPERATOR}
    assert proxy.send("GET", "/x", headers)[1]["instance"] == "a"
    assert proxy.ask("POST", "/v1/messages")[0] == 200


def test_maintenance_cuts_no_open_stream(proxy: Proxy) -> None:
    stream = open_stream(proxy)
    assert stream.readline() == b"id: 0\n"
    maintenance(proxy)
    assert proxy.send("GET", "/x")[0] == 503
    lines = [stream.readline() for _ in range(200)]
    assert lines[-1]
    stream.close()


def test_a_configuration_says_whether_it_knows_maintenance() -> None:
    layout = ProxyLayout(":1", ":2", "/control", "{id}:8000", "/secrets/api-key", "/data")
    written = configuration(layout, api_url="https://api.anthropic.com")
    assert knows_maintenance(written)
    assert not knows_maintenance(written.replace(b"/maintenance}", b"/x}"))


def test_a_domain_is_served_with_a_certificate_of_its_own(proxy: Proxy) -> None:
    reply = proxy.securely("/x")
    seen = json.loads(reply.read())
    assert (reply.status, seen["instance"]) == (200, "a")
    assert (seen["headers"]["host"], seen["headers"]["x-forwarded-proto"]) == ([DOMAIN], ["https"])
    maintenance(proxy)
    assert proxy.securely("/x").status == 503


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_the_domain_speaks_http_1_and_2(proxy: Proxy, protocol: str) -> None:
    with proxy.secure(alpn=protocol) as connection:
        assert connection.selected_alpn_protocol() == protocol


def test_http_2_reaches_the_instance(proxy: Proxy) -> None:
    command = ["curl", "--silent", "--http2", "--cacert", f"{proxy.root}/data/pki/authorities/local/root.crt"]
    command += ["--resolve", f"{DOMAIN}:{proxy.https.port}:127.0.0.1", "--write-out", "%{http_version}"]
    command += ["--output", "/dev/null", f"{proxy.https.url}/x"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2"


def test_only_the_domain_itself_is_served_there(proxy: Proxy) -> None:
    with pytest.raises(ssl.SSLError):
        proxy.secure("other.example.test")
    assert proxy.securely("/x", host="localhost").status == 421


def test_streams_over_https_arrive_event_by_event_and_survive_a_switch(proxy: Proxy) -> None:
    stream = proxy.securely("/stream")
    assert [stream.readline(), stream.readline(), stream.readline()] == [b"id: 0\n", b"data: a\n", b"\n"]
    proxy.serve("b")
    assert json.loads(proxy.securely("/x").read())["instance"] == "b"
    for number in range(1, 30):
        assert stream.readline() == b"id: %d\n" % number
        stream.readline()
        stream.readline()
    stream.close()


def test_plain_http_leads_to_the_domain(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.https.redirect, timeout=10)
    connection.request("GET", "/a%2eb?x=1", headers={"Host": DOMAIN})
    reply = connection.getresponse()
    reply.read()
    assert (reply.status, reply.headers["Location"]) == (308, f"{proxy.https.url}/a%2eb?x=1")
    assert proxy.send("GET", "/x", {"Host": "other"}, port=proxy.https.redirect)[0] == 421


def test_a_public_authority_may_ask_at_the_port_that_redirects() -> None:
    layout = ProxyLayout(
        ":1", ":2", "/control", "{id}:8000", "/key", "/data", https_listen=":8443", redirect_listen=":8180"
    )

    def issuer(https: Https) -> dict[str, Any]:
        written = json.loads(configuration(layout, api_url="https://api.invalid", https=https))
        found: dict[str, Any] = written["apps"]["tls"]["automation"]["policies"][0]["issuers"][0]
        return found

    assert issuer(Https(DOMAIN, email="ops@example.test")) == {
        "module": "acme",
        "email": "ops@example.test",
        "challenges": {"http": {"alternate_port": 8180}, "tls-alpn": {"alternate_port": 8443}},
    }
    assert issuer(Https(DOMAIN, redirect=0))["challenges"]["http"] == {"disabled": True}
    written = json.loads(
        configuration(layout, api_url="https://api.invalid", https=Https(DOMAIN, redirect=0))
    )
    assert "redirect" not in written["apps"]["http"]["servers"]


def open_stream(proxy: Proxy) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    connection.request("GET", "/stream")
    return connection.getresponse()


def test_a_stream_arrives_event_by_event_and_ends_with_its_client(proxy: Proxy) -> None:
    before = proxy.send("GET", "/v1/instance")[1]["gone"]
    stream = open_stream(proxy)
    for number in range(3):
        assert [stream.readline(), stream.readline(), stream.readline()] == [
            b"id: %d\n" % number,
            b"data: a\n",
            b"\n",
        ]
    stream.close()
    until(lambda: proxy.send("GET", "/v1/instance")[1]["gone"] == before + 1)


def test_a_request_that_was_not_answered_yet_ends_with_its_client(proxy: Proxy) -> None:
    before = proxy.send("GET", "/v1/instance")[1]
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    connection.request("GET", "/silent")
    until(lambda: proxy.send("GET", "/v1/instance")[1]["waiting"] == before["waiting"] + 1)
    connection.close()
    until(lambda: proxy.send("GET", "/v1/instance")[1]["gone"] == before["gone"] + 1)


class Load:
    """Clients that post without pause: each answer must be right, from whichever instance."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.done = threading.Event()
        self.failures: list[str] = []
        self.answered = {"a": 0, "b": 0}

    def post(self, *, keep_alive: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=10)
        while not self.done.is_set():
            body = os.urandom(300)
            try:
                connection.request("POST", "/echo", body)
                answer = json.loads(connection.getresponse().read())
                assert answer["digest"] == hashlib.sha256(body).hexdigest()
                self.answered[answer["instance"]] += 1
            except Exception as error:
                self.failures.append(repr(error))
            if not keep_alive:
                connection.close()

    def read(self) -> None:
        stream, expected = open_stream(self.proxy), 0
        while not self.done.is_set():
            if stream.readline() != b"id: %d\n" % expected:
                self.failures.append(f"stream cut before event {expected}")
                return
            expected += 1
            stream.readline()
            stream.readline()
        stream.close()


@pytest.mark.slow
def test_flips_under_load_fail_no_request_and_cut_no_stream(proxy: Proxy) -> None:
    load = Load(proxy)
    threads = [threading.Thread(target=load.post, kwargs={"keep_alive": n % 2 == 0}) for n in range(12)]
    threads += [threading.Thread(target=load.read) for _ in range(30)]
    for thread in threads:
        thread.start()
    for flip in range(40):
        target = "ab"[(flip + 1) % 2]
        proxy.serve(target)
        reached = load.answered[target] + 60
        until(lambda target=target, reached=reached: load.answered[target] >= reached, 30)  # type: ignore[misc]
    load.done.set()
    for thread in threads:
        thread.join()
    assert load.failures == []
