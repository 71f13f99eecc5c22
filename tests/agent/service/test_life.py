"""Start, roles, drain and end of an instance."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # a real instance imports the SDK first

ROOT = Path(__file__).parents[3]


def test_it_answers_before_it_is_ready_and_says_what_is_missing(make_agent: Callable[..., Any]) -> None:
    agent = make_agent()
    (agent.control / "toggles.json").unlink()
    agent.start()
    early = agent.http.get("/readyz")
    assert early.status_code == 503
    assert any("loaded" in reason for reason in early.json()["reasons"])
    session = agent.session()
    refused = agent.http.post(f"/v1/sessions/{session}/turns", json={"input": "x"})
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    agent.until(
        lambda: agent.http.get("/readyz").json()["reasons"] == ["toggles: the toggle file is missing"]
    )
    assert "not ready" in agent.http.get("/").text
    agent.set_toggles(1)
    agent.ready()


def test_a_warm_instance_takes_no_turns_until_it_serves_again(agent: Any) -> None:
    session = agent.session()
    agent.set_role("warm", 3600)
    agent.acknowledged("warm")
    refused = agent.http.post(f"/v1/sessions/{session}/turns", json={"input": "x"})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "not_taking_turns"
    assert agent.report()["draining_done"] is True
    assert agent.http.get("/readyz").status_code == 200
    agent.set_role("serving")
    agent.acknowledged("serving")
    assert agent.run(session, "hello")[-1][1]["type"] == "RUN_FINISHED"


@pytest.mark.parametrize("role", ["warm", "draining"])
def test_idle_streams_are_told_to_go_and_end(agent: Any, role: str) -> None:
    session = agent.session()
    last = agent.run(session, "hello")[-1][0]
    stream = agent.http.stream("GET", f"/v1/sessions/{session}/events?after={last}")
    with stream as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 250"
        agent.set_role(role, 3600)
        rest = [line for line in lines if line]
    assert rest == ['data: {"type":"CUSTOM","name":"drain","value":{}}']


def test_a_running_turn_ends_before_its_stream_does(agent: Any) -> None:
    session = agent.session()
    agent.turn(session, "run: echo started; sleep 0.5; echo ended")
    frames = []
    for frame in agent.stream(session):
        frames.append(frame)
        if frame[1]["type"] == "TOOL_CALL_START":
            agent.set_role("draining", 3600)
    assert frames[-2][1]["type"] == "RUN_FINISHED"
    assert frames[-1] == (None, {"type": "CUSTOM", "name": "drain", "value": {}})
    assert agent.exit_code() == 0


def test_a_warm_instance_ends_when_its_time_is_up(listening: Any) -> None:
    listening.set_role("warm", 0.2)
    assert listening.exit_code() == 0
    assert not listening.socket.exists()


def test_a_draining_instance_interrupts_turns_at_its_time(agent: Any) -> None:
    session = agent.session()
    agent.turn(session, "run: echo started; sleep 60")
    events = []
    for _, event in agent.stream(session):
        events.append(event)
        if event.get("name") == "tool.output":
            agent.set_role("draining", 0.3)
    names = [event.get("name") for event in events]
    assert "turn.interrupted" in names
    assert names[-1] == "drain"
    assert agent.exit_code() == 0


def test_sigterm_waits_for_running_turns(agent: Any) -> None:
    session = agent.session()
    idle = agent.session()
    with agent.http.stream("GET", f"/v1/sessions/{idle}/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        agent.turn(session, "run: echo started; sleep 0.7; echo ended")
        types = []
        for _, event in agent.stream(session):
            types.append(event["type"])
            if event.get("name") == "tool.output" and "started" in event["value"]["text"]:
                agent.terminate()
        assert "drain" in "".join(lines)
    assert "RUN_FINISHED" in types
    assert agent.exit_code() == 0


def test_sigterm_interrupts_what_runs_too_long(make_agent: Callable[..., Any]) -> None:
    agent = make_agent(DCOPS_STOP_SECONDS="2").start().ready()
    session = agent.session()
    agent.turn(session, "run: echo started; sleep 60")
    names = []
    for _, event in agent.stream(session):
        names.append(event.get("name"))
        if names[-1] == "tool.output":
            agent.terminate()
            begun = time.monotonic()
    assert "turn.interrupted" in names
    assert agent.exit_code() == 0
    assert time.monotonic() - begun < 6  # far below the 60 s that the command would take


def test_sigterm_while_loading_ends_it(make_agent: Callable[..., Any]) -> None:
    agent = make_agent().start()
    agent.terminate()
    assert agent.exit_code() == 0


@pytest.mark.parametrize("what", ["socket", "state"])
def test_lost_files_end_the_instance_to_be_started_anew(agent: Any, what: str) -> None:
    session = agent.session()
    agent.run(session, "hello")
    old = agent.report()["state"]
    if what == "socket":
        agent.socket.unlink()
    else:
        shutil.rmtree(agent.state)
    assert agent.exit_code(5) == 70
    agent.start().ready()
    assert (agent.report()["state"] == old) is (what == "socket")
    assert agent.run(agent.session(), "hello")[-1][1]["type"] == "RUN_FINISHED"


def test_a_hanging_event_loop_ends_the_process_with_its_stacks() -> None:
    program = (
        "import asyncio, time\n"
        "from dcops.agent.service.watchdog import Watchdog\n"
        "async def main():\n"
        "    task = asyncio.create_task(Watchdog(hang_seconds=1).beat())\n"
        "    await asyncio.sleep(2.5)\n"
        "    print('alive', flush=True)\n"
        "    time.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stdout == "alive\n"
    assert ended.returncode == 70
    assert "event_loop_hangs" in ended.stderr
    assert "in main" in ended.stderr


def test_a_stopped_process_does_not_hang() -> None:
    program = (
        "import asyncio\n"
        "from dcops.agent.service.watchdog import Watchdog\n"
        "async def main():\n"
        "    task = asyncio.create_task(Watchdog(hang_seconds=1).beat())\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.to_thread(input)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)  # longer than the watchdog's patience, in which the process stands still
        process.send_signal(signal.SIGCONT)
        assert process.communicate("\n", timeout=10)
        assert process.returncode == 0


def test_a_crash_leaves_a_socket_file_that_the_next_start_replaces(agent: Any) -> None:
    agent.process.kill()
    agent.process.wait()
    assert agent.socket.exists()
    agent.start().ready()


def test_logs_are_json_and_carry_no_secret(agent: Any) -> None:
    session = agent.session()
    agent.run(session, "hello")
    agent.terminate()
    agent.exit_code()
    text = agent.log.read_text()
    lines = agent.log_lines()
    assert len(lines) == len(text.splitlines())
    assert all({"level", "event", "instance", "release", "time"} <= line.keys() for line in lines)
    assert "a token for tests" not in text
    assert agent.key not in text


def test_a_server_that_ends_by_itself_is_started_again(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from dcops.agent.service.server import Server\n"
        "from dcops.agent.settings import Settings\n"
        "async def main():\n"
        "    server = Server(Settings.from_environment(os.environ), lambda url: None)\n"
        "    asyncio.get_running_loop().call_later(0.2, setattr, server._uvicorn, 'should_exit', True)\n"
        "    return await server.run()\n"
        "sys.exit(asyncio.run(main()))\n"
    )
    variables = {
        "PATH": "/usr/bin:/bin",
        "DCOPS_LISTEN": f"unix:{tmp_path}/s",
        "DCOPS_CONTROL_DIR": str(tmp_path),
        "DCOPS_STATE_DIR": str(tmp_path / "state"),
        "DCOPS_WORKSPACE": str(tmp_path),
        "DCOPS_RELEASE": "r",
        "DCOPS_INSTANCE": "i",
        "DCOPS_ENVIRONMENT": "e",
        "ANTHROPIC_API_KEY": "k",
    }
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=variables, capture_output=True, timeout=30, check=False
    )
    assert ended.returncode == 75, ended.stderr
