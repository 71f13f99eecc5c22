from __future__ import annotations

import pytest

from dcops.core.units import seconds, size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("60s", 60),
        ("30m", 1800),
        ("1.5h", 5400),
        ("2d", 172800),
        ("250ms", 0.25),
        (5, 5),
        (0.5, 0.5),
        ("7", 7),
    ],
)
def test_times(text: str | float, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("512M", 512 << 20), ("1G", 1 << 30), ("1.5g", 3 << 29), ("64KiB", 65536), ("10MB", 10 << 20), (7, 7)],
)
def test_sizes(text: str | int, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "s", "-5s", "1w", "1 G s", "nan"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        seconds(text)
    with pytest.raises(ValueError, match="no size"):
        size(text)
