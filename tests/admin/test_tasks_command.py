"""``manage.py tasks`` lists, shows, retries and revokes, and says in its exit status what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from taskq import control, send_task
from taskq.models import Attempt, Error, ErrorCount, Message, Rerun, ScheduledMessage, TaskRun
from taskq.timezones import now
from taskq_admin.queries.progress import BULK
from taskq_admin.terminal.chosen import described
from taskq_admin.terminal.user import MOST, Actor

pytestmark = pytest.mark.django_db

ERROR = '{"exc_type": "ValueError", "exc_message": ["disk \\u001b[31m full"], "exc_module": "builtins"}'


def run(*words: str) -> tuple[str, str]:
    """Run ``manage.py tasks`` and return what it printed to each stream."""
    out, err = StringIO(), StringIO()
    call_command("tasks", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def make_failed() -> Callable[..., str]:
    def make(name: str = "shop.tasks.mail", kwargs: dict[str, Any] | None = None, **fields: Any) -> str:
        task_id = send_task(name, [] if kwargs else [2**60], kwargs).id
        Message.objects.filter(task_id=task_id).delete()
        ended = {"state": "FAILURE", "result": ERROR, "traceback": "Traceback\n  line", "finished_at": now()}
        TaskRun.objects.filter(task_id=task_id).update(**{**ended, **fields})
        return task_id

    return make


def test_list_says_what_went_wrong_and_no_terminal_obeys_it(make_failed: Callable[..., str]) -> None:
    task_id = make_failed()
    waits = send_task("shop.tasks.pack").id
    out, _ = run("list")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ID", "STATE"],
        [waits, "PENDING"],
        [task_id, "FAILURE"],
    ]
    assert "ValueError: disk \\x1b[31m full" in out
    assert run("list", "--state", "failed", "--limit", "1")[0].count("\n") == 2
    assert waits not in run("list", "--error", "disk")[0]
    assert run("list", "--name", "no.such")[0] == "No task matches.\n"


def test_list_as_json(make_failed: Callable[..., str]) -> None:
    task_id = make_failed(worker="w@one")
    (row,) = json.loads(run("list", "--json", "--queue", "taskq", "--worker", "w@one")[0])
    assert (row["task_id"], row["exception"], row["state"]) == (task_id, "ValueError", "FAILURE")
    assert row["finished_at"].endswith("+00:00")


def test_show_tells_all_of_a_task(make_failed: Callable[..., str]) -> None:
    task_id = make_failed()
    Attempt.objects.create(task_id=task_id, state="RETRY", worker="w@one")
    out, _ = run("show", task_id)
    assert "state: FAILURE" in out
    assert str(2**60) in out
    assert "attempt 1: RETRY  w@one" in out
    assert "    Traceback\n      line" in out
    assert json.loads(run("show", task_id, "--json")[0])["message"] == "disk \x1b[31m full"
    for unknown in ("none", "\0", "\ud800"):
        with pytest.raises(CommandError, match="There is no task"):
            run("show", unknown)


def test_retry_of_one_and_of_all_that_match(make_failed: Callable[..., str]) -> None:
    one, two, other = make_failed(), make_failed(), make_failed("shop.tasks.pack")
    assert run("retry", one) == (f"{one} runs again, whose name this project does not know.\n", "")
    assert run("retry", "--name", "shop.tasks.mail", "--dry-run") == (f"{two}\n", "1 would be retried.\n")
    assert run("retry", "--name", "shop.tasks.mail", "--to-queue", "slow")[0] == "1 retried.\n"
    assert dict(Message.objects.values_list("task_id", "queue")) == {one: "taskq", two: "slow"}
    assert (
        json.loads(run("retry", other, "--new", "--json")[0])["task_id"] == Rerun.objects.get(of_task_id=other).task_id
    )


def test_refused_retries_are_exit_status_1_with_the_reason(make_failed: Callable[..., str]) -> None:
    waits, failed = send_task("shop.tasks.mail").id, make_failed()
    with pytest.raises(CommandError, match="has not ended: it waits"):
        run("retry", waits)
    err = StringIO()
    with pytest.raises(CommandError, match="refused"):
        call_command("tasks", "retry", waits, failed, stdout=StringIO(), stderr=err)
    assert "has not ended" in err.getvalue()
    assert Message.objects.filter(task_id=failed).exists()


@pytest.mark.parametrize("action", ["retry", "revoke"])
def test_nothing_is_done_to_tasks_that_nobody_has_named(action: str, make_failed: Callable[..., str]) -> None:
    task_id = make_failed()
    with pytest.raises(CommandError, match="Which tasks"):
        run(action)
    with pytest.raises(CommandError, match="not by both"):
        run(action, task_id, "--queue", "taskq")
    with pytest.raises(CommandError, match="no time"):
        run(action, "--since", "soon")
    assert not Message.objects.exists()


def test_revoke_of_one_and_of_all_that_match() -> None:
    ids = [send_task(name).id for name in ("shop.a", "shop.b", "shop.b")]
    assert run("revoke", ids[0])[0] == "1 revoked.\n"
    with pytest.raises(CommandError, match="all had ended"):
        run("revoke", ids[0])
    assert run("revoke", "--name", "shop.b", "--state", "waiting", "--limit", "1")[0].startswith("1 revoked")
    assert TaskRun.objects.filter(state="REVOKED").count() == 2
    with pytest.raises(CommandError, match="No task matches"):
        run("revoke", "--name", "none")


def test_what_ends_on_its_own_is_not_called_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the page says it: the terminal and the pages ask the same."""
    task_id = send_task("shop.a").id
    monkeypatch.setattr(control, "revoke", lambda *given, **options: TaskRun.objects.update(state="SUCCESS"))
    with pytest.raises(CommandError, match="all had ended"):
        run("revoke", task_id)


