"""Hostile values wherever others may write one: in a browser nothing of them runs, and no page becomes wide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db.models import Model

from taskq import timezones
from taskq.engines import for_alias
from taskq.messages.exception_data import encode_exception
from taskq.models import Attempt, Error, Failure, Message, Node, QueuePause, Statistic, TaskRun, Worker
from taskq.records import Settlement
from taskq.store import failures
from tests.support.databases import Database
from tests.support.hostile import HOSTILE

from .visitor import Visitor

SECTION = "/admin/taskq/"
PHONE, DESK = 390, 1280
#: The element that reaches farthest to the right, the innermost of these.
WIDEST = """() => [...document.querySelectorAll("body *")].reduce((found, node) =>
  node.getBoundingClientRect().right >= found.getBoundingClientRect().right ? node : found).outerHTML.slice(0, 200)"""
#: Lists that push columns away, and cells of cards that have a name and nothing to say.
AWAY = """() => [...document.querySelectorAll(".results, .taskq-scroll")].filter((list) =>
  list.scrollWidth > list.clientWidth + 1).map((list) => `list of ${list.scrollWidth}`)"""
EMPTY = """() => [...document.querySelectorAll("td:empty[data-label]")].filter((cell) => cell.offsetHeight)
  .map((cell) => `nothing as ${cell.dataset.label}`)"""
#: How the rows of this test are known, to be removed.
MARK = "hostile-"


#: Of each value as much as a row may hold; half of a surrogate pair is text that no database takes.
VALUES = [value[:5_000] for value in HOSTILE if value != "\ud800"]
_MODELS = (TaskRun, Attempt, Message, Worker, Statistic, Node, Failure, Error, QueuePause)


@pytest.fixture
def rows(shop: Database) -> Iterator[list[TaskRun]]:
    """A failed and a running task, a message, a worker, an error, a workflow and times for each value."""
    before = {model: set(model.objects.using(shop.alias).values_list("pk", flat=True)) for model in _MODELS}
    for number, value in enumerate(VALUES):
        for row in (*_tasks(number, value), *_others(number, value)):
            row.save(using=shop.alias, force_insert=True)
    found = list(TaskRun.objects.using(shop.alias).filter(task_id__startswith=MARK))
    settled = [Settlement(0, run.task_id, "FAILURE", result=run.result) for run in found if run.state == "FAILURE"]
    failures.note(for_alias(shop.alias), settled)
    yield found
    # Others look for the newest rows, and for queues that nobody reads.
    for model, known in before.items():
        model.objects.using(shop.alias).exclude(pk__in=known).delete()


def _tasks(number: int, value: str) -> Iterator[Model]:
    """Yield a failed task, and one that runs and tells how far it is."""
    now, cut = timezones.now(), value[:240]
    names = {"name": cut, "queue": cut, "worker": cut, "root_id": _root(number, value), "group_id": cut}
    times = {"created_at": now - timedelta(seconds=9), "started_at": now - timedelta(seconds=8)}
    raised = encode_exception(ValueError(value))
    given = json.dumps([[value], {cut: value}])
    ended = {"state": "FAILURE", "result": raised, "traceback": value, "finished_at": now, "runtime": 1.0}
    yield TaskRun(task_id=_root(number, value), arguments=given, **ended, **names, **times)
    meta = json.dumps({"done": 1, "total": 3, value: value})
    yield TaskRun(task_id=f"{MARK}runs-{number}", state=cut[:50], result=meta, **names, **times)
    yield Attempt(task_id=_root(number, value), state="RETRY", worker=cut, result=raised)


def _others(number: int, value: str) -> Iterator[Model]:
    """Yield a message, a worker, times, and the two steps of a workflow."""
    now, cut, root = timezones.now(), value[:240], _root(number, value)
    texts = {"headers": "{}", "properties": "{}", "body": value}
    yield QueuePause(queue=cut, since=now, until=now + timedelta(hours=9), by=cut, reason=cut)
    yield Message(queue=cut, name=cut, task_id=f"{MARK}waits-{number}", created_at=now, **texts)
    info = {"host": value, "queues": [value], "slots": [{"slot": value, "id": root, "name": value}]}
    times = {"started_at": now, "seen_at": now}
    yield Worker(token=f"{MARK}{number}", name=cut, host=cut, info=json.dumps(info), **times)
    minute = int(now.timestamp()) // 60 * 60
    yield Statistic(seconds=60, period=minute, name=cut, queue=cut, failed=10_000, ran_3=10_000)
    yield Statistic(seconds=3600, period=minute // 3600 * 3600, name=cut, queue=cut, failed=10_000)
    yield Statistic(seconds=-60, period=minute, queue=cut, failed=10_000, ran_3=10_000)
    for place, task_id in enumerate((root, f"{MARK}node-{number}")):
        yield Node(root_id=root, task_id=task_id, name=cut, position=place, created_at=now)


def _root(number: int, value: str) -> str:
    return f"{MARK}{number}{value}"[:255]


def test_nothing_of_hostile_values_runs_and_no_page_is_wide(visitor: Visitor, rows: list[TaskRun]) -> None:
    page = visitor.page
    page.on("dialog", lambda dialog: visitor.complaints.append(f"{page.url}: a dialog says {dialog.message}"))
    page.set_viewport_size({"width": PHONE, "height": 844})
    failed = [run for run in rows if run.state == "FAILURE"]
    longest = max(failed, key=lambda run: len(run.result or ""))
    # Workers first: before others find them dead.
    addresses = [f"worker/{MARK}{number}/change/" for number in range(2)]
    addresses += ["", "taskrun/", "taskrun/?tab=failed", "queue/", "worker/", "error/", "node/"]
    addresses += [f"taskrun/{run.pk}/change/" for run in (longest, *failed[:3], rows[-1])]
    addresses += [f"node/workflow/?{urlencode({'root': failed[1].task_id})}", "taskrun/?tab=waiting"]
    wide = []
    for address in addresses:
        visitor.open(f"{SECTION}{address}")
        for width in (PHONE, DESK):
            page.set_viewport_size({"width": width, "height": 844})
            if visitor.width() > width:
                wide.append(f"{address}: {visitor.width()} of {width} {page.evaluate(WIDEST)}")
            # The list of workers has nine columns, and may scroll in its place; that of tasks may not.
            if width == PHONE or address.startswith("taskrun/"):
                wide += [f"{address}: {each}" for each in page.evaluate(EMPTY if width == PHONE else AWAY)]
        visitor.shoot(f"hostile {address}")
    assert not wide, "\n".join(wide)
