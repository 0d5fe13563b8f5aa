"""A worker that root starts and that becomes another user: its files, and a new start.

On PostgreSQL: it can be reached by whomever the worker becomes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import workers
from tests.support.jobs import endings
from tests.support.processes import ROOT, Processes
from tests.support.trees import alive
from tests.support.waiting import wait_until

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
NOBODY = "nobody"


#: Ends with 0 if this is the version of Python that the packages are for, and they can be read.
_LOOK = f"import sys; assert sys.version_info[:2] == {sys.version_info[:2]}; import django, psycopg, taskq"


def usable(python: str, environment: dict[str, str]) -> bool:
    """Tell whether other users can read this Python, and the code."""
    try:
        look = subprocess.run([python, "-c", _LOOK], cwd=ROOT, env=environment, user=NOBODY, capture_output=True)
    except OSError:
        return False
    return look.returncode == 0


@pytest.fixture
def place(processes: Processes) -> Iterator[Path]:
    """A directory of root's that everybody can read, unlike pytest's; processes run by a Python of that kind."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    processes.environment["PYTHONPATH"] = sysconfig.get_path("purelib")
    pythons = [python for python in (sys.executable, "/usr/bin/python3") if usable(python, processes.environment)]
    if not pythons:
        pytest.skip("Python, or the code, is in a place that other users can't read")
    processes.program = (pythons[0], "manage.py")
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_hup_restarts_a_worker_whose_pidfile_is_roots(alias: str, processes: Processes, place: Path) -> None:
    pidfile, logfile = place / "w.pid", place / "w.log"
    options = ("-D", "-c", "1", "--uid", NOBODY, "--pidfile", str(pidfile), "--logfile", str(logfile))
    assert workers.start_worker(processes, *options, ready=False).wait() == 0
    pid = int(pidfile.read_text())
    try:
        wait_until(lambda: " ready.\n" in logfile.read_text(), what="the worker to be ready")
        assert os.stat(f"/proc/{pid}").st_uid == logfile.stat().st_uid == pwd.getpwnam(NOBODY).pw_uid
        os.kill(pid, 1)
        wait_until(lambda: logfile.read_text().count(" ready.\n") == 2, what="the worker to be ready again")
        assert pidfile.read_text() == f"{pid}\n"
        assert endings.square.delay(3).get(timeout=60) == 9
    finally:
        os.kill(pid, 15)
    wait_until(lambda: not alive(pid), what="the worker to end")
    # It could not remove its file; the next one replaces it.
    assert workers.start_worker(processes, *options, ready=False).wait() == 0
    pid = int(pidfile.read_text())
    os.kill(pid, 15)
    wait_until(lambda: not alive(pid), what="the worker to end")


def test_log_file_of_root_is_refused_in_the_terminal(alias: str, processes: Processes, place: Path) -> None:
    pidfile, logfile = place / "w.pid", place / "w.log"
    logfile.touch(0o644)
    starter = workers.start_worker(
        processes, "-D", "--uid", NOBODY, "--pidfile", str(pidfile), "--logfile", str(logfile), ready=False
    )
    assert starter.wait() == 1
    assert f"Permission denied for the worker's user: '{logfile}'" in starter.log
    assert not pidfile.exists()
