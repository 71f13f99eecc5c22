"""Let a new bearer token in, use it, end the old one: in this order, so that one is valid at any moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dcops.records.access import Token, sha256
from dcops.records.rotation import Rotation

if TYPE_CHECKING:
    from dcops.operations.steps.run import Run


def do(run: Run) -> None:
    place, asked = run.place, run.plan.options["access"]
    rotation = Rotation(place.local.token_file)
    # On another machine, which resumes this, there is no such file: that machine keeps its own token.
    if sha256(rotation.next) == asked["new"]:
        place.admit(rotation.next)
        rotation.turn()

    def ended(token: Token) -> bool:
        return token.sha256 == asked["old"] or bool(asked["all"] and token.sha256 != asked["new"])

    place.access.end(asked["until"], ended)
    place.access.spread()
    if asked["until"] <= time.time() and sha256(rotation.earlier) == asked["old"]:
        place.await_refusal(rotation.earlier)


def undo(run: Run) -> None:
    place, asked = run.place, run.plan.options["access"]
    rotation = Rotation(place.local.token_file)
    before = [Token(**each) for each in run.values["tokens"]]
    place.access.restore(before)
    place.access.spread()
    if sha256(rotation.earlier) == asked["old"]:
        place.await_admission(rotation.earlier)
        rotation.turn_back()
    place.access.restore(before, without=asked["new"])
    place.access.spread()
