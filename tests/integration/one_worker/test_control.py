"""Remote control of a running worker: from Python, and by the management commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from taskq import AsyncResult, control, send_task
from taskq.exceptions import TaskRevokedError
from taskq.models import Message, ScheduledMessage, Worker
from tests.support.jobs import endings, tasks
from tests.support.processes import Process
from tests.support.waiting import wait_until


@pytest.fixture
def node(worker: Process) -> str:
    return worker.wait_for_log(r"(taskq@\S+) ready").group(1)


def ask(node: str) -> control.Inspect:
    """Ask the one worker: the limit ends the waiting for others."""
    return control.inspect(node, timeout=60, limit=1)


def order(command: str, **arguments: Any) -> Any:
    """Have the worker do something, and return its reply."""
    (found,) = control.broadcast(command, arguments, reply=True, limit=1, timeout=60) or [{"": "no reply"}]
    (reply,) = found.values()
    return reply


@pytest.fixture
def busy(notes: Path, tmp_path: Path) -> Iterator[list[str]]:
    """Both children run a task until the test has ended; the ids of these tasks."""
    results = [endings.wait_for_file.delay(str(notes), str(tmp_path / "go on")) for _ in range(2)]
    wait_until(lambda: len(notes.read_text().splitlines()) == 2, what="both children to be busy")
    yield [result.id for result in results]
    (tmp_path / "go on").touch()
    for result in results:
        result.get(timeout=60, propagate=False)


# -- who is asked


def test_ping_and_destination(node: str) -> None:
    assert control.ping(limit=1, timeout=60) == [{node: {"ok": "pong"}}]
    assert control.inspect([node], timeout=60).ping() == {node: {"ok": "pong"}}
    assert control.inspect(node, timeout=60).ping() == {"ok": "pong"}
    assert control.inspect(pattern="taskq@*", matcher="glob", timeout=60, limit=1).ping() == {node: {"ok": "pong"}}
    assert control.inspect(["nobody@nowhere"], timeout=0.3).ping() == {}
    assert control.inspect("nobody@nowhere", timeout=0.3).ping() == {}
    assert control.inspect(pattern="nobody*", matcher="glob", timeout=0.3).ping() == {}


def test_an_unknown_command_is_an_error(node: str) -> None:
    assert order("nosuch") == {"error": "KeyError('nosuch')"}
    assert "TypeError" in order("terminate", task_id=3, signal="TERM")["error"]


# -- what it does


def test_running_reserved_and_scheduled_tasks_are_told_while_all_children_are_busy(
    node: str, busy: list[str], notes: Path, alias: str
) -> None:
    running = ask(node).active()
    assert {each["id"] for each in running} == set(busy)
    first = running[0]
    assert (first["name"], first["type"], first["hostname"]) == (endings.wait_for_file.name,) * 2 + (node,)
    assert first["args"][0] == str(notes)
    assert first["delivery_info"] == {"exchange": "", "routing_key": "taskq", "priority": 0, "redelivered": False}
    assert first["worker_pid"] in ask(node).stats()["pool"]["processes"]
    assert abs(first["time_start"] - datetime.now(UTC).timestamp()) < 60
    assert first["args"] != ask(node).active(safe=True)[0]["args"] == repr(tuple(first["args"]))

    later = tasks.note.apply_async((str(notes), 1), countdown=600)
    (due,) = [each for each in ask(node).scheduled() if each["request"]["id"] == later.id]
    assert datetime.fromisoformat(due["eta"]) > datetime.now(UTC) + timedelta(minutes=5)
    found = ask(node).query_task(busy[0], later.id, "unknown")
    assert {task_id: state for task_id, (state, _) in found.items()} == {busy[0]: "active", later.id: "scheduled"}
    later.revoke()


def test_the_row_tells_what_each_slot_runs(node: str, busy: list[str], alias: str) -> None:
    def said() -> dict[str, Any]:
        return dict(json.loads(Worker.objects.using(alias).get(name=node).info))

    def is_told(found: dict[str, Any]) -> bool:
        return {slot.get("id") for slot in found["slots"]} == set(busy)

    assert is_told(ask(node).stats())
    wait_until(lambda: is_told(said()), what="the row to have both tasks")
    row = said()
    assert {slot["name"] for slot in row["slots"]} == {endings.wait_for_file.name}
    assert {slot["pid"] for slot in row["slots"]} == set(ask(node).stats()["pool"]["processes"])
    assert all(0 <= datetime.now(UTC).timestamp() - slot["since"] < 60 for slot in row["slots"])
    assert "go on" not in json.dumps(row["slots"])  # an argument
    # What the worker itself says: the row may not count the ends of the test before yet.
    before = ask(node).stats()["processed"]
    order("enable_events")
    try:
        with pytest.raises(TaskRevokedError):
            order("terminate", task_id=busy[0], signal="KILL")
            AsyncResult(busy[0]).get(timeout=60)
        wait_until(lambda: said()["processed"]["revoked"] == before["revoked"] + 1, what="the row to count the end")
        assert said()["events"] is True
    finally:
        order("disable_events")


def test_revoked_tasks_are_listed_after_their_end(node: str) -> None:
    waiting = endings.square.apply_async((3,), countdown=600)
    assert waiting.id not in ask(node).revoked()
    order("revoke", task_id=waiting.id)
    assert waiting.state == "REVOKED"
    expired = endings.square.apply_async((3,), expires=-1)
    with pytest.raises(TaskRevokedError):
        expired.get(timeout=60)
    assert {waiting.id, expired.id} <= set(ask(node).revoked())


def test_sensitive_arguments_never_leave(node: str, busy: list[str]) -> None:
    result = endings.charge.apply_async(("4111", 7), countdown=600)
    assert ask(node).query_task(result.id)[result.id][1]["args"] == ["********", 7]
    result.revoke()


def test_stats_settings_and_queues(worker: Process, node: str) -> None:
    # The test before may have killed one.
    wait_until(lambda: len(ask(node).stats()["pool"]["processes"]) == 2, what="both children")
    stats = ask(node).stats()
    assert stats["pid"] == worker.pid
    assert stats["pool"]["max-concurrency"] == 2
    assert stats["broker"]["transport"] == "django"
    before = stats["total"].get(endings.square.name, 0)
    endings.square.delay(3).get(timeout=60)
    assert ask(node).stats()["total"][endings.square.name] == before + 1
    assert (stats["events"], len(stats["loadavg"])) == (False, 3)
    assert ask(node).conf()["TASKQ_BROKER_URL"].startswith("django://")
    assert len(ask(node).conf(with_defaults=True)) > len(ask(node).conf())
    assert "software -> taskq:" in ask(node).report()["ok"]
    assert ask(node).memsample().endswith("MB")
    assert [queue["name"] for queue in ask(node).active_queues()] == ["taskq", "lopri"]
    assert ask(node).clock()["clock"] < ask(node).clock()["clock"]
    assert set(ask(node).hello("other@host")) == {"revoked", "clock"}
    assert ask(node).hello(node) is None


def test_registered_tasks(node: str) -> None:
    known = ask(node).registered()
    assert endings.square.name in known
    assert known == sorted(known)
    assert not [name for name in known if name.startswith("celery.")]
    assert f"{endings.square.name} [serializer=json]" in ask(node).registered("serializer", "_private")


# -- what it is told to do


def test_revoke_by_id_and_list(node: str, busy: list[str], notes: Path) -> None:
    results = [tasks.note.delay(str(notes), 5) for _ in range(3)]
    assert order("revoke", task_id=results[0].id) == {"ok": f"tasks {{'{results[0].id}'}} flagged as revoked"}
    assert order("revoke", task_id=[each.id for each in results])["ok"].endswith("flagged as revoked")
    for result in results:
        with pytest.raises(TaskRevokedError):
            result.get(timeout=60)
    assert order("revoke", task_id=results[0].id, terminate=True) == {"ok": "terminate: tasks unknown"}


def test_revoked_before_it_is_sent(node: str, notes: Path) -> None:
    control.revoke("not-sent-yet-1")
    assert "not-sent-yet-1" in ask(node).revoked()
    result = tasks.note.apply_async((str(notes), 1), task_id="not-sent-yet-1")
    with pytest.raises(TaskRevokedError):
        result.get(timeout=60)


@pytest.mark.parametrize("how", ["revoke", "terminate"])
def test_a_running_task_is_terminated_and_the_other_is_not(
    node: str, busy: list[str], how: str, tmp_path: Path
) -> None:
    arguments = {"terminate": True, "signal": "KILL"} if how == "revoke" else {"signal": "SIGKILL"}
    assert order(how, task_id=busy[0], **arguments) == {"ok": f"terminate: {busy[0]}"}
    with pytest.raises(TaskRevokedError, match="terminated"):
        AsyncResult(busy[0]).get(timeout=60)
    assert [each["id"] for each in ask(node).active()] == [busy[1]]


def test_a_task_is_asked_before_it_is_killed(node: str, notes: Path, tmp_path: Path) -> None:
    def running(task: Any) -> str:
        before = notes.read_text()
        result = task.delay(str(notes), str(tmp_path / "never"))
        wait_until(lambda: notes.read_text() != before, what="the task to run")
        return str(result.id)

    def order_to_end(task_id: str, grace: float) -> AsyncResult[Any]:
        words = {"ok": f"terminate: {task_id}"}
        assert order("revoke", task_id=task_id, terminate=True, signal="SIGKILL", grace=grace) == words
        return AsyncResult(task_id)

    for task in (endings.wait_for_file, endings.wait_in_a_loop):
        with pytest.raises(TaskRevokedError, match="terminated"):
            order_to_end(running(task), 60).get(timeout=60)
    assert order_to_end(running(endings.end_when_asked), 60).get(timeout=60) == "tidied up"
    with pytest.raises(TaskRevokedError, match="terminated"):
        order_to_end(running(endings.ignore_asking), 0.1).get(timeout=60)


def test_a_signal_that_does_not_exist_is_an_error(node: str) -> None:
    assert "no signal" in order("revoke", task_id="x", terminate=True, signal="SIGNOTHING")["error"]


def test_revoke_by_name_and_by_stamps(node: str, busy: list[str], notes: Path, alias: str) -> None:
    def waiting(result: Any) -> bool:
        return Message.objects.using(alias).filter(task_id=result.id).exists() or (
            ScheduledMessage.objects.using(alias).filter(task_id=result.id).exists()
        )

    named = send_task("reports.weekly.build", (), countdown=600)
    stamped = tasks.note.apply_async((str(notes), 1), countdown=600, stamped_headers=["order"], order=["7"])
    other = tasks.note.apply_async((str(notes), 1), countdown=600, stamped_headers=["order"], order=["8"])
    assert order("revoke_by_name", pattern="reports.*") == {"ok": "tasks reports.* flagged as revoked"}
    wait_until(lambda: named.state == "REVOKED", what="the task with that name to be revoked")
    headers = {"order": ["7"]}
    words = f"headers {headers} flagged as revoked, but not terminated"
    assert order("revoke_by_stamped_headers", headers=headers) == {"ok": words}
    wait_until(lambda: stamped.state == "REVOKED", what="the task with that stamp to be revoked")
    assert waiting(other)
    control.revoke_by_stamped_headers({"order": "8"})
    assert other.state == "REVOKED"
    assert not any(map(waiting, (named, stamped, other)))


def test_time_limits_change(node: str, notes: Path) -> None:
    name = tasks.note.name
    assert order("time_limit", task_name="no.such", hard=1) == {"error": "unknown task"}
    assert "ValueError" in order("time_limit", task_name=name, hard="soon")["error"]
    assert order("time_limit", task_name=name, soft=0.1, hard=20) == {"ok": "time limits set successfully"}
    try:
        assert "SoftTimeLimitExceeded" in repr(tasks.note.delay(str(notes), 1, 30.0).get(timeout=60, propagate=False))
    finally:
        assert order("time_limit", task_name=name) == {"ok": "time limits set successfully"}


def test_the_pool_grows_and_shrinks(node: str, alias: str) -> None:
    def size() -> int:
        found = ask(node).stats()["pool"]
        return len(found["processes"]) if len(found["processes"]) == found["max-concurrency"] else 0

    assert order("pool_grow", n=2) == {"ok": "pool will grow"}
    wait_until(lambda: size() == 4, what="two more children")
    row = Worker.objects.using(alias).filter(name=node)
    wait_until(lambda: json.loads(row.get().info)["concurrency"] == 4, what="the row to have the concurrency")
    assert order("pool_shrink", n=2) == {"ok": "pool will shrink"}
    wait_until(lambda: size() == 2, what="two children less")
    assert "one must remain" in order("pool_shrink", n=2)["error"]
    assert "ValueError" in order("pool_grow", n=10**9)["error"]
    assert order("autoscale", max=3, min=1) == {"error": "ValueError('Autoscale not enabled')"}
    assert order("pool_restart") == {"error": "ValueError('Pool restarts not enabled')"}


def test_queues_are_added_and_cancelled(node: str, notes: Path, alias: str) -> None:
    result = tasks.note.apply_async((str(notes), 1), queue="added")
    assert order("add_consumer", queue="added") == {"ok": "add consumer added"}
    result.get(timeout=60)
    wait_until(lambda: "added" in Worker.objects.using(alias).get(name=node).info, what="the row to have the queue")
    assert order("cancel_consumer", queue="added") == {"ok": "no longer consuming from added"}
    assert [queue["name"] for queue in ask(node).active_queues()] == ["taskq", "lopri"]
    waiting = tasks.note.apply_async((str(notes), 1), queue="added")
    tasks.note.delay(str(notes), 1).get(timeout=60)
    assert waiting.state == "PENDING"
    waiting.revoke()
    assert "ValueError" in order("add_consumer", queue="q", exchange="e", exchange_type="strange")["error"]
    assert "error" in order("add_consumer", queue="q", exchange="e", exchange_type="topic", expires="never")


def test_an_exchange_is_declared_with_its_queue(node: str, notes: Path) -> None:
    named = {"queue": "images", "exchange": "media", "exchange_type": "topic", "routing_key": "image.#"}
    assert order("add_consumer", **named) == {"ok": "add consumer images"}
    result = tasks.note.apply_async((str(notes), 1), exchange="media", routing_key="image.resize")
    result.get(timeout=60)
    order("cancel_consumer", queue="images")


# -- the management commands


def test_the_commands_print_what_celery_prints(node: str, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("taskstatus", "-t", "3")
    assert capsys.readouterr().out == f"->  {node}: OK\n\n1 node online.\n"
    call_command("taskinspect", "ping", "-d", node, "-t", "20")
    assert capsys.readouterr().out == f"->  {node}: OK\n        pong\n\n1 node online.\n"
    wait_until(lambda: ask(node).active() == [], what="the tasks of other tests to end")
    call_command("taskinspect", "active", "-d", node, "-t", "20", "--json")
    assert json.loads(capsys.readouterr().out) == {node: []}
    call_command("taskcontrol", "pool_shrink", "9", "-d", node, "-t", "20")
    assert capsys.readouterr().out.startswith(f"->  {node}: ERROR\n        ValueError(")
    call_command("taskcontrol", "revoke", "a", "b", "-d", node, "-t", "20", "-j")
    (found,) = json.loads(capsys.readouterr().out)
    assert found[node]["ok"].endswith("flagged as revoked")
    call_command("taskcontrol", "terminate", "TERM", "a", "-d", node, "-t", "20")
    written, reply = capsys.readouterr().out.split("\n", 1)
    assert written == "0 tasks revoked in the database, or asked for in a worker."
    assert reply == f"->  {node}: OK\n        terminate: tasks unknown\n"


@pytest.mark.parametrize("command", [("taskstatus",), ("taskinspect", "active"), ("taskcontrol", "heartbeat")])
def test_nobody_answers(worker: Process, command: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="No nodes replied within time constraint") as caught:
        call_command(*command, "-d", "nobody@nowhere", "-t", "0.2")
    assert caught.value.returncode == 69


def test_a_command_that_does_not_exist(worker: Process) -> None:
    with pytest.raises(CommandError, match="--list"):
        call_command("taskinspect", "revoke", "x")
