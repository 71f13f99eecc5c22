"""The API key, found where an environment says that it is."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from dcops.core.secret import Secret, redacted
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dcops.core.environment import Environment

COMMAND_SECONDS = 30.0
_SHOWN_LINES = 5


class _NoneThere(Exception):
    """The reference leads to nothing; why, and what to do."""

    def __init__(self, why: str, do: str) -> None:
        super().__init__(why)
        self.do = do


def resolve_key(environment: Environment, variables: Mapping[str, str], directory: Path) -> Secret:
    """The API key that an environment refers to; no message ever shows it.

    Args:
        environment: Its ``key`` is ``env:NAME``, ``file:PATH`` or ``cmd:COMMAND``.
        variables: Usually ``os.environ``; a command gets them too.
        directory: Where a command runs: the project's root.

    Raises:
        PreconditionMissing: The reference leads to nothing usable (DC-KEY-MISSING).
    """
    kind, _, target = environment.key.partition(":")
    try:
        return _usable(_read(kind, target, variables, directory), _remedy(kind, target))
    except _NoneThere as error:
        # What a command is given may be a secret as well.
        shown = f"cmd:{target.split(maxsplit=1)[0]}" if kind == "cmd" and target.split() else environment.key
        raise PreconditionMissing(
            "DC-KEY-MISSING",
            f"the key of {environment.name}, {shown or 'which it does not name'}, leads to nothing",
            why=str(error),
            do=f"{error.do}, or try without a key: model: scripted",
            environment=environment.name,
        ) from None


def _read(kind: str, target: str, variables: Mapping[str, str], directory: Path) -> bytes:
    if kind == "env":
        return variables.get(target, "").encode()
    if kind == "cmd":
        return _said_by(target, variables, directory)
    try:
        return Path(target).read_bytes()
    except OSError as error:
        raise _NoneThere(error.strerror or "it cannot be read", _remedy(kind, target)) from None


def _usable(value: bytes, do: str) -> Secret:
    value = value.strip()
    if not value:
        raise _NoneThere("it is empty or not set", do)
    if not re.fullmatch(rb"[\x21-\x7e]+", value):
        raise _NoneThere("what is there is no key: it has spaces, several lines or odd characters", do)
    return Secret(value)


def _remedy(kind: str, target: str) -> str:
    if kind == "cmd":
        return "run the command by hand in the project's directory: it must print the key and exit with 0"
    return f"export {target}=..." if kind == "env" else f"put the key into {target}"


def _said_by(command: str, variables: Mapping[str, str], directory: Path) -> bytes:
    """What a command says on its stdout; only what it says on the other stream may be shown."""
    do = _remedy("cmd", command)
    try:
        words = shlex.split(command)
        child = subprocess.Popen(
            words,
            cwd=directory,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (ValueError, IndexError) as error:
        raise _NoneThere(f"the command cannot be read: {error}", "mend its quotes") from None
    except OSError as error:
        raise _NoneThere(f"{words[0]} cannot be run: {error.strerror}", do) from None
    try:
        said, talk = child.communicate(timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        raise _NoneThere(f"the command did not end within {COMMAND_SECONDS:g} s", do) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()
        child.wait()
    if child.returncode:
        # A careless command repeats on this stream what it was to say on the other.
        key = [Secret(said.strip())] if said.strip() else []
        lines = redacted(talk.decode(errors="replace"), key).strip().splitlines()[-_SHOWN_LINES:]
        raise _NoneThere("\n".join([f"the command ended with exit code {child.returncode}", *lines]), do)
    return said
