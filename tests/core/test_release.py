from __future__ import annotations

from dataclasses import replace

from dcops.core.protocols import Platform
from dcops.core.release import build_id

HERE = Platform("3.11", "x86_64", "linux", "gnu", "base-1")


def test_a_build_is_of_one_release_and_one_platform() -> None:
    others = [
        build_id("other", HERE),
        *(
            build_id("release", replace(HERE, **{name: "other"}))
            for name in ("python", "machine", "system", "libc", "base")
        ),
    ]
    assert len({build_id("release", HERE), *others}) == 7
    assert build_id("release", replace(HERE)) == build_id("release", HERE)
