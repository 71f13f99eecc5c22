"""The smoke suite without a process of its own, for where tens of milliseconds count: after a switch."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Any

from dcops.core.verification import CheckResult, report
from dcops.errors import DcopsError
from dcops.verification.reach import client_of
from dcops.verification.suites import smoke

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcops.core.verification import Target, VerificationReport


def probe(target: Target) -> VerificationReport:
    """Run the smoke suite here and now; it only reads.

    Args:
        target: The instance, with the role that it should have by now.

    Returns:
        The report; never inconclusive.
    """
    offered = {"agent": client_of(target), "target": target}
    started = time.monotonic()
    checks = [each for name, each in vars(smoke).items() if name.startswith("test_")]
    results = [_run(check, offered) for check in checks]
    return report(target, results, seconds=time.monotonic() - started)


def _run(check: Callable[..., None], offered: dict[str, Any]) -> CheckResult:
    name = f"smoke.{check.__name__.removeprefix('test_')}"
    started = time.monotonic()
    message = ""
    try:
        check(**{each: offered[each] for each in inspect.signature(check).parameters})
    except DcopsError as error:
        message = f"{error.what} {error.why}".strip()
    except Exception as error:
        # A check fails by AssertionError; any other exception is an answer that it could not read.
        message = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - started
    return CheckResult(name, "smoke", "failed" if message else "passed", seconds, message)
