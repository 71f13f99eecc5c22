"""One-off runs of a build, and commands beside a running instance."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.core.protocols import Outcome
from dcops.engines.docker import DockerEngine
from dcops.errors import NotFound, PreconditionMissing

from .conftest import quiet, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dcops.core.protocols import Engine

    from .conftest import Rig

CHILDREN: list[subprocess.Popen[bytes]] = []
BESIDE = Path(__file__).with_name("beside.py")
SEEN = """
import json, os, socket
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError as error:
    network = error.strerror
print(json.dumps({"environ": dict(os.environ), "cwd": os.getcwd(), "uid": os.getuid(), "network": network}))
"""


def python(text: str) -> list[str]:
    return ["python", "-c", text]


def beside(rig: Rig, engine: Engine, method: str, name: str, command: Sequence[str], **streams: Any) -> Any:
    words = [sys.executable, str(BESIDE), engine.name, str(rig.root), method, name, *command]
    CHILDREN.append(subprocess.Popen(words, **streams))
    return CHILDREN[-1]


@pytest.fixture(autouse=True)
def _nothing_outlives_its_test() -> Iterator[None]:
    yield
    while CHILDREN:
        child = CHILDREN.pop()
        child.kill()
        child.wait()


def alive(marked: str) -> list[str]:
    """Command lines on this host, also those in containers, that hold a text; zombies have none."""
    shown = subprocess.run(["ps", "-ww", "-eo", "command="], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if marked in line and "beside.py" not in line]


@pytest.fixture
def served(real: Rig) -> Engine:
    engine = real.engine()
    real.serve(engine, real.spec("one"))
    return engine


# One-off runs


def test_a_run_has_the_shared_state_and_no_network_and_leaves_nothing(real: Rig) -> None:
    engine = real.engine()
    engine.build(real.context(), quiet)
    spec = real.spec("migrates", MINE="yes")
    state = "import os; from pathlib import Path; kept = Path(os.environ['DCOPS_STATE_DIR'], 'kept');"
    assert engine.run(spec, python(state + "kept.write_text('by a run')")) == Outcome(0, ())
    code, lines = (found := engine.run(spec, python(state + SEEN))).code, found.lines
    assert code == 0, lines
    seen = json.loads(lines[-1])
    assert seen["environ"]["MINE"] == "yes"
    assert "unreachable" in seen["network"]
    assert engine.instances() == []
    site = real.serve(engine, real.spec("one"))
    assert site.get("/kept") == {"kept": "by a run"}
    assert engine.store().list("instances") == {"instances": ["one"]}
    if isinstance(engine, DockerEngine):
        assert seen["uid"] == 65532
        assert engine._daemon.containers({**engine._names.labels, "dcops.role": "one-off"}) == []


def test_a_run_sees_the_code_of_its_build_and_ends_as_its_command_does(real: Rig) -> None:
    engine = real.engine()
    engine.build(real.context("answer = 42\n"), quiet)
    build = real.context("answer = 42\n").build
    spec = replace(real.spec("migrates"), build=build)
    outcome = engine.run(spec, python("from tiny.change import answer; print(answer); raise SystemExit(3)"))
    assert outcome == Outcome(3, ("42",))
    outcome = engine.run(
        spec, python("import sys; sys.stderr.write('no\\n'); import os; os.kill(os.getpid(), 9)")
    )
    assert outcome == Outcome(137, ("no",))
    assert engine.run(spec, ["no-such-command"]).code == 127
    assert engine.run(spec, ["/etc/passwd"]).code == 126


def test_a_run_that_takes_too_long_is_ended_with_what_it_started(real: Rig) -> None:
    engine = real.engine()
    engine.build(real.context(), quiet)
    mark = f"{os.getpid()}.25"
    outcome = engine.run(
        real.spec("slow"), ["sh", "-c", f"sleep 6{mark} & echo waits; sleep 7{mark}"], seconds=1.5
    )
    assert outcome == Outcome(124, ("waits",))
    until(lambda: not alive(mark))


def test_a_run_of_a_killed_dcops_goes_with_it_or_with_the_sweep(real: Rig) -> None:
    engine = real.engine()
    engine.build(real.context(), quiet)
    engine.prepare()
    mark = f"6{os.getpid()}.5"
    child = beside(real, engine, "run", "dies", ["sleep", mark])
    until(lambda: alive(mark))
    child.kill()
    child.wait()
    if engine.name == "process":
        until(lambda: not alive(mark))
    engine.sweep()
    until(lambda: not alive(mark))
    assert engine.instances() == []
    assert list(real.root.rglob("*_run-*")) == []


def test_a_run_without_its_build_is_refused(real: Rig) -> None:
    with pytest.raises(PreconditionMissing, match="build"):
        real.engine().run(real.spec("one"), ["true"])


# Beside an instance


def ask(rig: Rig, engine: Engine, command: Sequence[str], given: bytes = b"") -> tuple[int, bytes, bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = beside(rig, engine, "execute", "one", command, **pipes)
    out, err = child.communicate(given, timeout=60)
    return child.returncode, out, err


def test_a_command_has_the_instances_own_environment(real: Rig) -> None:
    served = real.engine()
    site = real.serve(served, real.spec("one", MINE="yes"))
    code, out, err = ask(real, served, python(SEEN))
    assert (code, err) == (0, b"")
    seen = json.loads(out)
    assert seen["environ"]["MINE"] == "yes"
    assert seen["environ"]["DCOPS_INSTANCE"] == "one"
    own = site.get("/environ")
    for name in ("PATH", "HOME", "PYTHONPATH", "DCOPS_STATE_DIR", "ANTHROPIC_BASE_URL"):
        assert seen["environ"].get(name) == own["environ"].get(name)
    if served.name == "process":
        assert (seen["environ"], seen["cwd"]) == (own["environ"], own["cwd"])


def test_streams_pass_every_byte_both_ways_at_once(real: Rig, served: Engine) -> None:
    given = bytes(range(256)) * 20_000
    code, out, err = ask(real, served, ["sh", "-c", "cat; echo said >&2; exit 7"], given)
    assert (code, err) == (7, b"said\n")
    assert out == given


def test_a_command_that_is_not_there_is_127_and_one_that_cannot_run_126(real: Rig, served: Engine) -> None:
    code, out, err = ask(real, served, ["no-such-command"])
    assert (code, out) == (127, b"")
    assert b"no-such-command" in err
    code, out, err = ask(real, served, ["/etc/passwd"])
    assert (code, out) == (126, b"")
    assert b"ermission denied" in err
    assert ask(real, served, ["sh", "-c", "kill -9 $$"])[0] == 137


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command_without_a_terminal_too(
    real: Rig, served: Engine, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    trap = f"trap 'echo caught; exit 9' {name}; echo ready; while :; do sleep 0.1; done"
    child = beside(
        real, served, "execute", "one", ["sh", "-c", trap], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(number)
    out, _ = child.communicate(timeout=30)
    assert (child.returncode, out) == (9, b"caught\n")


def test_a_reader_that_goes_away_ends_the_command(real: Rig, served: Engine) -> None:
    mark = f"x{os.getpid()}"
    child = beside(
        real, served, "execute", "one", ["yes", mark], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout.read(100)
    child.stdout.close()
    child.wait(30)
    until(lambda: not alive(f"yes {mark}"))


def test_a_command_of_a_killed_dcops_ends_with_it(real: Rig, served: Engine) -> None:
    if served.name == "docker":
        pytest.skip("as with docker exec, only its streams end")
    mark = f"6{os.getpid()}.75"
    child = beside(real, served, "execute", "one", ["sleep", mark])
    until(lambda: alive(mark))
    child.kill()
    child.wait()
    until(lambda: not alive(mark))


TALKS = """
import os, sys, time
while os.get_terminal_size() != (77, 22):  # Docker gives a terminal its size after the start
    time.sleep(0.02)
