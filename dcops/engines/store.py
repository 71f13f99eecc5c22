"""The control store: requests for `control`, sent by whatever way an engine has."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

from dcops.core.protocols import Seen
from dcops.engines import control
from dcops.errors import LockLost, disk_full

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Operations = list[dict[str, Any]]
Results = list[Any]  # as within the class `list` is its method


class Store:
    """A ControlStore over anything that can run `control.apply`.

    Args:
        run: Carries out operations and returns one result each; one call is one round trip. It may be called
            from several threads.
    """

    def __init__(self, run: Callable[[Operations], list[Any]]) -> None:
        self._run = run
        self._fence: Operations = []

    def fence(self, path: str, number: int | None) -> None:
        self._fence = [] if number is None else [{"op": "fence", "path": path, "number": number}]

    def read(self, *paths: str) -> dict[str, bytes | None]:
        results = self._run([{"op": "read", "path": path} for path in paths])
        contents = (None if each is None else base64.b64decode(each) for each in results)
        return dict(zip(paths, contents, strict=True))

    def list(self, *directories: str) -> dict[str, list[str]]:
        results = self._run([{"op": "list", "path": path} for path in directories])
        return dict(zip(directories, results, strict=True))

    def look(self, path: str) -> Seen:
        return _seen(self._run([{"op": "look", "path": path}])[0])

    def write(self, files: Mapping[str, bytes | None]) -> None:
        self._change(
            [
                {"op": "remove", "path": path} if data is None else _with_data("write", path, data)
                for path, data in files.items()
            ]
        )

    def create(self, path: str, data: bytes) -> bool:
        created: bool = self._change([_with_data("create", path, data)])[0]
        return created

    def swap(self, path: str, data: bytes, *, expect: bytes | None) -> Seen | None:
        expected = None if expect is None else base64.b64encode(expect).decode()
        swapped, found = self._change([{**_with_data("swap", path, data), "expect": expected}])[0]
        return None if swapped else _seen(found)

    def append(self, path: str, line: bytes) -> None:
        self._change([_line("append", path, line)])

    def chain(self, path: str, line: bytes) -> None:
        self._change([_line("chain", path, line)])

    def _change(self, operations: Operations) -> Results:
        fence = self._fence
        try:
            return self._run(fence + operations)[len(fence) :]
        except control.FenceMoved as error:
            raise LockLost(str(error)) from error


class LocalStore(Store):
    """The control store in two local directories; ``instances`` is the part that instances may see."""

    def __init__(self, root: Path, instances: Path) -> None:
        self._roots = {"": str(root), control.INSTANCES: str(instances)}
        super().__init__(self._apply)

    def _apply(self, operations: Operations) -> Results:
        try:
            return control.apply(self._roots, operations)
        except OSError as error:
            if full := disk_full(error):
                raise full from error
            raise


class MemoryStore(Store):
    """The control store in a dictionary, for tests of what stands above an engine.

    Attributes:
        files: Content by path.
        changed: When each was changed, by `time.monotonic`.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.changed: dict[str, float] = {}
        super().__init__(lambda operations: [self._one(**operation) for operation in operations])

    def _one(self, op: str, path: str, data: str = "", **more: Any) -> Any:
        content, found = base64.b64decode(data), self.files.get(path)
        encoded = None if found is None else base64.b64encode(found).decode()
        seen = None if found is None else [encoded, time.monotonic() - self.changed[path]]
        whole = (found or b"")[: (found or b"").rfind(b"\n") + 1]
        match op:
            case "read":
                return encoded
            case "look":
                return seen
            case "list":
                inside = (name.removeprefix(f"{path}/") for name in self.files if name.startswith(f"{path}/"))
                return sorted({name.split("/")[0] for name in inside})
            case "fence":
                if found is None or json.loads(found)["fence"] != more["number"]:
                    raise control.FenceMoved("it has moved on")
                return None
            case "create" if found is not None:
                return False
            case "swap" if encoded != more["expect"]:
                return [False, seen]
            case "remove":
                kept = {k: v for k, v in self.files.items() if k != path and not k.startswith(f"{path}/")}
                self.files = kept
                return None
            case "append":
                content = whole + content + b"\n"
            case "chain":
                before = whole.splitlines()[-1] if whole else None
                content = whole + control.chained(content, before) + b"\n"
        self.files[path], self.changed[path] = content, time.monotonic()
        return {"create": True, "swap": [True, None]}.get(op)


def _with_data(op: str, path: str, data: bytes) -> dict[str, Any]:
    return {"op": op, "path": path, "data": base64.b64encode(data).decode()}


def _line(op: str, path: str, line: bytes) -> dict[str, Any]:
    if b"\n" in line:
        raise ValueError("a line holds no newline")
    return _with_data(op, path, line)


def _seen(found: Results | None) -> Seen:
    return Seen(None, 0.0) if found is None else Seen(base64.b64decode(found[0]), found[1])
