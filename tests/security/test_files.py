"""A local user who owns the directory of the worker's files, and has put links there before root starts it."""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.files import open_log
from taskq.logs import LogFile
from taskq.worker.process.daemon import User
from taskq.worker.process.pidfile import PidFile, PidFileError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to lose")


@pytest.fixture
def nobody() -> User:
    return User.find("nobody", None)


@pytest.fixture
def roots() -> Iterator[Path]:
    """A directory in which only root can write."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def theirs(roots: Path) -> Path:
    """A directory that belongs to the local user."""
    path = roots / "theirs"
    path.mkdir()
    shutil.chown(path, "nobody")
    return path


def plant(link: Path, target: Path) -> None:
    """Put a link as the local user does."""
    link.symlink_to(target)
    os.chown(link, pwd.getpwnam("nobody").pw_uid, -1, follow_symlinks=False)


@needs_root
def test_dangling_link_gives_no_file_of_roots_away(roots: Path, theirs: Path, nobody: User) -> None:
    plant(theirs / "w.log", roots / "new")
    with pytest.raises(OSError, match="Permission denied"):
        nobody.prepare_log(str(theirs / "w.log"))
    assert not (roots / "new").exists()


@needs_root
def test_directory_that_is_a_link_gives_no_file_away(roots: Path, theirs: Path, nobody: User) -> None:
    (roots / "etc").mkdir()
    plant(theirs / "logs", roots / "etc")
    with pytest.raises(OSError, match="root follows no link"):
        nobody.prepare_log(str(theirs / "logs" / "w.log"))
    for pidfile in (theirs / "logs" / "w.pid", theirs / "logs" / "new" / "w.pid"):
        with pytest.raises(OSError, match="root follows no link"):
            PidFile(str(pidfile)).acquire()
    assert not list((roots / "etc").iterdir())


@needs_root
@pytest.mark.parametrize("exists", [False, True])
def test_root_itself_writes_its_log_through_no_link_of_others(roots: Path, theirs: Path, exists: bool) -> None:
    target = roots / "passwd"
    if exists:
        target.write_text("root:x:0:0\n")
    plant(theirs / "w.log", target)
    with pytest.raises(OSError, match="root follows no link"):
        LogFile(str(theirs / "w.log"))
    assert target.exists() is exists
    assert not exists or target.read_text() == "root:x:0:0\n"


@needs_root
def test_directory_of_roots_in_one_of_others_is_not_trusted(roots: Path, theirs: Path) -> None:
    # They could have put it there, with the link that it has.
    (theirs / "moved").mkdir()
    (theirs / "moved" / "w.log").symlink_to(roots / "new")
    with pytest.raises(OSError, match="root follows no link"):
        LogFile(str(theirs / "moved" / "w.log"))


@needs_root
def test_log_that_is_replaced_by_a_link_goes_on_where_it_was(roots: Path, theirs: Path) -> None:
    path = theirs / "w.log"
    handler = LogFile(str(path))
    path.rename(theirs / "w.log.1")
    plant(path, roots / "new")
    handler.emit(logging.makeLogRecord({"msg": "still here"}))
    handler.close()
    assert not (roots / "new").exists()
    assert (theirs / "w.log.1").read_text() == "still here\n"


@needs_root
def test_links_that_only_root_could_make_are_followed(roots: Path, nobody: User) -> None:
    (roots / "disk" / "logs").mkdir(parents=True)
    (roots / "var").symlink_to("disk/../disk")
    log = roots / "var" / "logs" / "w.log"
    nobody.prepare_log(str(log))
    found = (roots / "disk" / "logs" / "w.log").stat()
    assert found.st_uid == pwd.getpwnam("nobody").pw_uid
    assert stat.S_IMODE(found.st_mode) == 0o640
    pidfile = PidFile(str(roots / "var" / "run" / "w.pid"))
    pidfile.acquire()
    assert (roots / "disk" / "run" / "w.pid").read_text() == f"{os.getpid()}\n"
    pidfile.release()
    assert not list((roots / "disk" / "run").iterdir())


def test_standard_output_can_be_the_log() -> None:
    code = "import os; from taskq.files import open_log; os.write(open_log('/dev/stdout'), b'a line')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ran.stdout == b"a line"


def test_new_logs_are_not_for_everybody(tmp_path: Path) -> None:
    os.close(open_log(str(tmp_path / "w.log")))
    assert stat.S_IMODE((tmp_path / "w.log").stat().st_mode) & 0o137 == 0


def test_pid_file_that_is_a_link_or_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("1\n")
    (tmp_path / "link.pid").symlink_to(tmp_path / "secret")
    with pytest.raises(PidFileError, match="is no pid file"):
        PidFile(str(tmp_path / "link.pid")).acquire()
    os.mkfifo(tmp_path / "pipe.pid")
    with pytest.raises(PidFileError, match="another worker starts"):
        PidFile(str(tmp_path / "pipe.pid")).acquire()
    assert (tmp_path / "secret").read_text() == "1\n"
