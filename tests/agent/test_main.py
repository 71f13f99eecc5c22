"""The command `python -m dcops.agent`: alone, and when it cannot start."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from dcops.agent.journal.migrations import MIN_READER, SCHEMA

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "dcops.agent"]
BARE = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC", "DCOPS"))}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=BARE | variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    toggles = tmp_path / "toggles.json"
    toggles.write_text('{"max_tokens": 40000}')
    command = [*COMMAND, "--toggles", str(toggles), "--listen", "tcp:127.0.0.1:0"]
    command += ["--state", str(tmp_path / "state"), "--workspace", str(tmp_path)]
    environment = BARE | {"ANTHROPIC_API_KEY": "a key", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_alone_it_makes_a_token_and_follows_its_file(alone: subprocess.Popen[str], tmp_path: Path) -> None:
    assert alone.stdout
    url = alone.stdout.readline().removeprefix("Listening on ").strip()
    token = alone.stdout.readline().removeprefix("Token: ").strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as http:
        deadline = time.monotonic() + 30
        while http.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert http.get("/version", headers={"Authorization": ""}).status_code == 401
        assert http.get("/v1/instance").json()["role_acknowledged"] == "serving"
        assert http.get("/v1/toggles").json()["values"]["max_tokens"] == 40000
        (tmp_path / "toggles.json").write_text('{"max_tokens": 50000}')
        while http.get("/v1/toggles").json()["values"]["max_tokens"] != 50000:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    alone.send_signal(signal.SIGINT)
    assert alone.stdout.read() == ""
    assert alone.wait(10) == 0
    assert not list(tmp_path.glob("dcops-agent-*"))


def test_without_its_variables_it_says_what_to_do() -> None:
    ended = run()
    assert ended.returncode == 78
    assert "DCOPS_LISTEN" in ended.stderr
    assert "--toggles" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_alone_it_needs_a_key(tmp_path: Path) -> None:
    ended = run("--toggles", str(tmp_path / "t.json"))
    assert ended.returncode == 78
    assert "ANTHROPIC_API_KEY" in ended.stderr


def contract(tmp_path: Path, **variables: str) -> dict[str, str]:
    return {
        "DCOPS_LISTEN": f"unix:{tmp_path}/s",
        "DCOPS_CONTROL_DIR": str(tmp_path),
        "DCOPS_STATE_DIR": str(tmp_path / "state"),
        "DCOPS_WORKSPACE": str(tmp_path),
        "DCOPS_RELEASE": "r",
        "DCOPS_INSTANCE": "i",
        "DCOPS_ENVIRONMENT": "e",
        "ANTHROPIC_API_KEY": "k",
    } | variables


def test_it_says_when_it_cannot_listen(tmp_path: Path) -> None:
    ended = run(**contract(tmp_path, DCOPS_LISTEN="unix:/no/such/directory/s"))
    assert ended.returncode == 78
    assert "cannot start" in ended.stderr
    assert "/no/such/directory/s" in ended.stderr


def test_it_says_when_the_journal_is_of_a_newer_version(tmp_path: Path) -> None:
    from dcops.agent.journal.journal import Journal

    journal = Journal.open(tmp_path / "state", "other")
    with journal._store.transaction() as database:
        database.execute("UPDATE about SET value = '99' WHERE key = 'min_reader'")
    journal.close()
    ended = run(**contract(tmp_path))
    assert ended.returncode == 65
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert (line["event"], line["instance"], line["level"]) == ("journal.refused", "i", "critical")
    assert "99" in line["reason"]
    migrated = run("--migrate", DCOPS_STATE_DIR=str(tmp_path / "state"))
    assert (migrated.returncode, migrated.stdout) == (3, "")
    assert "99" in migrated.stderr


@pytest.mark.parametrize("damage", ["not a database", "a page"])
def test_it_says_when_the_journal_is_damaged(tmp_path: Path, damage: str) -> None:
    from dcops.agent.journal.journal import Journal

    Journal.open(tmp_path / "state", "other").close()
    file = tmp_path / "state" / "journal.db"
    content = file.read_bytes()
    file.write_bytes(b"x" * 5000 if damage == "not a database" else content[:100] + bytes(len(content) - 100))
    ended = run(**contract(tmp_path, ANTHROPIC_API_KEY="a key"))
    assert ended.returncode == 65
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert f"{file} is damaged" in line["reason"]
    assert "restore a backup" in line["reason"]
    migrated = run("--migrate", DCOPS_STATE_DIR=str(tmp_path / "state"))
    assert (migrated.returncode, migrated.stdout) == (1, "")
    assert "restore a backup" in migrated.stderr


def test_migrating_makes_a_journal_and_does_nothing_to_one_that_is_there(tmp_path: Path) -> None:
    before = 0
    for _ in range(2):
        migrated = run("--migrate", DCOPS_STATE_DIR=str(tmp_path / "state"))
        assert (migrated.returncode, migrated.stderr) == (0, "")
        assert json.loads(migrated.stdout) == {"from": before, "to": SCHEMA, "min_reader": MIN_READER}
        before = SCHEMA
    assert run("--migrate", "--state", str(tmp_path / "own")).returncode == 0
    assert (tmp_path / "own" / "journal.db").exists()


@pytest.mark.slow
def test_it_runs_as_the_package_agent_without_dcops(tmp_path: Path) -> None:
    """As in a build: the directory alone on the path, under its own name."""
    shutil.copytree(
        ROOT / "dcops" / "agent", tmp_path / "agent", ignore=shutil.ignore_patterns("__pycache__")
    )
    ended = subprocess.run(
        [sys.executable, "-m", "agent"],
        cwd=tmp_path,
        env=BARE,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 78
    assert "DCOPS_LISTEN" in ended.stderr


def test_the_sdk_is_not_imported_before_it_is_asked_for() -> None:
    program = (
        "import sys; import dcops.agent.__main__;"
        "print([m for m in ('anthropic', 'jsonschema', 'httpx2', 'ag_ui', 'pydantic') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stdout.strip() == "[]", ended.stderr


def test_the_lock_pins_everything_by_hash_and_names_no_address() -> None:
    lock = (ROOT / "dcops" / "agent" / "requirements.lock").read_text()
    assert "://" not in lock
    entries = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(entries) > 10
    assert all("==" in line for line in entries)
    blocks = re.split(r"\n(?=\S)", lock)
    assert all("--hash=sha256:" in block for block in blocks if block and not block.startswith("#"))


def test_the_implementation_says_how_it_is_run() -> None:
    import yaml

    told = yaml.safe_load((ROOT / "dcops" / "agent" / "implementation.yaml").read_text())
    assert told["name"] == "agent"
    assert told["command"] == ["python", "-m", "agent"]
    assert told["roles"] is True
    migrate = ["python", "-m", "agent", "--migrate"]
    assert told["journal"] == {"schema": SCHEMA, "min_reader": MIN_READER, "migrate": migrate}
    for name in ("lock", "toggles"):
        assert (ROOT / "dcops" / "agent" / told[name]).is_file()
