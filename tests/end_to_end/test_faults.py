"""What an operation rests on ends in its midst: daemon, keeper, proxy, candidate, the space on disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from dcops.engines.docker_daemon import Daemon

from ..engines.test_docker_restart import Dockerd, dockerd  # noqa: TID252 - tests have no package name
from .site import until
from .test_daemon import build_outside
from .traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Sites
    from .site import Site

__all__ = ["dockerd"]
pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]
DIAL_SECONDS = 5.0  # proxy.py: dial_timeout

BACK_SECONDS = 10
QUICK: dict[str, Any] = {"verify": {"suites": []}, "timeouts": {"drain": "2s"}}
DYING = str(Path(__file__).with_name("dying.py"))
ASK = """
import sys, urllib.request as r
request = r.Request(sys.argv[1] + "/version", headers={"Authorization": "Bearer " + sys.argv[2]})
print(r.urlopen(request, timeout=2).read().decode())
"""


def release(site: Site) -> str:
    """Which release answers users now; empty where none does."""
    token = site.place.local.token_file.read_text().strip()
    words = [*site.prefix, sys.executable, "-c", ASK, site.place.url, token]
    done = subprocess.run(words, capture_output=True, check=False)
    return str(json.loads(done.stdout)["release"]) if done.returncode == 0 else ""


def pointer(site: Site) -> str:
    return site.current().pointer


def stat(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextmanager
def held(site: Site, moment: str, step: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that stops before a step or right after its effect; it goes on when the block ends."""
    command = [*site.prefix, sys.executable, DYING, str(int(signal.SIGSTOP)), moment, step, *words]
    process = subprocess.Popen(
        command,
        cwd=site.root,
        env=site.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: stat(process.pid) == "T", 60, f"it reaches {step}")
        yield process
        process.send_signal(signal.SIGCONT)
    except BaseException:
        process.kill()
        process.communicate()
        raise


def ended(process: subprocess.Popen[str], *codes: int) -> str:
    """What a command said; it ended with one of these codes and not by a bug."""
    out, said = process.communicate(timeout=240)
    assert process.returncode in codes, f"{process.returncode}: {out[-1000:]}\n{said[-2000:]}"
    assert "Traceback" not in said
    assert "DC-BUG" not in said
    return said


def two_releases(site: Site) -> tuple[str, str]:
    """The release that serves, and the one that the files are now; both have their builds."""
    site.change("second")
    site.dcops("deploy", "dev")
    second = site.current().deployment
    site.change("first")
    site.dcops("deploy", "dev")
    first = site.current().deployment
    site.change("second")
    assert first is not None
    assert second is not None
    return first.revision.release, second.revision.release


# The Docker daemon


def interrupted_by_its_end(
    site: Site, dockerd: Dockerd, end: Callable[[], None], moment: str, step: str, *, meets_it: bool
) -> str:
    """End the daemon while a deploy is held at a step, and start it again; all but the deploy comes back.

    Args:
        meets_it: Whether the deploy goes on while the daemon is away, and not when it is back.

    Returns:
        What the deploy said.
    """
    with held(site, moment, step, "deploy", "dev") as process:
        named, serves = pointer(site), release(site)
        end()
        if meets_it:
            process.send_signal(signal.SIGCONT)
            said = ended(process, 3, 4, 6)
        dockerd.start()
        until(lambda: release(site) == serves, BACK_SECONDS, "what the pointer names answers by itself")
        assert pointer(site) == named
    return said if meets_it else ended(process, 0, 3, 4, 6)


