from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dcops.core.deployment import ToggleState
from dcops.core.protocols import InstanceSpec
from dcops.errors import DcopsError, PreconditionMissing
from dcops.operations import instances
from dcops.operations.current import POINTER
from dcops.operations.doctor import doctor
from dcops.operations.lifecycle import stop
from dcops.operations.repair import repair
from dcops.operations.status import status
from dcops.records import toggles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dcops.operations.drift import Drift
    from dcops.operations.world import Place

    from .conftest import Site

pytestmark = pytest.mark.slow


def never(_drift: Drift) -> bool:
    return False


def always(_drift: Drift) -> bool:
    return True


def drifts(site: Site) -> list[tuple[str, str]]:
    """Kind and remedy of what `status` says, which is what `doctor` says."""
    (row,) = status(site.world, "dev")
    found = [(each.kind, each.remedy) for each in row.drift]
    told = [each.data for each in doctor(site.world, "dev") if each.check == "dev: drift" and each.data]
    assert [(each["kind"], each["remedy"]) for each in told] == found
    return found


def control(site: Site, path: str) -> Path:
    return site.root / ".dcops" / "dev" / path


def serving(site: Site) -> str:
    return site.look().serving


def remove_pointer(site: Site) -> None:
    control(site, "control/current").unlink()


def break_pointer(site: Site) -> None:
    control(site, "control/current").write_text("unix//nowhere\n")


def remove_model_pointer(site: Site) -> None:
    control(site, "control/model").unlink()


def remove_role(site: Site) -> None:
    control(site, f"instances/{serving(site)}/role.json").unlink()


def damage_role(site: Site) -> None:
    control(site, f"instances/{serving(site)}/role.json").write_text("{")


def flip_behind(site: Site) -> None:
    file = control(site, f"instances/{serving(site)}/toggles.json")
    document = json.loads(file.read_text())
    document["values"]["polite"] = False
    file.write_text(json.dumps(document))


