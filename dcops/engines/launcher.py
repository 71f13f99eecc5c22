"""What the keeper starts: becomes the program that a file describes.

A script of the standard library: ``launcher.py FILE``, with ``{"command", "environment", "directory",
"starts", "keeper"}`` in it. So nothing of the keeper's own environment reaches an instance, and no value has
to survive the quoting of supervisord's configuration. The file ``starts`` grows by one byte each time, as
supervisord does not count restarts; the file ``keeper`` holds its pid.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path


def main() -> None:
    program = json.loads(Path(sys.argv[1]).read_bytes())
    # A keeper that is killed before its death was made to end us would leave us behind, to be started twice.
    if os.getppid() != int(Path(program["keeper"]).read_text()):
        sys.exit("the keeper is gone")
    # On a full disk what crashed comes back uncounted.
    with contextlib.suppress(OSError), Path(program["starts"]).open("ab") as starts:
        starts.write(b".")
    os.chdir(program["directory"])
    os.execvpe(program["command"][0], program["command"], program["environment"])  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
