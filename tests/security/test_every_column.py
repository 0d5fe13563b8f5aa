"""With ``TASKQ_SIGNING`` on: each column of each table, altered alone, runs nothing that was not sent.

The columns are read from the models: a new one is covered, or it fails this test. What is altered belongs to a chain
of which a step has failed, for each column a chain of its own; then everybody presses Retry.
"""

from __future__ import annotations

import contextlib
import datetime
from collections import Counter
from typing import Any

import pytest
from django.apps import apps
from django.db import DataError, IntegrityError, models, transaction
from django.utils import timezone

from taskq import chain, control, states, task
from taskq.exceptions import CannotRetry
from taskq.models import Attempt, Rerun, ScheduledMessage, TaskEvent, TaskLog, TaskRun
from taskq.store import large
from taskq.store.authenticity import runnable
from taskq.store.claim import claim
from taskq.store.promote import promote
from taskq.store.settle import settle
from tests.support.worker_here import WorkerHere

from .conftest import act, ran, snapshot

#: Tables whose rows belong to no task.
OF_THE_SITE = {
    "Error": "shown, and which failures belong together",
    "ErrorCount": "shown",
    "Statistic": "shown",
    "Queue": "who writes it can stop tasks",
    "Exchange": "who writes it can stop tasks",
    "Binding": "who writes it can copy messages into other queues, where their seals are wrong",
    "QueuePause": "who writes it can stop tasks",
    "RateLimit": "who writes it can stop tasks",
    "Revocation": "who writes it can stop tasks",
    "Worker": "who writes it can stop tasks",
    "Lease": "who writes it can stop what is done now and then",
}
#: Tables with rows of a task.
OF_TASKS = (
    "Attempt", "Failure", "KeptMessage", "Message", "Node", "Rerun", "ScheduledMessage", "TaskEvent", "TaskLog",
    "TaskRun",
)  # fmt: skip
#: The columns of the kept message of a failed step after which that step does not run again.
REFUSED = {
    "body", "content_encoding", "content_type", "exchange", "headers", "priority", "properties", "queue", "routing_key",
    "task_id", "tracked",
}  # fmt: skip
failing: set[str] = set()


@task(name="security.flaky")
def flaky(name: str) -> str:
    """Fail at the first run."""
    ran.append(name)
    if name in failing:
        failing.remove(name)
        raise ValueError(name)
    return name


def test_each_column_is_altered_here_or_belongs_to_no_task() -> None:
    found = {model.__name__ for model in apps.get_app_config("taskq").get_models()}
    # ``test_altered_rows`` has each column of Group, ``test_large_texts`` those of LargeText.
    assert found == {*OF_TASKS, *OF_THE_SITE, "Group", "LargeText"}


def columns() -> list[tuple[type[models.Model], str]]:
    named = [apps.get_model("taskq", name) for name in OF_TASKS]
    return [(model, field.attname) for model in named for field in model._meta.concrete_fields]


class Chain:
    """A chain whose second step fails, a task that waits, a task in the schedule, and a single task that fails."""

    def __init__(self, name: str) -> None:
        self.name = name
        failing.update({f"{name} step", f"{name} single"})
        steps = chain(act.si(f"{name} first"), flaky.si(f"{name} step"), act.si(f"{name} after"))
        result = steps.delay()
        self.step = result.parent.id
        self.ids = [result.id, self.step, result.parent.parent.id]
        self.single = flaky.delay(f"{name} single").id
        self.waits = self.scheduled = ""
        if name.startswith(("Message", "ScheduledMessage")):
            self.waits = act.apply_async((f"{name} waits",), queue="later").id
            self.scheduled = act.apply_async((f"{name} scheduled",), countdown=3600).id
        self.ids += [self.single, self.waits, self.scheduled]

    def rows(self, model: type[models.Model], alias: str) -> models.QuerySet[Any]:
        """Return the rows whose columns are altered: those of the failed tasks, or of those that wait."""
        rows = model._base_manager.using(alias)
        if model.__name__ == "Failure":
            runs = TaskRun.objects.using(alias).filter(task_id__in=[self.step, self.single])
            return rows.filter(run_id__in=list(runs.values_list("id", flat=True)))
        return rows.filter(task_id__in=[self.step, self.single, self.waits, self.scheduled])

    def allowed(self) -> set[str]:
        return {f"{self.name} {what}" for what in ("first", "step", "after", "single", "waits", "scheduled")}