@pytest.mark.docker
def test_the_daemon_ends_in_the_midst_of_a_deploy(dockerd: Dockerd, sites: Sites) -> None:
    with sites("docker", little=True, **QUICK) as site:
        build_outside(site)
        site.change("second")
        build_outside(site)
        site.change("first")
        build_outside(site)
        site.prefix = tuple(dockerd.inside())
        first, second = two_releases(site)

        said = interrupted_by_its_end(site, dockerd, dockerd.stop, "before", "switch", meets_it=True)
        assert "DC-NOT-RESTORED" in said
        assert "Docker daemon does not answer" in said
        assert "systemctl start docker" in said
        assert "then dcops abort dev" in said
        assert "interrupted at step 'switch'" in site.dcops("restart", "dev", code=6).stderr
        site.dcops("abort", "dev")
        assert release(site) == first

        interrupted_by_its_end(site, dockerd, dockerd.lose_power, "after", "switch", meets_it=True)
        assert release(site) == second
        site.dcops("abort", "dev")
        assert release(site) == first

        interrupted_by_its_end(site, dockerd, dockerd.stop, "before", "record", meets_it=True)
        site.dcops("resume", "dev")
        assert release(site) == second

        site.change("first")
        before = len(site.current().entries)
        said = interrupted_by_its_end(site, dockerd, dockerd.lose_power, "before", "switch", meets_it=False)
        if site.current().unfinished is not None:
            site.dcops("abort", "dev")
        last = site.current().entries[-1]
        assert len(site.current().entries) == before + 1
        assert release(site) == (first if last.result == "ok" else second), said


# The candidate


def test_the_candidate_is_killed_in_the_bake(engine: str, sites: Sites) -> None:
    with sites(engine, little=True, **QUICK, bake={"for": "5s", "minimum": 5}) as site:
        first = site.deploy("first").deployment
        assert first is not None
        site.change("second")
        traffic = Traffic(site.place.url, site.place.local.token())
        with traffic.running():
            for number in range(4):
                traffic.post(keep_alive=number < 2)
            process = subprocess.Popen(
                site.command("deploy", "dev", "--json"),
                cwd=site.root,
                env=site.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
            )
            killed = back = 0.0
            result: dict[str, Any] = {}
            assert process.stdout is not None
            for event in map(json.loads, process.stdout):
                what = (event.get("step"), event.get("state"))
                if what == ("bake", "started"):
                    until(lambda count=traffic.answered: traffic.answered > count + 20, 10, "it has users")
                    killed = time.time()
                    site.place.engine.kill(site.current().serving)
                elif what == ("switch", "undone"):
                    back = time.time()
                if event.get("type") == "result":
                    result = event
            assert process.wait(60) == 3
            until(lambda count=traffic.answered: traffic.answered > count + 50, 10, "the old one serves")
        assert (result["code"], result["cause"]) == ("DC-BAKE-FAILED", "bake")
        assert "crashed" in result["what"] or "has ended" in result["what"]
        assert release(site) == first.revision.release
        assert site.current().unfinished is None
        # Its death fails what it was answering and what comes until it is up again or left, and nothing else;
        # a request that dialled a container which is gone learns of it by the proxy's time limit.
        last = back + DIAL_SECONDS + 0.5
        others = [each for each in traffic.failed if not killed - 0.2 <= float(each.split()[0]) <= last]
        assert others == [], f"killed {killed:.3f}, back {back:.3f}, {len(traffic.failed)} failed in between"


# The proxy


def proxy_pid(site: Site) -> int:
    if site.engine == "docker":
        [found] = [
            each
            for each in Daemon().containers({"dcops.project": site.world.project.slug})
            if each["Config"]["Labels"].get("dcops.role") == "proxy"
        ]
        return int(found["State"]["Pid"])
    found = [
        pid for pid, command in site.processes().items() if "caddy.json" in command and " run " in command
    ]
    return found[0] if found else 0


def kill_proxy(site: Site) -> None:
    # As a crash: what is killed by way of Docker counts as stopped on purpose.
    os.kill(proxy_pid(site), signal.SIGKILL)


def test_the_proxy_is_killed(engine: str, sites: Sites) -> None:
    with sites(engine, little=True, **QUICK) as site:
        first, second = two_releases(site)
        named, configuration = pointer(site), site.place.engine.proxy().configuration
        kill_proxy(site)
        until(lambda: release(site) == first, BACK_SECONDS, "its keeper brings it back")
        assert (pointer(site), site.place.engine.proxy().configuration) == (named, configuration)

        for moment, step in (("after", "start"), ("after", "switch")):
            with held(site, moment, step, "deploy", "dev") as process:
                named = pointer(site)
                kill_proxy(site)
                assert pointer(site) == named
            said = ended(process, 0, 3)
            until(lambda: release(site), BACK_SECONDS, "its keeper brings it back")
            assert site.place.engine.proxy().configuration == configuration
            assert site.current().unfinished is None, said
            assert release(site) == (second if process.returncode == 0 else first), said
            if process.returncode == 0:
                site.dcops("rollback", "--env", "dev")


