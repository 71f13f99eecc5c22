from __future__ import annotations

import subprocess
import sys

import pytest

RUN = """
import ctypes, os, subprocess
from dcops.agent.service.conceal import conceal
if os.getuid() == 0:  # root may read everything: go on as somebody else, who is as open as any process
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)

def readable(process):
    return subprocess.run(["cat", f"/proc/{process}/environ"], capture_output=True).returncode == 0

told = [readable(os.getpid())]
conceal()
print(*told, readable(os.getpid()), readable("self"), len(os.listdir("/proc/self/fd")) > 2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
def test_a_tool_cannot_read_the_agents_environment_and_still_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    before, after, own, descriptors = done.stdout.split()
    assert (before, after) == ("True", "False")
    assert (own, descriptors) == ("True", "True")
