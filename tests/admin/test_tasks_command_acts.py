"""``manage.py tasks`` moves, prioritizes and deletes; it asks before it deletes."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from taskq import send_task
from taskq.models import Message, ScheduledMessage, TaskRun
from taskq.timezones import now

pytestmark = pytest.mark.django_db


def run(*words: str) -> tuple[str, str]:
    """Run ``manage.py tasks`` and return what it printed to each stream."""
    out, err = StringIO(), StringIO()
    call_command("tasks", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def send(name: str = "shop.mail", **options: Any) -> str:
    return str(send_task(name, **options).id)


def ended(name: str = "shop.mail", state: str = "SUCCESS") -> str:
    """Make a task that has ended, and return its id."""
    task_id = send(name)
    Message.objects.filter(task_id=task_id).delete()
    TaskRun.objects.filter(task_id=task_id).update(state=state, finished_at=now())
    return task_id


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is typed when the command asks, from the last to the first; nothing more is the end of the input."""
    typed: list[str] = []

    def read(prompt: str = "") -> str:
        if not typed:
            raise EOFError
        return typed.pop()

    monkeypatch.setattr("builtins.input", read)
    return typed


def test_move_of_some_and_of_all_that_match() -> None:
    waits, later, other = send(), send(countdown=600), send("shop.pack")
    assert run("move", waits, "--to-queue", "slow") == ("1 moved.\n", "")
    assert (
        run("move", "--name", "shop.mail", "--to-queue", "slower", "--json")[0]
        == json.dumps({"done": 2, "refused": {}}, indent=2) + "\n"
    )
    assert dict(Message.objects.values_list("task_id", "queue")) == {waits: "slower", other: "taskq"}
    assert ScheduledMessage.objects.get(task_id=later).queue == "slower"
    assert set(TaskRun.objects.filter(queue="slower").values_list("task_id", flat=True)) == {waits, later}


def test_prioritize_of_waiting_ones_alone() -> None:
    waits, later = send(), send(countdown=600)
    assert run("prioritize", "--queue", "taskq", "--state", "waiting", "--priority", "9")[0] == "1 prioritized.\n"
    assert (Message.objects.get(task_id=waits).priority, ScheduledMessage.objects.get(task_id=later).priority) == (9, 0)
    for wrong in ("10", "-1"):
        with pytest.raises(CommandError, match="priority"):
            run("prioritize", waits, "--priority", wrong)


def test_what_has_ended_or_is_held_is_refused_in_words() -> None:
    held, done = send(), ended()
    Message.objects.filter(task_id=held).update(token="a worker")
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="refused"):
        call_command("tasks", "move", held, done, "--to-queue", "slow", stdout=out, stderr=err)
    assert out.getvalue() == "0 moved. Not: 1 held, 1 not waiting.\n"
    assert f"A worker has taken {held} already." in err.getvalue()
    assert f"{done} does not wait" in err.getvalue()


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("words", [("move", "--to-queue", "slow"), ("prioritize", "--priority", "3"), ("delete",)])
def test_nothing_is_done_to_tasks_that_nobody_has_named(words: tuple[str, ...]) -> None:
    waits, done = send(), ended()
    with pytest.raises(CommandError, match="Which tasks"):
        run(*words)
    with pytest.raises(CommandError, match="not by both"):
        run(*words, waits, "--queue", "taskq")
    with pytest.raises(CommandError, match="No task matches"):
        run(*words, "--name", "none")
    assert run(*words, waits, done, "--dry-run")[0].split() == [waits, done]
    assert Message.objects.filter(queue="taskq", priority=0).count() == 1
    assert TaskRun.objects.count() == 2


def test_delete_asks_before_it_deletes(answers: list[str]) -> None:
    done, failed, waits = ended(), ended(state="FAILURE"), send()
    for answer in ([], ["no"], [""]):
        answers[:] = answer
        with pytest.raises(CommandError, match="Nothing was deleted"):
            run("delete", "--name", "shop.mail")
    assert TaskRun.objects.count() == 3
    answers[:] = ["yes"]
    out, err = run("delete", "--name", "shop.mail", "--json")
    assert json.loads(out) == {"done": 2, "refused": {}}
    assert "2 tasks will be deleted" in err
    assert list(TaskRun.objects.values_list("task_id", flat=True)) == [waits]
    assert TaskRun.objects.filter(task_id__in=[done, failed]).count() == 0


def test_delete_by_force_refuses_what_has_not_ended() -> None:
    waits, done = send(), ended()
    with pytest.raises(CommandError, match="refused"):
        run("delete", waits, done, "none", "--force")
    assert list(TaskRun.objects.values_list("task_id", flat=True)) == [waits]


def test_queue_that_may_not_be_made_is_refused(settings: Any) -> None:
    settings.TASKQ_CREATE_MISSING_QUEUES = False
    waits = send()
    with pytest.raises(CommandError, match="nowhere"):
        run("move", waits, "--to-queue", "nowhere")


def test_all_of_it_is_in_the_admins_log(admin_user: User) -> None:
    waits, done = send(), ended("shop.pack")
    run("move", waits, "--to-queue", "slow", "--as", "admin")
    run("prioritize", "--queue", "slow", "--priority", "5", "--as", "admin")
    run("delete", done, "--force", "--as", "admin")
    found = LogEntry.objects.order_by("pk").values_list("action_flag", "change_message", "object_repr")
    assert list(found) == [
        (CHANGE, "Move [taskrun.move]", f"shop.mail[{waits}]"),
        (CHANGE, "Change the priority [taskrun.prioritize]", "1 tasks: queue=slow"),
        (DELETION, "Delete [taskrun.delete]", f"shop.pack[{done}]"),
    ]
    with pytest.raises(CommandError, match="no user nobody"):
        run("delete", done, "--force", "--as", "nobody")


def test_without_a_user_it_is_in_a_log_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    done = ended()
    with caplog.at_level("INFO", "taskq.audit"):
        run("delete", done, "--force")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "taskq.audit"]
    assert line.endswith(f"has done delete of taskrun: {done}")
