"""Releases that share a session journal: migrations, outages for those that break, and the way back."""

from __future__ import annotations

import json
import re
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.backups.store import BackupRepository
from dcops.core.plan import Plan
from dcops.errors import DcopsError, NotFound, OperationFailed, PreconditionMissing, UsageError
from dcops.operations.backup import create_backup, list_backups, show_backup
from dcops.operations.deploy import DeployReport, DeployRequest, plan
from dcops.operations.lifecycle import start, stop
from dcops.operations.resume import abort, resume
from dcops.operations.rollback import RollbackRequest, plan_rollback, rollback

from .conftest import Site, agree, break_step

if TYPE_CHECKING:
    from dcops.core.backup import Backup

pytestmark = pytest.mark.slow

ADDS = "ALTER TABLE said ADD COLUMN mood TEXT"
BREAKS = "UPDATE said SET text = text || ''"
OUTAGE = ["build", "verify", "stop", "backup", "migrate", "start", "switch", "smoke", "record", "settle"]


def lay(site: Site, *, schema: int = 1, min_reader: int = 1, statement: str = "") -> None:
    """Give the implementation a journal, and its next release a migration."""
    little = site.root / "little"
    text = Path(__file__).with_name("kept.py").read_text()
    text = text.replace("SCHEMA = 1", f"SCHEMA = {schema}").replace("READER = 1", f"READER = {min_reader}")
    (little / "kept.py").write_text(
        f"{text}\n".replace("\n}\n", f"\n    {schema}: {statement!r},\n}}\n", schema > 1)
    )
    told = {"schema": schema, "min_reader": min_reader, "migrate": ["python", "-m", "little.kept"]}
    declared = (little / "implementation.yaml").read_text().partition("journal:")[0]
    (little / "implementation.yaml").write_text(f"{declared}journal: {json.dumps(told)}\n")


@pytest.fixture
def journaled(site: Site) -> Site:
    """Its first release serves, and was told something."""
    main = site.root / "little" / "__main__.py"
    text = main.read_text()
    for old, new in {
        "def main() -> None:\n": "def main() -> None:\n    kept.check()\n",
        '"running_turns": 0,': '"running_turns": 0, "state": kept.state(),',
        'if self.path == "/version":': 'if self.path.startswith("/say/"):\n'
        "            kept.say(self.path[5:])\n"
        '            (Path(os.environ["DCOPS_WORKSPACE"]) / self.path[5:]).touch()\n'
        '        if self.path.startswith("/sa"):\n'
        '            return self.answer(200, {"said": kept.said()})\n'
        '        if self.path == "/version":',
        "from typing import Any\n": "from typing import Any\n\nfrom little import kept\n",
    }.items():
        assert old in text
        text = text.replace(old, new, 1)
    main.write_text(text)
    lay(site)
    site.deploy()
    say(site, "one")
    return site


def say(site: Site, text: str) -> None:
    site.get(f"/say/{text}")


def said(site: Site) -> list[str]:
    found: list[str] = site.get("/said")["said"]
    files = sorted(path.name for path in (site.root / ".dcops/dev/workspace").iterdir())
    assert files == sorted(found), "the workspace is another than the journal"
    return found


def back(site: Site, backup: str | None = None, **request: Any) -> DeployReport:
    return rollback(site.world, RollbackRequest("dev", backup=backup, **request), agree)


def steps(made: Plan | None) -> list[str]:
    assert made is not None
    return [step.id for step in made.steps]


def release(report: DeployReport) -> str:
    assert report.deployment is not None
    return report.deployment.revision.release


def lines(made: Plan | None, begin: str) -> list[str]:
    assert made is not None
    return [line for line in made.changes if line.startswith(begin)]


# What adds


