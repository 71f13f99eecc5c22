"""The CONNECT proxy of the egress container, on real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from dcops.engines import egress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Way = tuple[asyncio.StreamReader, asyncio.StreamWriter]
    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

TOKEN = "a1" * 32
OTHER = "b2" * 32


def shown(password: str, user: str = "dcops") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes, and after its end one word more."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")
    await writer.drain()
    writer.close()


@dataclass
class Rig:
    """An egress proxy and one host behind it."""

    lists: Path
    port: int = 0
    far: int = 0
    lines: list[str] = field(default_factory=list)

    def allow(self, *hosts: str, token: str = TOKEN) -> None:
        (self.lists / token).write_text("\n".join(hosts))

    async def ask(self, head: str | bytes) -> Way:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(head if isinstance(head, bytes) else head.encode())
        return reader, writer

    async def connect(self, target: str, *, token: str = TOKEN, fields: str = "") -> tuple[str, Way]:
        """Status line, and the two ends of what came of it."""
        credentials = f"Proxy-Authorization: {shown(token)}\r\n" if token else ""
        way = await self.ask(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}{fields}\r\n")
        return await status_of(way), way

    async def refusal(self, target: str, **options: str) -> tuple[str, str]:
        """Status line and text."""
        status, (reader, writer) = await self.connect(target, **options)
        text = (await asyncio.wait_for(reader.read(), 5)).decode()
        writer.close()
        return status, text.rpartition("\r\n\r\n")[2]


async def status_of(way: Way) -> str:
    line = (await asyncio.wait_for(way[0].readline(), 5)).decode().rstrip()
    return line.removeprefix("HTTP/1.1 ")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Rig]:
    """Runs a scenario with an egress proxy before a host."""

    def start(scenario: Callable[[Rig], Awaitable[None]], handler: Handler = echo) -> Rig:
        rig = Rig(tmp_path)

        async def main() -> None:
            proxy = await egress.serve(tmp_path, rig.lines.append, host="127.0.0.1", port=0)
            far = await asyncio.start_server(handler, "127.0.0.1", 0)
            rig.port, rig.far = (each.sockets[0].getsockname()[1] for each in (proxy, far))
            rig.allow(f"127.0.0.1:{rig.far}")
            await scenario(rig)
            for server in (proxy, far):
                server.close()

        asyncio.run(asyncio.wait_for(main(), 30))
        return rig

    return start


def test_a_listed_host_is_opened_and_each_end_may_finish_alone(run: Callable[..., Rig]) -> None:
    async def scenario(rig: Rig) -> None:
        status, (reader, writer) = await rig.connect(f"127.0.0.1:{rig.far}")
        assert status == "200 Connection established"
        assert await reader.readline() == b"\r\n"
        data = bytes(range(256)) * 8192
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data + b"bye"
        writer.close()

    rig = run(scenario)
    assert rig.lines == [f"opened 127.0.0.1:{rig.far}"]


def test_what_is_sent_along_with_the_head_is_not_lost(run: Callable[..., Rig]) -> None:
    async def scenario(rig: Rig) -> None:
        target = f"127.0.0.1:{rig.far}"
        head = f"CONNECT {target} HTTP/1.1\r\nProxy-Authorization: {shown(TOKEN)}\r\n\r\nearly"
        reader, writer = await rig.ask(head)
        writer.write_eof()
        assert (await reader.read()).endswith(b"\r\n\r\nearlybye")
        writer.close()

    run(scenario)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("example.com:443", "403"),
        ("sub.listed.example:443", "403"),
        ("listed.example:444", "403"),
        ("127.0.0.1:443", "403"),
        ("127.1:443", "403"),
        ("2130706433:443", "403"),
        ("[::1]:443", "403"),
        ("[::ffff:127.0.0.1]:443", "403"),
        ("169.254.169.254:80", "403"),
        ("listed.example", "400"),
        ("listed.example:0", "400"),
        ("listed.example:99999", "400"),
        ("http://listed.example/", "400"),
        ("user@listed.example:443", "400"),
        ("-:443", "400"),
    ],
)
def test_what_is_not_listed_is_refused(run: Callable[..., Rig], target: str, status: str) -> None:
    async def scenario(rig: Rig) -> None:
        rig.allow("listed.example")
        assert (await rig.refusal(target))[0].startswith(status)

    run(scenario)


def test_a_refusal_says_what_to_write_and_is_logged_without_the_caller(run: Callable[..., Rig]) -> None:
    async def scenario(rig: Rig) -> None:
        status, text = await rig.refusal("Git.Example.org:443")
        assert status == "403 Not listed under egress in environment.yaml"
        assert "write `egress: [git.example.org]` into environment.yaml" in text
        assert "`egress: [git.example.org:22]`" in (await rig.refusal("git.example.org:22"))[1]

    rig = run(scenario)
    assert rig.lines[0] == "refused git.example.org:443: 403 Not listed under egress in environment.yaml"
    assert TOKEN not in str(rig.lines)


@pytest.mark.parametrize("token", ["", OTHER, "../" + TOKEN, TOKEN.upper(), TOKEN[:-1], "."])
def test_an_unknown_token_opens_nothing(run: Callable[..., Rig], token: str) -> None:
    async def scenario(rig: Rig) -> None:
        status, _ = await rig.refusal(f"127.0.0.1:{rig.far}", token=token)
        assert status.startswith("407")

    run(scenario)


@pytest.mark.parametrize(
    "field",
    [
        f"Proxy-Authorization: Bearer {TOKEN}",
        "Proxy-Authorization: Basic %%%",
        "Proxy-Authorization: Basic 4pyT",
        f"Authorization: {shown(TOKEN)}",
        f"Proxy-Authorization: {shown(TOKEN)}\r\nProxy-Authorization: {shown(OTHER)}",
    ],
)
def test_another_proof_opens_nothing(run: Callable[..., Rig], field: str) -> None:
    async def scenario(rig: Rig) -> None:
        status, _ = await rig.refusal(f"127.0.0.1:{rig.far}", token="", fields=f"{field}\r\n")
        assert status.startswith("407")

    run(scenario)


def test_each_token_has_its_own_hosts_as_long_as_it_lives(run: Callable[..., Rig]) -> None:
    async def scenario(rig: Rig) -> None:
        rig.allow("elsewhere.example", token=OTHER)
        target = f"127.0.0.1:{rig.far}"
        assert (await rig.refusal(target, token=OTHER))[0].startswith("403")
        status, (_, writer) = await rig.connect(target)
        assert status.startswith("200")
        writer.close()
        (rig.lists / TOKEN).unlink()
        assert (await rig.refusal(target))[0].startswith("407")

    run(scenario)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET http://127.0.0.1/ HTTP/1.1\r\n\r\n", "405 Only CONNECT"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405 Only CONNECT"),
        (b"CONNECT a:1 HTTP/2\r\n\r\n", "400 Bad request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", "400 Bad request"),
        (b"CONNECT a:1 HTTP/1.1\r\nX: " + b"x" * 20_000, "431 Request head too large"),
    ],
)
def test_anything_else_is_no_request(run: Callable[..., Rig], head: bytes, status: str) -> None:
    async def scenario(rig: Rig) -> None:
        way = await rig.ask(head)
        assert await status_of(way) == status
        way[1].close()

    run(scenario)


def test_a_head_that_never_ends_is_not_waited_for(
    run: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "HEAD_SECONDS", 0.05)

    async def scenario(rig: Rig) -> None:
        assert await status_of(await rig.ask("CONNECT a:1 HTTP/1.1\r\n")) == "408 Request timeout"

    run(scenario)


def test_a_host_that_does_not_answer_is_told(run: Callable[..., Rig]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{unused.getsockname()[1]}"

    async def scenario(rig: Rig) -> None:
        names = ("no-such-host.invalid", f"{'a' * 80}.example", "a..b")
        rig.allow(closed, *names)
        assert await rig.refusal(closed) == ("502 Bad gateway", f"{closed} does not answer.\n")
        for name in names:
            assert (await rig.refusal(f"{name}:443"))[0] == "502 Bad gateway"

    run(scenario)


def test_a_listed_name_leads_neither_to_the_container_itself_nor_to_the_clouds_secrets(
    run: Callable[..., Rig],
) -> None:
    async def scenario(rig: Rig) -> None:
        target = f"localhost:{rig.far}"
        rig.allow(target)
        assert (await rig.refusal(target))[0] == "403 Leads inside"

    run(scenario)
    inner = ("127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "::ffff:169.254.169.254", "::")
    assert all(map(egress._inner, inner))
    assert not any(map(egress._inner, ("10.0.0.1", "93.184.216.34", "2606:2800::1")))


def test_one_address_cannot_take_all_connections(
    run: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "PER_ADDRESS", 3)

    async def scenario(rig: Rig) -> None:
        target = f"127.0.0.1:{rig.far}"
        ways = [await rig.connect(target) for _ in range(3)]
        assert {status for status, _ in ways} == {"200 Connection established"}
        assert (await rig.refusal(target))[0] == "503 Too many connections"
        for _, (reader, writer) in ways:
            writer.write_eof()
            await reader.read()
            writer.close()
        deadline = asyncio.get_running_loop().time() + 5
        while (await rig.connect(target))[0].startswith("503"):
            assert asyncio.get_running_loop().time() < deadline

    run(scenario)


def test_a_connection_where_nothing_moves_is_closed(
    run: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "IDLE_SECONDS", 0.05)

    async def scenario(rig: Rig) -> None:
        _, (reader, writer) = await rig.connect(f"127.0.0.1:{rig.far}")
        assert await asyncio.wait_for(reader.read(), 5) == b"\r\n"
        writer.close()

    run(scenario)


def test_a_reset_ends_both_sides(run: Callable[..., Rig]) -> None:
    gone = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        gone.set()
        writer.close()

    async def scenario(rig: Rig) -> None:
        _, (_, writer) = await rig.connect(f"127.0.0.1:{rig.far}")
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 5)

    run(scenario, wait)


def test_who_takes_nothing_is_not_buffered_for(
    run: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(egress, "CLOSE_SECONDS", 0.2)
    sent = 0
    ended = asyncio.Event()

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
        ended.set()
        writer.close()

    async def scenario(rig: Rig) -> None:
        way = await rig.ask(b"")
        way[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        target = f"127.0.0.1:{rig.far}"
        way[1].write(f"CONNECT {target} HTTP/1.1\r\nProxy-Authorization: {shown(TOKEN)}\r\n\r\n".encode())
        await asyncio.wait_for(ended.wait(), 10)
        # What the kernel holds for two connections, and little of our own.
        assert sent < 32 << 20
        way[1].close()

    run(scenario, flood)
