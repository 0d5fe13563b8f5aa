"""Which process a pid file names, and that no other is signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.management.multi import stopping
from taskq.management.multi.command_line import Given, Option
from taskq.management.multi.nodes import Node
from taskq.management.multi.stopping import NotRunning, Stopping, find
from taskq.processes import command_line, process_started, send_signal
from tests.support.waiting import wait_until

WORD = "taskworker"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node("w1@a", {"pidfile": Given(Option("pidfile"), "--pidfile", str(tmp_path / "w1.pid"))})


def _start(word: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", "input()", word], stdin=subprocess.PIPE)
    # Linux shows it a moment after the start.
    wait_until(lambda: word in command_line(process.pid), interval=0.001)
    return process


@pytest.fixture
def living() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until the test is over, and has the word in its command line."""
    process = _start(WORD)
    yield process
    process.kill()
    process.communicate()


def stopped(node: Node, number: signal.Signals = signal.SIGTERM) -> tuple[Stopping, list[str]]:
    said: list[str] = []
    found = Stopping([node], WORD, lambda text, **_: said.append(text))
    found.send(number)
    return found, said


def test_node_is_signalled_and_waited_for(node: Node, living: subprocess.Popen[bytes]) -> None:
    node.pidfile.write_text(f"{living.pid}\n")
    found, said = stopped(node)
    assert said == [f"\t> w1@a: TERM -> {living.pid}"]
    assert list(found.wait()) == [[node]]
    assert said[1:] == [f"> Waiting for 1 node -> {living.pid}...", *said[2:-1], "\t> w1@a: DOWN"]
    assert living.wait() == -signal.SIGTERM
    # This process could not remove its pid file.
    assert not node.pidfile.exists()


def test_node_without_pid_file_is_told(node: Node) -> None:
    found, said = stopped(node)
    assert said == [f"\t> w1@a: DOWN (there is no pid file {node.pidfile})"]
    assert found.down == [node]
    assert not found.failed


def test_pid_file_of_a_dead_process_is_told(node: Node) -> None:
    node.pidfile.write_text("4194305\n")
    with pytest.raises(NotRunning, match=r"w1\.pid is left over: its process 4194305 has ended"):
        find(node, WORD)


def test_pid_file_older_than_its_process_is_left_over(node: Node, living: subprocess.Popen[bytes]) -> None:
    node.pidfile.write_text(f"{living.pid}\n")
    os.utime(node.pidfile, (time.time() - 60, time.time() - 60))
    _, said = stopped(node)
    assert "is left over" in said[0]
    assert living.poll() is None


def test_another_program_is_not_signalled(node: Node) -> None:
    node.pidfile.write_text(f"{os.getpid()}\n")
    found, said = stopped(node)
    assert f"names process {os.getpid()}, which is another program" in said[0]
    assert found.running == []


def test_command_line_of_another_program_can_not_act_on_the_terminal(node: Node) -> None:
    process = _start("\x1b[2J")
    try:
        node.pidfile.write_text(f"{process.pid}\n")
        assert stopped(node)[1][0].endswith("input() \\x1b[2J)")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_pid_file_of_a_user_names_only_processes_of_that_user(node: Node, living: subprocess.Popen[bytes]) -> None:
    node.pidfile.write_text(f"{living.pid}\n")
    os.chown(node.pidfile, 65534, -1)
    with pytest.raises(NotRunning, match=f"names process {living.pid} of another user"):
        find(node, WORD)


@pytest.mark.parametrize("content", ["DEBUG = True\n", "1 2\n"])
def test_file_that_is_no_pid_file_is_a_failure(node: Node, content: str) -> None:
    node.pidfile.write_text(content)
    found, said = stopped(node)
    assert "is no pid file" in said[0]
    assert found.failed
    assert found.down == []


def test_process_that_may_not_be_signalled_is_a_failure(
    node: Node, living: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> bool:
        raise PermissionError

    node.pidfile.write_text(f"{living.pid}\n")
    monkeypatch.setattr(stopping, "send_signal", refuse)
    found, said = stopped(node)
    assert found.failed
    assert said == [f"\t> w1@a: not allowed to signal process {living.pid}"]


def test_signal_goes_to_no_later_process_with_the_same_pid(living: subprocess.Popen[bytes]) -> None:
    started = process_started(living.pid)
    assert started is not None
    assert not send_signal(living.pid, started - 1, signal.SIGKILL)
    assert living.poll() is None
    assert send_signal(living.pid, started, signal.SIGKILL)
    assert living.wait() == -signal.SIGKILL
    assert not send_signal(living.pid, started, signal.SIGKILL)