def other(field: models.Field[Any, Any], value: Any, number: int) -> Any:
    """Return another value than a column has, which would have an effect."""
    if isinstance(field, models.BooleanField):
        return not value
    if isinstance(field, models.DateTimeField):
        return datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    if isinstance(field, models.FloatField):
        return 1.5
    if isinstance(field, models.IntegerField):
        return (value or 0) + 1_000_000 + number if field.primary_key else 7
    if field.attname == "name":
        return "security.fail"
    if field.attname == "state":
        return states.SUCCESS
    if field.attname == "content_type":
        return "application/x-python-serialize"
    text = value or ""
    return text.replace(" step", " forged").replace(" single", " forged").replace(" waits", " forged") + "x"


def work(alias: str, queue: str) -> None:
    """Run what a worker would run: what it can verify."""
    worker = WorkerHere(alias)
    while claimed := claim(queue, 100, worker.token, alias):
        claimed = large.keep(claimed, worker.token, 1 << 24, alias)
        settle(worker.token, worker.run(runnable(worker.token, claimed, alias)), alias)


def alter(chosen: Chain, model: type[models.Model], column: str, number: int, alias: str) -> None:
    field: Any = model._meta.get_field(column)
    for row in list(chosen.rows(model, alias)):
        value = other(field, getattr(row, column), number + (row.pk if isinstance(row.pk, int) else 0))
        one = model._base_manager.using(alias).filter(pk=row.pk)
        with contextlib.suppress(DataError, IntegrityError), transaction.atomic(alias):
            one.update(**{column: value})


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_each_column_altered_alone_runs_nothing_that_was_not_sent(signed: str) -> None:
    cases = columns()
    chains = [Chain(f"{model.__name__}.{column}") for model, column in cases]
    untouched = Chain("untouched")
    work(signed, "taskq")
    now = timezone.now()
    for each in (one for made in chains for one in (made.step, made.single)):
        about: dict[str, Any] = {"task_id": each}
        TaskLog.objects.using(signed).create(**about, started_at=now, at=now, lines="[]")
        TaskEvent.objects.using(signed).create(**about, kind="started", at=now)
        Attempt.objects.using(signed).create(**about, state="RETRY")
        Rerun.objects.using(signed).create(**about, of_task_id=untouched.single, created_at=now)
    theirs = [id_ for made in chains for id_ in made.ids]
    before = [row for row in snapshot(signed, but=theirs) if row.get("task_id") in untouched.ids]
    assert len(before) == 7
    for number, (made, (model, column)) in enumerate(zip(chains, cases, strict=True)):
        assert made.rows(model, signed).exists(), model
        alter(made, model, column, number * 1_000, signed)
    ran.clear()
    refused = {name: pressed(made) for made in chains for name in [made.name]}
    ScheduledMessage.objects.using(signed).filter(task_id__in=theirs).update(due_at=now)
    promote(1_000, signed)
    for queue in ("taskq", "later", "laterx", "taskqx"):
        work(signed, queue)
    counts = Counter(ran)
    assert set(counts) <= {what for made in [*chains, untouched] for what in made.allowed()}
    assert not [what for what in counts if what.endswith(" first")]
    assert max(counts.values()) == 1
    kept = {made.name for made in chains if refused[made.name] and made.name.startswith("KeptMessage.")}
    assert kept >= {f"KeptMessage.{column}" for column in REFUSED}
    assert {what for what in counts if what.endswith(" step")} <= {
        f"{name} step" for name in refused if not refused[name]
    }
    assert [row for row in snapshot(signed, but=theirs) if row.get("task_id") in untouched.ids] == before


def pressed(made: Chain) -> bool:
    """Press Retry for the failed tasks of a chain; tell whether its step was refused."""
    with contextlib.suppress(CannotRetry):
        control.retry(made.single)
    try:
        control.retry(made.step)
    except CannotRetry:
        return True
    return False
