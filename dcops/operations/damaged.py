"""Set aside records that cannot be read, so that what follows from the others can be mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.errors import PreconditionMissing
from dcops.records import access, failed, history, instances, journal, proxy, toggles

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcops.core.protocols import ControlStore

SUFFIX = ".damaged"

PARSERS: dict[str, Callable[[bytes | None], object]] = {
    access.PATH: access.parse,
    failed.PATH: failed.parse,
    journal.PATH: journal.parse,
    proxy.PATH: proxy.parse,
    toggles.PATH: toggles.parse,
}


def set_aside(store: ControlStore) -> list[str]:
    """Rename what cannot be read; two round trips when all can be.

    Returns:
        Paths of what was renamed, each to its own name and ``.damaged``. Of the history the lines that can be
        read stay: nothing else says what was in it.
    """
    names = {instances.path(name): name for name in instances.listed(store)}
    moved = []
    for path, content in store.read(*PARSERS, *names).items():
        try:
            if path in PARSERS:
                PARSERS[path](content)
            elif content is not None:
                instances.parse(content, names[path])
        except PreconditionMissing as error:
            if error.code != "DC-STATE-DAMAGED":
                raise
            store.write({f"{path}{SUFFIX}": content, path: None})
            moved.append(path)
    return moved + _history(store)


def _history(store: ControlStore) -> list[str]:
    content = store.read(history.PATH)[history.PATH]
    try:
        history.parse(content)
    except PreconditionMissing as error:
        if error.code != "DC-STATE-DAMAGED" or content is None:
            raise
        store.write({f"{history.PATH}{SUFFIX}": content, history.PATH: history.salvaged(content)})
        return [history.PATH]
    return []
