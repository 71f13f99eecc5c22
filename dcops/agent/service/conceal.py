"""Keeps the agent's own environment from its tools, which run as the same user."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def conceal() -> None:
    """Makes `/proc/<pid>` of this process (environment, memory) readable for root alone.

    The token for the model stands in the environment, and a command could read it there although it is not in
    its own. Processes started from here are as open as ever. Without effect where there is no Linux, and
    against tools that run as root.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
