"""Whether processes live, also where /proc does not show them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import processes
from taskq.processes import is_gone, process_started


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """See nothing in /proc, as with hidepid."""

    def refuse(self: Path) -> str:
        raise FileNotFoundError(self)

    monkeypatch.setattr(processes.Path, "read_text", refuse)


def test_living_process_is_gone_only_with_another_start_time(child: subprocess.Popen[bytes]) -> None:
    started = process_started(child.pid)
    assert started
    assert not is_gone(child.pid, started)
    assert not is_gone(child.pid)
    assert is_gone(child.pid, started + 1)


def test_ended_process_is_gone_before_it_is_reaped(child: subprocess.Popen[bytes]) -> None:
    started = process_started(child.pid) or 0
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(child.pid, started)
    child.wait()
    assert is_gone(child.pid, started)


@pytest.mark.usefixtures("hidden")
def test_hidden_process_is_gone_only_if_its_pid_is_free(child: subprocess.Popen[bytes]) -> None:
    assert process_started(child.pid) is None
    assert not is_gone(child.pid, 1)
    child.kill()
    child.wait()
    assert is_gone(child.pid, 1)
    assert is_gone(2**40, 1)
    assert is_gone(0, 1)


@pytest.mark.usefixtures("hidden")
def test_hidden_process_of_another_user_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(processes.os, "kill", refuse)
    assert not is_gone(1, 1)
