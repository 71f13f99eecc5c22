"""Watch what users get from the new instance for a while, before its deployment counts as done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dcops.core.traffic import Traffic, traffic
from dcops.errors import OperationFailed

if TYPE_CHECKING:
    from dcops.core.environment import Bake
    from dcops.core.protocols import InstanceState
    from dcops.operations.steps.run import Run

POLL_SECONDS = 1.0
SAY_SECONDS = 10.0
NOT_READY_SECONDS = 5.0
# Reading a long log again and again may take a tenth of the time and no more.
READING = 10


def do(run: Run) -> None:
    bake = run.place.environment.bake
    watch = _Watch(run)
    deadline = watch.began + bake.seconds
    said = watch.began
    while (now := time.time()) < deadline:
        # An interruption comes through here as an exception, and is taken back like any.
        time.sleep(min(watch.pause, deadline - now))
        if trouble := watch.trouble() or _worse(watch.seen, bake):
            raise _failed(run, watch, trouble)
        if time.time() - said >= SAY_SECONDS:
            said = time.time()
            run.say("bake", f"{watch.seen}, {max(0.0, deadline - said):.0f} s left")
    enough = watch.seen.requests >= bake.minimum
    _leave(run, watch, "pass" if enough else "inconclusive")
    if enough:
        run.say("bake", f"{watch.seen} in {bake.seconds:g} s")
    else:
        run.warn(
            "bake",
            f"too little traffic to judge {run.plan.revision.short} by, which keeps serving: "
            f"{watch.seen} in {bake.seconds:g} s, and it takes {bake.minimum} requests",
        )


class _Watch:
    """What has been seen since the bake began."""

    def __init__(self, run: Run) -> None:
        self.began = time.time()
        self.seen = Traffic()
        self.pause = POLL_SECONDS
        self._run = run
        self._record = run.record(run.plan.candidate)
        # What asked the old instance and ends now says nothing of the new one.
        self._switched = float(run.values.get("switched", self.began))
        state = self._state()
        self._restarts = state.restarts if state else 0
        self._ready = time.monotonic()

    def trouble(self) -> str:
        """What is wrong with the instance itself; looks at the traffic as well."""
        place, state = self._run.place, self._state()
        began = time.monotonic()
        self.seen = traffic(place.engine.access_log(self.began), since=self._switched)
        self.pause = max(POLL_SECONDS, READING * (time.monotonic() - began))
        if state is None or state.status in {"exited", "failed"}:
            return "the instance has ended"
        if state.restarts > self._restarts:
            return "the instance has crashed and was started again"
        ready, reasons = place.client(self._record, timeout=POLL_SECONDS).ready()
        if ready:
            self._ready = time.monotonic()
        elif time.monotonic() - self._ready >= NOT_READY_SECONDS:
            return f"the instance is not ready: {'; '.join(reasons)}"
        return ""

    def _state(self) -> InstanceState | None:
        states = self._run.place.engine.instances()
        return next((each for each in states if each.id == self._record.id), None)


def _worse(seen: Traffic, bake: Bake) -> str:
    """Which limits are passed, once there is enough to judge by."""
    if seen.requests < bake.minimum:
        return ""
    found = []
    if seen.share > bake.errors:
        found.append(f"{seen.share:.1f} % of the requests failed, and {bake.errors:g} % may")
    if seen.cut > bake.cut_streams:
        found.append(f"{seen.cut} streams were cut, and {bake.cut_streams} may be")
    return "; ".join(found)


def _leave(run: Run, watch: _Watch, verdict: str) -> None:
    run.values["bake"] = {
        "verdict": verdict,
        "requests": watch.seen.requests,
        "errors": watch.seen.errors,
        "cut_streams": watch.seen.cut,
        "seconds": round(time.time() - watch.began, 1),
    }


def _failed(run: Run, watch: _Watch, trouble: str) -> OperationFailed:
    _leave(run, watch, "fail")
    return OperationFailed(
        "DC-BAKE-FAILED",
        f"{run.plan.revision.short} did worse after the switch than it may: {trouble}",
        cause="bake",
        why=f"{watch.seen} in {run.values['bake']['seconds']:g} s; switched back",
        do=f"dcops logs {run.place.name} --candidate",
        bake=run.values["bake"],
    )
