from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

from dcops.engines.signals import passing_on


def test_signals_are_passed_on_for_a_while_but_those_that_are_ignored() -> None:
    received: list[int] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with passing_on(received.append):
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGTERM, signal.SIGINT]
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_another_thread_has_no_signals_to_pass_on() -> None:
    def elsewhere() -> str:
        with passing_on(lambda _number: None):
            return "ran"

    with ThreadPoolExecutor() as pool:
        assert pool.submit(elsewhere).result() == "ran"
