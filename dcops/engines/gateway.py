"""A question to the gateway, by the standard library alone.

This file runs in two places: imported, and as a script in the proxy's container, where it reads one line of
JSON from stdin, the arguments of ``ask``, and answers by the status.
"""

from __future__ import annotations

import http.client
import json
import sys

SECONDS = 15.0


def ask(port: int, path: str, token: str) -> int:
    """The status of a GET on this host's gateway port, with a gateway token; 0 when nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    headers = {"X-Api-Key": token, "anthropic-version": "2023-06-01"}
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


if __name__ == "__main__":
    sys.stdout.write(f"{ask(**json.loads(sys.stdin.readline()))}\n")
