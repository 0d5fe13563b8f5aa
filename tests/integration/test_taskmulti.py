"""The guide's section "In the background", by ``manage.py taskmulti``: real workers, in a temporary directory."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from taskq.worker.process.nodenames import hostname
from tests.support import trees, workers
from tests.support.jobs import endings
from tests.support.processes import ROOT, Process, Processes
from tests.support.waiting import wait_until

HOST = hostname()
#: The smallest workers.
SMALL = ("-P", "solo")
ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


#: Ends each worker before it is ready.
ENDS = """
import logging
import os

from taskq.signals import worker_init


@worker_init.connect
def end(**kwargs):
    logging.getLogger("taskq").error("no more paper")
    os._exit(3)
"""


class Multi:
    """Runs ``taskmulti`` in a directory of the test's, with the files of the nodes there."""

    def __init__(self, processes: Processes, directory: Path) -> None:
        self.directory = directory
        self._processes = processes
        # Without tasks that the smallest pool could not run.
        self.environment = {**workers.as_environment({}), "TEST_APPS": "tests.support.jobs"}

    def start(self, *words: str, **environment: str) -> Process:
        """Start the command, with further variables of the environment as keywords."""
        return self._processes.start("taskmulti", *words, **{**self.environment, **environment})

    def run(self, *words: str, status: int = 0) -> str:
        """Run the command to its end, and return what it printed."""
        process = self.start(*words)
        assert process.wait(240) == status, process.log
        return process.log

    def files(self, *, run: str = "run") -> list[str]:
        """Return the options that put the nodes' files into the directory."""
        return [f"--pidfile={self.directory}/{run}/%n.pid", f"--logfile={self.directory}/log/%n%I.log"]

    def pids(self) -> dict[str, int]:
        """Return the pids in the pid files, by the names of the nodes."""
        return {path.stem: int(path.read_text()) for path in (self.directory / "run").glob("*.pid")}


@pytest.fixture
def multi(processes: Processes, tmp_path: Path) -> Iterator[Multi]:
    found = Multi(processes, tmp_path)
    yield found
    # Only what a test that failed has left.
    for path in (tmp_path / "run").glob("*.pid"):
        with suppress(OSError, ValueError):
            pid = int(path.read_text())
            if os.fsencode(tmp_path) in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def names(count: int) -> list[str]:
    return [f"taskq{number}" for number in range(1, count + 1)]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_six_nodes_start_restart_and_stop(multi: Multi, alias: str) -> None:
    options = ["6", "-l", "info", "-Q:1-3", "images,video", "-Q:4,5", "data", "-Q", "taskq", "-L:4,5", "debug"]
    options += [*SMALL, *multi.files()]
    shown = multi.run("show", *options).splitlines()
    prefix = f"{sys.executable} manage.py taskworker --detach -n"
    assert [line.split(" --pidfile")[0] for line in shown] == [f"{prefix} {name}@{HOST}" for name in names(6)]
    assert [line.count(" -Q images,video") for line in shown] == [1] * 3 + [0] * 3
    assert multi.run("start", *options).splitlines()[1:] == [
        "> Starting nodes...",
        *(f"\t> {name}@{HOST}: OK" for name in names(6)),
    ]
    first = multi.pids()
    rows = {row.name: row for row in workers.worker_rows(alias)}
    assert {name: rows[f"{name}@{HOST}"].pid for name in names(6)} == first
    queues = [json.loads(rows[f"taskq{n}@{HOST}"].info)["queues"] for n in (3, 4, 6)]
    assert queues == [["images", "video"], ["data"], ["taskq"]]
    assert endings.square.apply_async((3,), queue="data").get(timeout=60) == 9
    # The first two: the start of a worker costs a second.
    said = multi.run("restart", "2", *options[1:3], "-Q", "images,video", *SMALL, *multi.files())
    assert [f"\t> {name}@{HOST}: TERM -> {first[name]}\n" in said for name in names(2)] == [True] * 2
    restarted = re.findall(r"^> Restarting node (.*): OK$", said, re.M)
    assert sorted(restarted) == [f"{name}@{HOST}" for name in names(2)]
    second = multi.pids()
    assert second.keys() == first.keys()
    assert {name for name in second if second[name] != first[name]} == {*names(2)}
    said = multi.run("stopwait", *options)
    assert said.count(": DOWN\n") == 6
    assert not any(trees.alive(pid) for pid in second.values())
    assert multi.pids() == {}
    assert not workers.worker_rows(alias).exists()


