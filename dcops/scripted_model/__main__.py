"""`python -m scripted_model`: run the server."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import uvicorn

from .app import make_app
from .callers import Callers
from .fields import ScriptError
from .listen import AddressError, listen, written
from .script_reader import parse_script
from .state import State

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

_DRAIN_SECONDS = 2


class _Server(uvicorn.Server):
    """uvicorn, which here ends with 0 when it is told to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end; the address is written to stdout once it is listened on."""
    options = _parser().parse_args(arguments)
    try:
        script = parse_script(orjson.loads(options.script.read_bytes())) if options.script else None
        listener = listen(options.listen)
    except (ScriptError, AddressError, OSError, orjson.JSONDecodeError) as error:
        sys.stderr.write(f"scripted_model: {error}\n")
        return 2
    sys.stdout.write(f"listening on {written(listener)}\n")
    sys.stdout.flush()
    state = State(
        release=os.environ.get("DCOPS_RELEASE", "unreleased"),
        instance=os.environ.get("DCOPS_INSTANCE", "alone"),
        callers=Callers(script),
    )
    _serve(state, listener)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripted_model",
        description="A server that speaks the Messages API and says what a script says.",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        default=os.environ.get("DCOPS_LISTEN", "tcp:127.0.0.1:8000"),
        help="unix:/PATH or tcp:HOST:PORT; port 0 takes a free one (default: $DCOPS_LISTEN)",
    )
    parser.add_argument(
        "--script",
        metavar="FILE",
        type=Path,
        help="a script for every caller that has none of its own (default: the offline assistant)",
    )
    return parser


def _serve(state: State, listener: socket.socket) -> None:
    config = uvicorn.Config(
        make_app(state),
        lifespan="off",
        loop="asyncio",
        http="h11",
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    _Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
