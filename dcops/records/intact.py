"""Records that are not as dcops writes them, since a disk or a person has damaged them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def intact(
    path: str, do: str = "dcops doctor --repair sets it aside and mends what follows"
) -> Iterator[None]:
    """Say of a record whose parsing fails within that it is damaged.

    Args:
        path: The record's, in the control store, or of a file of this machine.
        do: What mends it.

    Raises:
        PreconditionMissing: It cannot be parsed.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PreconditionMissing(
            "DC-STATE-DAMAGED",
            f"{path} cannot be read",
            why=f"it is not as dcops writes it: {type(error).__name__}: {error}",
            do=do,
            path=path,
        ) from error
