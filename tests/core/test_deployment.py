from __future__ import annotations

from typing import Any

import pytest

from dcops.core.deployment import Deployment, Revision, previous


def made(number: int, release: str, **fields: Any) -> Deployment:
    revision = Revision(release, "b", "agent", ("python",), True, {}, {}, {})
    return Deployment(number, revision, f"i{number}", 1, f"deploy-{number}", **fields)


A, B, C = made(1, "a"), made(2, "b"), made(3, "c")
SET = {"speed": [None, 7]}

CASES = {
    "nothing": ([], None),
    "once": ([A], None),
    "twice": ([A, B], 1),
    "back from b": ([A, B, made(3, "a", restores=1, undoes=2)], None),
    "back from c": ([A, B, C, made(4, "b", restores=2, undoes=3)], 1),
    "back from c, then d": ([A, B, C, made(4, "b", restores=2, undoes=3), made(5, "d")], 4),
    "back to a backup of a": ([A, B, made(3, "a", undoes=2)], None),
    "back to a backup of what no longer counts": ([A, B, made(3, "x", undoes=2)], 1),
    "another instance of the same": ([A, B, made(3, "b", restores=2)], 1),
    "toggles only": ([A, B, made(3, "b", toggles_set=SET)], 2),
    "another instance of what set toggles": (
        [A, made(2, "a", toggles_set=SET), made(3, "a", restores=2, toggles_set=SET)],
        1,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_previous_is_what_served_before_and_was_not_rolled_back_from(case: str) -> None:
    deployments, number = CASES[case]
    found = previous(deployments)
    assert (found.number if found else None) == number
