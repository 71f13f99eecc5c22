"""The shell: what it runs, how fast, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.tools.bash import Bash
from dcops.agent.tools.tool import ToolContext, ToolOutput, ToolResult

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Terminal:
    """One session's bash."""

    def __init__(self, folder: Path, directory: str | None = None) -> None:
        self.bash = Bash()
        self.context = ToolContext("s", folder, folder / "out" / "c.log", directory)
        self.outputs: list[tuple[float, str]] = []

    async def run(self, command: str, **more: Any) -> ToolResult:
        began = time.perf_counter()
        self.outputs = []
        result = None
        async for item in self.bash.run({"command": command, **more}, self.context):
            if isinstance(item, ToolOutput):
                self.outputs.append((time.perf_counter() - began, item.text))
            else:
                result = item
        assert isinstance(result, ToolResult)
        return result


def _in(
    folder: Path, test: Callable[[Terminal], Coroutine[Any, Any, None]], directory: str | None = None
) -> None:
    async def run() -> None:
        terminal = Terminal(folder, directory)
        try:
            await test(terminal)
        finally:
            await terminal.bash.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("command", "content", "status", "code"),
    [
        ("echo hi # comment", "hi\n", "done", 0),
        ("cat <<X\nhello\nX", "hello\n", "done", 0),
        ("echo out; echo err >&2", "out\nerr\n", "done", 0),
        ("true", "[exit code 0]", "done", 0),
        ("continue", "[exit code 0]", "done", 0),
        ("break", "[exit code 0]", "done", 0),
        ("printf() { :; }; read() { :; }; echo hi", "hi\n", "done", 0),
        ("PWD=$'\\xff'; echo hi", "hi\n", "done", 0),
        ("echo no; false", "no\n[exit code 1]", "failed", 1),
        ("printf x; (exit 7)", "x\n[exit code 7]", "failed", 7),
        ("read line; echo got $line", "got\n", "done", 0),
        ("for i in 1 2; do\n  echo $i\ndone", "1\n2\n", "done", 0),
        ("printf 'a\\0b'", "a\ufffdb\n", "done", 0),
        ("echo grün", "grün\n", "done", 0),
    ],
)
def test_a_command_gives_its_output_and_exit_code(
    tmp_path: Path, command: str, content: str, status: str, code: int
) -> None:
    async def test(terminal: Terminal) -> None:
        result = await terminal.run(command)
        assert (result.content.strip("\n"), result.status) == (content.strip("\n"), status)
        assert result.exit_code == code
        assert (await terminal.run("echo still here")).content == "still here\n"

    _in(tmp_path, test)


def test_an_unbalanced_quote_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    async def test(terminal: Terminal) -> None:
        result = await asyncio.wait_for(terminal.run("echo 'oops"), 2)
        assert result.exit_code == 2
        assert "matching" in result.content

    _in(tmp_path, test)


def test_a_trace_shows_commands_and_not_what_runs_them(tmp_path: Path) -> None:
    async def test(terminal: Terminal) -> None:
        assert (await terminal.run("set -x")).content == "[exit code 0]"
        assert (await terminal.run("echo hi")).content == "+ eval 'echo hi'\n++ echo hi\nhi\n"

    _in(tmp_path, test)


def test_state_stays_from_call_to_call(tmp_path: Path) -> None:
    async def test(terminal: Terminal) -> None:
        (tmp_path / "sub").mkdir()
        assert (await terminal.run("cd sub; export A=5; f() { echo f$A; }")).directory == str(
            tmp_path / "sub"
        )
        assert (await terminal.run("f; pwd")).content == f"f5\n{tmp_path}/sub\n"

    _in(tmp_path, test)


@pytest.mark.parametrize("command", ["exit 3", "set -e; (exit 3)", "exec sh -c 'exit 3'"])
def test_a_shell_that_ends_is_said_and_replaced(tmp_path: Path, command: str) -> None:
    async def test(terminal: Terminal) -> None:
        result = await terminal.run(f"A=1; sleep 50 & {command}")
        assert (result.exit_code, result.status) == (3, "failed")
        assert "the shell ended" in result.content
        assert (await terminal.run("echo [$A]")).content == "[]\n"

    _in(tmp_path, test)