try:
    print("sized", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
while os.get_terminal_size().lines != 33:
    time.sleep(0.02)
print("resized", flush=True)
print("got", input())
sys.exit(5)
"""


def test_a_command_has_the_terminal_its_size_and_its_keys(real: Rig, served: Engine) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (22, 77))
    before = termios.tcgetattr(ours)
    words = [sys.executable, str(BESIDE), served.name, str(real.root), "terminal", "one", *python(TALKS)]
    # A session with this terminal as its own, as a shell has it.
    child = subprocess.Popen(["setsid", "-c", "-w", *words], stdin=theirs, stdout=theirs, stderr=theirs)
    CHILDREN.append(child)
    expect(ours, b"sized")
    os.write(ours, b"\x03")
    expect(ours, b"interrupted")
    termios.tcsetwinsize(ours, (33, 77))
    expect(ours, b"resized")
    os.write(ours, "wörd\n".encode())
    expect(ours, "got wörd".encode())
    assert child.wait(30) == 5
    assert termios.tcgetattr(ours) == before
    os.close(ours)
    os.close(theirs)


def expect(terminal: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        assert select.select([terminal], [], [], 30)[0], seen
        seen += os.read(terminal, 4096)


def test_what_does_not_run_or_is_unknown_is_refused(served: Engine) -> None:
    with pytest.raises(NotFound, match="nobody"):
        served.execute("nobody", ["true"], tty=False)
    served.stop("one", remove=False)
    with pytest.raises(PreconditionMissing, match="does not run"):
        served.execute("one", ["true"], tty=False)
