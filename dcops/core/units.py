"""Times and sizes as people write them."""

from __future__ import annotations

import re

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def seconds(value: str | float) -> float:
    """Seconds in ``60s``, ``30m``, ``1.5h`` or a number of seconds.

    Raises:
        ValueError: It is no time.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", str(value).strip())
    if not match:
        raise ValueError(f"{value!r} is no time such as 60s, 30m or 2h")
    return float(match[1]) * _SECONDS[match[2] or ""]


def size(value: str | int) -> int:
    """Bytes in ``512M``, ``1G`` (powers of 1024) or a number of bytes.

    Raises:
        ValueError: It is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f"{value!r} is no size such as 512M or 1G")
    return int(float(match[1]) * _BYTES[match[2].upper()])
