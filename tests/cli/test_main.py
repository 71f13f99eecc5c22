from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from dcops.cli.main import COMMANDS, MODULES, cli, run

from .conftest import Agent, Dcops, command, variables

if TYPE_CHECKING:
    from collections.abc import Callable


def leaves(group: click.Group = cli, path: str = "") -> list[tuple[str, click.Command]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        made = group.get_command(context, name)
        assert made is not None
        here = f"{path} {name}".strip()
        found += leaves(made, here) if isinstance(made, click.Group) else [(here, made)]
    return found


@pytest.mark.parametrize("name", [name for name, _command in leaves()])
def test_every_command_has_help_with_an_example_exit_codes_and_json(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"\n  dcops {name}" in text.partition("Examples:")[2]
    assert "--json" in text
    assert "  0 " in text.partition("Exit codes:")[2]
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_table_is_the_commands_own(name: str) -> None:
    made = cli.get_command(click.Context(cli), name)
    assert made is not None
    assert made.help is not None
    assert COMMANDS[name] == made.help.partition("\n")[0]


def test_modules_name_real_commands_only() -> None:
    assert MODULES.keys() <= COMMANDS.keys()


HEAVY = ("rich", "docker", "jsonschema", "yaml", "anthropic", "dcops.operations", "dcops.cli.commands")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["nonsense"]])
def test_the_frame_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from dcops.cli.main import run; run(sys.argv[1:]);"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_no_command_imports_anthropic_or_docker(project: Path) -> None:
    code = (
        "import sys; from dcops.cli.main import run; run(sys.argv[1:]);"
        "print([name for name in ('anthropic', 'docker') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "status"],
        cwd=project,
        env=variables(project),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_without_words_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["statsu"], "Did you mean status?"),
        (["toggle", "lst"], "Did you mean list?"),
        (["deploy", "dev", "--ys"], "--yes"),
        (["deploy", "dev", "more"], "unexpected extra argument"),
        (["deploy", "--lock-wait", "-1"], "-1"),
        (["deploy", "--set", "novalue"], "NAME=VALUE"),
        (["deploy", "--enable", "a", "--disable", "a"], "given twice"),
        (["deploy", "dev", "--env", "production"], "Which environment"),
        (["completion", "tcsh"], "tcsh"),
    ],
)
def test_wrong_words_are_exit_2_in_text_and_json(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert "DC-USAGE" in err
    assert run([*words, "--json"]) == 2
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["schema"] == "dcops.error/1"
    assert document["exit_code"] == 2
    assert says in document["what"]
    assert err == ""


def test_an_error_says_what_why_and_what_to_do(dcops: Dcops) -> None:
    done = dcops("status", "staging")
    assert done.returncode == 7
    assert done.stdout == ""
    assert done.stderr.startswith("Error DC-ENVIRONMENT-UNKNOWN: there is no environment staging\n")
    assert "  Why   known: dev, production" in done.stderr
    assert "\n  Do  " in done.stderr


def test_options_that_work_anywhere_work_behind_the_command(dcops: Dcops, project: Path) -> None:
    done = dcops("status", "--json", "--project", str(project), "--color", "always")
    assert [row["name"] for row in json.loads(done.stdout)["environments"]] == ["dev", "production"]
    assert dcops("--project", "/nowhere", "status").returncode == 6
    assert dcops("status", DCOPS_PROJECT="/nowhere").returncode == 6


def test_debug_shows_the_traceback_on_stderr(dcops: Dcops) -> None:
    assert "Traceback" not in dcops("status", "staging").stderr
    done = dcops("status", "staging", "--json", "--debug")
    assert "Traceback" in done.stderr
    assert json.loads(done.stdout)["code"] == "DC-ENVIRONMENT-UNKNOWN"


def test_a_bug_is_exit_1_with_a_report_without_secrets(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "sk-ant-" + "a" * 20

    def broken(*_arguments: object) -> None:
        raise RuntimeError(f"it broke near {secret}")

    monkeypatch.setattr("dcops.operations.status.status", broken)
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "state"))
    assert run(["status", "--json", "--project", str(project)]) == 1
    document = json.loads(capsys.readouterr().out)
    report = Path(document["report"]).read_text()
    assert document["code"] == "DC-BUG"
    assert "Traceback" in report
    assert "command: dcops status" in report
    assert secret not in report + json.dumps(document)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_have_their_exit_codes(project: Path, agent: Agent, number: int, code: int) -> None:
    words = command("chat", "dev", "wait")
    with subprocess.Popen(
        words, cwd=project, env=variables(project), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        _until(lambda: any("/events" in each for each in agent.asked))
        process.send_signal(number)
        assert process.wait(10) == code


def test_a_reader_who_goes_away_is_no_error(project: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command("--help"), env=variables(project), stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "more", "colored"),
    [
        (["status"], {}, False),
        (["status", "--color", "always"], {}, True),
        (["status"], {"FORCE_COLOR": "1"}, True),
        (["status"], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (["status", "--color", "never"], {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_are_where_they_are_wanted(
    dcops: Dcops, words: list[str], more: dict[str, str], colored: bool
) -> None:
    assert ("\x1b[" in dcops(*words, **more).stdout) is colored


def test_a_narrow_encoding_gets_plain_signs(dcops: Dcops) -> None:
    done = dcops("doctor", PYTHONUTF8="0", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert done.stdout.startswith("+ ok")


def test_completion_answers_from_the_project(dcops: Dcops) -> None:
    def complete(line: str) -> list[str]:
        words = line.split(" ")
        done = dcops(_DCOPS_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
        return [each.partition(",")[2] for each in done.stdout.split()]

    assert complete("dcops de") == ["deploy"]
    assert complete("dcops deploy pro") == ["production"]
    assert complete("dcops toggle set use_streaming_b") == ["use_streaming_bash"]
    assert complete("dcops verify --suite sm") == ["smoke"]
    assert complete("dcops rollback ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_of_their_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert f"_DCOPS_COMPLETE={shell}_complete" in capsys.readouterr().out


def _until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