def test_output_comes_while_the_command_runs(tmp_path: Path, wait_until: Any) -> None:
    async def test(terminal: Terminal) -> None:
        command = f"echo one; until [ -e {tmp_path}/go ]; do sleep 0.01; done; echo two"
        running = asyncio.create_task(terminal.run(command))
        await wait_until(lambda: terminal.outputs)
        (tmp_path / "go").touch()
        await running
        assert [text for _, text in terminal.outputs] == ["one\n", "two\n"]

    _in(tmp_path, test)


def test_a_character_cut_in_two_arrives_whole(tmp_path: Path) -> None:
    async def test(terminal: Terminal) -> None:
        await terminal.run("printf '\\xc3'; sleep 0.1; printf '\\xa9\\n'; printf '\\xc3'")
        assert "".join(text for _, text in terminal.outputs) == "é\n\N{REPLACEMENT CHARACTER}"

    _in(tmp_path, test)


def test_a_background_job_neither_holds_the_command_nor_floods_it(tmp_path: Path) -> None:
    async def test(terminal: Terminal) -> None:
        began = time.perf_counter()
        assert (await terminal.run("sleep 50 & echo started")).content == "started\n"
        assert (await terminal.run("yes & sleep 0.1; kill %%; true")).status == "done"
        assert time.perf_counter() - began < 2

    _in(tmp_path, test)


def _alive(mark: str) -> bool:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (process / "cmdline").read_bytes():
                return True
    return False


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_timeout_keeps_the_output_and_leaves_no_process(tmp_path: Path, wait_until: Any) -> None:
    async def test(terminal: Terminal) -> None:
        mark = "sleep 4242.4"
        command = f"echo before; (setsid {mark}1 &); {mark}2 & trap '' TERM; {mark}3"
        result = await terminal.run(command, timeout=0.4)
        assert result.status == "timed_out"
        assert result.content == "before\n[killed after 0.4 s; the next command gets a new shell]"
        await wait_until(lambda: not _alive("4242.4"))
        assert (await terminal.run("echo again")).content.endswith("again\n")

    _in(tmp_path, test)


def test_a_cancelled_command_is_gone_at_once(tmp_path: Path, wait_until: Any) -> None:
    async def test(terminal: Terminal) -> None:
        task = asyncio.create_task(terminal.run("echo on; sleep 4343.43"))
        await wait_until(lambda: terminal.outputs)
        task.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await task
        await wait_until(lambda: not _alive("4343.43"))

    _in(tmp_path, test)


def test_a_stop_while_a_command_is_killed_kills_it_all_the_same(tmp_path: Path, wait_until: Any) -> None:
    async def test(terminal: Terminal) -> None:
        command = "trap '' TERM; (setsid sleep 4545.45 &); sleep 4545.451 & wait"
        task = asyncio.create_task(terminal.run(command, timeout=0.2))
        await wait_until(lambda: terminal.bash._shells)
        await wait_until(lambda: not terminal.bash._shells)  # its time is up
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not _alive("4545.45")

    _in(tmp_path, test)


def test_closing_a_session_ends_what_it_started(tmp_path: Path, wait_until: Any) -> None:
    async def test(terminal: Terminal) -> None:
        await terminal.run("sleep 4444.44 >/dev/null 2>&1 & disown")
        await wait_until(lambda: _alive("4444.44"))
        await terminal.bash.close("s")
        await wait_until(lambda: not _alive("4444.44"))

    _in(tmp_path, test)


def test_a_long_output_is_kept_whole_and_shown_by_its_ends(tmp_path: Path) -> None:
    async def test(terminal: Terminal) -> None:
        result = await terminal.run("echo first; seq 100000; echo last")
        assert result.content.startswith("first\n1\n")
        assert result.content.endswith("100000\nlast\n")
        assert "characters left out" in result.content
        assert len(result.content) < 31_000
        assert terminal.context.output.read_bytes().count(b"\n") == 100_002

    _in(tmp_path, test)


def test_secrets_of_the_agent_are_not_in_a_commands_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "hidden")
    monkeypatch.setenv("DCOPS_STATE_DIR", "hidden")
    monkeypatch.setenv("PLAIN", "shown")

    async def test(terminal: Terminal) -> None:
        content = (await terminal.run("env")).content
        assert "PLAIN=shown" in content
        assert "hidden" not in content

    _in(tmp_path, test)


