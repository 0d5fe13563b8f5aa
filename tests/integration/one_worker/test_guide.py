"""The guide's examples of calling tasks, states and results, and of its commands, as printed.

The monitor without ``--dump`` is in ``test_screen``, ``taskmulti`` in ``test_taskmulti``.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command, load_command_class
from django.db import transaction

from taskq import AsyncResult
from taskq.conf import settings
from taskq.models import Message, TaskRun
from testproject.arithmetic.tasks import add, mul, xsum
from tests.support.databases import Database
from tests.support.jobs import endings, tasks
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until
from tests.support.workers import as_environment


def test_result_has_value_state_and_fields_of_the_run(alias: str) -> None:
    res = add.delay(2, 2)
    assert res.get(timeout=60) == 4
    assert add.delay(2, 2).get(timeout=60) == 4
    assert (res.state, res.successful(), res.failed(), res.ready()) == ("SUCCESS", True, False, True)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", res.id)
    assert (res.name, res.args, res.kwargs) == ("testproject.arithmetic.tasks.add", [2, 2], {})
    assert res.worker == f"taskq@{socket.gethostname()}"
    assert not Message.objects.using(alias).filter(task_id=res.id).exists()


def test_apply_async_delay_and_direct_call_give_values() -> None:
    assert mul.apply_async((4, 8)).get(timeout=60) == 32
    assert xsum.delay([1, 2, 3]).get(timeout=60) == 6
    assert add(2, 2) == 4


def test_type_error_of_a_task_with_and_without_propagate() -> None:
    res = add.delay(2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"add\(\) missing 1 required positional argument: 'y'"):
        res.get(timeout=60)
    error = res.get(propagate=False)
    assert type(error) is TypeError
    assert res.failed()
    assert not res.successful()
    assert res.state == "FAILURE"
    assert "TypeError: " in (res.traceback or "")


def test_result_of_an_unknown_id_is_pending() -> None:
    assert AsyncResult("this-id-does-not-exist").state == "PENDING"


def test_task_with_countdown_and_queue_runs_later_in_that_queue(notes: Path) -> None:
    before = datetime.now(UTC)
    res = tasks.note.apply_async((str(notes), 1), queue="lopri", countdown=1)
    assert res.state == "PENDING"
    assert res.get(timeout=60) == 1
    run = res.task_record
    assert run is not None
    assert run.queue == "lopri"
    assert float(notes.read_text().split()[1]) >= before.timestamp() + 1
    assert run.started_at is not None
    # By the clock of the database, as far as the worker knows it.
    assert run.started_at - before >= timedelta(seconds=0.5)


def test_task_runs_no_earlier_than_its_eta(notes: Path) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=0.7)
    tasks.note.apply_async((str(notes), 1), eta=eta).get(timeout=60)
    assert float(notes.read_text().split()[1]) >= eta.timestamp()


@pytest.mark.parametrize("options", [{"countdown": -5}, {"countdown": 0}, {"eta": datetime(2001, 1, 1, tzinfo=UTC)}])
def test_task_with_a_past_eta_or_countdown_runs_at_once(notes: Path, options: dict[str, Any]) -> None:
    assert tasks.note.apply_async((str(notes), 1), **options).get(timeout=60) == 1


def test_short_tasks_do_not_wait_behind_a_long_one(notes: Path, go_on: Path, tmp_path: Path) -> None:
    with transaction.atomic(settings.DATABASE):
        long = endings.wait_for_file.delay(str(tmp_path / "long"), str(go_on))
        short = tasks.note.delay_many([(str(notes), n) for n in range(50)])
    assert [result.get(timeout=60) for result in short] == list(range(50))
    assert not long.ready()
    go_on.touch()
    assert long.get(timeout=60) == "done"


def test_many_tasks_sent_at_once_run_once_each(alias: str, notes: Path) -> None:
    results = tasks.note.delay_many([(str(notes), n) for n in range(300)])
    assert [result.get(timeout=60) for result in results] == list(range(300))
    assert sorted(int(line.split()[0]) for line in notes.read_text().splitlines()) == list(range(300))
    ids = [result.id for result in results]
    assert TaskRun.objects.using(alias).filter(task_id__in=ids, state="SUCCESS").count() == 300


def test_task_with_track_started_is_seen_as_started(worker: Process, notes: Path, go_on: Path) -> None:
    res = endings.tracked.delay(str(notes), str(go_on))
    wait_until(lambda: res.state == "STARTED", what="STARTED")
    assert res.info["hostname"] == f"taskq@{socket.gethostname()}"
    assert res.info["pid"] != worker.pid
    go_on.touch()
    assert res.get(timeout=60) == "done"


def test_running_task_without_track_started_is_pending(notes: Path, go_on: Path) -> None:
    res = endings.wait_for_file.delay(str(notes), str(go_on))
    wait_until(notes.read_text, what="the task to start")
    assert res.state == "PENDING"
    go_on.touch()
    assert res.get(timeout=60) == "done"


def test_progress_is_seen_while_the_task_runs(notes: Path, go_on: Path) -> None:
    res = tasks.progress.delay(str(notes), str(go_on))
    wait_until(lambda: res.state == "PROGRESS", what="PROGRESS")
    assert res.info == {"done": 1, "of": 2}
    assert not res.ready()
    go_on.touch()
    assert res.get(timeout=60) == "done"
    assert res.state == "SUCCESS"


# -- the guide's commands of "Remote Control", translated


@pytest.fixture
def node(worker: Process) -> str:
    return worker.wait_for_log(r"(taskq@\S+) ready").group(1)


@pytest.fixture
def said(node: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command, and return what it prints."""

    def run(*words: str) -> str:
        call_command(*words)
        return capsys.readouterr().out

    return run


