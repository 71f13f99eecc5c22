"""What each command says of an environment where something was interrupted, or that is down."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.cli.main import run
from dcops.cli.wiring import make_world
from dcops.operations.execute import CODE, StepCode
from dcops.operations.lifecycle import down

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

LITTLE = Path(__file__).parents[1] / "operations" / "little"
SETTINGS = """\
engine: process
implementation: little
model: scripted
verify: {suites: []}
timeouts: {ready: 20s, drain: 2s, warm: 1h}
"""
READ = [
    ("status", "dev"),
    ("doctor", "dev"),
    ("history", "dev"),
    ("logs", "dev"),
    ("toggle", "list", "dev"),
    ("toggle", "get", "polite", "--env", "dev"),
    ("exec", "dev", "true"),
]
CHANGE = [
    ("plan", "dev"),
    ("deploy", "dev"),
    ("rollback", "--env", "dev"),
    ("restart", "dev"),
    ("toggle", "set", "polite", "false", "--env", "dev"),
    ("toggle", "unset", "polite", "--env", "dev"),
    ("toggle", "apply", "dev"),
    ("backup", "create", "dev"),
    ("verify", "dev"),
    ("maintenance", "on", "dev"),
    ("maintenance", "off", "dev"),
    ("token", "rotate", "dev"),
    ("doctor", "dev", "--repair"),
]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a little implementation that serves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        root = tmp_path_factory.mktemp("project")
        (root / "environments" / "dev").mkdir(parents=True)
        (root / "environments" / "dev" / "environment.yaml").write_text(SETTINGS)
        (root / "environments" / "dev" / "toggles.yaml").write_text("polite: true\n")
        shutil.copytree(LITTLE, root / "little", ignore=shutil.ignore_patterns("__pycache__"))
        assert run(["deploy", "dev", "--project", str(root)]) == 0
        yield root
        down(make_world(root, None), "dev", with_data=True)


@pytest.fixture(scope="module")
def interrupted(deployed: Path) -> Iterator[Path]:
    """A second deploy of it was killed at step 'smoke'."""
    with (deployed / "little" / "__main__.py").open("a") as file:
        file.write("\n# another release\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CODE, "smoke", StepCode(lambda _run: os.kill(os.getpid(), signal.SIGKILL)))
        child = os.fork()
        if child == 0:
            run(["deploy", "dev", "--project", str(deployed)])
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    yield deployed
    assert run(["abort", "dev", "--project", str(deployed)]) == 0


Said = tuple[int, str, str]


def say(root: Path, words: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> Said:
    capfd.readouterr()
    code = run(["--project", str(root), *words])
    out, err = capfd.readouterr()
    return code, out, err


DOWN = [
    ("chat", "dev", "hello"),
    ("sessions", "dev"),
    ("verify", "dev"),
    ("exec", "dev", "true"),
    ("status", "dev"),
]
WORKS_DOWN = [("logs", "dev"), ("backup", "create", "dev"), ("history", "dev"), ("toggle", "list", "dev")]


def test_each_command_says_that_the_environment_is_down(
    deployed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(["deploy", "dev", "--project", str(deployed)])
    os.kill(int((deployed / ".dcops/dev/keeper/supervisord.pid").read_text()), signal.SIGKILL)
    for words in DOWN:
        code, out, err = say(deployed, words, capfd)
        assert code == (0 if words[0] == "status" else 6), (words, out, err)
        assert "dcops start dev" in out + err, (words, out, err)
    for words in WORKS_DOWN:
        code, out, err = say(deployed, words, capfd)
        assert code == 0, (words, out, err)
    assert run(["start", "dev", "--project", str(deployed)]) == 0


@pytest.mark.parametrize("words", READ, ids=" ".join)
def test_what_only_reads_says_what_was_interrupted(
    interrupted: Path, words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = say(interrupted, words, capfd)
    assert code == 0, err
    # Status and doctor have it among what they found.
    told = " ".join((out if words[0] in {"status", "doctor"} else err).split())
    assert "a deploy of dev, begun 20" in told
    assert "was interrupted at step 'smoke'" in told
    assert "dcops resume dev, or dcops abort dev" in told
    if words[0] not in {"status", "doctor"}:
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize("words", CHANGE, ids=" ".join)
def test_what_changes_refuses(
    interrupted: Path, words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = say(interrupted, (*words, "--json"), capfd)
    error: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert (code, error["code"]) == (6, "DC-UNFINISHED"), (out, err)
    assert "begun 20" in error["what"]
    assert "step 'smoke'" in error["what"]
    assert error["do"] == "dcops resume dev, or dcops abort dev"


def test_stop_and_start_say_it_and_go_on(interrupted: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for verb in ("stop", "start"):
        code, _out, err = say(interrupted, (verb, "dev"), capfd)
        assert code == 0, err
        assert "was interrupted at step 'smoke'" in err
