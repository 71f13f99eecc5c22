from __future__ import annotations

from dcops.core.deployment import Revision
from dcops.engines.store import MemoryStore
from dcops.records.instances import InstanceRecord, read_all

TOKEN = "a1" * 32


def record(**configuration: object) -> InstanceRecord:
    revision = Revision("a" * 64, "b" * 64, "agent", ("python",), True, {}, configuration, {})
    return InstanceRecord("one", revision, f"gateway/scripted/{TOKEN}", f"operator/one/{'c' * 64}")


def test_its_hosts_are_listed_under_its_token_and_go_with_it() -> None:
    store = MemoryStore()
    one = record(egress=["example.org", "git.example.org:22"])
    store.write(one.files())
    assert store.read(f"egress/{TOKEN}") == {f"egress/{TOKEN}": b"example.org\ngit.example.org:22"}
    assert read_all(store) == {"one": one}
    store.write(one.removal())
    assert store.files == {}


def test_without_hosts_there_is_no_list() -> None:
    for one in (record(egress=[]), record()):
        assert not any(path.startswith("egress/") for path in one.files())