def run_ahead(site: Site) -> None:
    file = control(site, f"instances/{serving(site)}/toggles.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"generation": 77}))


def flip_record(site: Site) -> None:
    place = site.world.open("dev")
    place.store.write(toggles.files(ToggleState(site.look().toggles.generation, {"polite": False})))


def remove_toggles(site: Site) -> None:
    control(site, f"instances/{serving(site)}/toggles.json").unlink()


def remove_access(site: Site) -> None:
    control(site, f"instances/{serving(site)}/access.json").unlink()


def remove_gateway_token(site: Site) -> None:
    record = site.look().record
    assert record is not None
    control(site, f"control/{record.gateway}").unlink()


def remove_operator_secret(site: Site) -> None:
    record = site.look().record
    assert record is not None
    control(site, f"control/{record.operator}").unlink()


def leave_a_token(site: Site) -> None:
    control(site, f"control/gateway/api/{'a' * 64}").parent.mkdir(exist_ok=True)
    control(site, f"control/gateway/api/{'a' * 64}").touch()
    control(site, "control/operator/gone").mkdir()
    control(site, f"control/operator/gone/{'b' * 64}").touch()


def leave_a_record(site: Site) -> None:
    place, record = site.world.open("dev"), site.look().record
    assert record is not None
    gone = replace(
        record, id="gone", gateway=f"gateway/scripted/{'c' * 64}", operator=f"operator/gone/{'d' * 64}"
    )
    place.store.write({**gone.files(), "instances/gone/role.json": b"{}"})


def kill_proxy(site: Site) -> None:
    site.world.open("dev").engine._keeper.stop("_proxy", remove=True)  # type: ignore[attr-defined]


def kill_keeper(site: Site) -> None:
    os.kill(int(control(site, "keeper/supervisord.pid").read_text()), signal.SIGKILL)


def end_instance(site: Site) -> None:
    site.world.open("dev").engine.stop(serving(site), remove=False)


def edit_proxy_record(site: Site) -> None:
    file = control(site, "control/records/proxy.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"bind": "127.9.9.9"}))


def edit_port(site: Site) -> None:
    place = site.world.open("dev")
    place.local.decide(replace(place.choice, port=place.choice.port + 1))


def remove_build(site: Site) -> None:
    record = site.look().record
    assert record is not None
    shutil.rmtree(site.root / ".dcops" / "builds" / record.revision.build)


DERIVED: list[tuple[Callable[[Site], None], set[str]]] = [
    (remove_pointer, {"pointer"}),
    (break_pointer, {"pointer"}),
    (remove_role, {"role"}),
    (damage_role, {"role"}),
    (flip_behind, {"toggles"}),
    (run_ahead, {"toggles"}),
    (flip_record, {"toggles"}),
    (remove_toggles, {"toggles"}),
    (remove_access, {"access"}),
    (remove_gateway_token, {"tokens"}),
    (remove_operator_secret, {"tokens"}),
    (leave_a_token, {"tokens"}),
    (leave_a_record, {"leftover"}),
    (kill_proxy, {"proxy"}),
    (kill_keeper, {"proxy", "instance"}),
    (end_instance, {"instance"}),
    (edit_proxy_record, {"proxy"}),
    (edit_port, {"proxy"}),
    (remove_build, {"build"}),
]


def test_what_is_derived_is_named_and_mended(site: Site) -> None:
    site.deploy()
    name, url = serving(site), site.world.open("dev").url
    assert drifts(site) == []
    for damage, kinds in DERIVED:
        damage(site)
        found = drifts(site)
        assert kinds <= {kind for kind, _ in found}, damage
        assert {remedy for kind, remedy in found if kind in kinds} == {"derived"}, (damage, found)
        report = repair(site.world, "dev", never)
        assert (report.left, kinds <= {each.kind for each in report.mended}) == ((), True), damage
        assert drifts(site) == [], damage
        assert (serving(site), site.world.open("dev").url) == (name, url)
        assert site.get()["greeting"] == "hello", damage


def test_a_repair_of_what_has_not_drifted_does_nothing(site: Site) -> None:
    site.deploy()
    before = site.look()
    report = repair(site.world, "dev", never)
    assert (report.mended, report.left) == ((), ())
    assert site.look() == before


def test_the_scripted_model_is_found_again_or_started(site: Site) -> None:
    site.setting("verify: {suites: [smoke]}", "verify: {suites: []}")
    site.deploy()
    model = site.look().model
    remove_model_pointer(site)
    assert drifts(site) == [("model", "derived")]
    repair(site.world, "dev", never)
    assert site.look().model == model
    site.world.open("dev").engine.stop(model)
    assert ("model", "derived") in drifts(site)
    assert repair(site.world, "dev", never).left == ()
    assert site.look().runs(site.look().model)


def second_release(site: Site) -> tuple[str, str]:
    site.deploy()
    old = serving(site)
    site.edit("X = 1")
    site.deploy()
    return old, serving(site)


def test_a_pointer_to_an_earlier_instance_is_led_back(site: Site) -> None:
    old, new = second_release(site)
    place = site.world.open("dev")
    place.store.write({POINTER: place.engine.address(old).encode()})
    assert ("pointer", "derived") in drifts(site)
    assert repair(site.world, "dev", never).left == ()
    assert serving(site) == new
    assert {old, new} <= site.look().instances.keys()


def stray(place: Place) -> None:
    """An instance that no record knows."""
    current = site_record(place)
    place.engine.start(
        InstanceSpec(
            id="stray",
            role="candidate",
            build=current.revision.build,
            release=current.revision.release,
            command=current.revision.command,
            variables={"DCOPS_RELEASE": current.revision.release, "DCOPS_INSTANCE": "stray"},
            control={},
            shared_state=False,
        )
    )


def site_record(place: Place) -> instances.InstanceRecord:
    from dcops.operations.current import observe

    record = observe(place).record
    assert record is not None
    return record


def test_what_nobody_knows_is_stopped_only_when_that_is_agreed_to(site: Site) -> None:
    site.deploy()
    place = site.world.open("dev")
    (control(site, "instances/stray")).mkdir()
    (control(site, "instances/stray/role.json")).write_text('{"role": "candidate"}')
    stray(place)
    assert ("stray", "stops") in drifts(site)
    report = repair(site.world, "dev", never)
    assert [each.name for each in report.left] == ["stray"]
    site.edit("X = 1")
    site.deploy()
    assert "stray" in site.look().instances
    assert repair(site.world, "dev", always).left == ()
    assert "stray" not in site.look().instances
    assert site.get()["greeting"] == "hello"


def test_a_second_serving_instance_is_asked_for(site: Site) -> None:
    old, new = second_release(site)
    instances.set_role(site.world.open("dev"), site.look().records[old], "serving")
    assert drifts(site) == [("stray", "stops")]
    assert [each.name for each in repair(site.world, "dev", never).left] == [old]
    assert repair(site.world, "dev", always).left == ()
    assert serving(site) == new
    assert old not in site.look().instances


def test_an_instance_that_is_gone_takes_another_command(site: Site) -> None:
    site.deploy()
    site.world.open("dev").engine.stop(serving(site))
    found = drifts(site)
    assert ("instance", "deploy") in found
    (left,) = [each for each in repair(site.world, "dev", always).left if each.kind == "instance"]
    assert left.do == "dcops restart dev"


def test_what_serves_by_the_pointer_is_never_stopped_though_nobody_knows_it(site: Site) -> None:
    site.deploy()
    name = serving(site)
    control(site, f"control/records/instances/{name}.json").unlink()
    repair(site.world, "dev", always)
    assert site.look().runs(name)
    assert site.get()["greeting"] == "hello"
    site.edit("X = 1")
    site.deploy()
    assert serving(site) != name
    assert site.get()["greeting"] == "hello"


def test_files_are_left_to_a_deploy(site: Site) -> None:
    site.deploy()
    site.toggles("polite: false\n")
    site.setting("drain: 2s", "drain: 3s")
    site.edit("X = 1")
    assert drifts(site) == [("toggle", "deploy"), ("setting", "deploy"), ("release", "deploy")]
    report = repair(site.world, "dev", always)
    assert (report.mended, len(report.left)) == ((), 3)


def test_what_was_stopped_has_not_drifted(site: Site) -> None:
    site.deploy()
    stop(site.world, "dev")
    assert drifts(site) == []
    assert repair(site.world, "dev", always).mended == ()
    assert not site.look().proxy.running


def test_nothing_is_mended_while_an_operation_is_unfinished(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    site.edit("X = 1")
    site.crash(monkeypatch, "switch", after=True)
    assert [kind for kind, _ in drifts(site)] in ([], ["release"])
    with pytest.raises(PreconditionMissing) as caught:
        repair(site.world, "dev", always)
    assert caught.value.code == "DC-UNFINISHED"
    with pytest.raises(DcopsError, match="step 'switch'"):
        site.deploy()
