"""The way out for tools: a CONNECT proxy that opens the hosts which its caller's instance may reach.

This file runs in two places: imported, and as a script in the egress container, by the standard library
alone; its argument is the port. A caller shows its gateway token as a proxy's password, under any name; the
file of that name lists its hosts, one a line, ``host`` (port 443) or ``host:port``. It is read at each
request, so removing it ends the way. The log has one line for each connection that was opened or refused,
and names no caller.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import ipaddress
import re
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

LISTS = "/control/egress"

HEAD_BYTES = 8192
HEAD_SECONDS = 10.0
CONNECT_SECONDS = 15.0
IDLE_SECONDS = 600.0
CLOSE_SECONDS = 5.0
CHUNK = 65536
PER_ADDRESS = 64
"""Connections at once of one address: one instance cannot take the way from the others."""

_LINE = re.compile(r"([A-Za-z]{1,20}) (\S{1,300}) HTTP/1\.[01]")
_TARGET = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")
_TOKEN = re.compile(r"[0-9a-f]{64}")


class Refused(Exception):
    """Why a connection is not opened.

    Args:
        status: Status and reason of the answer; many clients show nothing else of it.
        text: What to do about it.
        host: What was asked for, as far as it can be shown.
    """

    def __init__(self, status: str, text: str, host: str = "-") -> None:
        super().__init__(f"{host}: {status}")
        self.status = status
        self.text = text
        self.host = host

    @property
    def answer(self) -> bytes:
        body = f"{self.text}\n".encode()
        head = [
            f"HTTP/1.1 {self.status}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        if self.status.startswith("405"):
            head.append("Allow: CONNECT")
        if self.status.startswith("407"):
            head.append('Proxy-Authenticate: Basic realm="dcops"')
        return "\r\n".join([*head, "", ""]).encode() + body


class Request(NamedTuple):
    """What a caller asks for; ``token`` is empty where it shows none."""

    method: str
    target: str
    token: str


class Egress:
    """Answers callers.

    Args:
        lists: Directory with a list of hosts for each token.
        say: Takes the lines of the log.
    """

    def __init__(self, lists: Path, say: Callable[[str], None]) -> None:
        self._lists = lists
        self._say = say
        self._connections: Counter[str] = Counter()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end; raises nothing."""
        address = str((writer.get_extra_info("peername") or "-")[0])
        self._connections[address] += 1
        try:
            await self._connect(reader, writer, crowded=self._connections[address] > PER_ADDRESS)
        except Refused as refused:
            self._say(f"refused {refused}")
            await _refuse(reader, writer, refused)
        except (OSError, EOFError):
            pass  # the caller has gone
        finally:
            self._connections[address] -= 1
            if not self._connections[address]:
                del self._connections[address]
            await _close(writer)

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, crowded: bool
    ) -> None:
        if crowded:
            raise Refused("503 Too many connections", "Close some of this instance's connections.")
        host, port = self.admitted(await _request(reader))
        shown = f"{host}:{port}"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                far_reader, far_writer = await _open(host, port)
        except (OSError, UnicodeError) as error:  # a time-out is the first, a name that is none the second
            kind = "504 Gateway timeout" if isinstance(error, TimeoutError) else "502 Bad gateway"
            raise Refused(kind, f"{shown} does not answer.", shown) from error
        try:
            self._say(f"opened {shown}")
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _tunnel((reader, far_writer), (far_reader, writer))
        finally:
            await _close(far_writer)

    def admitted(self, request: Request) -> tuple[str, int]:
        """Host and port, when this caller may go there.

        Raises:
            Refused: It may not.
        """
        if request.method != "CONNECT":
            raise Refused("405 Only CONNECT", "This proxy opens HTTPS connections (CONNECT) only.")
        allowed = self._hosts(request.token)
        if allowed is None:
            raise Refused("407 Proxy authentication required", "Use HTTPS_PROXY as the instance has it.")
        found = _TARGET.fullmatch(request.target)
        if found is None or not 0 < int(found[3]) < 65536:
            raise Refused("400 Bad target", "A target is a host and a port, example.org:443.")
        host, port = found[1].lower(), int(found[3])
        if f"{host}:{port}" not in allowed:
            entry = host if port == 443 else f"{host}:{port}"
            raise Refused(
                "403 Not listed under egress in environment.yaml",
                f"{entry} is not open: write `egress: [{entry}]` into environment.yaml, then deploy.",
                f"{host}:{port}",
            )
        return host, port

    def _hosts(self, token: str) -> set[str] | None:
        if not _TOKEN.fullmatch(token):
            return None
        try:
            lines = (self._lists / token).read_text().lower().split()
        except FileNotFoundError:
            return None
        return {line if ":" in line else f"{line}:443" for line in lines}


async def _request(reader: asyncio.StreamReader) -> Request:
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise Refused("431 Request head too large", f"A head has {HEAD_BYTES} bytes at most.") from error
    except TimeoutError as error:
        raise Refused("408 Request timeout", f"The head must come within {HEAD_SECONDS:g} s.") from error
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    found = _LINE.fullmatch(first)
    if found is None:
        raise Refused("400 Bad request", "This is no HTTP/1.1 request.")
    fields = [line.partition(":") for line in lines]
    shown = [value.strip() for name, _, value in fields if name.lower() == "proxy-authorization"]
    return Request(found[1], found[2], _token(shown[0]) if len(shown) == 1 else "")


def _token(authorization: str) -> str:
    scheme, _, encoded = authorization.partition(" ")
    try:
        password = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return password if scheme.lower() == "basic" else ""


async def _open(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to one of a host's addresses; not to where a listed name must not lead."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    open_to = [each for each in addresses if each == host or not _inner(each)]
    if not open_to:
        raise Refused("403 Leads inside", f"{host} has an address that only this machine knows.", host)
    failure: OSError = OSError("no address")
    for address in open_to:
        try:
            return await asyncio.open_connection(address, port, limit=CHUNK)
        except OSError as error:
            failure = error
    raise failure


def _inner(address: str) -> bool:
    """This container itself, and the link-local addresses where clouds tell secrets to their machines."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast


Way = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _tunnel(*ways: Way) -> None:
    """Copy both ways until both have ended, one has failed, or nothing has moved for too long."""
    moved = 0

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal moved
        while data := await reader.read(CHUNK):
            moved += len(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    before, pending = -1, {asyncio.ensure_future(copy(*way)) for way in ways}
    failed = False
    try:
        while pending and not failed and moved != before:
            before = moved
            done, pending = await asyncio.wait(
                pending, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            failed = any(each.exception() for each in done)
            # The other way may be silent since long: it is given its time anew.
            before = -1 if done else before
    finally:
        for each in pending:
            each.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, refused: Refused) -> None:
    """Answer, and read on for a moment: closing with bytes unread would take the answer away."""
    with contextlib.suppress(OSError):
        writer.write(refused.answer)
        writer.write_eof()
        async with asyncio.timeout(1):
            while await reader.read(CHUNK):
                pass


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), CLOSE_SECONDS)
    except OSError:
        writer.transport.abort()  # the other side takes no more


async def serve(lists: Path, say: Callable[[str], None], *, host: str, port: int) -> asyncio.Server:
    """Listen; the server's end is the caller's."""
    return await asyncio.start_server(Egress(lists, say).answer, host, port, limit=HEAD_BYTES)


def _to_stdout(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main() -> None:
    port = int(sys.argv[1])
    server = await serve(Path(LISTS), _to_stdout, host="0.0.0.0", port=port)  # noqa: S104 - its own networks
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
