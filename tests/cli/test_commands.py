"""The commands over operations that are replaced: what they pass on, ask, print and return."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dcops.cli.console import Console
from dcops.cli.main import run
from dcops.core.backup import Backup
from dcops.core.deployment import Deployment, ToggleState
from dcops.core.events import OperationEvent
from dcops.core.verification import CheckResult, SuiteReport, VerificationReport
from dcops.errors import NotAcknowledged, NotFound, OperationFailed
from dcops.operations.deploy import DeployReport, DeployRequest
from dcops.operations.toggles import Acknowledgement, ToggleReport, ToggleRow
from dcops.records.local import EngineChoice, LocalState

from .conftest import make_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def fake_deploy(seen: list[Any], **plan: Any) -> Callable[..., DeployReport]:
    def deploy(world: Any, request: Any, confirm: Any) -> DeployReport:
        seen.append(request)
        made = make_plan(environment=request.environment, **plan)
        confirm(made)
        world.emit(OperationEvent("start", "started", "start"))
        world.emit(OperationEvent("start", "ok", "start", seconds=1.5))
        return DeployReport(
            request.environment, "deployed", made, None, "http://x", "/token", 2.0, "backup_1"
        )

    return deploy


@pytest.fixture
def inside(project: Path) -> Callable[..., int]:
    return lambda *words: run([*words, "--project", str(project)])


def test_deploy_passes_on_what_was_asked(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("dcops.operations.deploy.deploy", fake_deploy(seen))
    words = ("deploy", "dev", "--set", "a=-5", "--enable", "b", "--disable", "c", "--reason", "why")
    assert inside(*words, "--engine", "process", "--lock-wait", "3") == 0
    assert seen == [
        DeployRequest(
            "dev", "process", {"a": "-5", "b": "true", "c": "false"}, reason="why", plan=None, lock_wait=3.0
        )
    ]
    out, err = capsys.readouterr()
    assert "Deployed" in out
    assert "http://x" in out
    assert "dcops down dev" in out  # nothing served before
    assert "1/3 start ok 1.5s" in err


def test_deploy_json_is_lines_that_end_in_the_result(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr("dcops.operations.deploy.deploy", fake_deploy([]))
    assert inside("deploy", "--json") == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [line["type"] for line in lines] == ["plan", "event", "event", "result"]
    assert lines[-1] | {"schema": "dcops.deploy/1", "result": "deployed", "backup": "backup_1"} == lines[-1]


def test_a_failed_deploy_ends_in_an_error_of_the_same_stream(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    def fail(*_arguments: Any) -> None:
        raise OperationFailed("DC-START-FAILED", "it did not start", cause="start", log=["Traceback", "boom"])

    monkeypatch.setattr("dcops.operations.deploy.deploy", fail)
    assert inside("deploy", "--json") == 3
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (document["type"], document["cause"], document["exit_code"]) == ("result", "start", 3)
    assert inside("deploy") == 3
    assert "boom" in capsys.readouterr().err


def test_a_restart_offers_no_way_back(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    def restart(_world: Any, environment: str, _confirm: Any, **_more: Any) -> DeployReport:
        plan = replace(make_plan(environment=environment), kind="restart")
        return DeployReport(environment, "deployed", plan, None, "http://x", "/token", 2.0)

    monkeypatch.setattr("dcops.operations.lifecycle.restart", restart)
    assert inside("restart", "dev") == 0
    out = capsys.readouterr().out
    assert "Restarted" in out
    assert "Undo" not in out


def test_a_rollback_of_toggles_says_how_they_are_flipped_again(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    declared = {name: {"default": default} for name, default in (("a", True), ("b", "x"), ("c", 1))}
    made = make_plan()
    revision = replace(made.revision, schema={"properties": declared})
    before = Deployment(2, replace(revision, toggles={"a": False, "b": "y"}), "a-1", 2, "deploy-2")
    now = Deployment(3, revision, "a-1", 3, "rollback-3", undoes=2, restores=1)
    plan = replace(made, kind="rollback", current=before, before=ToggleState(2, before.revision.toggles))

    def rollback(*_asked: Any) -> DeployReport:
        return DeployReport("dev", "deployed", plan, now, "http://x", "/token", 2.0)

    monkeypatch.setattr("dcops.operations.rollback.rollback", rollback)
    assert inside("rollback", "--env", "dev") == 0
    assert "Undo   dcops deploy dev --set a=false --set b=y\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["deploy", "rollback --env"])
def test_a_protected_environment_refuses_without_terminal_and_yes(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture, command: str
) -> None:
    name = command.split(maxsplit=1)[0]
    monkeypatch.setattr(f"dcops.operations.{name}.{name}", fake_deploy([]))
    words = [*command.split(), "production"]
    assert inside(*words) == 6
    error = capsys.readouterr().err
    assert "DC-CONFIRMATION" in error
    assert "--yes" in error
    assert inside(*words, "--json") == 6
    assert inside(*words, "--yes") == 0


@pytest.mark.parametrize("verb", ["stop", "down"])
def test_ending_a_protected_environment_needs_a_confirmation_too(
    inside: Callable[..., int], monkeypatch: Patch, verb: str
) -> None:
    called: list[str] = []

    def end(_world: Any, environment: str, **_more: Any) -> Any:
        called.append(environment)
        return SimpleNamespace(url="http://x", to_json=dict)

    monkeypatch.setattr(f"dcops.operations.lifecycle.{verb}", end)
    assert inside(verb, "production") == 6
    assert called == []
    assert inside(verb, "production", "--yes") == 0
    assert inside(verb, "dev") == 0
    assert called == ["production", "dev"]


@pytest.mark.parametrize(("typed", "code"), [("production\n", 0), ("yes\n", 6), ("", 6)])
def test_on_a_terminal_the_name_is_asked_for(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture, typed: str, code: int
) -> None:
    import io

    monkeypatch.setattr(Console, "interactive", property(lambda _self: True))
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    monkeypatch.setattr("dcops.operations.deploy.deploy", fake_deploy([]))
    assert inside("deploy", "production") == code
    assert "Type the environment's name" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "goes_on"), [("y\n", True), ("Yes\n", True), ("\n", False), ("", False)])
def test_what_a_gate_leaves_open_is_asked_on_a_terminal_only(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture, typed: str, goes_on: bool
) -> None:
    import io

    answers: list[bool] = []

    def ask(world: Any, request: DeployRequest, _confirm: Any) -> DeployReport:
        answers.append(world.ask("Go on anyway?"))
        return DeployReport(request.environment, "unchanged", None, None, "http://x", "/token", 1.0)

    monkeypatch.setattr("dcops.operations.deploy.deploy", ask)
    monkeypatch.setattr(Console, "interactive", property(lambda _self: True))
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert inside("deploy", "dev") == 0
    assert "Go on anyway? [y/N]" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert inside("deploy", "dev", "--json", "--yes") == 0
    monkeypatch.setattr(Console, "interactive", property(lambda _self: False))
    assert inside("deploy", "dev", "--yes") == 0
    assert answers == [goes_on, False, False]


def test_a_plan_is_saved_and_is_what_deploy_runs(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture, tmp_path: Path
) -> None:
    made, seen, file = make_plan(), [], tmp_path / "plan.json"
    monkeypatch.setattr("dcops.operations.deploy.plan", lambda _world, _request: made)
    monkeypatch.setattr("dcops.operations.deploy.deploy", fake_deploy(seen))
    assert inside("plan", "dev", "-o", str(file)) == 0
    assert inside("plan", "dev", "--exit-code") == 8
    assert inside("deploy", "dev", "--dry-run") == 0
    capsys.readouterr()
    assert inside("plan", "dev", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["changes"] is True
    assert [step["id"] for step in document["plan"]["steps"]] == ["start", "verify", "switch"]
    assert seen == []
    assert inside("deploy", "dev", "--plan", str(file)) == 0
    assert seen[0].plan == made
    assert inside("deploy", "production", "--plan", str(file)) == 2
    assert inside("deploy", "dev", "--plan", str(file), "--set", "a=1") == 2
    assert inside("deploy", "dev", "--plan", str(file), "--from", "production") == 2
    assert inside("deploy", "production", "--from", "dev", "--yes") == 0
    assert (seen[-1].environment, seen[-1].origin) == ("production", "dev")


def test_a_plan_without_changes_is_exit_0(inside: Callable[..., int], monkeypatch: Patch) -> None:
    monkeypatch.setattr("dcops.operations.deploy.plan", lambda _world, _request: make_plan(steps=()))
    assert inside("plan", "dev", "--exit-code") == 0


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"format": 99}'])
def test_a_file_that_is_no_plan_is_refused(
    inside: Callable[..., int], tmp_path: Path, capsys: Capture, content: str
) -> None:
    file = tmp_path / "plan.json"
    file.write_text(content)
    assert inside("deploy", "dev", "--plan", str(file)) == 6
    assert "DC-PLAN-INVALID" in capsys.readouterr().err
    assert inside("deploy", "dev", "--plan", str(tmp_path / "absent")) == 6


def deployed(project: Path, *names: str) -> None:
    for name in names:
        LocalState(project / ".dcops" / name).decide(EngineChoice("process", 1, "a test says so"))


def test_a_bare_rollback_takes_the_only_deployed_environment_and_asks_among_several(
    inside: Callable[..., int], project: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("dcops.operations.rollback.rollback", fake_deploy(seen))
    deployed(project, "production")
    assert inside("rollback", "--yes") == 0
    deployed(project, "dev")
    assert inside("rollback", "--yes") == 2
    assert "dev, production" in capsys.readouterr().err
    monkeypatch.setenv("DCOPS_ENV", "dev")
    assert inside("rollback", "--yes") == 0
    assert [each.environment for each in seen] == ["production", "dev"]


def test_a_backup_names_its_environment(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    seen: list[Any] = []

    def show(_world: Any, identity: str) -> Backup:
        if identity != "backup_1":
            raise NotFound("DC-BACKUP-UNKNOWN", "there is none")
        return Backup("backup_1", 0.0, environment="production")

    monkeypatch.setattr("dcops.operations.backup.show_backup", show)
    monkeypatch.setattr("dcops.operations.rollback.rollback", fake_deploy(seen))
    assert inside("rollback", "backup_1", "--yes") == 0
    assert (seen[0].environment, seen[0].backup) == ("production", "backup_1")
    assert inside("rollback", "dev") == 7
    assert "did you mean dcops rollback --env dev?" in capsys.readouterr().err
    assert inside("rollback", "other") == 7


def test_a_damaged_backup_is_no_environment(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    damaged = Backup("backup_1", 0.0, environment="", damaged="its manifest is damaged")
    monkeypatch.setattr("dcops.operations.backup.show_backup", lambda _world, _identity: damaged)
    assert inside("rollback", "backup_1") == 6
    error = capsys.readouterr().err
    assert "DC-BACKUP-CORRUPT" in error
    assert "its manifest is damaged" in error


def test_a_negative_value_is_a_value_and_the_error_is_about_its_range(
    inside: Callable[..., int], capsys: Capture
) -> None:
    for words in (("thinking_budget", "-5", "--env", "dev"), ("--env", "dev", "thinking_budget", "-5")):
        assert inside("toggle", "set", *words) == 2
        error = capsys.readouterr().err
        assert "DC-TOGGLE-RANGE" in error
        assert "1024" in error
    assert inside("toggle", "set", "api_model", "--", "-x", "--env") == 2
    assert "DC-USAGE" in capsys.readouterr().err
    assert inside("toggle", "set", "api_model", "-x") == 2
    assert "No such option" in capsys.readouterr().err
    assert inside("toggle", "set", "thinking_budget", "5000", "--enf", "dev") == 2
    assert "--env" in capsys.readouterr().err


def test_toggle_set_says_who_follows(inside: Callable[..., int], monkeypatch: Patch, capsys: Capture) -> None:
    report = ToggleReport("dev", 7, {"a": [None, False]}, (Acknowledgement("i1", 12),), ("i0",))
    monkeypatch.setattr("dcops.operations.toggles.set_toggle", lambda *_a, **_k: report)
    assert inside("toggle", "set", "a", "false") == 0
    out = capsys.readouterr().out
    for expected in ("false", "generation 7", "i1 in 12 ms", "i0"):
        assert expected in out
    assert inside("toggle", "set", "a", "false", "--json") == 0
    assert json.loads(capsys.readouterr().out)["acknowledged"] == [{"instance": "i1", "milliseconds": 12}]


def test_toggle_kill_names_what_is_off(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    asked: list[tuple[Any, ...]] = []

    def kill(_world: Any, *words: str, reason: str) -> ToggleReport:
        asked.append((*words, reason))
        return ToggleReport("dev", 8, {"take_turns": [None, False]}, (Acknowledgement("i1", 12),))

    monkeypatch.setattr("dcops.operations.kill.kill", kill)
    assert inside("toggle", "kill") == 0
    assert "take_turns" in capsys.readouterr().out
    assert inside("toggle", "kill", "use_xml_prompts", "--reason", "odd", "--json") == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "dcops.toggle.kill/1"
    assert asked == [("dev", "", ""), ("dev", "use_xml_prompts", "odd")]


def test_toggle_kill_exits_9_where_nobody_follows(inside: Callable[..., int], monkeypatch: Patch) -> None:
    def late(*_: Any, **__: Any) -> None:
        raise NotAcknowledged("DC-NOT-ACKNOWLEDGED", "i1 did not acknowledge it")

    monkeypatch.setattr("dcops.operations.kill.kill", late)
    assert inside("toggle", "kill") == 9


def test_toggle_list_tells_the_rules(inside: Callable[..., int], monkeypatch: Patch, capsys: Capture) -> None:
    row = ToggleRow("a", "integer", 3, 5, "default", "live", "A.", needs="b", less_than="c")
    monkeypatch.setattr("dcops.operations.toggles.list_toggles", lambda *_: [row])
    assert inside("toggle", "list") == 0
    assert "A. Needs b. Less than c." in capsys.readouterr().out


def test_toggle_list_marks_what_differs_and_what_drifts(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    rows = [
        ToggleRow("a", "integer", 3, 5, "toggles.yaml", "live", "A."),
        ToggleRow("b", "boolean", True, True, "default", "next-turn", "B.", drift=False),
    ]
    monkeypatch.setattr("dcops.operations.toggles.list_toggles", lambda *_: rows)
    assert inside("toggle", "list", "--env", "dev") == 0
    out = capsys.readouterr().out
    assert "3 *" in out
    assert "b is false in toggles.yaml" in out
    monkeypatch.setattr("dcops.operations.toggles.list_toggles", lambda *_: [])
    assert inside("toggle", "list", "dev", "--json") == 0
    assert json.loads(capsys.readouterr().out)["toggles"] == []


def test_toggle_set_without_a_deployment_writes_the_file(
    inside: Callable[..., int], project: Path, capsys: Capture
) -> None:
    assert inside("toggle", "set", "thinking_budget", "5000") == 0
    assert "nothing is deployed" in capsys.readouterr().out
    assert "thinking_budget: 5000" in (project / "environments/dev/toggles.yaml").read_text()
    assert inside("toggle", "get", "thinking_budget") == 0
    assert capsys.readouterr().out == "5000\n"
    assert inside("toggle", "unset", "thinking_budget") == 0
    assert inside("toggle", "validate") == 0
    assert "dev, production" in capsys.readouterr().out


def test_backups_are_listed_newest_first_and_an_empty_list_is_one(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    assert inside("backup", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"schema": "dcops.backup.list/1", "backups": []}
    made = [Backup("backup_1", 1.0, environment="dev"), Backup("backup_2", 2.0, damaged="torn")]
    monkeypatch.setattr("dcops.operations.backup.list_backups", lambda *_: made)
    assert inside("backup", "list") == 0
    out = capsys.readouterr().out
    assert out.index("backup_2") < out.index("backup_1")
    assert "damaged: torn" in out
    monkeypatch.setattr("dcops.operations.backup.show_backup", lambda *_: made[0])
    assert inside("backup", "show", "backup_1") == 0
    assert "dcops rollback backup_1 --env dev" in capsys.readouterr().out


def verification(outcome: Any) -> VerificationReport:
    check = CheckResult("smoke.ready", "smoke", outcome, 0.1, "expected 200\ngot 503" * (outcome != "passed"))
    return VerificationReport("dev", "a" * 64, (SuiteReport("smoke", (check,)),), 1.0)


@pytest.mark.parametrize(
    ("outcome", "code", "says"),
    [
        ("passed", 0, "PASS"),
        ("failed", 5, "got 503"),
        ("error", 5, "INCONCLUSIVE"),
        ("skipped", 5, "skipped"),
    ],
)
def test_verify_is_exit_5_unless_everything_passed(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture, outcome: str, code: int, says: str
) -> None:
    monkeypatch.setattr("dcops.operations.verify.verify", lambda *_: verification(outcome))
    assert inside("verify", "dev", "--suite", "smoke") == code
    out = capsys.readouterr().out
    assert says in out
    assert ("--only ready" in out.replace("'", "")) is (outcome in {"failed", "error"})
    assert inside("verify", "dev", "--json") == code
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["schema"], last["type"]) == ("dcops.verify/1", "result")


def test_init_writes_a_project_once(tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "new"
    assert run(["init", str(target), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert str(target / "environments/dev/environment.yaml") in document["files"]
    assert run(["init", str(target)]) == 6
    assert run(["status", "--project", str(target)]) == 0


def test_doctor_fails_only_by_a_failure(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    from dcops.core.protocols import Finding

    findings = [Finding("disk", "warn", "little is free", "make room")]
    monkeypatch.setattr("dcops.operations.doctor.doctor", lambda *_: findings)
    assert inside("doctor") == 0
    assert "make room" in capsys.readouterr().out
    findings.append(Finding("port", "fail", "taken", "free it"))
    assert inside("doctor", "--json") == 6
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_following_logs_is_lines_and_then_a_result(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    from dcops.operations.logs import Line, Logs

    def interrupted() -> Any:
        yield Line("i1", "one")
        yield Line("i2", "two")
        raise KeyboardInterrupt

    monkeypatch.setattr("dcops.operations.logs.read_logs", lambda *_a, **_k: Logs("i1", interrupted()))
    assert inside("logs", "dev", "-f", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("line") for line in lines] == ["one", "two", None]
    assert [line["instance"] for line in lines] == ["i1", "i2", "i2"]
    assert lines[-1] | {"type": "result", "count": 2} == lines[-1]
    found = Logs("i1", iter([Line("i1", "one")]))
    monkeypatch.setattr("dcops.operations.logs.read_logs", lambda *_a, **_k: found)
    assert inside("logs", "dev") == 0
    assert capsys.readouterr().out == "one\n"


def test_logs_since_a_moment_or_of_the_candidate(
    inside: Callable[..., int], monkeypatch: Patch, capsys: Capture
) -> None:
    from dcops.operations.logs import Logs

    asked: list[dict[str, Any]] = []

    def read_logs(*_: Any, **words: Any) -> Logs:
        asked.append(words)
        return Logs("i1", iter(()))

    monkeypatch.setattr("dcops.operations.logs.read_logs", read_logs)
    for words in ((), ("--since", "2026-11-21T10:00"), ("--since", "2026-11-21T11:00+01:00", "--lines", "5")):
        assert inside("logs", "dev", *words) == 0
    assert [(each["lines"], each["since"]) for each in asked] == [
        (100, None),
        (None, 1795255200.0),
        (5, 1795255200.0),
    ]
    assert inside("logs", "dev", "--since", "10m", "--candidate") == 0
    assert asked[-1]["instance"] == "candidate"
    assert abs(time.time() - 600 - asked[-1]["since"]) < 60
    assert inside("logs", "dev", "--since", "yesterday") == 2
    assert "2026-11-21T10:00" in capsys.readouterr().err
    assert inside("logs", "dev", "--candidate", "--instance", "i1") == 2


@pytest.mark.parametrize(
    ("words", "instance", "command"),
    [
        (["dev", "ls", "-la", "--json"], None, ["ls", "-la", "--json"]),
        (["dev", "--instance", "i1", "ls", "--instance", "x"], "i1", ["ls", "--instance", "x"]),
        (["--instance", "i1", "dev", "ls", "--", "-x"], "i1", ["ls", "--", "-x"]),
        (["dev", "--", "-c", "x"], None, ["-c", "x"]),
        (["--env", "dev", "ls", "-l"], None, ["ls", "-l"]),
    ],
)
def test_exec_leaves_the_words_of_the_command_alone(
    project: Path,
    monkeypatch: Patch,
    words: list[str],
    instance: str | None,
    command: list[str],
) -> None:
    asked: list[Any] = []

    def execute(_world: Any, environment: str, command: Any, *, instance: str | None, tty: bool) -> int:
        asked.append((environment, list(command), instance, tty))
        return 42

    monkeypatch.setattr("dcops.operations.exec.execute", execute)
    assert run(["--project", str(project), "exec", *words]) == 42
    assert asked == [("dev", command, instance, False)]


def test_exec_has_no_json_and_needs_a_command(project: Path, capsys: Capture) -> None:
    def inside(*words: str) -> int:
        return run(["--project", str(project), *words])

    for words in (["dev", "--json", "ls"], ["--json", "dev", "ls"]):
        assert inside("exec", *words) == 2
        assert json.loads(capsys.readouterr().out)["code"] == "DC-USAGE"
    for words in ([], ["dev"], ["--instance", "i1", "dev"]):
        assert inside("exec", *words) == 2
        assert "an environment and a command" in capsys.readouterr().err
    assert inside("exec", "dev", "ls") == 6


def test_sessions_are_listed(inside: Callable[..., int], agent: Any, capsys: Capture) -> None:
    assert inside("sessions", "dev") == 0
    out = capsys.readouterr().out
    assert "s1" in out
    assert "2026-11-20 00:00:00" in out
    assert agent.asked == ["GET /v1/sessions"]
