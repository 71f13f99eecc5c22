from __future__ import annotations

from pathlib import Path

import pytest

from dcops.core.environment import Environment, Project
from dcops.core.protocols import Limits
from dcops.environments import EnvironmentFiles, Environments
from dcops.errors import NotFound, PreconditionMissing

REPOSITORY = Path(__file__).resolve().parents[1]
SCHEMA = {"properties": {"budget": {"type": "integer", "minimum": 1, "default": 5}}}


@pytest.fixture
def environments(tmp_path: Path) -> Environments:
    for name in ("dev", "production"):
        directory = tmp_path / "environments" / name
        directory.mkdir(parents=True)
        (directory / "environment.yaml").write_text("engine: process\n")
        (directory / "toggles.yaml").write_text("# values only\nbudget: 7  # enough\n")
    return Environments(Project(tmp_path, "project", "00000000"))


def write(environments: Environments, text: str, file: str = "environment.yaml") -> None:
    (environments.project.root / "environments" / "dev" / file).write_text(text)


def refusal(environments: Environments) -> PreconditionMissing:
    with pytest.raises(PreconditionMissing) as caught:
        environments.load("dev")
    assert caught.value.code == "DC-ENVIRONMENT-INVALID"
    return caught.value


def test_ours_are_valid() -> None:
    ours = Environments(Project(REPOSITORY, "ours", "00000000"))
    dev, production = ours.load("dev"), ours.load("production")
    assert (dev.engine, dev.model, dev.protected) == ("auto", "scripted", False)
    assert (production.engine, production.model, production.protected) == ("docker", "api", True)
    assert dev.implementation == REPOSITORY / "dcops" / "agent"
    assert dev.logs != production.logs


def test_defaults(environments: Environments) -> None:
    dev = environments.load("dev")
    root = environments.project.root
    assert dev == Environment(
        name="dev",
        engine="process",
        implementation=REPOSITORY / "dcops" / "agent",
        logs=root / ".dcops" / "dev" / "logs",
        backups=root / "backups",
        toggles={"budget": 7},
    )


def test_everything_is_read(environments: Environments) -> None:
    root = environments.project.root
    write(
        environments,
        """
engine: docker
implementation: agent
model: api
key: file:secrets/key
api_url: http://127.0.0.1:9000/base
protected: true
port: 8100
bind: 0.0.0.0
hosts: [agent.example]
isolation: none
base_image: python:3.12
limits: {memory: 512M, cpus: 0.5, pids: 100, turns: 3, disk_free: 1G}
sessions: {keep: 30d}
variables: {TZ: UTC}
paths: {logs: logs, backups: /srv/backups}
verify: {suites: [smoke]}
timeouts: {ready: 2m, drain: 5, warm: 1.5h}
""",
    )
    dev = environments.load("dev")
    assert dev.key == f"file:{root}/secrets/key"
    assert (dev.port, dev.bind, dev.hosts) == (8100, "0.0.0.0", ("agent.example",))
    assert dev.limits == Limits(512 << 20, 0.5, 100, turns=3, disk_free=1 << 30)
    assert dev.sessions_keep == 30 * 86400
    assert (dev.ready_timeout, dev.drain_timeout, dev.warm_for) == (120, 5, 5400)
    assert (dev.logs, dev.backups) == (root / "logs", Path("/srv/backups"))
    assert (dev.implementation, dev.suites, dev.variables) == (root / "agent", ("smoke",), {"TZ": "UTC"})


