"""The life of an instance: it listens, loads, serves, drains and ends with the right exit code."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog
import uvicorn

from .app import build_app
from .conceal import conceal
from .control import ControlFiles
from .listener import BACKLOG, Listener
from .logs import Logs
from .watchdog import Watchdog
from .wiring import build_instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..settings import Settings

log = structlog.get_logger()

EXIT_DONE = 0
EXIT_LOST = 70
EXIT_ENDED = 75

LOOK_SECONDS = 0.5
CLOSING_SECONDS = 3.0  # of the stop timeout, kept for closing the turns that still run, and the streams
STREAM_SECONDS = 1.0


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: they would wait for event streams that never end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One instance from its start to its end.

    Args:
        settings: What the instance was told.
        announce: Called with the address once it listens.

    Raises:
        OSError: The address cannot be listened on, or the state directory not be written.
        JournalError: The journal cannot be used.
    """

    def __init__(self, settings: Settings, announce: Callable[[str], None]) -> None:
        conceal()
        self._logs = Logs(settings)
        self._settings = settings
        self._instance = build_instance(settings)
        self._listener = Listener(settings.listen)
        announce(self._listener.url)
        self._control = ControlFiles()
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                build_app(self._instance),
                backlog=BACKLOG,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                # The proxy keeps idle connections for minutes. If this side closed them first, a
                # request on its way would fail, and a POST is not sent twice.
                timeout_keep_alive=3600,
                timeout_graceful_shutdown=1,
            )
        )

    async def run(self) -> int:
        """Serve until there is nothing left to do; returns the process's exit code."""
        self._follow_control()
        self._handle_signals()
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._uvicorn.serve(sockets=[self._listener.socket]),
                Watchdog().beat(),
                self._control.watch(),
                self._load(),
                self._instance.turns.recover(),
                self._instance.removal.run(),
            )
        ]
        try:
            code = await self._until_done(tasks)
            await self._close()
        finally:
            self._uvicorn.should_exit = True
            await asyncio.wait(tasks[:1])
            for task in tasks[1:]:
                task.cancel()
            self._listener.close()
            self._instance.journal.close()
        log.info("instance.ended", exit_code=code)
        return code

    def _follow_control(self) -> None:
        directory = self._settings.control_dir
        self._control.follow(directory / "access.json", self._instance.access.offer)
        self._control.follow(directory / "role.json", self._instance.roles.offer)

    async def _load(self) -> None:
        """Import what is slow while the socket already answers; the instance is ready afterwards."""
        instance, settings = self._instance, self._settings
        await asyncio.to_thread(instance.toggles.schema.check, {})  # imports what checks them
        if settings.toggles_file:
            self._control.follow(settings.toggles_file, self._take(instance.toggles.offer_values))
        else:
            self._control.follow(settings.control_dir / "toggles.json", self._take(instance.toggles.offer))
        await instance.load()
        log.info("instance.loaded", reasons=instance.reasons())
        await asyncio.Event().wait()  # a task of this server that ends means that the server ends

    def _take(self, offer: Callable[[bytes | None], None]) -> Callable[[bytes | None], None]:
        toggles = self._instance.toggles

        def take(document: bytes | None) -> None:
            offer(document)
            if toggles.error:
                log.warning("toggles.refused_document", error=toggles.error)
            if toggles.current:
                self._logs.set_debug(toggles.current.values["debug_logging"])
                self._instance.metrics.toggles_generation.set(toggles.current.generation)
                log.info("toggles.acknowledged", generation=toggles.current.generation)

        return take

    def _handle_signals(self) -> None:
        roles, seconds = self._instance.roles, self._settings.stop_seconds
        grace = max(seconds - CLOSING_SECONDS, seconds / 2)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A second signal is from somebody who does not want to wait.
            loop.add_signal_handler(number, lambda: roles.stop(0 if roles.stopping else grace))

    async def _until_done(self, tasks: list[asyncio.Task[None]]) -> int:
        instance = self._instance
        while True:
            if self._listener.is_lost() or not instance.journal.exists_on_disk():
                log.critical("instance.files_lost", socket=self._listener.is_lost())
                return EXIT_LOST
            if ended := [task for task in tasks if task.done()]:
                ended[0].result()
                log.error("instance.server_ended")
                return EXIT_ENDED
            if instance.roles.finished(instance.turns.running):
                return EXIT_DONE
            if instance.roles.must_close_turns:
                await instance.turns.close()
                await asyncio.sleep(0.01)  # a turn that is just being written is there a moment later
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(instance.pulse.next(), LOOK_SECONDS)

    async def _close(self) -> None:
        """Let the streams end by themselves, after the events of the turns that are interrupted now."""
        instance = self._instance
        instance.roles.stop(0)
        await instance.turns.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(STREAM_SECONDS):
                while instance.streams:
                    await instance.stream_ended.next()
