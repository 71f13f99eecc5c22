"""What a tool finds when it looks around inside its instance.

This file runs in two places: imported, and as a script that the suite `isolation` gives to the agent's tool
for commands; so by the standard library alone. Its arguments are the name of a function and its keyword
arguments as JSON; it answers by one line of JSON.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import http.client
import json
import os
import re
import select
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = re.compile(rb"sk-ant-[A-Za-z0-9_-]{20,}")
SYSTEM = ("/proc", "/sys")
GATEWAY = ("gateway", 8080)
SETUID = ("su", "mount", "passwd", "newgrp", "chsh", "sudo")


def identity() -> dict[str, Any]:
    """Who the tool is, as the kernel says."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    names = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
    return {name: fields[name].split() for name in names}


def setuid() -> dict[str, list[str]]:
    """What the loader says of the rights of an ordinary program, and of each with the setuid bit.

    It says nothing to a program that runs with more rights than its caller.
    """
    places = [Path(place, name) for place in ("/usr/bin", "/bin") for name in SETUID]
    programs = [each for each in places if each.exists() and each.stat().st_mode & stat.S_ISUID]
    return {str(program): _rights(program) for program in [Path("/bin/true"), *programs]}


def _rights(program: Path) -> list[str]:
    done = subprocess.run(
        [program, "--version"],
        env={"LD_SHOW_AUXV": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    lines = (line.split() for line in done.stdout.splitlines())
    return sorted(" ".join(words) for words in lines if words and words[0] in {"AT_EUID:", "AT_SECURE:"})


def writable() -> list[str]:
    """The uppermost directories and files that it may write to; devices left out."""
    return sorted(_writable("/"))


def _writable(directory: str) -> Iterator[str]:
    for entry in _entries(directory):
        kind = entry.stat(follow_symlinks=False).st_mode
        if entry.path in SYSTEM or not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
            continue
        if os.access(entry.path, os.W_OK):
            yield entry.path
        elif stat.S_ISDIR(kind):
            yield from _writable(entry.path)


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def write(paths: list[str]) -> dict[str, str]:
    """What comes of writing to each: ``written``, or the error's name. Nothing is left behind."""
    return {path: _write(Path(path)) for path in paths}


def _write(path: Path) -> str:
    try:
        existed = path.exists()
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "written"


def exists(paths: list[str]) -> list[str]:
    """Those that are there, and are no empty directories."""
    return [path for path in paths if os.path.lexists(path) and (not Path(path).is_dir() or _entries(path))]


def sockets() -> list[str]:
    """All Unix sockets in the file system."""
    return [path for path, found in _files("/") if stat.S_ISSOCK(found.st_mode)]


def _files(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    for entry in _entries(directory):
        with contextlib.suppress(OSError):
            found = entry.stat(follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                yield entry.path, found
            elif entry.path not in SYSTEM:
                yield from _files(entry.path)


def control() -> dict[str, list[str]]:
    """The control files that it can read, by instance."""
    return {
        each.name: sorted(file.name for file in each.iterdir() if file.read_bytes())
        for each in Path("/instances").iterdir()
    }


def processes() -> list[dict[str, Any]]:
    """Each process that it sees: its number, its users, and the keys in its environment."""
    return [{"pid": pid, "users": _users(pid), "keys": _keys(pid)} for pid in _pids()]


def _pids() -> list[int]:
    return sorted(int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())


def _users(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Uid:"):
                return sorted({int(word) for word in line.split()[1:]})
    return []  # it has ended meanwhile


def _keys(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        found = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return [each.decode().partition("=")[2] for each in found if each.startswith(b"ANTHROPIC_API_KEY=")]
    return []


def token() -> str:
    """The gateway token, out of the agent's own environment."""
    return next((key for pid in _pids() for key in _keys(pid)), "")


def keys() -> list[str]:
    """Files, environments and command lines that hold what looks like a key of the API."""
    of_processes = [f"/proc/{pid}/{name}" for pid in _pids() for name in ("environ", "cmdline")]
    files = [path for path, found in _files("/") if stat.S_ISREG(found.st_mode)]
    return [path for path in [*of_processes, *files] if _holds_key(path)]


def _holds_key(path: str) -> bool:
    end = b""
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        while data := file.read(1 << 22):
            if KEY.search(end + data):
                return True
            end = data[-200:]
    return False


def network() -> dict[str, Any]:
    """Its interfaces besides loopback, its address, and its IPv6 addresses besides loopback."""
    interfaces = sorted(each.name for each in Path("/sys/class/net").iterdir() if each.name != "lo")
    v6 = Path("/proc/net/if_inet6")
    lines = v6.read_text().splitlines() if v6.exists() else []
    addresses = [line for line in lines if line.split()[-1] != "lo"]
    return {"interfaces": interfaces, "address": _own_address(), "v6": addresses}


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(GATEWAY)  # sends nothing
        return str(probe.getsockname()[0])


def reached(targets: list[tuple[str, int]], seconds: float = 2.0) -> list[list[Any]]:
    """Those addresses that let it connect within a time; all are tried at once."""
    open_to, waiting = [], {}
    poll = select.poll()
    for host, port in targets:
        attempt = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if attempt.connect_ex((host, port)) in (0, errno.EINPROGRESS):
            waiting[attempt.fileno()] = (attempt, host, port)
            poll.register(attempt, select.POLLOUT)
    deadline = time.monotonic() + seconds
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            attempt, host, port = waiting.pop(descriptor)
            poll.unregister(descriptor)
            if attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                open_to.append([host, port])
            attempt.close()
    return open_to


def ports(host: str) -> list[int]:
    """The open ports of a host that it can reach."""
    address, found = socket.gethostbyname(host), []
    for first in range(1, 65536, 512):
        targets = [(address, port) for port in range(first, min(first + 512, 65536))]
        found += [port for _, port in reached(targets)]
    return found


def named(names: list[str]) -> list[str]:
    """Those names that lead to an address; one that leads nowhere takes seconds."""
    return _each(names, lambda name: socket.getaddrinfo(name, 80))


def answered(servers: list[str]) -> list[str]:
    """Name servers that answer a question over UDP."""
    question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01"

    def ask(server: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(2)
            asking.sendto(question, (server, 53))
            asking.recv(512)

    return _each(servers, ask)


def _each(words: list[str], attempt: Callable[[str], object]) -> list[str]:
    """Those that it succeeds with; a few are tried at once, as processes may be scarce."""

    def succeeds(word: str) -> bool:
        with contextlib.suppress(OSError, UnicodeError):
            attempt(word)
            return True
        return False

    with ThreadPoolExecutor(max_workers=6) as pool:
        return [word for word, came in zip(words, pool.map(succeeds, words), strict=True) if came]


def ask_gateway(requests: list[list[Any]]) -> list[int]:
    """The status of each request: method, path, headers, body; ``TOKEN`` in a header is its own."""
    own, statuses = token(), []
    for method, path, headers, body in requests:
        connection = http.client.HTTPConnection(*GATEWAY, timeout=10)
        filled = {"anthropic-version": "2023-06-01", "Content-Type": "application/json"}
        filled |= {name: value.replace("TOKEN", own) for name, value in headers.items()}
        connection.request(method, path, body, filled)
        statuses.append(connection.getresponse().status)
        connection.close()
    return statuses


def limits() -> dict[str, Any]:
    """Memory, processors and processes as its control group has them; None where there is no limit."""
    memory = _first("memory.max", "memory/memory.limit_in_bytes")
    pids = _first("pids.max", "pids/pids.max")
    quota = _first("cpu.max", "cpu/cpu.cfs_quota_us")
    if " " in quota:
        quota, _, period = quota.partition(" ")
    else:
        period = _first("cpu/cpu.cfs_period_us")
    cpus = int(quota) / int(period) if quota.isdigit() else None
    return {"memory": _number(memory), "pids": _number(pids), "cpus": cpus}


def _first(*names: str) -> str:
    """What the first of these files says that is there: the one of version 2, or that of version 1."""
    files = [Path("/sys/fs/cgroup", name) for name in names]
    return next((file.read_text().strip() for file in files if file.exists()), "")


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def storm(limit: int) -> dict[str, Any]:
    """Take all processes that there are, hold them for a second, and give them back.

    Threads count as processes do, and cost less memory: it must not run out first.
    """
    over = threading.Event()
    threading.stack_size(1 << 16)
    taken: list[threading.Thread] = []
    refused = False
    try:
        while len(taken) <= limit:
            thread = threading.Thread(target=over.wait)
            thread.start()
            taken.append(thread)
        pid = os.fork()
    except (RuntimeError, OSError):
        refused = True
    else:
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    time.sleep(1)
    over.set()
    for thread in taken:
        thread.join()
    return {"taken": len(taken), "refused": refused}


def way_out(requests: list[list[Any]]) -> list[int]:
    """The status of each request to the proxy of ``HTTPS_PROXY``.

    Args:
        requests: Method, target, and whether the token is shown.
    """
    statuses = []
    url = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
    proof = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
    for method, target, known in requests:
        field = f"Proxy-Authorization: Basic {proof}\r\n" if known else ""
        with socket.create_connection((url.hostname or "", url.port or 0), timeout=20) as way:
            way.sendall(f"{method} {target} HTTP/1.1\r\nHost: {target}\r\n{field}\r\n".encode())
            statuses.append(int(way.recv(64).split()[1]))
    return statuses


def main() -> None:
    answer = globals()[sys.argv[1]](**json.loads(sys.argv[2]))
    sys.stdout.write(f"{json.dumps(answer)}\n")


if __name__ == "__main__":
    main()
