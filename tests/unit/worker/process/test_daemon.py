"""How long the terminal waits for a worker that goes to the background."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from taskq.worker.process import daemon
from taskq.worker.process.daemon import Background


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)


def wait(pipe: tuple[int, int], reports: int, monkeypatch: pytest.MonkeyPatch, *, ends: bool = True) -> int:
    """Have the background report so often, and then end; return the status of the waiting process."""
    monkeypatch.setattr(daemon, "_LONGEST_START", 0.01)
    monkeypatch.setattr(daemon, "redirect_streams", lambda output: None)
    background = Background(pipe[1])
    if reports:
        background.leave_terminal()
    if reports > 1:
        background.report_ready()
    elif ends:
        os.close(pipe[1])
    return daemon._wait_for_start(pipe[0])


def test_ready_worker_is_a_success(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wait(pipe, 2, monkeypatch) == 0
    assert capsys.readouterr().err == ""


def test_worker_that_ends_in_the_terminal_has_said_why(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wait(pipe, 0, monkeypatch) == 1
    assert capsys.readouterr().err == ""


def test_worker_that_ends_in_the_background_has_logged_why(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wait(pipe, 1, monkeypatch) == 1
    assert "ended before it was ready" in capsys.readouterr().err


def test_worker_that_is_not_ready_in_time_goes_on(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wait(pipe, 1, monkeypatch, ends=False) == 0
    assert "not ready yet" in capsys.readouterr().err
    os.close(pipe[1])


def test_background_goes_on_if_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    monkeypatch.setattr(daemon, "redirect_streams", lambda output: None)
    background = Background(write)
    background.leave_terminal()
    os.close(read)
    background.report_ready()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write)
