from __future__ import annotations

import sys
from pathlib import Path

from dcops.engines.interpreter import base_interpreter, platform_of


def test_asked_twice_an_interpreter_is_the_same_platform() -> None:
    python = base_interpreter()
    assert Path(python).resolve() == Path(python)
    first = platform_of(python)
    platform_of.cache_clear()
    assert platform_of(python) == first
    assert first.python == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert first.libc in (("gnu", "musl") if first.system == "linux" else ("",))
