"""What the keeper starts: becomes the program that a file describes.

A script of the standard library: ``launcher.py FILE``, with ``{"command", "environment", "directory",
"starts"}`` in it. So nothing of the keeper's own environment reaches an instance, and no value has to survive
the quoting of supervisord's configuration. The file ``starts`` grows by one byte each time, as supervisord
does not count restarts.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    program = json.loads(Path(sys.argv[1]).read_bytes())
    with Path(program["starts"]).open("ab") as starts:
        starts.write(b".")
    os.chdir(program["directory"])
    os.execvpe(program["command"][0], program["command"], program["environment"])  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