def test_an_additive_migration_runs_before_the_start_and_the_way_back_stays_warm(journaled: Site) -> None:
    first = journaled.serves()
    lay(journaled, schema=2, statement=ADDS)
    planned = plan(journaled.world, DeployRequest("dev"))
    assert steps(planned).index("migrate") < steps(planned).index("start")
    assert lines(planned, "journal") == [
        "journal    1 -> 2 (adds only; the earlier release goes on reading it)"
    ]
    assert lines(planned, "requests") == []
    report = journaled.deploy()
    assert said(journaled) == ["one"]
    returned = back(journaled)
    assert "start" not in steps(returned.plan)
    assert journaled.serves() == first
    say(journaled, "two")
    again = journaled.deploy()
    assert "migrate" not in steps(again.plan)
    assert release(again) == release(report)
    assert said(journaled) == ["one", "two"]


def test_a_release_that_starts_anew_finds_the_journal_of_before(journaled: Site) -> None:
    """Nobody tells of the journal while the environment is stopped; what is recorded must do."""
    lay(journaled, schema=2, statement=ADDS)
    stop(journaled.world, "dev")
    planned = plan(journaled.world, DeployRequest("dev"))
    assert lines(planned, "journal")[0].startswith("journal    1 -> 2")
    journaled.deploy()
    assert said(journaled) == ["one"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_an_additive_migration_is_finished_or_taken_back(
    journaled: Site, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    first = journaled.serves()
    lay(journaled, schema=2, statement=ADDS)
    journaled.crash(monkeypatch, "migrate", after=after)
    say(journaled, "two")
    abort(journaled.world, "dev")
    assert journaled.serves() == first
    journaled.crash(monkeypatch, "start", after=after)
    resume(journaled.world, "dev")
    assert journaled.serves() != first
    assert said(journaled) == ["one", "two"]


def test_a_migration_that_fails_changes_nothing_and_says_why(journaled: Site) -> None:
    first = journaled.serves()
    lay(journaled, schema=2, statement="ALTER TABLE absent ADD COLUMN mood TEXT")
    with pytest.raises(OperationFailed) as caught:
        journaled.deploy()
    assert (caught.value.code, caught.value.cause) == ("DC-MIGRATION-FAILED", "migrate")
    assert "no such table: absent" in caught.value.why
    assert "Traceback" in caught.value.detail["log"][0]
    assert journaled.serves() == first
    assert (said(journaled), journaled.leftovers()) == (["one"], [])


# What breaks


@pytest.fixture
def breaking(journaled: Site) -> Site:
    """The next release cannot go beside the one that serves."""
    lay(journaled, schema=2, min_reader=2, statement=BREAKS)
    return journaled


def test_a_breaking_migration_is_refused_unless_it_is_asked_for(breaking: Site) -> None:
    first = breaking.serves()
    for attempt in (lambda: plan(breaking.world, DeployRequest("dev")), breaking.deploy):
        with pytest.raises(PreconditionMissing) as caught:
            attempt()
        assert caught.value.code == "DC-MIGRATION-BREAKING"
        assert caught.value.do == "dcops deploy dev --breaking"
    assert breaking.serves() == first


def test_a_breaking_one_stops_what_runs_and_its_way_back_takes_the_data_along(breaking: Site) -> None:
    first, old = breaking.serves(), breaking.look().serving
    planned = plan(breaking.world, DeployRequest("dev", breaking=True))
    assert [step for step in steps(planned) if step in OUTAGE] == OUTAGE
    assert lines(planned, "journal") == ["journal    1 -> 2 (the earlier release cannot read it any more)"]
    assert "fail from step 'stop' to step 'switch'" in lines(planned, "requests")[0]
    assert Plan.from_json(json.loads(json.dumps(planned.to_json()))) == planned
    report = breaking.deploy(breaking=True)
    assert said(breaking) == ["one"]
    assert old not in breaking.look().records
    assert show_backup(breaking.world, report.backup).data
    say(breaking, "two")
    with pytest.raises(PreconditionMissing) as caught:
        back(breaking)
    assert caught.value.code == "DC-JOURNAL-NEWER"
    assert caught.value.do.startswith(f"dcops rollback {report.backup} --with-data --env dev")
    with pytest.raises(PreconditionMissing, match="cannot read"):
        back(breaking, report.backup)
    lay(breaking)
    with pytest.raises(PreconditionMissing, match="cannot read"):
        breaking.deploy(breaking=True)
    returned = back(breaking, report.backup, with_data=True)
    assert breaking.serves() == first
    assert said(breaking) == ["one"]
    back(breaking, returned.backup, with_data=True)
    assert said(breaking) == ["one", "two"]


def fail() -> None:
    raise RuntimeError("on purpose")


@pytest.mark.parametrize("step", ["stop", "migrate", "smoke"])
def test_a_failure_within_an_outage_puts_everything_back(
    breaking: Site, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first = breaking.serves()
    break_step(monkeypatch, step, fail, after=True)
    with pytest.raises(OperationFailed) as caught:
        breaking.deploy(breaking=True)
    assert f"{first[:12]} still serves" in caught.value.why
    assert breaking.serves() == first
    assert (said(breaking), breaking.look().unfinished, breaking.leftovers()) == (["one"], None, [])
    monkeypatch.undo()
    breaking.deploy(breaking=True)
    assert said(breaking) == ["one"]


@pytest.mark.parametrize("end", [resume, abort])
@pytest.mark.parametrize("step", ["stop", "backup", "migrate", "start", "switch"])
def test_a_crash_within_an_outage_is_finished_or_taken_back(
    breaking: Site, monkeypatch: pytest.MonkeyPatch, step: str, end: Any
) -> None:
    first = breaking.serves()
    breaking.crash(monkeypatch, step, after=True, operation=lambda: breaking.deploy(breaking=True))
    with pytest.raises(PreconditionMissing) as caught:
        breaking.deploy(breaking=True)
    assert "nothing serves until" in caught.value.why
    end(breaking.world, "dev")
    assert (breaking.serves() == first) is (end is abort)
    assert (said(breaking), breaking.look().unfinished, breaking.leftovers()) == (["one"], None, [])


def test_after_a_reboot_within_an_outage_the_earlier_release_stays_stopped(
    breaking: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would write what the migration has changed, or what the backup does not have."""
    breaking.crash(monkeypatch, "migrate", after=True, operation=lambda: breaking.deploy(breaking=True))
    old = breaking.look().serving
    breaking.world.open("dev").engine.halt()
    start(breaking.world, "dev")
    assert not breaking.look().runs(old)
    assert resume(breaking.world, "dev").result == "deployed"
    assert said(breaking) == ["one"]


# Data of a backup


@pytest.fixture
def saved(journaled: Site) -> tuple[Site, Backup]:
    """A backup with data, and what was said and released since."""
    backup = create_backup(journaled.world, "dev", with_data=True)
    say(journaled, "two")
    journaled.edit("X = 1")
    (journaled.root / "little" / "more.py").write_text("# more\n")
    journaled.deploy(sets={"speed": "7"})
    return journaled, backup


def test_without_being_asked_for_data_stays_and_the_plan_says_what_changes(
    saved: tuple[Site, Backup],
) -> None:
    site, backup = saved
    planned = plan_rollback(site.world, RollbackRequest("dev", backup=backup.id))
    assert lines(planned, "files") == ["files      1 changed: __main__.py", "files      1 removed: more.py"]
    assert lines(planned, "toggle") == ["toggle     speed: 7 -> (default)"]
    assert re.fullmatch(r"release    [0-9a-f]{12} -> [0-9a-f]{12}", lines(planned, "release")[0])
    assert lines(planned, "data") == ["data       sessions and workspace stay as they are"]
    by_release = plan_rollback(site.world, RollbackRequest("dev"))
    for begin in ("files", "toggle", "release", "data"):
        assert lines(by_release, begin) == lines(planned, begin)
    back(site, backup.id)
    assert said(site) == ["one", "two"]


def test_with_data_everything_is_as_it_was_and_what_came_since_is_in_a_backup(
    saved: tuple[Site, Backup],
) -> None:
    site, backup = saved
    planned = plan_rollback(site.world, RollbackRequest("dev", backup="latest", with_data=False))
    assert planned.source != f"backup:{backup.id}"
    planned = plan_rollback(site.world, RollbackRequest("dev", backup="previous", with_data=True))
    assert (planned.source, planned.options["restore"]) == (f"backup:{backup.id}", backup.id)
    assert "as of 20" in lines(planned, "data")[0]
    report = back(site, backup.id, with_data=True)
    assert said(site) == ["one"]
    assert site.look().toggles.values == {"polite": True}
    assert show_backup(site.world, report.backup).data
    back(site, report.backup, with_data=True)
    assert said(site) == ["one", "two"]


def test_data_goes_back_also_where_the_release_stays(journaled: Site) -> None:
    backup = create_backup(journaled.world, "dev", with_data=True)
    say(journaled, "two")
    first, old = journaled.serves(), journaled.look().serving
    back(journaled, backup.id, with_data=True)
    assert (journaled.serves(), said(journaled)) == (first, ["one"])
    assert journaled.look().serving != old
    assert old not in journaled.look().records


@pytest.mark.parametrize("end", [resume, abort])
@pytest.mark.parametrize("step", ["stop", "restore", "switch"])
def test_a_crash_while_data_goes_back_is_finished_or_taken_back(
    saved: tuple[Site, Backup], monkeypatch: pytest.MonkeyPatch, step: str, end: Any
) -> None:
    site, backup = saved
    serves = site.serves()
    site.crash(monkeypatch, step, after=True, operation=lambda: back(site, backup.id, with_data=True))
    end(site.world, "dev")
    aborted = end is abort
    assert (site.serves() == serves) is aborted
    assert said(site) == (["one", "two"] if aborted else ["one"])
    assert (site.look().unfinished, site.leftovers()) == (None, [])


def test_what_cannot_be_gone_back_to_is_refused_with_nothing_changed(saved: tuple[Site, Backup]) -> None:
    site, backup = saved
    without = next(each.id for each in reversed(list_backups(site.world)) if not each.data)
    serves, entries = site.look().serving, len(site.look().entries)

    def refused(kind: type[DcopsError], code: str, **request: Any) -> None:
        with pytest.raises(kind) as caught:
            back(site, **request)
        assert caught.value.code == code
        assert (site.look().serving, len(site.look().entries)) == (serves, entries)

    refused(PreconditionMissing, "DC-BACKUP-NO-DATA", backup=without, with_data=True)
    refused(UsageError, "DC-USAGE", with_data=True)
    refused(NotFound, "DC-BACKUP-UNKNOWN", backup="backup_20200101_000000", with_data=True)
    content = site.root / "backups" / backup.id / "content.tar.zst"
    data = bytearray(content.read_bytes())
    data[-40] ^= 1
    content.write_bytes(data)
    refused(PreconditionMissing, "DC-BACKUP-CORRUPT", backup=backup.id, with_data=True)
    refused(PreconditionMissing, "DC-BACKUP-CORRUPT", backup=backup.id)
    manifest = site.root / "backups" / backup.id / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"dev"', '"other"'))
    refused(PreconditionMissing, "DC-BACKUP-CORRUPT", backup=backup.id)
    assert said(site) == ["one", "two"]


def test_a_backup_with_data_is_consistent_while_the_instance_writes(journaled: Site, tmp_path: Path) -> None:
    say(journaled, "two")
    backup = create_backup(journaled.world, "dev", with_data=True)
    assert backup.data_bytes > 0
    repository = BackupRepository(journaled.root / "backups")
    restored = repository.extract(backup.id, tmp_path / "out", with_data=True)
    assert restored.data is not None
    with tarfile.open(restored.data) as tar:
        tar.extractall(tmp_path / "state", filter="data")
    with closing(sqlite3.connect(tmp_path / "state" / "state" / "kept.db")) as db:
        assert [text for (text,) in db.execute("SELECT text FROM said")] == ["one", "two"]
    assert list((journaled.root / ".dcops" / "tmp").glob("*state*")) == []
