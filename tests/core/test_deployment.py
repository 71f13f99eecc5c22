from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from dcops.core.deployment import Deployment, Entry, Revision, ToggleState, deployments, previous


def revision(release: str = "a") -> Revision:
    return Revision(
        release=release * 64,
        build="b" * 64,
        name="agent",
        command=("python", "-m", "agent"),
        roles=True,
        schema={},
        configuration={"limits": {"memory": 1}},
        toggles={"x": 1},
    )


def made(number: int, *, undoes: int | None = None, restores: int | None = None) -> Deployment:
    return Deployment(
        number=number,
        revision=revision(str(restores or number)),
        instance=f"i{number}",
        generation=1,
        operation=f"deploy-{number}",
        undoes=undoes,
        restores=restores,
    )


HISTORIES: list[tuple[list[dict[str, Any]], int | None]] = [
    ([], None),
    ([{}], None),
    ([{}, {}], 1),
    ([{}, {}, {}], 2),
    ([{}, {}, {"undoes": 2, "restores": 1}], None),
    ([{}, {}, {}, {"undoes": 3, "restores": 2}], 1),
    ([{}, {}, {}, {"undoes": 3, "restores": 2}, {"undoes": 4, "restores": 1}], None),
    ([{}, {}, {"undoes": 2, "restores": 1}, {}], 3),
    # A rollback to a backup takes back what served, and stands on what came before that.
    ([{}, {}, {"undoes": 2}], 1),
]


@pytest.mark.parametrize(("history", "expected"), HISTORIES)
def test_previous_is_what_served_before_and_was_not_rolled_back_from(
    history: list[dict[str, Any]], expected: int | None
) -> None:
    found = previous([made(number, **facts) for number, facts in enumerate(history, start=1)])
    assert (found.number if found else None) == expected


def test_an_entry_goes_through_json() -> None:
    entry = Entry("deploy", "ok", 1.5, 2.0, "me@here", "why", made(3, undoes=2), {"a": [1]})
    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry


def test_entries_without_a_deployment_are_no_deployments() -> None:
    failed = Entry("deploy", "failed", 1.0, 2.0, "me@here")
    done = Entry("deploy", "ok", 1.0, 2.0, "me@here", deployment=made(1))
    assert [each.number for each in deployments([failed, done])] == [1]


def test_a_generation_only_grows() -> None:
    state = ToggleState().next({"a": 1}).next({})
    assert (state.generation, state.values) == (2, {})


def test_one_that_differs_in_nothing_is_passed_over() -> None:
    first, second = made(1), made(2)
    again = replace(made(3), revision=second.revision)
    assert previous([first, second, again]) == first
    assert previous([first, second, replace(again, toggles_set={"x": [1, 2]})]) == second