# The keeper


def supervisord(site: Site) -> int:
    return int((site.root / ".dcops/dev/keeper/supervisord.pid").read_text())


@pytest.mark.parametrize(("step", "end"), [("probe", "resume"), ("smoke", "abort")])
def test_the_keeper_is_killed(sites: Sites, step: str, end: str) -> None:
    with sites("process", **QUICK) as site:
        first = site.deploy("first").deployment
        assert first is not None
        site.dcops("chat", "dev", "run: echo before")
        [session] = site.json("sessions", "dev")["sessions"]
        site.change("second")

        with held(site, "before", step, "deploy", "dev") as process:
            named = kill_keeper(site, process)
        said = ended(process, 3)
        assert "is down: dcops start dev" in said
        start(site)
        assert release(site) == first.revision.release
        assert site.current().unfinished is None

        with held(site, "before", step, "deploy", "dev") as process:
            named = kill_keeper(site, process)
            process.kill()
        ended(process, -signal.SIGKILL)
        start(site)
        assert pointer(site) == named
        assert (release(site) == first.revision.release) is (step == "probe")
        site.dcops(end, "dev")
        assert (release(site) == first.revision.release) is (end == "abort")

        assert [each["id"] for each in site.json("sessions", "dev")["sessions"]] == [session["id"]]
        again = site.dcops("chat", "dev", "run: echo again", "--session", session["id"]).stdout
        assert again.startswith("again\n")
        assert site.status()["problems"] == []


def kill_keeper(site: Site, process: subprocess.Popen[str]) -> str:
    """Kill supervisord, with which all ends but the process that deploys; returns the pointer."""
    named = pointer(site)
    os.kill(supervisord(site), signal.SIGKILL)
    until(lambda: site.processes().keys() <= {process.pid}, 10, f"all ends with it: {site.processes()}")
    assert pointer(site) == named
    return named


def start(site: Site) -> None:
    began = time.monotonic()
    site.dcops("start", "dev")
    assert release(site)
    assert time.monotonic() - began < BACK_SECONDS


# The disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A project's root whose `.dcops` is a small file system of its own."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("a small file system needs root")
    own = tmp_path / "project" / ".dcops"
    own.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(own)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mount is not permitted here: {done.stderr.decode().strip()}")
    try:
        yield own.parent
    finally:
        subprocess.run(["umount", "--lazy", str(own)], check=True)


@contextmanager
def full(site: Site) -> Iterator[None]:
    """Not a byte is left within it."""
    filler = site.root / ".dcops" / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    try:
        yield
    finally:
        filler.unlink()


COMMANDS = [
    ("deploy", "dev"),
    ("toggle", "set", "speed", "7", "--env", "dev"),
    ("backup", "create", "dev"),
    ("maintenance", "on", "dev"),
    ("rollback", "--env", "dev"),
    ("stop", "dev"),
]


def test_the_disk_is_full(sites: Sites, small_disk: Path) -> None:
    settings = {**QUICK, "paths": {"backups": ".dcops/backups"}}
    with sites("process", small_disk, little=True, **settings) as site:
        first, second = two_releases(site)
        named = pointer(site)
        with full(site):
            for command in COMMANDS:
                said = full_disk_is_said(site, *command)
                assert (pointer(site), release(site)) == (named, first), said
            assert site.status()["state"] == "running"

        # It fills up in the midst, too: what was begun is taken back.
        for moment, step in (
            ("before", "start"),
            ("before", "probe"),
            ("after", "switch"),
            ("before", "record"),
        ):
            with held(site, moment, step, "deploy", "dev") as process:
                filled = full(site)
                filled.__enter__()
            try:
                said = ended(process, 3)
                assert "No space left on device" in said
                assert (pointer(site), release(site)) == (named, first), said
                assert site.current().unfinished is None
            finally:
                filled.__exit__(None, None, None)

        for command in COMMANDS:
            site.dcops(*command)
            if command[0] == "deploy":
                assert release(site) == second
            elif command[0] == "maintenance":
                site.dcops("maintenance", "off", "dev")
            elif command[0] == "rollback":
                assert release(site) == first
        site.dcops("start", "dev")


