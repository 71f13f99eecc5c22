"""An instance over HTTP: requests, sessions, turns and the event stream. Standard library only."""

from __future__ import annotations

import contextlib
import json as jsonlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from dcops.errors import DcopsError, NotFound, PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from http.client import HTTPConnection, HTTPResponse

Event = dict[str, Any]
RETRY_SECONDS = 0.25
STREAM_TIMEOUT = 40.0  # the agent sends a comment every 15 s, so a longer silence is a dead connection


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that was read to its end; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            PreconditionMissing: It is no JSON.
        """
        try:
            return jsonlib.loads(self.body)
        except ValueError:
            text = self.body[:200].decode(errors="replace")
            raise PreconditionMissing(
                "DC-ANSWER",
                f"The answer (status {self.status}) is not JSON: {text!r}",
                do="Check that the address is an agent's.",
            ) from None


class Client:
    """Talks to an environment's serving instance, or to one instance by its id.

    Each request has a connection of its own, so a switch between two of them is never noticed.

    Args:
        url: ``http://host:port``, ``https://host`` or ``unix:/path/to/socket``.
        token: Bearer token.
        instance: Id of the instance to reach through the proxy, whatever its role.
        operator: Secret for that instance's route, 64 hex digits.
        timeout: Seconds that connecting, and each read of an answer, may take.
        host: Host header in place of the url's own.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        instance: str | None = None,
        operator: str | None = None,
        timeout: float = 10.0,
        host: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._headers = {"Connection": "close"}
        for name, value in {
            "Authorization": token and f"Bearer {token}",
            "X-Dcops-Instance": instance,
            "Proxy-Authorization": operator,
            "Host": host,
        }.items():
            if value:
                self._headers[name] = value

    def request(
        self, method: str, path: str, json: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send one request; a status of any kind is an answer, not an error.

        Args:
            method: ``GET``, ``POST`` ...
            path: Absolute, with its query.
            json: Body, None for none.
            headers: Besides the client's own, or in their place.

        Raises:
            PreconditionMissing: ``DC-UNREACHABLE``: nothing answered.
        """
        connection, response = self._send(method, path, json, headers or {}, self.timeout)
        try:
            return _read(response)
        except Exception as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def call(self, method: str, path: str, json: Any = None, **headers: str) -> Any:
        """Send one request and return the JSON of its answer; a refusal is raised as an error."""
        response = self.request(method, path, json, headers=headers)
        if not response.ok:
            raise refusal(response, f"{method} {path}")
        return response.json() if response.body else None

    def instance(self) -> dict[str, Any]:
        """What the instance says of itself: id, release, role, toggles, running turns."""
        return dict(self.call("GET", "/v1/instance"))

    def version(self) -> dict[str, Any]:
        return dict(self.call("GET", "/version"))

    def open_streams(self) -> int | None:
        """Number of open event streams, as its metrics say; None when they do not."""
        found = re.search(rb"^dcops_sse_clients (\d+)", self.request("GET", "/metrics").body, re.MULTILINE)
        return int(found[1]) if found else None

    def toggles(self) -> dict[str, Any]:
        """Generation, digest and values of the toggles in force."""
        return dict(self.call("GET", "/v1/toggles"))

    def healthy(self) -> bool:
        """Whether the process answers; False also when nothing does."""
        try:
            return self.request("GET", "/healthz").ok
        except PreconditionMissing:
            return False

    def ready(self) -> tuple[bool, list[str]]:
        """Whether it takes work, else the reasons why not; nothing answering is a reason."""
        try:
            response = self.request("GET", "/readyz")
            if response.ok:
                return True, []
            return False, list(response.json().get("reasons") or [f"status {response.status}"])
        except DcopsError as error:
            return False, [error.why or error.what]

    def sessions(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "/v1/sessions"))

    def create_session(self, toggles: Mapping[str, Any] | None = None, *, synthetic: bool = False) -> str:
        """Start a conversation.

        Args:
            toggles: Values for this session in place of the environment's.
            synthetic: Marks it as made for a check.

        Returns:
            Its id.
        """
        body: dict[str, Any] = {"toggles": dict(toggles)} if toggles else {}
        return str(self.call("POST", "/v1/sessions", body | ({"synthetic": True} if synthetic else {}))["id"])

    def session(self, session: str) -> dict[str, Any]:
        return dict(self.call("GET", _path(session)))

    def delete_session(self, session: str) -> None:
        self.call("DELETE", _path(session))

    def start_turn(self, session: str, input: str, idempotency_key: str | None = None) -> str:  # noqa: A002 - the API's word
        """Give the agent an input.

        Args:
            session: Id of the conversation.
            input: What the user says.
            idempotency_key: The same key again starts nothing and returns the same turn.

        Returns:
            The turn's id.

        Raises:
            PreconditionMissing: ``DC-TURN-RUNNING`` or ``DC-BUSY`` (detail ``retry_after``, seconds).
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        answer = self.call("POST", _path(session, "turns"), {"input": input}, **headers)
        return str(answer["turn"])

    def stop(self, session: str) -> None:
        self.call("POST", _path(session, "stop"))

    def pause(self, session: str) -> None:
        self.call("POST", _path(session, "pause"))

    def resume(self, session: str) -> None:
        self.call("POST", _path(session, "resume"))

    def steer(self, session: str, input: str) -> None:  # noqa: A002 - the API's word
        """Add an input to the running turn."""
        self.call("POST", _path(session, "steer"), {"input": input})

    def stream(self, session: str, after: int = 0) -> Generator[tuple[int | None, Event]]:
        """The events of one connection, until the server ends it.

        Args:
            session: Id of the conversation.
            after: Sequence number of the last event already seen, 0 for none.

        Yields:
            Sequence number and event; the number is None for what is said to this connection only
            (``drain``).

        Raises:
            PreconditionMissing: ``DC-UNREACHABLE``: refused, cut, or silent for 40 s.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        path = _path(session, "events")
        connection, response = self._send("GET", path, None, headers, STREAM_TIMEOUT)
        try:
            if response.status != 200:
                raise refusal(_read(response), f"GET {path}")
            yield from _parse(response)
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def events(self, session: str, after: int = 0, *, attempts: int = 40) -> Iterator[tuple[int, Event]]:
        """The events of a session, across connections: it ends when the caller stops asking.

        A stream that drains, drops or cannot be opened is resumed behind the last event seen.

        Args:
            session: Id of the conversation.
            after: Sequence number of the last event already seen, 0 for none.
            attempts: Connections in a row that may bring nothing; 0.25 s lie between them.

        Yields:
            Sequence number and event.

        Raises:
            PreconditionMissing: ``DC-UNREACHABLE`` when the attempts are used up.
            NotFound: There is no such session.
        """
        left = attempts
        while True:
            error: PreconditionMissing | None = None
            try:
                for seq, event in self.stream(session, after):
                    if seq is not None:
                        after, left = seq, attempts
                        yield seq, event
            except PreconditionMissing as caught:
                if caught.code not in {"DC-UNREACHABLE", "DC-UNAVAILABLE"}:
                    raise
                error = caught
            left -= 1
            if left <= 0:
                raise error or self._unreachable(ConnectionError("the event stream ends again and again"))
            time.sleep(RETRY_SECONDS)

    def _send(
        self, method: str, path: str, json: Any, headers: Mapping[str, str], timeout: float
    ) -> tuple[HTTPConnection, HTTPResponse]:
        sent = self._headers | dict(headers)
        body = None
        if json is not None:
            body = jsonlib.dumps(json).encode()
            sent["Content-Type"] = "application/json"
        connection = self._connection(timeout)
        try:
            # A server that refuses early may close before it has read the body, and has answered.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, path, body, sent)
            return connection, connection.getresponse()
        except Exception as error:
            connection.close()
            raise self._unreachable(error) from error

    def _connection(self, timeout: float) -> HTTPConnection:
        # Imported on first use: they cost 28 ms, and most commands only need the class's name.
        import socket  # noqa: PLC0415
        from http.client import HTTPConnection, HTTPSConnection  # noqa: PLC0415

        if not self.url.startswith("unix:"):
            parts = urlsplit(self.url)
            kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
            return kind(parts.netloc, timeout=timeout)
        connection = HTTPConnection("localhost", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        try:
            connection.sock.connect(self.url.removeprefix("unix:"))
        except OSError as error:
            connection.close()
            raise self._unreachable(error) from error
        return connection

    def _unreachable(self, error: Exception) -> PreconditionMissing:
        return PreconditionMissing(
            "DC-UNREACHABLE",
            f"{self.url} does not answer.",
            why=str(error) or type(error).__name__,
            do="See what runs with `dcops status`, start it with `dcops start`.",
            url=self.url,
        )


def _path(session: str, rest: str = "") -> str:
    return f"/v1/sessions/{quote(session, safe='')}" + (f"/{rest}" if rest else "")


def refusal(response: Response, what: str) -> DcopsError:
    """The error for an answer that is not a 2xx.

    Args:
        response: The answer; its ``{"error": {"code", "message", "do"}}`` is told when it has one.
        what: The request, for people.
    """
    try:
        error = response.json()["error"]
        message, do = str(error["message"]), str(error.get("do", ""))
    except (DcopsError, KeyError, TypeError):
        error, message = {}, "the answer is not in the form of the agent's HTTP API"
        do = "It needs an implementation with sessions, as dcops/agent is." if response.status == 404 else ""
    said = f"{what} was refused with status {response.status}."
    detail = {"status": response.status, "error": error}
    retry = response.headers.get("retry-after", "")
    if retry.isdigit():
        detail["retry_after"] = float(retry)
    if response.status == 404:
        do = do or "List them with `dcops sessions`."
        return NotFound("DC-NOT-FOUND", said, why=message, do=do, **detail)
    codes = {
        401: "DC-UNAUTHORIZED",
        403: "DC-FORBIDDEN",
        409: "DC-TURN-RUNNING",
        429: "DC-BUSY",
        502: "DC-UNAVAILABLE",
        503: "DC-UNAVAILABLE",
    }
    # That is the proxy's own answer: the agent itself may be well.
    shut = error.get("code") == "DC-MAINTENANCE"
    known = {"DC-MAINTENANCE": "DC-MAINTENANCE", "turns_off": "DC-TURNS-OFF"}
    code = known.get(str(error.get("code"))) or codes.get(response.status, "DC-ANSWER")
    do = do or ("dcops maintenance off, when it is over" if shut else "See `dcops logs`.")
    return PreconditionMissing(code, said, why=message, do=do, **detail)


def _read(response: HTTPResponse) -> Response:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Response(response.status, headers, response.read())


def _parse(lines: Iterator[bytes] | HTTPResponse) -> Iterator[tuple[int | None, Event]]:
    """Server-sent events; one that was cut off by the end of the stream is dropped, as the standard says."""
    seq: int | None = None
    data: list[str] = []
    for raw in lines:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if data:
                yield seq, jsonlib.loads("\n".join(data))
            seq, data = None, []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            seq = int(value)
        elif name == "data":
            data.append(value)