def test_inspect_active_tells_of_the_running_task(
    node: str, said: Callable[..., str], notes: Path, go_on: Path
) -> None:
    nothing = f"->  {node}: OK\n    - empty -\n\n1 node online.\n"
    wait_until(
        lambda: said("taskinspect", "active", "-t", "20", "-d", node) == nothing, what="the tasks of other tests to end"
    )
    res = endings.wait_for_file.delay(str(notes), str(go_on))
    wait_until(notes.read_text, what="the task to start")
    head, line, *rest = said("taskinspect", "active", f"--destination={node}", "-t", "20").splitlines()
    assert (head, rest) == (f"->  {node}: OK", ["", "1 node online."])
    assert line.startswith(f"    * {{'id': '{res.id}', 'name': '{endings.wait_for_file.name}', 'args': ")
    assert said("taskinspect", "active", "-t", "5").startswith(f"->  {node}: OK\n    * {{'id': '{res.id}', ")
    go_on.touch()
    assert res.get(timeout=60) == "done"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("taskinspect", "  active\n      List the tasks that run now.\n"),
        ("taskcontrol", "  enable_events\n      Have workers send events of tasks.\n"),
        ("taskcontrol", "  disable_events\n      Have workers send no more events of tasks.\n"),
    ],
)
def test_help_lists_the_commands(name: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        load_command_class("taskq", name).run_from_argv(["manage.py", name, "--help"])
    assert end.value.code == 0
    assert line in capsys.readouterr().out


def test_events_are_enabled_dumped_and_disabled(
    node: str, said: Callable[..., str], database: Database, tmp_path: Path
) -> None:
    processes = Processes(tmp_path, {"DATABASE_URL": database.url, "TASKQ_BROKER_URL": "django://"})
    order = ("-t", "20", "-d", node)
    assert said("taskcontrol", "enable_events", *order) == f"->  {node}: OK\n        task events enabled\n"
    try:
        dump = processes.start("taskevents", "--dump", **as_environment({}))
        dump.wait_for_log("-> taskevents: starting capture...")
        dump.wait_for_log(re.escape(node) + r" \[\d{4}-\d\d-\d\d \S+\+00:00\] heartbeat: active=")
        res = add.delay(2, 2)
        dump.wait_for_log(rf"task received: testproject.arithmetic.tasks.add\({res.id}\) args='?\(2, 2\)'? kwargs=")
        dump.wait_for_log(rf"task succeeded: testproject.arithmetic.tasks.add\({res.id}\) .*result='?4")
        assert dump.stop(signal.SIGINT) == 0
    finally:
        processes.end()
        assert said("taskcontrol", "disable_events", *order) == f"->  {node}: OK\n        task events disabled\n"


def test_status_lists_the_online_nodes(node: str, said: Callable[..., str]) -> None:
    assert said("taskstatus", "-t", "3") == f"->  {node}: OK\n\n1 node online.\n"
