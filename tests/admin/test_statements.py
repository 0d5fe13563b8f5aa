"""No page makes many statements: each that links lead to is opened as ordinary staff; a superuser needs two less."""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from taskq import control, states
from taskq.messages.fingerprints import fingerprint, summary
from taskq.models import Attempt, Error, Failure, Node, TaskEvent, TaskLog, TaskRun, Worker
from taskq.models import Group as TaskGroup
from taskq.store import statistics
from taskq_admin.actions.base import ACTIONS
from tests.support.confirming import SEVERAL, questions
from tests.support.crawling import links, pattern

from .conftest import START

SECTION = "/admin/taskq/"
#: Session, user, and the permissions of staff included.
MOST = 12
TYPED = ("run-1", "…n-1", "shop.tasks", "order_id=1", "error:refused", "absent")
Make = Callable[..., Any]
FAILED = json.dumps({"exc_type": "ValueError", "exc_message": ["refused"], "exc_module": "builtins"})


@pytest.fixture
def site(make_run: Make, make_attempt: Make, make_messages: Make, make_scheduled: Make, make_worker: Make) -> None:
    """Tasks in all states, most with all that a page can say of one: attempts, events, logs, relatives, a workflow."""
    now = datetime.now(UTC)
    slots = [{"slot": 0, "pid": 1, "id": "run-1", "name": "shop.tasks.mail", "since": now.timestamp()}]
    for number in range(3):
        make_worker(f"boot-{number}", name=f"taskq@w{number}", info=json.dumps({"queues": ["mails"], "slots": slots}))
    control.pause_queue("mails", seconds=3600, reason="moving", by="ann")
    for number, state in enumerate((*sorted(states.ALL_STATES), "PROGRESS", states.PENDING), 1):
        task_id, begun = f"run-{number}", state not in (states.PENDING, states.RECEIVED)
        run = make_run(
            task_id, state=state, arguments='[[1], {"order_id": 1}]', parent_id="run-1", root_id="run-1",
            group_id="group", children='["run-2", "gone"]', created_at=now, retries=1, worker="taskq@w0",
            started_at=now if begun else None, result=FAILED if state in states.EXCEPTION_STATES else '{"current": 1}',
            finished_at=now if state in states.READY_STATES else None,
        )  # fmt: skip
        make_attempt(task_id, result=FAILED, started_at=now, finished_at=now)
        TaskEvent.objects.create(task_id=task_id, kind="received", worker="taskq@w0", at=now)
        TaskLog.objects.create(task_id=task_id, at=now, started_at=now, lines='[[1, 20, "taskq.task.x", "said"]]')
        Node.objects.create(root_id="run-1", task_id=task_id, group_id="group", name="shop.tasks.mail", created_at=now)
        if state == states.FAILURE:
            Failure.objects.create(run_id=run.pk, error="key", exception="ValueError", message="refused")
        elif state == states.RETRY:
            make_scheduled("mails", task_id=task_id)
        elif state not in states.READY_STATES:
            make_messages("mails", task_id=task_id, token="boot-0" if begun else "")
    last = TaskRun.objects.latest("pk").pk
    Error.objects.create(key="key", name="shop.tasks.mail", exception="ValueError", first_seen=now, last_seen=now,
                         message="refused", last_run=last)  # fmt: skip
    TaskGroup.objects.create(group_id="group", root_id="run-1", size=9, remaining=3, failed=True, created_at=now)
    minute = int((now - timedelta(minutes=2)).timestamp()) // 60
    counters = dict.fromkeys(statistics.COUNTERS, 0) | {"succeeded": 1, "failed": 9}
    statistics.add({(minute, "shop.tasks.mail", "mails"): list(counters.values())}, "default")


def opened(client: Client) -> Iterator[tuple[str, int, list[str]]]:
    """Yield the address of each page, its status, and its statements; a few pages that differ in values only."""
    waiting, seen, alike = deque([SECTION]), {SECTION}, Counter[str]()
    while waiting:
        address = waiting.popleft()
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(address)
        yield address, answer.status_code, [query["sql"] for query in queries]
        for link in links(address, answer, SECTION, TYPED):
            # Of tasks each is another case, of everything else one is enough, and one filter at a time.
            most = 99 if re.search(r"taskrun/\d+/change/$", link) else 1
            if link not in seen and link.count("&") == 0 and alike[pattern(link)] < most:
                seen.add(link)
                alike[pattern(link)] += 1
                waiting.append(link)


@pytest.fixture
def staff(client: Client) -> Client:
    """A client logged in as ordinary staff with all permissions of taskq."""
    call_command("taskgroups", verbosity=0)
    user = User.objects.create(username="staff", password="!", is_staff=True)
    user.groups.add(Group.objects.get(name="taskq admins"))
    client.force_login(user)
    return client


def test_no_page_makes_many_statements(site: None, staff: Client, settings: Any) -> None:
    settings.TASKQ_KEEP_TASK_LOGS = True
    pages = list(opened(staff))
    assert [(address, status) for address, status, _ in pages if status >= 400] == []
    assert [(address, len(asked), asked) for address, _, asked in pages if len(asked) > MOST] == []
    patterns = {pattern(address) for address, _, _ in pages}
    assert {f"{SECTION}{model}/*/change/?" for model in ("taskrun", "worker")} < patterns
    assert f"{SECTION}queue/mails/change/?" in patterns


def test_no_question_makes_many_statements(
    site: None, staff: Client, make_run: Make, make_attempt: Make, make_messages: Make, make_worker: Make
) -> None:
    """Of one row, of several, and of all that match: however many tasks wait to be tried again."""
    Error.objects.update(key=fingerprint("shop.tasks.mail", summary(FAILED)))
    runs = [TaskRun(task_id=f"tried-{number}", name="shop.tasks.mail", created_at=START) for number in range(1200)]
    TaskRun.objects.bulk_create(runs)
    tried = [Attempt(task_id=run.task_id, state=states.RETRY, result=FAILED) for run in runs]
    Attempt.objects.bulk_create(tried)
    for number in range(SEVERAL):
        make_worker(f"more-{number}", name=f"taskq@more{number}")
        Node.objects.create(root_id=f"root-{number}", task_id=f"root-{number}", created_at=START)
    ids = {
        "taskrun": [f"run-{number}" for number in range(1, SEVERAL)],
        "node": ["run-1", *(f"root-{number}" for number in range(SEVERAL))],
        "queue": [f"queue-{number}" for number in range(SEVERAL)],
        "worker": list(Worker.objects.values_list("pk", flat=True)),
    }
    many, asked = [], 0
    for address, data, name in questions(ids):
        with CaptureQueriesContext(connection) as queries:
            answer = staff.post(address, data)
        assert answer.status_code in (200, 302), name
        asked += answer.status_code == 200
        if len(queries) > MOST:
            many.append((name, len(queries), [query["sql"] for query in queries]))
    assert many == []
    assert asked > len(ACTIONS)
