"""Waiting and running times as percentiles: on the overview, the page of a queue, and the list of a task."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext

from taskq import clock
from taskq.histograms import percentile
from taskq.store import statistics
from taskq_admin.queries import throughput, times

URL = "/admin/taskq/"


def text(client: Client, query: str = "") -> str:
    page = client.get(URL + query)
    assert page.status_code == 200
    return re.sub(r"\s+", " ", page.content.decode())


def timed(minutes_ago: int, waited: int, ran: int, times: int, name: str = "shop.add", queue: str = "taskq") -> None:
    """Count runs whose times fell into these buckets."""
    counters = dict.fromkeys(statistics.COUNTERS, 0)
    counters |= {"succeeded": times, f"waited_{waited}": times, f"ran_{ran}": times}
    period = int(clock.now()) // 60 - minutes_ago
    statistics.add({(period, name, queue): list(counters.values())}, "default")


def test_percentiles_are_those_of_the_summed_histograms(admin_client: Client, db: None) -> None:
    timed(0, 0, 2, 95)
    timed(5, 4, 2, 5)
    timed(0, 11, 11, 10, name="shop.<slow>", queue="other")
    timed(3 * 60, 0, 0, 1_000, name="shop.add")
    found = times.summary(throughput.HOUR)
    assert [(name, each.ended) for name, each in found.tasks] == [("shop.add", 100), ("shop.<slow>", 10)]
    assert [(name, each.ended) for name, each in found.queues] == [("taskq", 100), ("other", 10)]
    quick, slow = found.tasks[0][1], found.tasks[1][1]
    assert quick.waits == [percentile([95, 0, 0, 0, 5, *7 * [0]], share) for share in (0.5, 0.95, 0.99)]
    assert slow.runs == 3 * [(1000.0, ">")]
    assert found.total.ended == 110
    assert times.summary(throughput.DAY).total.ended == 1_110

    page = text(admin_client)
    assert '<a href="/admin/taskq/taskrun/?name=shop.%3Cslow%3E">shop.<wbr>&lt;slow&gt;</a>' in page
    assert '<td class="taskq-number" data-label="Waited p95">&lt; 10 ms</td>' in page
    assert '<td class="taskq-number" data-label="Ran p99">&gt; 16 min 40 s</td>' in page
    whole = admin_client.get("/admin/taskq/worker/overview/", {"format": "json"}).json()["times"]
    assert whole["all"]["ended"] == 110
    slowest = {key: 1000.0 for key in times.SHARES} | {"less_than": [], "more_than": list(times.SHARES)}
    assert whole["tasks"][1] == {
        "name": "shop.<slow>",
        "ended": 10,
        "waited": slowest,
        "ran": slowest,
    }
    assert whole["tasks"][0]["waited"]["less_than"] == ["p50", "p95"]
    assert [each["name"] for each in whole["queues"]] == ["taskq", "other"]


def test_percentiles_of_one_task_and_of_one_queue_by_span(admin_client: Client, db: None) -> None:
    timed(0, 1, 4, 10)
    timed(5 * 60, 1, 4, 20)
    timed(3 * 24 * 60, 1, 4, 40)
    timed(0, 0, 0, 7, name="shop.other", queue="other")
    assert [(span.key, each.ended) for span, each in times.of_task("shop.add")] == [
        ("hour", 10),
        ("day", 30),
        ("week", 70),
    ]
    for address, key in (("taskrun/", {"name": "shop.add"}), ("queue/taskq/change/", {})):
        assert 'data-label="Ran p50">' in text(admin_client, f"{address}?{urlencode(key)}")
        found = admin_client.get(URL + address, {**key, "format": "json"}).json()["times"]
        assert {span: each["ended"] for span, each in found.items()} == {"hour": 10, "day": 30, "week": 70}
    assert times.of_task("absent") == []
    assert "taskq-times" in text(admin_client, "taskrun/")
    assert "Ran p50" not in text(admin_client, "taskrun/?name=shop.absent")


def test_what_is_read_does_not_grow_with_the_names(
    admin_client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The busiest are found among ``NEWEST`` hours of names at most, in SQL: totals are those of all names."""
    names = [f"shop.task_{number}" for number in range(60)]
    for number, name in enumerate(names):
        timed(0, 1, 4, 100 + number, name=name, queue=f"queue-{number % 3}")
        timed(5 * 60, 1, 4, 1_000 - number, name=name)
    with monkeypatch.context() as patched:
        read = spied(patched)
        found = times.summary(throughput.HOUR)
    assert [name for name, _ in found.tasks] == names[:-11:-1]
    assert found.total.ended == sum(100 + number for number in range(60))
    assert len({name for name, _ in read}) <= 3 + times._CHOSEN

    monkeypatch.setattr(times, "NEWEST", 70)
    newest = times.summary(throughput.DAY)
    # By the hour of the last minutes: in those before there are too many names.
    assert {name for name, _ in newest.tasks} <= set(names[-times._CHOSEN :])
    assert {each.ended for _, each in newest.tasks} == {1_100}
    assert newest.total.ended == sum(1_100 for _ in names)


def spied(patched: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Keep the keys of all sums that come from the database, with how much ended."""
    kept: list[tuple[str, int]] = []
    real = times._read

    def read(wanted: Q, by: str) -> Iterator[tuple[int, str, times.Times]]:
        for part, key, each in real(wanted, by):
            kept.append((key, each.ended))
            yield part, key, each

    patched.setattr(times, "_read", read)
    return kept


@pytest.mark.parametrize(
    ("read", "columns"),
    [("of_task", "(seconds=? AND period=? AND name=?"), ("of_queue", "period=? AND name=? AND queue=?")],
)
def test_index_leads_to_one_name(db: None, read: str, columns: str) -> None:
    with CaptureQueriesContext(connection) as captured:
        getattr(times, read)("shop.add")
    if connection.vendor != "sqlite":
        pytest.skip("the words of another planner")
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {captured[0]['sql']}")
        plan = [row[-1] for row in cursor.fetchall() if "SEARCH" in row[-1]]
    assert len(plan) == 2
    assert all(columns in step for step in plan)


def test_times_of_queues_are_for_who_may_see_queues(client: Client, db: None) -> None:
    timed(0, 1, 4, 10)
    user = User.objects.create(username="u", password="!", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_taskrun"))
    client.force_login(user)
    assert "Ran p50" in text(client)
    found = client.get("/admin/taskq/worker/overview/", {"format": "json"})
    assert "queues" not in found.json()["times"]
    user.user_permissions.set(Permission.objects.filter(codename="view_queue"))
    assert "Ran p50" not in text(client)
