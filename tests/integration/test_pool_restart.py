"""The command ``pool_restart``: children are replaced while a worker runs, on request with new code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from taskq import control, send_task
from tests.support import trees
from tests.support.processes import Process
from tests.support.waiting import wait_until

from .conftest import StartWorker

_TASKS = """
import os
import time
from pathlib import Path

from taskq import task

@task
def version():
    return {version!r}, os.getpid(), os.environ.get("TASKQ_STARTED_AS")

@task
def long(started, go_on):
    Path(started).write_text("started")
    while not Path(go_on).exists():
        time.sleep(0.01)
    return {version!r}
"""

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The file of the tasks of an app, which a test changes."""
    app = tmp_path / "code" / "restarted"
    app.mkdir(parents=True)
    (app / "__init__.py").touch()
    path = app / "tasks.py"
    path.write_text(_TASKS.format(version="old"))
    return path


@pytest.fixture
def worker(start_worker: StartWorker, code: Path, tmp_path: Path) -> Process:
    environment = {"PYTHONPATH": str(code.parent.parent), "TEST_APPS": "restarted"}
    log = str(tmp_path / "%n%I.log")
    worker = start_worker("-n", "w@%h", "-f", log, "--quiet", environment=environment, ready=False, POOL_RESTARTS=True)
    main = tmp_path / "w.log"
    wait_until(lambda: main.exists() and " ready." in main.read_text(), what="the worker to be ready")
    return worker


def restart(**arguments: Any) -> Any:
    (found,) = control.pool_restart(**arguments, reply=True, limit=1, timeout=60) or [{"": "no reply"}]
    (reply,) = found.values()
    return reply


def version() -> tuple[str, int]:
    found, pid, marks = send_task("restarted.tasks.version").get(timeout=60)
    assert not marks
    return found, pid


def test_children_are_replaced_when_their_tasks_have_ended(
    alias: str, worker: Process, code: Path, tmp_path: Path, go_on: Path
) -> None:
    _, before = version()
    assert restart() == {"ok": "reload started"}
    wait_until(lambda: version()[1] != before, what="another child")
    assert version()[0] == "old"
    # The long task of the old code runs on, and the next one has the new code.
    code.write_text(_TASKS.format(version="rather new"))
    control.pool_grow(1, reply=True, limit=1, timeout=60)
    started = tmp_path / "started"
    long = send_task("restarted.tasks.long", (str(started), str(go_on)))
    wait_until(started.exists)
    assert restart(modules=["restarted.tasks"], reload=True) == {"ok": "reload started"}
    wait_until(lambda: version()[0] == "rather new", what="the new code")
    go_on.touch()
    assert long.get(timeout=60) == "old"
    # The fork server of the old code has ended with its last child.
    wait_until(lambda: len(trees.children(worker.pid)) == 1, what="the old fork server to end")
    assert (tmp_path / "w-1.log").exists()
    _refuse_broken_code(worker, code, tmp_path / "w.log")
    assert worker.stop() == 0


def _refuse_broken_code(worker: Process, code: Path, log: Path) -> None:
    """Code that can't be imported replaces nothing, and neither does a module that the worker has not."""
    servers = trees.children(worker.pid)
    code.write_text("this is no Python")
    assert restart(reload=True) == {"ok": "reload started"}
    wait_until(lambda: "The pool is not restarted" in log.read_text(), what="the failure to be logged")
    wait_until(lambda: "SyntaxError" in log.read_text(), what="its reason to be logged")
    assert version()[0] == "rather new"
    assert trees.children(worker.pid) == servers
    for modules in (["os"], "antigravity", ["restarted.tasks", "nowhere"]):
        assert "no tasks of this worker are in" in restart(modules=modules)["error"]
    assert "ValueError" in restart(reloader="os.system")["error"]


def test_a_worker_ends_cleanly_while_its_pool_is_restarted(worker: Process, code: Path) -> None:
    version()
    code.write_text(f"import time\ntime.sleep(60)\n{_TASKS}")
    assert restart(reload=True) == {"ok": "reload started"}
    assert restart(reload=True) == {"error": "ValueError('the pool is being restarted already')"}
    servers = wait_until(lambda: len(found := trees.children(worker.pid)) == 2 and found, what="a second fork server")
    assert worker.stop() == 0
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in servers), what="both fork servers to end")


def test_threads_have_no_processes_to_restart(start_worker: StartWorker) -> None:
    start_worker("-P", "threads", environment={"TEST_APPS": "tests.support.jobs"}, POOL_RESTARTS=True)
    assert "threads pool has no processes to restart" in restart()["error"]
