"""Waiting and running times as percentiles: on the overview, the page of a queue, and the list of a task."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from django.contrib.auth.models import Permission, User
from django.test import Client

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
    assert slow.runs == [1000.0, 1000.0, 1000.0]
    assert found.total.ended == 110
    assert times.summary(throughput.DAY).total.ended == 1_110

    page = text(admin_client)
    assert '<a href="/admin/taskq/taskrun/?name=shop.%3Cslow%3E">shop.<wbr>&lt;slow&gt;</a>' in page
    assert '<td class="taskq-number" data-label="Waited p95">10 ms</td>' in page
    assert '<td class="taskq-number" data-label="Ran p99">&gt; 16 min 40 s</td>' in page
    whole = admin_client.get("/admin/taskq/worker/overview/", {"format": "json"}).json()["times"]
    assert whole["all"]["ended"] == 110
    assert whole["tasks"][1] == {
        "name": "shop.<slow>",
        "ended": 10,
        **{key: {"p50": 1000.0, "p95": 1000.0, "p99": 1000.0} for key in ("waited", "ran")},
    }
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
