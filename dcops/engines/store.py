"""The control store: requests for `control`, sent by whatever way an engine has."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from dcops.engines import control

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Operations = list[dict[str, Any]]


class Store:
    """A ControlStore over anything that can run `control.apply`.

    Args:
        run: Carries out operations and returns one result each; one call is one round trip.
    """

    def __init__(self, run: Callable[[Operations], list[Any]]) -> None:
        self._run = run

    def read(self, *paths: str) -> dict[str, bytes | None]:
        results = self._run([{"op": "read", "path": path} for path in paths])
        contents = (None if each is None else base64.b64decode(each) for each in results)
        return dict(zip(paths, contents, strict=True))

    def list(self, *directories: str) -> dict[str, list[str]]:
        results = self._run([{"op": "list", "path": path} for path in directories])
        return dict(zip(directories, results, strict=True))

    def write(self, files: Mapping[str, bytes | None]) -> None:
        self._run(
            [
                {"op": "remove", "path": path} if data is None else _with_data("write", path, data)
                for path, data in files.items()
            ]
        )

    def create(self, path: str, data: bytes) -> bool:
        created: bool = self._run([_with_data("create", path, data)])[0]
        return created

    def append(self, path: str, line: bytes) -> None:
        if b"\n" in line:
            raise ValueError("a line holds no newline")
        self._run([_with_data("append", path, line)])


class LocalStore(Store):
    """The control store in two local directories; ``instances`` is the part that instances may see."""

    def __init__(self, root: Path, instances: Path) -> None:
        roots = {"": str(root), control.INSTANCES: str(instances)}
        super().__init__(lambda operations: control.apply(roots, operations))


class MemoryStore(Store):
    """The control store in a dictionary, for tests of what stands above an engine."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        super().__init__(lambda operations: [self._one(**operation) for operation in operations])

    def _one(self, op: str, path: str, data: str = "") -> Any:
        content = base64.b64decode(data)
        match op:
            case "read":
                found = self.files.get(path)
                return None if found is None else base64.b64encode(found).decode()
            case "list":
                inside = (name.removeprefix(f"{path}/") for name in self.files if name.startswith(f"{path}/"))
                return sorted({name.split("/")[0] for name in inside})
            case "create" if path in self.files:
                return False
            case "remove":
                kept = {k: v for k, v in self.files.items() if k != path and not k.startswith(f"{path}/")}
                self.files = kept
            case "append":
                torn = self.files.get(path, b"")
                self.files[path] = torn[: torn.rfind(b"\n") + 1] + content + b"\n"
            case _:
                self.files[path] = content
        return True if op == "create" else None


def _with_data(op: str, path: str, data: bytes) -> dict[str, str]:
    return {"op": op, "path": path, "data": base64.b64encode(data).decode()}
