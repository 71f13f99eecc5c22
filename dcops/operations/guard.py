"""What runs a hook: starts it in a process group of its own, and ends all of that group.

A script of the standard library: ``guard.py COMMAND...``. Its stdin is a line to dcops: when that closes,
because dcops wants it or has died, the group gets SIGTERM, and SIGKILL five seconds later. What the hook has
left behind in its group is killed when the hook itself has ended. The exit code is the hook's, as a shell
says it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

SECONDS = 5.0


def main() -> None:
    try:
        hook = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, process_group=0)
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]} cannot be run: {error.strerror}; does it begin with #! ?\n")
        sys.exit(126)
    threading.Thread(target=_end_with_dcops, args=[hook.pid], daemon=True).start()
    code = hook.wait()
    _send(hook.pid, signal.SIGKILL)
    sys.exit(128 - code if code < 0 else code)


def _end_with_dcops(group: int) -> None:
    os.read(sys.stdin.fileno(), 1)  # by no buffer: its lock would be missed at the interpreter's end
    _send(group, signal.SIGTERM)
    time.sleep(SECONDS)
    _send(group, signal.SIGKILL)


def _send(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
