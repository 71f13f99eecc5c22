"""The proxy container's first process: find the published network's address, then become Caddy.

Runs inside the proxy's image, by the standard library alone.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def main() -> None:
    configuration = Path("/data/caddy.json")
    configuration.write_text(os.environ.pop("DCOPS_PROXY"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing. Only the published network has a way out, so this end has that network's address.
        probe.connect(("192.0.2.1", 9))
        os.environ["DCOPS_PUBLIC"] = probe.getsockname()[0]
    os.environ.update(HOME="/data", XDG_DATA_HOME="/data", XDG_CONFIG_HOME="/data")
    os.execv("/usr/local/bin/caddy", ["caddy", "run", "--config", str(configuration)])  # noqa: S606


if __name__ == "__main__":
    main()
