"""A deploy, rehearsed: workers with an old and a new checkout of an app beside each other, on one database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskq import send_task
from taskq.models import Attempt, Message, ScheduledMessage
from tests.support.length import mainly_on
from tests.support.processes import Process
from tests.support.waiting import wait_until

from .conftest import StartWorker

_TASKS = """
import time
from pathlib import Path

from taskq import task

@task
def both():
    return "{version}"

@task
def {own}():
    return "{version}"

@task(bind=True)
def long(self, started, go_on):
    Path(started).write_text("{version}")
    while not Path(go_on).exists():
        time.sleep(0.01)
    return "{version}"
"""


@pytest.fixture
def start_version(start_worker: StartWorker, tmp_path: Path) -> Any:
    """Start a worker with the ``old`` or the ``new`` checkout of the app ``rehearsed``."""
    for version, own in (("old", "removed"), ("new", "added")):
        app = tmp_path / version / "rehearsed"
        app.mkdir(parents=True)
        (app / "__init__.py").touch()
        (app / "tasks.py").write_text(_TASKS.format(version=version, own=own))

    def start(version: str, *options: str, **settings: Any) -> Process:
        environment = {"PYTHONPATH": str(tmp_path / version), "TEST_APPS": "rehearsed"}
        return start_worker(
            "-n", f"{version}@%h", *options, environment=environment, **{"UNKNOWN_TASK_GRACE": 60.0, **settings}
        )

    return start


@mainly_on("postgresql")
def test_deploy_and_its_reversal(alias: str, start_version: Any, tmp_path: Path, go_on: Path) -> None:
    old = start_version("old", SHUTDOWN_TIMEOUT=0.2)
    added = send_task("rehearsed.tasks.added")
    old.wait_for_log(rf"rehearsed\.tasks\.added\[{added.id}\] is not registered here\. It goes back")
    # Meanwhile it keeps nobody waiting.
    assert send_task("rehearsed.tasks.both").get(timeout=60) == "old"
    started = tmp_path / "started"
    long = send_task("rehearsed.tasks.long", (str(started), str(go_on)))
    wait_until(started.exists)
    new = start_version("new")
    assert added.get(timeout=60) == "new"
    assert old.stop() == 1
    assert f"rehearsed.tasks.long[{long.id}] was interrupted and runs again" in old.log
    wait_until(lambda: started.read_text() == "new", what="the new version to run it")
    assert Message.objects.using(alias).get(task_id=long.id).deliveries == 0
    attempt = Attempt.objects.using(alias).get(task_id=long.id)
    assert (attempt.state, attempt.worker.partition("@")[0]) == ("INTERRUPTED", "old")
    assert "this start is not counted" in (attempt.traceback or "")
    # And back.
    removed = send_task("rehearsed.tasks.removed")
    go_on.touch()
    assert long.get(timeout=60) == "new"
    new.wait_for_log(r"rehearsed\.tasks\.removed\[.*\] is not registered here")
    back = ScheduledMessage.objects.using(alias).filter(task_id=removed.id).values_list("deliveries")
    assert wait_until(back.first, what="it to be put back") == (0,)
    start_version("old")
    # As long as both run, either may be the first to take it.
    assert new.stop() == 0
    assert removed.get(timeout=60) == "old"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_task_that_no_version_knows_fails_after_the_grace(start_version: Any) -> None:
    worker = start_version("old", UNKNOWN_TASK_GRACE=0.5)
    nowhere = send_task("rehearsed.tasks.nowhere")
    wait_until(lambda: nowhere.state == "FAILURE")
    assert "NotRegistered" in repr(nowhere.result)
    worker.wait_for_log("It goes back for a worker that knows it, for at most 0.5 s")
