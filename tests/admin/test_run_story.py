"""The page of a task: what happened, why it waits, how far it is, its log, its message, what it runs again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client, override_settings

from taskq.models import Attempt, Message, Node, QueuePause, Rerun, ScheduledMessage, TaskLog, TaskRun, Worker
from taskq_admin.queries import logs, payloads, progress, raw_message, timeline, waiting

from .conftest import START
from .test_run_page import BOOM, EVIL, Make, after, text, url

Rows = Callable[..., Any]


@pytest.fixture
def waits(make_run: Make, make_messages: Rows, make_worker: Rows) -> Callable[..., list[str]]:
    """Return the sentences about a task that waits in ``mails``; ``reads`` are the queues of a living worker."""

    def sentences(reads: tuple[str, ...] = ("mails",), run: dict[str, Any] | None = None, **message: Any) -> list[str]:
        make_worker(info=json.dumps({"queues": list(reads)}))
        task = make_run(**(run or {}))
        make_messages(message.pop("queue", "mails"), task_id=task.task_id, **message)
        return told(task)

    return sentences


def told(run: TaskRun) -> list[str]:
    now = datetime.now(UTC)
    return [reason.text for reason in waiting.reasons(run, waiting.facts(run, now), now)]


def test_the_next_in_its_queue_waits_for_room(waits: Rows) -> None:
    assert waits() == ["It is the next in its queue: it starts when a worker has room."]


def test_a_task_that_ends_while_its_page_is_read_is_not_said_to_be_lost(make_run: Make) -> None:
    """The row is read before the message: a worker may settle both in between."""
    read = make_run()
    assert told(read) == ["It has no message (any more), so no worker will run it. A retry sends it again."]
    TaskRun.objects.filter(pk=read.pk).update(state="SUCCESS", finished_at=START)
    assert told(read) == []
    TaskRun.objects.filter(pk=read.pk).delete()
    assert told(read) == []


def test_a_task_waits_behind_others_by_priority(waits: Rows, make_messages: Rows) -> None:
    make_messages("mails", 3)
    make_messages("mails", 1, token="boot-1")
    make_messages("others", 5)
    assert waits(priority=-1) == ["3 are before it in the queue."]
    assert told(TaskRun.objects.get()) == ["3 are before it in the queue."]
    Message.objects.filter(task_id="run-1").update(priority=5)
    assert told(TaskRun.objects.get())[0].startswith("It is the next")


def test_a_task_waits_for_a_worker_that_reads_its_queue(waits: Rows) -> None:
    assert "No living worker takes from the queue mails" in waits(reads=("others",))[0]
    Worker.objects.all().delete()
    assert told(TaskRun.objects.get())[0] == "No worker runs."


def test_a_task_waits_while_its_queue_is_paused(waits: Rows) -> None:
    QueuePause.objects.create(queue="mails", since=START, by="ann", reason="too many")
    assert waits()[0] == "Its queue is paused by ann: too many"
    QueuePause.objects.update(until=START)
    assert "paused" not in told(TaskRun.objects.get())[0]


def test_a_task_waits_for_its_rate_limit_and_has_expired(waits: Rows) -> None:
    said = waits(queue="\x1flimited\x1fmails\x1fshop.tasks.mail", expires_at=START)
    assert said[0] == "The rate limit of shop.tasks.mail holds it back."
    assert said[-1].startswith("It has expired")


def test_no_worker_knows_the_task(waits: Rows) -> None:
    assert "does not know the task" in waits(headers='{"x-unknown-since": 1}')[0]


def test_a_worker_holds_the_message(waits: Rows) -> None:
    assert waits(token="boot-1", revoked="SIGTERM", deliveries=2) == [
        "The worker taskq@one has it, and starts it as soon as a process is free.",
        "Its worker was asked to end it (SIGTERM).",
        "It was started before, and its process or worker was lost.",
    ]
    Worker.objects.update(state=Worker.LOST)
    assert told(TaskRun.objects.get())[0].startswith("Its worker is gone or silent")


@pytest.mark.parametrize(
    ("state", "seconds", "sentence"),
    [
        ("PENDING", 3600.0, "It is due in 60 min."),
        ("RETRY", 3600.0, "Its next attempt is due in 60 min."),
        ("PENDING", -3600.0, "It has been due for 1 h, and no worker has moved it to its queue."),
    ],
)
def test_a_task_waits_for_its_time(
    make_run: Make, make_scheduled: Rows, state: str, seconds: float, sentence: str
) -> None:
    run = make_run(state=state)
    make_scheduled("mails", task_id=run.task_id, due_at=datetime.now(UTC) + timedelta(seconds=seconds))
    assert told(run) in ([sentence], [sentence.replace("60 min", "1 h")])


def test_a_task_waits_for_another_or_for_nothing(make_run: Make) -> None:
    run = make_run()
    assert "It has no message" in told(run)[0]
    Node.objects.create(root_id="root", task_id="run-1", waits_for="first", created_at=START)
    assert told(run) == ["It waits for first, after which it is sent."]
    assert told(make_run("ended", state="SUCCESS")) == []
    with override_settings(TASKQ_BROKER_URL="memory://"):
        assert "with the broker" in told(make_run("elsewhere"))[0]


def test_reasons_lead_to_pages_only_for_those_who_may_see_them(
    staff_client: Callable[..., Client], make_run: Make
) -> None:
    QueuePause.objects.create(queue="mails", since=START)
    run = make_run()
    ScheduledMessage.objects.create(
        queue="mails", task_id="run-1", headers="", body="", properties="", created_at=START, due_at=after(9e8)
    )
    assert "paused" not in text(staff_client("view_taskrun"), run)


def test_the_page_begins_with_what_happened(admin_client: Client, make_run: Make) -> None:
    run = make_run(state="FAILURE", result=BOOM, worker="w1@h", started_at=after(1), finished_at=after(3), runtime=2.0)
    page = text(admin_client, run)
    assert "after 2 s, on w1@h." in page
    assert (
        page.index("Failed ") < page.index("ValueError") < page.index("Traceback" if "Traceback" in page else "Facts")
    )
    running = text(admin_client, make_run("b", started_at=datetime.now(UTC)))
    assert "Running for " in running
    assert "Told so far" in text(admin_client, make_run("c", state="PROGRESS", result='{"done": 1, "total": 2}'))


def test_attempts_of_an_earlier_run_are_marked(
    admin_client: Client, make_run: Make, make_attempt: Callable[..., Attempt]
) -> None:
    make_attempt(state="RETRY", started_at=after(1), finished_at=after(2))
    make_attempt(state="FAILURE", started_at=after(3), finished_at=after(4))
    make_attempt(state="RETRY", started_at=after(5), finished_at=after(6))
    run = make_run(state="SUCCESS", started_at=after(7), finished_at=after(8))
    tries = timeline.tries(run, list(Attempt.objects.order_by("id")))
    assert [each.earlier for each in tries] == [True, True, False, False]
    assert text(admin_client, run).count("earlier run<") == 2
    again = make_run("again", created_at=after(10), started_at=after(11), state="SUCCESS", finished_at=after(12))
    make_attempt("again", state="RETRY", started_at=after(1), finished_at=after(2))
    assert [each.earlier for each in timeline.tries(again, list(Attempt.objects.filter(task_id="again")))] == [
        True,
        False,
    ]


def test_what_runs_again_is_linked(admin_client: Client, make_run: Make) -> None:
    run = make_run()
    Rerun.objects.create(task_id="run-1", of_task_id=EVIL, by="ann", reason=EVIL, created_at=START)
    Rerun.objects.create(task_id="later", of_task_id="run-1", created_at=START)
    page = text(admin_client, run)
    assert "/taskq/taskrun/id/later/" in page
    assert "It runs this task again" in page
    assert EVIL not in page


def test_what_was_sent_again_has_its_earlier_run_before_that(
    make_run: Make, make_attempt: Callable[..., Attempt]
) -> None:
    """Sending again gives the row the time of that: its creation is later than its first start."""
    make_attempt(state="FAILURE", started_at=after(1), finished_at=after(2))
    run = make_run(state="FAILURE", created_at=after(60), started_at=after(61), finished_at=after(65))
    tries = timeline.tries(run, list(Attempt.objects.all()))
    told = [str(moment.label) for moment in timeline.moments(run, tries)]
    assert told == ["Attempt 1 started", "Failure", "Sent again", "Attempt 2 started", "Failure"]
    assert [(bar.kind, bar.width) for bar in timeline.bars(run, tries, after(99))] == [("wait", 200), ("failure", 800)]


def test_a_task_that_failed_with_one_before_it_never_ran(admin_client: Client, make_run: Make) -> None:
    run = make_run(state="FAILURE", queue="", finished_at=after(0), arguments="")
    page = text(admin_client, run)
    assert "Never ran: it failed" in page
    assert "if a task before it can be retried, it follows" in page
    TaskRun.objects.update(queue="mails")
    assert "The arguments of this task were not kept." in text(admin_client, run)


def test_earlier_runs_of_the_task_are_a_chart(admin_client: Client, make_run: Make) -> None:
    first = make_run("first", state="SUCCESS", runtime=2.0)
    make_run("other", name="shop.tasks.other")
    make_run("odd", state="A B", runtime=None)
    page = text(admin_client, make_run())
    assert f'href="{url(first)}"' in page
    assert "taskq-bar-success" in page
    assert "The last 2" in page


@pytest.mark.parametrize(
    ("state", "meta", "percent"),
    [
        ("PROGRESS", '{"done": 1, "total": 4}', 25.0),
        ("PROGRESS", '{"current": 9, "total": 3}', 100.0),
        ("PROGRESS", '{"percent": 12.5}', 12.5),
        ("PROGRESS", '{"done": true, "total": NaN}', None),
        ("PROGRESS", '{"done": 1, "total": 0}', None),
        ("PROGRESS", '{"done": 1e400, "total": 1e400}', None),
        ("PROGRESS", "[1, 2]", None),
        ("PROGRESS", "[" * 4000, None),
        ("SUCCESS", '{"done": 1, "total": 4}', None),
    ],
)
def test_progress_is_read_from_meta(state: str, meta: str, percent: float | None) -> None:
    found = progress.progress(state, meta)
    assert (found and found.percent) == percent


def _log(task_id: str, started: float, *lines: Any) -> None:
    TaskLog.objects.create(task_id=task_id, started_at=after(started), at=START, lines=json.dumps(lines))


def test_kept_logs_are_shown_by_attempt(
    admin_client: Client, staff_client: Callable[..., Client], make_run: Make, make_attempt: Callable[..., Attempt]
) -> None:
    make_attempt(started_at=after(1), finished_at=after(2))
    run = make_run(state="SUCCESS", started_at=after(3), finished_at=after(4))
    _log("run-1", 1, [START.timestamp(), 40, "shop", f"first {EVIL}"])
    _log("run-1", 3, [START.timestamp(), 20, "shop", "second \ud800\0"], 7, [1e300, 20, "taskq.task.shop", "third"])
    with override_settings(TASKQ_KEEP_TASK_LOGS=True):
        page = text(admin_client, run)
        hidden = text(staff_client("view_taskrun"), run)
    assert EVIL not in page
    assert page.index("second") < page.index("7 lines are not kept") < page.index("third") < page.index("first")
    assert "12:00:00.000" in page
    assert "taskq.task" not in page
    assert "second" not in hidden
    assert "second" not in text(admin_client, run)


@pytest.mark.parametrize("bad", ["", "{", "3", "[true, -1, [], [1], [1, 2, 3, 4], null, {}]", "[" * 5000])
def test_logs_that_cannot_be_read_are_none(bad: str) -> None:
    assert list(logs.read(bad)) == []


def test_logs_take_no_more_space_than_there_is(make_run: Make) -> None:
    for number in range(3):
        _log("run-1", number, *([0, 20, "x", "<" * 8000] for _ in range(8)))
    found = logs.kept("run-1", [], payloads.Space(100_000))
    assert [log.cut for log in found] == [True, True, True]
    assert sum(len(log.lines) for log in found) == 3


def test_the_message_is_shown_without_what_the_row_masks(
    admin_client: Client, staff_client: Callable[..., Client], make_run: Make, make_messages: Rows
) -> None:
    body = json.dumps([["secret"], {}, {"chain": [{"args": ["of another"]}]}])
    headers = json.dumps({"id": "run-1", "lang": "py", "argsrepr": "('secret',)"})
    run = make_run(arguments='[["***"], {}]')
    make_messages("mails", task_id="run-1", headers=headers, body=body)
    page = text(admin_client, run)
    assert "&quot;lang&quot;: &quot;py&quot;" in page
    assert "secret" not in page
    TaskRun.objects.update(arguments='[["secret"], {}]')
    page = text(admin_client, run)
    assert page.count("secret") == 2
    assert "of another" not in page
    assert "lang&quot;" not in text(staff_client("view_taskrun"), run)


@pytest.mark.parametrize("bad", ["", "3", "gASVBQ==", "[1, 2]", "[" * 50_000, "[[], {}, 3]"])
def test_a_body_that_cannot_be_read_is_counted(bad: str) -> None:
    found = raw_message.body(bad, "[[], {}]")
    assert not found.text
    assert f"{len(bad):,} characters" in found.note


def test_numbers_are_copied_and_answered_exactly(admin_client: Client, make_run: Make) -> None:
    number = 2**70 + 1
    run = make_run(state="SUCCESS", arguments=f"[[{number}], {{}}]", result=str(number))
    page = text(admin_client, run)
    assert page.count(str(number)) == 2
    assert page.count("data-taskq-copy ") == 3
    answer = admin_client.get(url(run), {"format": "json"}).json()
    assert json.loads(answer["args"]["text"]) == [number]
    assert answer["result"]["text"] == str(number)


def test_json_has_payloads_only_for_those_who_may_see_them(
    staff_client: Callable[..., Client], make_run: Make, make_attempt: Callable[..., Attempt]
) -> None:
    make_attempt(result=BOOM, traceback="secret", started_at=after(1), finished_at=after(2))
    run = make_run(state="FAILURE", arguments='[["secret"], {}]', result=BOOM, traceback="secret", started_at=after(3))
    answer = staff_client("view_taskrun").get(url(run), {"format": "json"})
    assert "secret" not in answer.content.decode()
    assert "boom" not in answer.content.decode()
    assert [attempt["state"] for attempt in answer.json()["attempts"]] == ["RETRY", "FAILURE"]


def test_the_page_of_a_running_task_leads_to_its_stack_for_who_may_see_it(
    admin_client: Client, staff_client: Callable[..., Client], make_run: Make
) -> None:
    run = make_run(started_at=after(1))
    assert "/taskq/worker/stack/?id=run-1" in text(admin_client, run)
    assert "/stack/" not in text(staff_client("view_taskrun", "view_worker"), run)
    assert "/stack/" not in text(admin_client, make_run("ended", state="SUCCESS", started_at=after(1)))


def test_the_queue_of_a_task_is_linked_whatever_its_name(admin_client: Client, make_run: Make) -> None:
    page = text(admin_client, make_run(queue=f"a/b {EVIL}"))
    assert "/admin/taskq/queue/a_2Fb%20" in page
    assert EVIL not in page


def test_the_workflow_of_a_task_is_shown_with_the_task_lit(admin_client: Client, make_run: Make) -> None:
    for task_id in ("run-1", "then"):
        Node.objects.create(
            root_id="run-1", task_id=task_id, name="shop.tasks.x", waits_for="" if task_id == "run-1" else "run-1",
            created_at=START,
        )  # fmt: skip
    assert 'id="taskq-picture"' in text(admin_client, make_run(root_id="run-1"))
    assert 'id="taskq-picture"' not in text(admin_client, make_run("alone"))


def test_bulk_task_says_in_words_what_it_did(admin_client: Client, make_run: Callable[..., TaskRun]) -> None:
    result = '{"done": 3, "total": 3, "report": "2 retried, 1 <b>had</b> not ended"}'
    run = make_run("bulk-1", name="taskq_admin.bulk", state="SUCCESS", result=result, finished_at=START)
    page = admin_client.get(f"/admin/taskq/taskrun/{run.pk}/change/").content.decode()
    assert "<p>2 retried, 1 &lt;b&gt;had&lt;/b&gt; not ended</p>" in page
    other = make_run("other-1", state="SUCCESS", result=result, finished_at=START)
    assert "<p>2 retried" not in admin_client.get(f"/admin/taskq/taskrun/{other.pk}/change/").content.decode()