@ON_SQLITE
def test_one_node_as_in_the_guide(multi: Multi, alias: str) -> None:
    """In the current directory, as there; with another ``manage.py`` before the command."""
    multi._processes.program = (sys.executable, "-X", "utf8", str(ROOT / "manage.py"))
    files = [f"--workdir={multi.directory}/run"]
    (multi.directory / "run").mkdir()
    options = ["w1", "-A", "proj", "-l", "info", *SMALL, *files]
    log = multi.run("start", *options)
    assert log.replace("-A is not needed: manage.py has the project.\n", "") == (
        f"taskmulti v{version()}\n> Starting nodes...\n\t> w1@{HOST}: OK\n"
    )
    pid = multi.pids()["w1"]
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:4] == [
        b"-X",
        b"utf8",
        os.fsencode(ROOT / "manage.py"),
    ]
    # A second start tells that it runs, and leaves it alone.
    assert f"a worker runs already, as process {pid}" in multi.run("start", *options, status=1)
    said = multi.run("restart", *options)
    assert re.search(
        rf"> Stopping nodes\.\.\.\n\t> w1@{HOST}: TERM -> {pid}\n> Waiting for 1 node -> {pid}\.{{3,}}\n"
        rf"\t> w1@{HOST}: DOWN\n> Restarting node w1@{HOST}: OK\n",
        said,
    )
    restarted = multi.pids()["w1"]
    said = multi.run("stop", "-w1", "-A", "proj", "-l", "info", *files)
    assert f"> Stopping nodes...\n\t> w1@{HOST}: TERM -> {restarted}\n" in said
    wait_until(lambda: not trees.alive(restarted), what="the worker to end")
    wait_until(lambda: multi.pids() == {}, what="the pid file to be removed")
    assert f"w1@{HOST}: DOWN (there is no pid file" in multi.run("stop", "w1", *files)


@ON_SQLITE
def test_kill_ends_at_once_and_removes_the_pid_files(multi: Multi, alias: str) -> None:
    options = ["w1", "w2", *SMALL, *multi.files()]
    multi.run("start", *options)
    pids = multi.pids()
    said = multi.run("kill", "w1", "w2", *multi.files())
    assert "> Killing nodes..." in said
    assert [f"\t> {name}@{HOST}: KILL -> {pid}\n" in said for name, pid in pids.items()] == [True, True]
    assert not any(trees.alive(pid) for pid in pids.values())
    assert multi.pids() == {}


@ON_SQLITE
def test_node_that_can_not_start_says_why(multi: Multi, alias: str) -> None:
    (multi.directory / "run").mkdir()
    (multi.directory / "run/w2.pid").write_text("no pid")
    said = multi.run("start", "w1", "w2", *SMALL, *multi.files(), status=1)
    assert f"\t> w1@{HOST}: OK\n" in said
    assert f"\t> w2@{HOST}: FAILED\n\t  CommandError: {multi.directory}/run/w2.pid is no pid file" in said
    assert "CommandError: It did not succeed for all nodes." in said
    (multi.directory / "run/w2.pid").unlink()
    multi.run("stopwait", "w1", *multi.files())


@ON_SQLITE
def test_worker_that_ends_before_it_is_ready_is_told_with_its_log(multi: Multi, alias: str) -> None:
    app = multi.directory / "failing"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "tasks.py").write_text(ENDS)
    apps = {"PYTHONPATH": str(multi.directory), "TEST_APPS": "tests.support.jobs,failing"}
    process = multi.start("start", "w1", "-l", "info", *SMALL, *multi.files(), **apps)
    assert process.wait(240) == 1
    assert f"\t> w1@{HOST}: FAILED\n\t  The worker ended before it was ready: see its log.\n" in process.log
    assert re.search(rf"\t  The last lines of {multi.directory}/log/w1\.log:\n\t  \[.*\] no more paper\n", process.log)


def version() -> str:
    import taskq

    return taskq.__version__
