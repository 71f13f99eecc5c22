from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from dcops.core.deployment import Revision
from dcops.engines.store import MemoryStore
from dcops.errors import PreconditionMissing
from dcops.records.access import PATH, Access, Token, document, ends, sha256
from dcops.records.instances import InstanceRecord

if TYPE_CHECKING:
    from collections.abc import Callable

REVISION = Revision("a" * 64, "b" * 64, "agent", ("python",), True, {}, {"hosts": ["example.org"]}, {})


def instance(store: MemoryStore, name: str) -> str:
    """An instance as it is while it runs; where its file lies."""
    record = InstanceRecord(name, REVISION, f"gateway/scripted/{'1' * 64}", f"operator/{name}/{'2' * 64}")
    store.write(record.files())
    file = f"instances/{name}/access.json"
    store.write({file: document((), REVISION)})
    return file


def hashes(store: MemoryStore, file: str) -> list[str]:
    return [each["sha256"] for each in json.loads(store.files[file])["tokens"]]


class Crossed(MemoryStore):
    """Before its first swap somebody else comes first."""

    def __init__(self, other: Callable[[MemoryStore], Any]) -> None:
        super().__init__()
        self._other: Callable[[MemoryStore], Any] | None = other

    def swap(self, path: str, data: bytes, *, expect: bytes | None) -> Any:
        if self._other is not None:
            other, self._other = self._other, None
            other(self)
        return super().swap(path, data, expect=expect)


def test_each_machine_has_a_token_of_its_own() -> None:
    access = Access(MemoryStore())
    access.add("one", "ann@a")
    assert access.add("two", "bob@b") == access.tokens()
    assert access.add("one", "ann@a") == access.tokens()
    assert access.tokens() == (Token(sha256("one"), None, "ann@a"), Token(sha256("two"), None, "bob@b"))


def test_a_token_that_another_machine_adds_at_the_same_time_stays() -> None:
    store = Crossed(lambda store: Access(store).add("other", "bob@b"))
    assert [each.by for each in Access(store).add("mine", "ann@a")] == ["bob@b", "ann@a"]


def test_instances_are_told_times_as_their_contract_has_them() -> None:
    tokens = [Token("a", None, ""), Token("b", 1_800_000_000.5, ""), Token("c", 1e300, "")]
    told = json.loads(document(tokens, REVISION))["tokens"]
    assert [each["until"] for each in told[:2]] == [None, "2027-01-15T08:00:00.500000+00:00"]
    assert datetime.fromisoformat(told[2]["until"]).year == 9999


def test_who_shows_no_token_is_never_let_in() -> None:
    tokens = (Token(sha256(""), None, "ann@laptop"), Token(sha256("a"), None, "bob@desk"))
    assert [each["sha256"] for each in json.loads(document(tokens, REVISION))["tokens"]] == [sha256("a")]


def test_some_tokens_end_and_none_ends_later_for_it() -> None:
    access = Access(MemoryStore())
    for name in ("old", "older", "new"):
        access.add(name, "ann@a")
    access.end(50.0, lambda token: token.sha256 == sha256("old"))
    access.end(100.0, lambda token: token.sha256 != sha256("new"))
    assert [each.until for each in access.tokens()] == [50.0, 100.0, None]
    assert ends(access.tokens(), "old")
    assert not ends(access.tokens(), "new")
    assert not ends(access.tokens(), "unknown")


def test_what_is_restored_leaves_what_others_have_added() -> None:
    access = Access(MemoryStore())
    before = access.add("old", "ann@a")
    access.add("new", "ann@a")
    access.end(50.0, lambda _token: True)
    access.add("other", "bob@b")
    access.restore(before)
    assert [each.until for each in access.tokens()] == [None, 50.0, None]
    access.restore(before, without=sha256("new"))
    assert [(each.sha256, each.until) for each in access.tokens()] == [
        (sha256("old"), None),
        (sha256("other"), None),
    ]


def test_every_instance_is_told_once() -> None:
    store = MemoryStore()
    access, files = Access(store), [instance(store, name) for name in ("i1", "i2")]
    access.add("one", "ann@a")
    assert [record.id for record in access.spread()] == ["i1", "i2"]
    assert [hashes(store, file) for file in files] == [[sha256("one")]] * 2
    assert json.loads(store.files[files[0]])["hosts"] == ["example.org"]
    assert access.spread() == []


def test_what_another_machine_tells_at_the_same_time_is_not_written_over() -> None:
    def other(store: MemoryStore) -> None:
        Access(store).add("other", "bob@b")
        Access(store).spread()

    store = Crossed(lambda _store: None)
    file = instance(store, "i1")
    Access(store).add("mine", "ann@a")
    store._other = other
    Access(store).spread()
    assert hashes(store, file) == [sha256("mine"), sha256("other")]


def test_nothing_is_made_anew_for_an_instance_that_goes() -> None:
    store = Crossed(lambda _store: None)
    file = instance(store, "i1")
    Access(store).add("mine", "ann@a")
    store._other = lambda store: store.write({"instances/i1": None})
    Access(store).spread()
    assert file not in store.files


def test_a_newer_list_is_refused() -> None:
    store = MemoryStore()
    store.write({PATH: b'{"format": 9, "tokens": []}'})
    with pytest.raises(PreconditionMissing) as caught:
        Access(store).tokens()
    assert caught.value.code == "DC-STATE-NEWER"
