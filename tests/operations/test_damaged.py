"""Records that a disk or a person has damaged: named, set aside by repair, and nothing stops for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.errors import CheckFailed, PreconditionMissing
from dcops.operations.damaged import PARSERS, SUFFIX
from dcops.operations.doctor import doctor
from dcops.operations.repair import repair
from dcops.operations.status import status
from dcops.records import history

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow

TORN = b'{"format": 1, "x'
DAMAGES = (b"", TORN, TORN + b"\n", b"[]\n", b"{}\n", b"null\n", b"\xff\xfe\n")


def looks_damaged(site: Site) -> bool:
    """Whether a look says that a record is damaged, and by what it is mended."""
    try:
        site.look()
    except PreconditionMissing as error:
        return error.code == "DC-STATE-DAMAGED" and "doctor --repair" in error.do
    return False


@pytest.mark.parametrize("path", sorted(PARSERS))
def test_a_damaged_record_is_set_aside_and_what_follows_mended(site: Site, path: str) -> None:
    site.deploy()
    served = site.look()
    for damage in DAMAGES:
        file = site.root / ".dcops" / "dev" / "control" / path
        file.write_bytes(damage)
        looks_damaged(site)
        doctor(site.world, "dev")
        status(site.world, "dev")
        repair(site.world, "dev", lambda _drift: False)
        assert not looks_damaged(site)
        file.with_name(file.name + SUFFIX).unlink(missing_ok=True)
        now = site.look()
        assert now.serving == served.serving
        assert now.toggles.values == served.toggles.values
        assert now.toggles.generation >= served.toggles.generation


def test_a_damaged_lease_is_nobodys(site: Site) -> None:
    site.deploy()
    for damage in DAMAGES:
        (site.root / ".dcops" / "dev" / "control" / "records" / "lease.json").write_bytes(damage)
        assert site.world.open("dev").lock.holder() is None
        with site.world.open("dev").lock.acquire("test"):
            pass


def test_repair_keeps_the_tokens_of_what_serves_when_its_record_is_damaged(site: Site) -> None:
    site.deploy()
    record = site.look().record
    assert record is not None
    control = site.root / ".dcops" / "dev" / "control"
    (control / "records" / "instances" / f"{record.id}.json").write_bytes(TORN)
    repair(site.world, "dev", lambda _drift: False)
    assert (control / record.gateway).exists()
    assert (control / record.operator).exists()
    assert site.serves()


def test_of_a_damaged_history_the_other_lines_stay_and_verify_says_so(site: Site) -> None:
    first = site.deploy().deployment
    site.edit("X = 1")
    second = site.deploy().deployment
    file = site.root / ".dcops" / "dev" / "control" / history.PATH
    one, two = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(one + b"\xff\n" + two)
    assert looks_damaged(site)
    repair(site.world, "dev", lambda _drift: False)
    now = site.look()
    assert [entry.deployment for entry in now.entries] == [first, second]
    assert now.deployment == second
    assert file.with_name(file.name + SUFFIX).read_bytes() == one + b"\xff\n" + two
    file.write_bytes(b"lost\n" + two)
    repair(site.world, "dev", lambda _drift: False)
    with pytest.raises(CheckFailed):
        site.world.open("dev").history.verify()
    assert site.deploy().result == "unchanged"