@pytest.mark.parametrize(
    ("text", "line", "path", "words"),
    [
        ("engine: process\nprot: 1\n", 2, "prot", "did you mean port?"),
        ("engine: dokcer\n", 1, "engine", "did you mean docker?"),
        ("engine: process\nport: 70000\n", 2, "port", "auto, or a port from 1 to 65535"),
        ("engine: process\nport: any\n", 2, "port", "auto, or a port"),
        ("engine: process\nprotected: 1\n", 2, "protected", "true or false"),
        ("engine: process\nlimits:\n  memory: lots\n", 3, "limits.memory", "a size such as 512M"),
        ("engine: process\nlimits:\n  cpu: 1\n", 3, "limits.cpu", "did you mean cpus?"),
        ("engine: process\nlimits: {turns: 0}\n", 2, "limits.turns", "a whole number from 1"),
        ("engine: process\nlimits: {disk_free: lots}\n", 2, "limits.disk_free", "a size such as 256M"),
        ("engine: process\nsessions: {keep: long}\n", 2, "sessions.keep", "a time such as 30d"),
        ("engine: process\nsessions: {keep: 0s}\n", 2, "sessions.keep", "would keep no session"),
        ("engine: process\nsessions: 30d\n", 2, "sessions", "a mapping"),
        ("engine: process\ntimeouts: {ready: soon}\n", 2, "timeouts.ready", "a time such as"),
        ("engine: process\nvariables: {A: 1}\n", 2, "variables.A", "text in quotes"),
        ("engine: process\nvariables: {DCOPS_LISTEN: x}\n", 2, "variables.DCOPS_LISTEN", "set by dcops"),
        ("engine: process\nvariables: {A B: x}\n", 2, "variables.A B", "no name"),
        ("engine: process\nmodel: api\n", 2, "model", "key must say where"),
        ("engine: process\nbind: 1.2.3\n", 2, "bind", "no IP address"),
        ("engine: process\nbind: here\n", 2, "bind", "an IP address"),
        ("engine: process\nhosts: here\n", 2, "hosts", "a list"),
        ("engine: docker\negress: here\n", 2, "egress", "a list"),
        ("engine: docker\negress: ['*.example.org']\n", 2, "egress.0", "a host, or host:port"),
        (
            "engine: docker\negress: [ok.example, 'https://a.example']\n",
            2,
            "egress.1",
            "a host, or host:port",
        ),
        ("engine: docker\negress: ['a.example:']\n", 2, "egress.0", "a host, or host:port"),
        ("engine: docker\negress: ['a.example:x']\n", 2, "egress.0", "a host, or host:port"),
        ("engine: docker\negress: ['a.example:0']\n", 2, "egress.0", "no port from 1 to 65535"),
        ("engine: docker\negress: ['a.example:70000']\n", 2, "egress.0", "no port from 1 to 65535"),
        ("engine: docker\negress: ['a b.example']\n", 2, "egress.0", "a host, or host:port"),
        ("model: scripted\n", 1, "", "engine is missing"),
        ("", 1, "", "engine is missing"),
        ("- engine\n", 1, "", "a mapping"),
        ("engine: process\nport: [\n", 3, "", "not valid YAML"),
        ("engine: process\nengine: docker\n", 2, "engine", "written twice"),
    ],
)
def test_a_bad_file_is_named_with_line_path_and_suggestion(
    environments: Environments, text: str, line: int, path: str, words: str
) -> None:
    write(environments, text)
    error = refusal(environments)
    assert words in error.what
    assert error.what.startswith(f"environments/dev/environment.yaml:{line}: ")
    assert (error.detail["line"], error.detail["path"]) == (line, path)
    assert error.exit_code == 6


def test_a_key_in_the_file_is_refused_and_never_shown(environments: Environments) -> None:
    write(environments, "engine: process\nkey: sk-ant-secret\n")
    error = refusal(environments)
    assert "never the key itself" in error.what
    assert "sk-ant-secret" not in str(error.to_json())


def test_faults_of_both_files_come_at_once(environments: Environments) -> None:
    write(environments, "engine: x\nprot: 1\n")
    write(environments, "a: 1\na: 2\n", "toggles.yaml")
    assert [row["file"].rpartition("/")[2] for row in refusal(environments).detail["faults"]] == [
        "environment.yaml",
        "environment.yaml",
        "toggles.yaml",
    ]


@pytest.mark.parametrize("file", ["environment.yaml", "toggles.yaml"])
def test_a_missing_file_is_bad(environments: Environments, file: str) -> None:
    (environments.project.root / "environments" / "dev" / file).unlink()
    assert f"environments/dev/{file}" in refusal(environments).what


def test_an_unknown_environment_is_not_found(environments: Environments) -> None:
    (environments.project.root / "environments" / "base").mkdir()
    assert environments.names() == ["dev", "production"]
    with pytest.raises(NotFound) as caught:
        environments.load("prodution")
    assert caught.value.why == "did you mean production?"
    assert caught.value.detail["known"] == ["dev", "production"]


@pytest.mark.parametrize("name", ["..", "../environments/dev", "", "dev/", "Dev"])
def test_a_name_is_no_path(environments: Environments, name: str) -> None:
    with pytest.raises(NotFound):
        environments.load(name)