def test_a_new_shell_starts_where_the_last_one_stood_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()

    async def test(terminal: Terminal) -> None:
        content = (await terminal.run("pwd")).content
        assert content.startswith(f"[a new shell in {tmp_path}/sub:")
        assert content.endswith(f"\n{tmp_path}/sub\n")
        assert (await terminal.run("pwd")).content == f"{tmp_path}/sub\n"

    _in(tmp_path, test, str(tmp_path / "sub"))


def test_a_directory_that_is_gone_is_replaced_by_the_workspace(tmp_path: Path) -> None:
    async def test(terminal: Terminal) -> None:
        assert (await terminal.run("pwd")).content.endswith(f"\n{tmp_path}\n")

    _in(tmp_path, test, str(tmp_path / "gone"))


def test_what_cannot_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(terminal: Terminal) -> None:
        told = terminal.bash.refusal({"command": "a\0b"}, terminal.context)
        assert told == "a command cannot contain a NUL character"
        monkeypatch.setenv("PATH", "")
        result = await terminal.run("true")
        assert result.status == "failed"
        assert "does not start" in result.content

    _in(tmp_path, test)


def test_a_long_command_is_taken(tmp_path: Path) -> None:
    async def test(terminal: Terminal) -> None:
        assert (await terminal.run(f"x='{'a' * 200_000}'; echo ${{#x}}")).content == "200000\n"

    _in(tmp_path, test)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    async def test(terminal: Terminal) -> None:
        await terminal.run("true")
        await terminal.bash.close()
        before = _descriptors()
        for _ in range(5):
            await terminal.run("true")
            await terminal.run("exit 1")
        assert _descriptors() == before

    _in(tmp_path, test)


def test_small_commands_and_large_outputs_are_quick(tmp_path: Path) -> None:
    async def test(terminal: Terminal) -> None:
        times = []
        for _ in range(20):
            began = time.perf_counter()
            await terminal.run("true")
            times.append(time.perf_counter() - began)
        assert min(times) < 0.05, "nothing is waited for"
        began = time.process_time()
        await terminal.run("head -c 50000000 /dev/zero | tr '\\0' x")
        assert time.process_time() - began < 3

    _in(tmp_path, test)


def test_no_command_outlives_an_agent_that_is_killed(tmp_path: Path, wait_until: Any) -> None:
    agent = """
import asyncio, pathlib, sys
from dcops.agent.tools.shell import Shell
async def main():
    command = "setsid sleep 5000 & echo $$ $!; (trap '' TERM; sleep 5000) & sleep 5000"
    async for item in Shell(pathlib.Path(sys.argv[1])).run(command):
        print(item.decode(), end="", flush=True)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", agent, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout
        groups = [int(group) for group in process.stdout.readline().split()]
        asyncio.run(wait_until(lambda: all(map(_is_group, groups))))
        process.kill()
    asyncio.run(wait_until(lambda: not any(map(_is_group, groups))))


def _is_group(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_idle_shell_ends_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcops.agent.tools.bash.MOST_SHELLS", 2)
    bash = Bash()

    async def run(session: str, command: str) -> str:
        context = ToolContext(session, tmp_path, tmp_path / "out" / "c.log")
        items = [item async for item in bash.run({"command": command}, context)]
        return str(items[-1].content)  # type: ignore[union-attr]

    async def test() -> None:
        for session in ("first", "second"):
            await run(session, f"name={session}")
        held = asyncio.create_task(run("first", "sleep 0.3; echo $name"))
        await asyncio.sleep(0)
        await run("third", "name=third")
        assert await held == "first\n"
        assert await run("third", "echo $name") == "third\n"
        assert (await run("second", "echo =$name")).endswith("=\n")
        await bash.close()

    asyncio.run(test())


def test_a_shell_that_died_unseen_leaves_nothing(tmp_path: Path, wait_until: Any) -> None:
    async def test(terminal: Terminal) -> None:
        await terminal.run("true")
        before = _descriptors()
        for _ in range(3):
            pid = int((await terminal.run("echo $$")).content.splitlines()[-1])
            os.kill(pid, signal.SIGKILL)
            await wait_until(lambda: not terminal.bash._shells["s"].alive)
        assert "new shell" in (await terminal.run("echo hi")).content
        assert _descriptors() == before

    _in(tmp_path, test)