def full_disk_is_said(site: Site, *command: str) -> str:
    done = subprocess.run(
        site.command(*command), cwd=site.root, env=site.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode in {3, 6}, f"{command}: {done.returncode}\n{done.stderr}"
    assert re.search(
        r"No space left on device.*\.dcops|\.dcops.*No space left on device", done.stderr, re.DOTALL
    )
    return done.stderr


# What users get wrong


def raw(site: Site, *headers: str) -> tuple[int, str]:
    """The answer to a request whose headers no library has looked at."""
    parts = urlsplit(site.place.url)
    head = "\r\n".join(["GET /v1/instance HTTP/1.1", f"Host: {parts.netloc}", "Connection: close", *headers])
    with socket.create_connection((parts.hostname or "", parts.port or 0), 10) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return int(answer.split()[1]), answer.decode()


def test_the_instance_route_is_closed(engine: str, sites: Sites) -> None:
    with sites(engine, little=True, **QUICK) as site:
        site.deploy()
        current = site.current()
        record, model = current.record, current.records[current.model]
        assert record is not None
        token = f"Authorization: Bearer {site.place.local.token()}"

        def asked(instance: str, secret: str) -> tuple[int, str]:
            return raw(site, f"X-Dcops-Instance: {instance}", f"Proxy-Authorization: {secret}", token)

        assert asked(record.id, record.secret)[0] == 200
        for instance, secret in (
            ("unknown-000000", record.secret),
            (record.id, "0" * 64),
            (record.id, model.secret),
            (record.id, record.secret.upper()),
            ("../x", record.secret),
            (f"../operator/{record.id}", record.secret),
            (f"{record.id}/../{record.id}", record.secret),
            (f"%2e%2e/{record.id}", record.secret),
            (record.id, f"../{record.id}/{record.secret}"),
            ("", record.secret),
            (record.id, ""),
        ):
            status, text = asked(instance, secret)
            assert status == 404, (instance, secret, text)
            assert "DC-INSTANCE-UNKNOWN" in text
            for hidden in (record.secret, record.revision.release, str(site.root)):
                assert hidden not in text


def test_files_and_names_that_do_not_fit(sites: Sites) -> None:
    with sites("process", little=True, **QUICK) as site:
        shutil.copytree(site.root / "environments/dev", site.root / "environments/other")
        site.deploy("first")
        for verb in ("resume", "abort"):
            assert "DC-NOTHING-UNFINISHED" in site.dcops(verb, "dev", code=6).stderr

        site.change("second")
        file = site.root / "plan.json"
        site.dcops("plan", "dev", "-o", str(file))
        saved = json.loads(file.read_text())
        steps = [step for step in saved["steps"] if step["id"] != "backup"]
        file.write_text(json.dumps({**saved, "steps": steps}))
        assert "DC-PLAN-EDITED" in site.dcops("deploy", "dev", "--plan", str(file), code=6).stderr
        file.write_text("\0garbage")
        assert "DC-PLAN-INVALID" in site.dcops("deploy", "dev", "--plan", str(file), code=6).stderr
        file.write_text(json.dumps(saved))
        site.dcops("toggle", "set", "speed", "6", "--env", "dev")
        assert "DC-PLAN-STALE" in site.dcops("deploy", "dev", "--plan", str(file), code=6).stderr

        backup = site.json("backup", "create", "dev")["backup"]["id"]
        site.dcops("deploy", "other")
        refused = site.dcops("rollback", backup, "--env", "other", "--yes", code=6).stderr
        assert "DC-BACKUP-ENVIRONMENT" in refused
        content = site.root / "backups" / backup / "content.tar.zst"
        content.write_bytes(content.read_bytes()[:-20])
        serves = release(site)
        site.dcops("deploy", "dev")
        assert "DC-BACKUP-CORRUPT" in site.dcops("rollback", backup, "--env", "dev", "--yes", code=6).stderr
        assert release(site) != serves
        site.dcops("down", "other", "--with-data", "--yes")
