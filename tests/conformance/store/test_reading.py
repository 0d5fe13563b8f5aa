"""Counts in one statement, and the place of a time among the runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskq.models import TaskRun
from taskq.store.reading import counts, first_since

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
