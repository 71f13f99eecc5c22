"""What runs beside an instance starts with this: becomes a command, unless dcops has gone meanwhile.

A script of the standard library: ``become.py PARENT COMMAND...``, in the command's own environment and
directory. Like a shell it ends with 127 when there is no such command, with 126 when it cannot be run.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    parent, *command = sys.argv[1:]
    # A parent that was killed before its death was made to end us would leave us behind.
    if os.getppid() != int(parent):
        sys.exit("dcops is gone")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what it becomes would too
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell
    except OSError as error:
        sys.stderr.write(f"dcops: {command[0]}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