def test_errors_with_their_counts() -> None:
    for n, age in enumerate((60, 7200, 200_000)):
        seen = {"first_seen": now(), "last_seen": now(), "last_run": n, "name": f"shop.t{n}"}
        Error.objects.create(key=f"e{n}", exception="ValueError", message="disk full", **seen)
        ErrorCount.objects.create(error=f"e{n}", period=int(now().timestamp() - age) // 600 * 600, failures=n + 1)
    found = {row["error"]: (row["1h"], row["24h"], row["7d"]) for row in json.loads(run("errors", "--json")[0])}
    assert found == {"e0": (1, 1, 1), "e1": (0, 2, 2), "e2": (0, 0, 3)}
    assert "ValueError: disk full" in run("errors")[0]


def test_changes_of_a_retry(make_failed: Callable[..., str]) -> None:
    first, second = make_failed(kwargs={"to": "ann", "copies": 1}), make_failed()
    changes = ("--priority", "8", "--countdown", "600", "--set", "to=bob", "--set", "copies=2")
    assert "1 refused" in run("retry", "--name", "shop.tasks.mail", *changes)[0]
    message = ScheduledMessage.objects.get()
    assert (message.task_id, message.priority) == (first, 8)
    assert json.loads(message.body)[:2] == [[], {"to": "bob", "copies": 2}]
    with pytest.raises(CommandError, match="NAME=VALUE"):
        run("retry", second, "--set", "to")


def test_bulk_task_of_the_admin_is_not_retried(make_failed: Callable[..., str]) -> None:
    with pytest.raises(CommandError, match="in the name of who began it"):
        run("retry", make_failed(BULK))
    assert not Message.objects.exists()


def test_actions_are_in_the_admins_log_under_the_name_that_is_given(
    make_failed: Callable[..., str], admin_user: User
) -> None:
    one, two, three = (make_failed() for _ in range(3))
    run("retry", one, "--as", "admin")
    run("retry", two, "--new", "--as", "admin")
    run("retry", "--name", "shop.tasks.mail", "--as", "admin")
    run("revoke", one, two, "--as", "admin")
    run("revoke", three, "--terminate", "--as", "admin")
    found = LogEntry.objects.order_by("pk").values_list("user__username", "change_message", "object_repr")
    assert list(found) == [
        ("admin", "Retry [taskrun.retry]", f"shop.tasks.mail[{one}]"),
        ("admin", "Run again as new [taskrun.rerun]", f"shop.tasks.mail[{two}]"),
        ("admin", "Retry [taskrun.retry]", "2 tasks: name=shop.tasks.mail"),
        ("admin", "Revoke [taskrun.revoke]", f"shop.tasks.mail[{one}]"),
        ("admin", "Revoke [taskrun.revoke]", f"shop.tasks.mail[{two}]"),
        ("admin", "Terminate [taskrun.terminate]", f"shop.tasks.mail[{three}]"),
    ]
    assert Rerun.objects.get().by == "admin"
    with pytest.raises(CommandError, match="no user nobody"):
        run("retry", one, "--as", "nobody")


def test_what_was_done_is_written_down_before_more_is_done(
    make_failed: Callable[..., str], admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq_admin.management.commands.tasks._AT_ONCE", 2)
    ids = [make_failed() for _ in range(5)]
    for name, words in (("retry_many", ("retry",)), ("revoke", ("revoke",))):
        with monkeypatch.context() as patched:
            real, calls = getattr(control, name), []

            def then_fails(*args: Any, real: Any = real, calls: list[Any] = calls, **more: Any) -> Any:
                calls.append(args)
                if len(calls) > 2:
                    raise KeyboardInterrupt
                return real(*args, **more)

            patched.setattr(control, name, then_fails)
            with pytest.raises(KeyboardInterrupt):
                run(*words, *ids, "--as", "admin")
        assert list(LogEntry.objects.order_by("pk").values_list("object_repr", flat=True)) == [
            f"shop.tasks.mail[{task_id}]" for task_id in ids[:4]
        ]
        LogEntry.objects.all().delete()


def test_tasks_without_a_row_are_named(admin_user: User, make_failed: Callable[..., str]) -> None:
    run("revoke", "no-row", "nor-this", "--as", "admin")
    assert LogEntry.objects.get().object_repr == "2 tasks: no-row, nor-this"
    one = make_failed()
    run("retry", one, "--as", "admin")
    run("revoke", one, "no-row", "--as", "admin")
    found = LogEntry.objects.order_by("pk").values_list("object_repr", flat=True)
    assert list(found)[1:] == [f"shop.tasks.mail[{one}]", f"shop.tasks.mail[{one}]", "no-row"]


def test_number_of_many_is_not_cut(admin_user: User) -> None:
    actor = Actor.of("admin")
    actor.note("revoke", [f"{'x' * 30}-{number}" for number in range(MOST + 1)])
    assert LogEntry.objects.get().object_repr.startswith(f"{MOST + 1} tasks: x")


def test_those_that_had_ended_are_not_counted_as_revoked(admin_user: User, make_failed: Callable[..., str]) -> None:
    make_failed()
    send_task("shop.tasks.mail")
    assert "1 revoked, 1 had ended" in run("revoke", "--name", "shop.tasks.mail", "--as", "admin")[0]
    assert LogEntry.objects.get().object_repr == "1 tasks: name=shop.tasks.mail"


def test_without_a_user_actions_are_in_a_log_of_their_own(
    make_failed: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    task_id = make_failed()
    with caplog.at_level("INFO", "taskq.audit"):
        run("retry", task_id)
        with pytest.raises(CommandError, match="has not ended"):
            run("retry", task_id)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "taskq.audit"]
    assert line.endswith(f"has done retry of taskrun: {task_id}")
    assert not LogEntry.objects.exists()


def test_log_names_filters_on_payloads_without_what_was_looked_for() -> None:
    options = {"ids": [], "state": "failed", "queue": "", "name": "", "worker": "", "since": ""}
    told = described(options | {"error": "for ann", "search": "order_id=123 mail"}, 2)
    assert told == "2 tasks: state=failed, error=..., search=order_id=... mail"
