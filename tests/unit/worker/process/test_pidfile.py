"""The pid file: whose it is, and when it is stale."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.worker.process.pidfile import PidFile, PidFileError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "w.pid"


@pytest.fixture
def left(path: Path) -> Path:
    path.parent.mkdir()
    return path


@pytest.fixture
def living() -> Iterator[int]:
    """The pid of a process that lives until the test is over."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.wait()


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def assert_ours(path: Path) -> None:
    assert path.read_text() == f"{os.getpid()}\n"


def test_pid_file_exists_from_acquire_to_release(path: Path) -> None:
    file = PidFile(str(path))
    file.acquire()
    assert_ours(path)
    file.release()
    assert not path.exists()


def test_pid_file_of_a_living_process_is_refused(left: Path, living: int) -> None:
    left.write_text(f"{living}\n")
    file = PidFile(str(left))
    with pytest.raises(PidFileError, match=f"a worker runs already, as process {living}"):
        file.acquire()
    file.release()
    assert left.read_text() == f"{living}\n"


def test_pid_file_of_a_process_that_is_gone_is_taken_over(left: Path) -> None:
    left.write_text("4194305\n")
    PidFile(str(left)).acquire()
    assert_ours(left)


def test_pid_file_older_than_the_process_with_its_pid_is_taken_over(left: Path, living: int) -> None:
    left.write_text(f"{living}\n")
    age(left, 3600)
    PidFile(str(left)).acquire()
    assert_ours(left)


def test_pid_file_younger_than_its_process_is_not_stale(left: Path) -> None:
    left.write_text("1\n")
    with pytest.raises(PidFileError, match="process 1"):
        PidFile(str(left)).acquire()


def test_pid_file_with_own_pid_is_kept_after_a_restart(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left.write_text(f"{os.getpid()}\n")
    age(left, 3600)

    def refused(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EPERM, "not this user's")

    monkeypatch.setattr(os, "O_EXCL", os.O_DIRECTORY)  # then the file can't be created
    monkeypatch.setattr(os, "unlink", refused)
    file = PidFile(str(left))
    file.acquire()
    assert time.time() - left.stat().st_mtime < 60
    monkeypatch.setattr(os, "utime", refused)
    file.acquire()
    file.release()
    assert_ours(left)


@pytest.mark.parametrize("content", [b"no number", b"12 13", b"-1", b"\xff\xfe\x00", b"1" * 100, b" " * 100])
def test_file_that_is_no_pid_file_is_refused_and_unchanged(left: Path, content: bytes) -> None:
    left.write_bytes(content)
    age(left, 3600)
    with pytest.raises(PidFileError, match="is no pid file: remove it, or change --pidfile"):
        PidFile(str(left)).acquire()
    assert left.read_bytes() == content


def test_empty_pid_file_is_refused_when_new_and_replaced_when_old(left: Path, caplog: pytest.LogCaptureFixture) -> None:
    left.touch()
    with pytest.raises(PidFileError, match="another worker starts at the same time"):
        PidFile(str(left)).acquire()
    age(left, 3600)
    with caplog.at_level(logging.WARNING):
        PidFile(str(left)).acquire()
    assert_ours(left)
    assert "Broken pid file" in caplog.text
