"""Commands on this host that end with dcops: one-off runs of a build, and what is run beside an instance."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dcops.core.protocols import TOOK_TOO_LONG, Outcome
from dcops.engines.interpreter import base_interpreter
from dcops.engines.signals import passing_on
from dcops.engines.supervisor import PATH, death_signal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BECOME = Path(__file__).with_name("become.py")
SHOWN = 1 << 20


def run_to_end(
    command: Sequence[str], environment: Mapping[str, str], directory: Path, seconds: float
) -> Outcome:
    """Run a command without a network; whatever it started ends with it."""
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [*_without_network(), *_ending_with_us(), *command],
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = _shell_code(child.wait(seconds))
        except subprocess.TimeoutExpired:
            code = TOOK_TOO_LONG
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        said.seek(max(0, said.seek(0, os.SEEK_END) - SHOWN))
        return Outcome(code, tuple(said.read().decode(errors="replace").splitlines()))


def attach(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> int:
    """Run a command with our stdin, stdout and stderr; returns its exit code as a shell would say it.

    What a terminal's keys send reaches it from the terminal itself; else it gets the signals that we get.
    """
    by_terminal = os.isatty(0)
    child = subprocess.Popen(
        [*_ending_with_us(), *command],
        env=dict(environment),
        cwd=directory,
        process_group=None if by_terminal else 0,
    )

    def pass_on(number: int) -> None:
        if not (by_terminal and number == signal.SIGINT):
            child.send_signal(number)

    try:
        with passing_on(pass_on):
            return _shell_code(child.wait())
    finally:
        child.kill()
        child.wait()


def _ending_with_us() -> tuple[str, ...]:
    return (*death_signal(), base_interpreter(), "-I", "-S", str(BECOME), str(os.getpid()))


@functools.cache
def _without_network() -> tuple[str, ...]:
    """Command prefix that takes the network away; empty where the system does not let this user do it."""
    tool = shutil.which("unshare", path=PATH)
    if tool is None:
        return ()
    for words in ((tool, "--net"), (tool, "--user", "--map-current-user", "--net")):
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    return ()


def _shell_code(code: int) -> int:
    return 128 - code if code < 0 else code
