"""Counts in one statement, and the place of a time among the runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Left
from django.test.utils import CaptureQueriesContext

from taskq.models import QueuePause, TaskRun, Worker
from taskq.store.reading import counts, first_since, together

# With microseconds, as taskq writes times: SQLite compares texts.
START = datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)


@pytest.fixture
def hourly(alias: str) -> list[int]:
    """Runs of one hour each; some were deleted."""
    runs = TaskRun.objects.using(alias)
    runs.bulk_create(TaskRun(task_id=f"r{n}", created_at=START + timedelta(hours=n)) for n in range(40))
    runs.filter(task_id__in=[f"r{n}" for n in (0, 7, 8, 9, 39)]).delete()
    return list(runs.order_by("id").values_list("id", flat=True))


def test_place_of_every_time_is_found(alias: str, hourly: list[int]) -> None:
    rows = list(TaskRun.objects.using(alias).order_by("id").values_list("id", "created_at"))
    for half in range(-2, 84):
        at = START + timedelta(minutes=30 * half)
        expected = [number for number, created in rows if created >= at]
        found = first_since(at, alias)
        assert found is not None
        assert [number for number, _ in rows if number >= found] == expected


def test_run_that_was_sent_again_misleads_nobody(alias: str, hourly: list[int]) -> None:
    runs = TaskRun.objects.using(alias)
    numbers = dict(runs.values_list("task_id", "id"))
    runs.filter(id__in=hourly[::2]).update(created_at=START + timedelta(days=9))
    for place in (5, 17, 29):
        found = first_since(START + timedelta(hours=place - 0.5), alias)
        assert found is not None
        assert numbers[f"r{place - 1}"] <= found <= numbers[f"r{place + 1}"]


def test_without_runs_there_is_no_place(alias: str) -> None:
    assert first_since(START, alias) is None


def test_counts_are_those_of_each_query(alias: str, hourly: list[int]) -> None:
    runs = TaskRun.objects.using(alias).order_by("-id").values("pk")
    assert counts([runs, runs.filter(pk__gt=hourly[-4]), runs[:7], runs.none()], alias) == [35, 3, 7, 0]
    assert counts([], alias) == []


def as_plain(rows: QuerySet[Any, Any] | list[Any]) -> list[str]:
    """Return instances as their attributes, so that deferred columns count too."""
    return sorted(
        repr({name: value for name, value in vars(row).items() if name != "_state"} if hasattr(row, "pk") else row)
        for row in rows
    )


def test_queries_that_are_read_together_give_what_each_gives(alias: str, hourly: list[int]) -> None:
    text = 'ünï "quoted" \\ \n \x01 \U0001f600 [1, {"a": null}]'
    Worker.objects.using(alias).create(token="t", name=text, info=text, lease=30, started_at=START, seen_at=START)
    runs = TaskRun.objects.using(alias)
    runs.filter(id=hourly[3]).update(name=text, arguments=text, runtime=0.123456789, started_at=START)
    begun = Q(started_at__isnull=False)
    queries = (
        runs.defer("arguments").annotate(cut=Left("arguments", 7), begun=begun).order_by("-id"),
        runs.only("name").order_by("id")[2:5],
        Worker.objects.using(alias).all(),
        QueuePause.objects.using(alias).all(),
        runs.none(),
        runs.annotate(begun=begun).values_list("name", "created_at", "runtime", "begun"),
        runs.order_by().values_list("name").annotate(number=Count("pk")),
    )
    with CaptureQueriesContext(connections[alias]) as captured:
        found = together(*queries, alias=alias)
    assert len(captured) == 1
    assert [as_plain(rows) for rows in found] == [as_plain(query) for query in queries]
    assert found[1][0].get_deferred_fields() >= {"state", "arguments"}


@pytest.mark.parametrize("named", [True, False])
def test_rows_are_read_from_the_database_that_is_named_or_taskqs_own(
    alias: str, hourly: list[int], settings: Any, named: bool
) -> None:
    settings.TASKQ_DATABASE = "absent" if named else alias
    (runs,) = together(TaskRun.objects.filter(id__in=hourly[:3]), alias=alias if named else None)
    assert sorted(run.id for run in runs) == hourly[:3]
    assert counts([TaskRun.objects.values("pk")], alias if named else None) == [35]


def test_nothing_to_read_needs_no_statement(alias: str) -> None:
    with CaptureQueriesContext(connections[alias]) as captured:
        assert together(TaskRun.objects.none(), alias=alias) == [[]]
    assert len(captured) == 0
