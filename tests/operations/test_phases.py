"""A phased rollout: one toggle a deployment, each with a record and an undo of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.core.deployment import deployments
from dcops.operations.rollback import RollbackRequest, rollback
from dcops.operations.toggles import set_toggle

from .conftest import agree

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = pytest.mark.slow


def test_each_phase_has_its_record_and_its_undo(site: Site) -> None:
    site.deploy(sets={"polite": "false", "speed": "1"}, reason="phase 0")
    serving = site.look().serving
    for number, phase in enumerate(({"polite": "true"}, {"speed": "3"}), start=1):
        done = site.deploy(sets=phase, reason=f"phase {number}")
        assert done.deployment is not None
        assert set(done.deployment.toggles_set) == set(phase)
    current = site.look()
    assert current.serving == serving, "a toggle starts nothing anew"
    assert [made.number for made in deployments(current.entries)] == [1, 2, 3]
    assert [entry.reason for entry in current.entries] == ["phase 0", "phase 1", "phase 2"]

    rollback(site.world, RollbackRequest("dev"), agree)
    assert site.look().toggles.values == {"polite": True, "speed": 1}
    rollback(site.world, RollbackRequest("dev"), agree)
    assert site.look().toggles.values == {"polite": False, "speed": 1}
    assert site.look().serving == serving


def test_what_was_flipped_since_a_phase_stays(site: Site) -> None:
    site.deploy(sets={"speed": "1"})
    site.deploy(sets={"polite": "false"})
    set_toggle(site.world, "dev", "speed", "9")
    rollback(site.world, RollbackRequest("dev"), agree)
    assert site.look().toggles.values == {"polite": True, "speed": 9}
