"""The egress container of an environment: there while an instance has hosts to reach, and on its network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dcops.engines.docker_objects import (
    EGRESS_ALIAS,
    EGRESS_LABEL,
    EGRESS_PORT,
    SPECIFICATION,
    Names,
    egress_config,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcops.engines.docker_daemon import Daemon

# Read and not imported: asyncio would cost each command 40 ms.
_COMMAND = ["python3", "-I", "-c", Path(__file__).with_name("egress.py").read_text(), str(EGRESS_PORT)]


class DockerEgress:
    """What opens hosts to the instances of one environment.

    Args:
        names: What the environment's objects are called.
        daemon: The daemon that runs it.
        image: The proxy's image, made when it is not there.
    """

    def __init__(self, names: Names, daemon: Daemon, image: Callable[[], str]) -> None:
        self._names = names
        self._daemon = daemon
        self._image = image

    def ensure(self) -> None:
        """Make it run on the network of each instance that needs it.

        What a crash has left half done is finished by the next call.
        """
        daemon, name = self._daemon, self._names.egress
        if not (networks := self._networks()):
            return
        config = egress_config(self._names, self._image(), _COMMAND)
        found = daemon.container(name)
        if found and found["Config"]["Labels"][SPECIFICATION] != config["Labels"][SPECIFICATION]:
            daemon.remove(name)
            found = None
        if found is None:
            daemon.create(name, config)
        connected = found["NetworkSettings"]["Networks"] if found else {}
        for network in networks:
            if network not in connected:
                daemon.connect(name, network, EGRESS_ALIAS)
        daemon.start(name)

    def leave(self, network: str) -> None:
        """Off the network of an instance that goes; the last one takes it along."""
        if set(self._networks()) <= {network}:
            self._daemon.remove(self._names.egress)
        else:
            self._daemon.disconnect(self._names.egress, network)

    def _networks(self) -> list[str]:
        return [each["Name"] for each in self._daemon.networks({**self._names.labels, EGRESS_LABEL: ""})]
