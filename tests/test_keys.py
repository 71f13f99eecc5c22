from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dcops import keys
from dcops.core.environment import Environment
from dcops.errors import PreconditionMissing
from dcops.keys import resolve_key

if TYPE_CHECKING:
    from dcops.core.secret import Secret


def found(reference: str, directory: Path, **variables: str) -> Secret:
    environment = Environment("dev", "process", directory, model="api", key=reference)
    return resolve_key(environment, {"PATH": "/usr/bin:/bin", **variables}, directory)


def refused(reference: str, directory: Path, **variables: str) -> PreconditionMissing:
    with pytest.raises(PreconditionMissing) as caught:
        found(reference, directory, **variables)
    assert caught.value.code == "DC-KEY-MISSING"
    assert "secret" not in str(caught.value.to_json())
    return caught.value


def python(text: str) -> str:
    return f"cmd:{shlex.join([sys.executable, '-c', text])}"


def test_a_key_is_found_by_its_reference(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"sk-2\n")
    (tmp_path / "my key").write_bytes(b"sk-3\n")
    assert found("env:API_KEY", tmp_path, API_KEY=" sk-1\n").reveal() == b"sk-1"
    assert found(f"file:{tmp_path}/key", tmp_path).reveal() == b"sk-2"
    assert found("cmd:cat 'my key'", tmp_path).reveal() == b"sk-3"


def test_a_command_has_the_variables_and_no_shell_and_no_stdin(tmp_path: Path) -> None:
    assert found("cmd:printenv VAULT", tmp_path, VAULT="sk-4").reveal() == b"sk-4"
    assert found("cmd:echo $VAULT;id", tmp_path, VAULT="sk-4").reveal() == b"$VAULT;id"
    assert "empty" in refused("cmd:cat", tmp_path).why


@pytest.mark.parametrize(
    ("key", "variables", "why"),
    [
        ("env:API_KEY", {}, "empty or not set"),
        ("env:API_KEY", {"API_KEY": "  "}, "empty or not set"),
        ("env:API_KEY", {"API_KEY": "two words-secret"}, "no key"),
        ("file:/nowhere/at/all", {}, "No such file"),
        ("file:/tmp", {}, "Is a directory"),
        ("cmd:no-such-program --token secret", {}, "No such file"),
        ("cmd:echo 'secret", {}, "cannot be read"),
        ("cmd: ", {}, "cannot be read"),
    ],
)
def test_a_reference_that_leads_to_nothing_is_refused_without_showing_it(
    tmp_path: Path, key: str, variables: dict[str, str], why: str
) -> None:
    assert why in refused(key, tmp_path, **variables).why


def test_a_command_that_fails_is_told_by_what_it_complains_never_by_what_it_said(tmp_path: Path) -> None:
    text = "import sys; print('top-secret'); print('locked; had top-secret', file=sys.stderr); sys.exit(7)"
    why = refused(python(text), tmp_path).why
    assert "exit code 7" in why
    assert "locked; had ***" in why


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "COMMAND_SECONDS", 0.3)
    started = "import subprocess,sys; p = subprocess.Popen(['sleep','60']); "
    text = f"{started}open('pid','w').write(str(p.pid)); sys.stdout.flush(); p.wait()"
    assert "did not end within 0.3 s" in refused(python(text), tmp_path).why
    pid = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else "0"
    deadline = time.monotonic() + 5
    while pid != "0" and _lives(pid):
        assert time.monotonic() < deadline


def _lives(pid: str) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
