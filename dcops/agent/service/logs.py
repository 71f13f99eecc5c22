"""JSON lines on stderr, one per event, from our own code and from libraries alike."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import orjson
import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

    from ..settings import Settings


class Logs:
    """The log of this process: every line names the instance and its release.

    Args:
        settings: Where the names come from, and the token that must not appear in any line.
    """

    def __init__(self, settings: Settings) -> None:
        self._names = {"instance": settings.instance, "release": settings.release}
        self._secret = settings.api_key.encode()
        self._debug: bool | None = None
        self.set_debug(False)
        logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)

    def set_debug(self, debug: bool) -> None:
        """Write debug messages too, or no longer; takes effect with the next line."""
        if debug is self._debug:
            return
        self._debug = debug
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                structlog.processors.format_exc_info,
                self._render,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if debug else logging.INFO),
            logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
            cache_logger_on_first_use=False,  # a cached logger would keep its old level
        )

    def _render(self, _logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
        line = orjson.dumps({**self._names, **event}, default=str, option=orjson.OPT_NON_STR_KEYS)
        return line.replace(self._secret, b"[secret]") if self._secret else line


class _Bridge(logging.Handler):
    """Sends what libraries log to the same place."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
