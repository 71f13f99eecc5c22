"""An implementation that knows no roles, as ``dcops init`` writes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.operations.lifecycle import restart
from dcops.operations.rollback import RollbackRequest, rollback
from dcops.operations.status import status
from dcops.operations.toggles import set_toggle
from dcops.operations.verify import VerifyRequest, verify

from .conftest import agree

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow


@pytest.fixture
def plain(site: Site) -> Site:
    with (site.root / "little" / "implementation.yaml").open("a") as file:
        file.write("roles: false\n")
    main = site.root / "little" / "__main__.py"
    text = main.read_text().replace("CONTROL = Path", "GIVEN = {}\nCONTROL = Path")
    # Roles are not followed, and toggles are read once.
    text = text.replace(
        "    threading.Thread(target=leave",
        "    GIVEN.update(control('toggles'))\n    threading.Thread(target=leave",
    )
    text = text.replace('    role = control("role")\n', "    return False\n")
    text = text.replace('toggles, role = control("toggles"), ', "toggles, role = GIVEN, ")
    main.write_text(text)
    return site


def test_it_deploys_verifies_and_goes_back(plain: Site) -> None:
    first = plain.deploy()
    plain.edit("X = 1")
    plain.deploy()
    assert len(plain.look().instances) == 2  # the model is one
    assert verify(plain.world, VerifyRequest("dev")).verdict == "pass"
    rollback(plain.world, RollbackRequest("dev"), agree)
    assert first.deployment is not None
    assert plain.serves() == first.deployment.revision.release
    assert plain.leftovers() == []


def test_a_toggle_takes_effect_at_the_next_start_and_status_says_so(plain: Site) -> None:
    plain.deploy()
    report = set_toggle(plain.world, "dev", "polite", "false")
    assert report.at_next_start == (plain.look().serving,)
    assert plain.get()["greeting"] == "hello"
    (row,) = status(plain.world, "dev")
    assert [(drift.kind, drift.do) for drift in row.drift] == [("acknowledged", "dcops restart dev")]
    restart(plain.world, "dev", agree)
    assert plain.get()["greeting"] == "what?"
    assert status(plain.world, "dev")[0].drift == ()


def test_a_deploy_of_toggles_alone_brings_them_into_force(plain: Site) -> None:
    plain.deploy()
    plain.toggles("polite: false\n")
    plain.deploy()
    assert plain.get()["greeting"] == "what?"