def test_toggles_are_held_against_a_schema(environments: Environments) -> None:
    environments.check_toggles("dev", SCHEMA)
    write(environments, "# values\nbudget: 0\n", "toggles.yaml")
    with pytest.raises(PreconditionMissing) as caught:
        environments.check_toggles("dev", SCHEMA)
    assert caught.value.what.startswith("environments/dev/toggles.yaml:2: budget must be")


def test_setting_toggles_changes_their_bytes_only(environments: Environments) -> None:
    file = environments.project.root / "environments" / "dev" / "toggles.yaml"
    file.chmod(0o640)
    environments.set_toggles("dev", {"budget": -5, "new": True})
    assert file.read_text() == "# values only\nbudget: -5  # enough\nnew: true\n"
    assert file.stat().st_mode & 0o777 == 0o640
    environments.set_toggles("dev", {}, unset=["budget", "never_there"])
    assert file.read_text() == "# values only\nnew: true\n"
    assert environments.load("dev").toggles == {"new": True}
    assert sorted(each.name for each in file.parent.iterdir()) == ["environment.yaml", "toggles.yaml"]


def test_nothing_is_changed_when_one_of_several_cannot_be(environments: Environments) -> None:
    text = "budget: 7\na: &x 1\nb: *x\n"
    write(environments, text, "toggles.yaml")
    with pytest.raises(PreconditionMissing) as caught:
        environments.set_toggles("dev", {"budget": 8, "a": 2})
    assert caught.value.code == "DC-TOGGLES-NOT-EDITABLE"
    assert environments.read("dev").toggles.decode() == text


def test_files_are_put_back_byte_for_byte(environments: Environments) -> None:
    files = EnvironmentFiles(b"engine: docker\r\n", b"# none\n")
    environments.write("dev", files)
    assert environments.read("dev") == files


@pytest.mark.parametrize(
    ("others", "after", "said"),
    [
        ({"dev": ""}, "staging", "there is no environment staging"),
        ({"dev": ""}, "prod", "leads in a circle: prod after prod"),
        ({"dev": "after: prod\n"}, "dev", "leads in a circle: prod after dev after prod"),
        (
            {"dev": "after: lab\n", "lab": "after: dev\n"},
            "dev",
            "leads in a circle: prod after dev after lab after dev",
        ),
    ],
)
def test_after_that_leads_nowhere_or_back_is_refused(
    environments: Environments, others: dict[str, str], after: str, said: str
) -> None:
    for name, text in {**others, "prod": f"after: {after}\n"}.items():
        directory = environments.project.root / "environments" / name
        directory.mkdir(exist_ok=True)
        (directory / "environment.yaml").write_text(f"engine: process\n{text}")
        (directory / "toggles.yaml").write_text("")
    with pytest.raises(PreconditionMissing) as caught:
        environments.load("prod")
    [fault] = caught.value.detail["faults"]
    assert (fault["line"], said in str(fault)) == (2, True), fault


def test_after_may_name_another_environment_that_waits_for_none(environments: Environments) -> None:
    directory = environments.project.root / "environments" / "prod"
    directory.mkdir()
    (directory / "environment.yaml").write_text("engine: process\nafter: dev\n")
    (directory / "toggles.yaml").write_text("")
    assert environments.load("prod").after == "dev"
    (environments.project.root / "environments" / "dev" / "environment.yaml").write_text("engine: [\n")
    assert environments.load("prod").after == "dev"


def test_what_users_call_the_agent_by_are_hosts_of_it(environments: Environments) -> None:
    domain = "domain: agent.example.org\nhttps: {port: 8443, issuer: internal}\n"
    write(environments, f"engine: process\nhosts: [a.example]\nbind: 192.0.2.7\n{domain}")
    dev = environments.load("dev")
    assert dev.hosts == ("a.example", "agent.example.org", "192.0.2.7")
    assert dev.https is not None
    assert dev.https.url == "https://agent.example.org:8443"
    assert (dev.https.bind, dev.https.redirect, dev.https.issuer) == ("0.0.0.0", 80, "internal")
    write(environments, "engine: process\nbind: 2001:db8::7\n")
    assert environments.load("dev").hosts == ("[2001:db8::7]",)
    write(environments, "engine: process\nbind: '::'\n")
    assert environments.load("dev").hosts == ()
