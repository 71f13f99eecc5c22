"""One call of an engine in a process of its own: ``beside.py KIND ROOT execute|terminal|run ID COMMAND...``.

So a test has its standard streams, its terminal and its life in hand. The environment is the rig's ``dev``.
"""

from __future__ import annotations

import hashlib
import signal
import sys
from pathlib import Path

from dcops.core.environment import Environment, Project
from dcops.core.protocols import InstanceSpec
from dcops.engines.docker import DockerEngine
from dcops.engines.process import ProcessEngine


def main() -> int:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # the tests' own shell may ignore them
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kind, root, method, name, *command = sys.argv[1:]
    project = Project(Path(root), "tests", hashlib.sha256(root.encode()).hexdigest()[:8])
    make = DockerEngine if kind == "docker" else ProcessEngine
    engine = make(project, Environment("dev", "process", Path(root)))
    if method != "run":
        return engine.execute(name, command, tty=method == "terminal")
    build = hashlib.sha256(b"").hexdigest()
    spec = InstanceSpec(name, "serving", build, "f" * 64, ("true",), {}, {}, shared_state=True)
    return engine.run(spec, command).code


if __name__ == "__main__":
    sys.exit(main())
