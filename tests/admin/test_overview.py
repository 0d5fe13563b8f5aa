"""The overview: what the first page of the section shows, and to whom."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core import checks
from django.test import Client, override_settings
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from taskq import clock, control
from taskq.messages.protocol.wire import UNKNOWN_SINCE
from taskq.models import Lease, TaskRun, Worker
from taskq.store import statistics
from taskq_admin.charts.columns import HEIGHT, WIDTH, stacked
from taskq_admin.queries import attention, queues, sent, throughput, times

URL = "/admin/taskq/"
Make = Callable[..., Any]


def count(minutes_ago: int, succeeded: int = 0, failed: int = 0, name: str = "shop.add") -> None:
    counters = [0] * len(statistics.COUNTERS)
    counters[0], counters[1] = succeeded, failed
    statistics.add({(int(clock.now()) // 60 - minutes_ago, name, "taskq"): counters}, "default")


def text(client: Client, query: str = "") -> str:
    page = client.get(URL + query)
    assert page.status_code == 200
    return re.sub(r"\s+", " ", page.content.decode())


def tile(page: str, label: str) -> str:
    found = re.search(rf"<strong>([^<]*)</strong> <span>{label}</span>", page)
    assert found, label
    return found[1]


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=3, max_size=3), max_size=60))
def test_columns_are_within_the_chart_and_show_whatever_is_not_zero(columns: list[list[int]]) -> None:
    placed = stacked(columns)
    assert len(placed) == len(columns)
    for values, parts in zip(columns, placed, strict=True):
        assert [part.series for part in parts] == [series for series, value in enumerate(values) if value]
        for part in parts:
            assert -0.1 <= part.x <= part.x + part.width <= WIDTH + 0.1
            assert 0 <= part.y < part.y + part.height <= HEIGHT + 0.1
            assert part.height >= 1


def test_empty_site_says_what_to_do(admin_client: Client) -> None:
    page = text(admin_client)
    assert "No worker runs: tasks wait until one is started." in page
    assert (tile(page, "Running"), tile(page, "Waiting"), tile(page, "Workers")) == ("0", "0", "0")
    assert "60 minutes: 0 tasks ended, 0 of them failed." in page


def test_tiles_and_chart(admin_client: Client, make_run: Make, make_messages: Make, make_worker: Make) -> None:
    make_worker(info='{"queues": ["mails"]}')
    make_run("one")
    make_run("two", state="FAILURE")
    make_messages("mails", 3, created_at=datetime.now(UTC) - timedelta(minutes=5))
    count(0, 3, 1)
    count(0, 2, name="shop.mail")
    count(30, 1)
    count(70, 0, 7)
    page = text(admin_client)
    assert (tile(page, "Waiting"), tile(page, "Failed in 24 h"), tile(page, "Workers")) == ("1", "8", "1")
    assert tile(page, "Oldest wait").startswith("5 min")
    assert "60 minutes: 7 tasks ended, 1 of them failed." in page
    assert "5 succeeded, 1 failed, 0 revoked" in page
    assert "24 hours: 14 tasks ended, 8 of them failed." in text(admin_client, "?span=day")
    assert "7 days: 14 tasks ended, 8 of them failed." in text(admin_client, "?span=week")
    assert "60 minutes: 7 tasks ended" in text(admin_client, "?span=<script>")


def test_periods_end_with_the_present_one(db: None) -> None:
    count(0, 1)
    count(59, 2)
    count(60, 4)
    hour = throughput.read([throughput.HOUR]).spans["hour"]
    assert len(hour) == 60
    assert hour[-1].start <= datetime.now(UTC) < hour[-1].start + timedelta(seconds=61)
    assert [hour[0].succeeded, hour[-1].succeeded] == [2, 1]


def test_what_needs_attention(
    admin_client: Client, make_messages: Make, make_scheduled: Make, make_worker: Make
) -> None:
    ago = datetime.now(UTC) - timedelta(hours=3)
    make_messages("tpyo", 2)
    make_scheduled("mails", due_at=ago)
    make_worker("a", name="w@silent", seen_at=ago)
    make_worker("b", name="w@lost", state=Worker.LOST)
    Lease.objects.create(name=Lease.RETENTION, done_at=ago)
    control.pause_queue("reports", reason="<b>moving</b>", by="ann")
    count(1, 10, 5)
    page = text(admin_client)
    for sentence in (
        "2 messages wait in the queue tpyo, and no living worker takes from it: start one with -Q tpyo.",
        "The queue reports is paused by ann: &lt;b&gt;moving&lt;/b&gt;",
        "Nothing was heard of the worker w@silent for 3 h",
        "The worker w@lost was lost; its tasks went back.",
        "No worker runs: tasks wait until one is started.",
        "5 of 15 runs of shop.add failed within the last hour.",
        "A scheduled task is 3 h",
        "Old rows were last deleted 3 h",
    ):
        assert sentence in page, sentence
    assert "<b>moving" not in page


def test_many_queues_alike_leave_room_for_the_rest(admin_client: Client, make_messages: Make) -> None:
    for number in range(attention.FEW + 3):
        make_messages(f"tpyo-{number}")
        control.pause_queue(f"reports-{number}")
    page = text(admin_client)
    assert page.count("start one with -Q tpyo-") == attention.FEW
    assert page.count("The queue reports-") == attention.FEW
    assert "3 more queues have messages, and no living worker takes from them." in page
    assert "3 more queues are paused." in page


def test_queues_beyond_those_that_are_read_are_not_counted(
    admin_client: Client, make_messages: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MANY", attention.FEW + 1 + 3)  # the default queue is read too
    for number in range(attention.FEW + 4):
        make_messages(f"tpyo-{number}")
    assert "3+ more queues have messages, and no living worker takes from them." in text(admin_client)


def test_all_pages_of_the_section_are_linked_above_the_overview(
    admin_client: Client, staff_client: Callable[..., Client]
) -> None:
    """Django's own table is at the end of a long page, and a phone has no bar beside it."""
    nav = re.compile(r'<nav class="taskq-tabs".*?</nav>')

    def linked(client: Client) -> list[str]:
        page = text(client)
        found = nav.search(page)
        assert found
        assert found.start() < page.index("taskq-overview")
        return re.findall(r'href="/admin/taskq/([^"]*)"', found[0])

    assert linked(admin_client) == ["error/", "queue/", "taskrun/", "worker/", "node/", "taskrun/audit/"]
    assert linked(staff_client("view_queue")) == ["queue/"]


def test_task_that_fails_as_often_as_before_is_no_news(db: None) -> None:
    count(1, 10, 5)
    count(120, 10, 5)
    count(1, 0, 6, name="shop.mail")
    count(120, 99, 1, name="shop.mail")
    count(1, 0, 7, name="")
    count(1, 10_000, 8, name="shop.often")
    told = attention.of_failures(times.summary(throughput.HOUR).failing)
    assert [(notice.text, notice.query) for notice in told] == [
        ("7 tasks failed within the last hour whose names no worker knows.", "?tab=failed"),
        (
            "6 of 6 runs of shop.mail failed within the last hour, 1 of 100 in the day before.",
            "?tab=failed&name=shop.mail",
        ),
    ]


def test_name_that_no_worker_knew(make_scheduled: Make) -> None:
    later = datetime.now(UTC) + timedelta(seconds=60)
    make_scheduled("mails", 2, headers=json.dumps({UNKNOWN_SINCE: 1.0}), name="shop.<new>", due_at=later)
    make_scheduled("mails", name="shop.mail", due_at=later)
    (notice,) = attention.of_schedule(queues.around().schedule, datetime.now(UTC))
    assert "knows the task shop.<new>" in notice.text
    assert notice.query == "?name=shop.%3Cnew%3E"


def test_settings_of_the_database_that_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    attention._checked.cache_clear()
    monkeypatch.setattr(attention, "run_checks", lambda tags: [checks.Warning("Slow.", hint="Do."), checks.Info("x")])
    assert [notice.text for notice in attention.of_database()] == ["Slow. Do."]
    attention._checked.cache_clear()


def test_rates_and_sparkline_of_a_queue(admin_client: Client, make_run: Make, make_messages: Make) -> None:
    make_messages("taskq")
    for number in range(10):
        make_run(f"new-{number}", queue="taskq", created_at=datetime.now(UTC))
    make_run("old", queue="taskq")
    count(2, 100)
    found = {load.name: load for load in queues.overview().queues}["taskq"]
    assert (found.rate_in, found.rate_out, found.minutes[-3]) == (2.0, 20.0, 100)
    page = text(admin_client)
    assert '<td data-label="In, out each minute">2 / 20</td>' in page
    assert "100 tasks ended in the last hour, at most 100 a minute" in page


def test_rate_of_a_busy_site_is_that_of_its_newest_tasks(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent, "NEWEST", 10)
    begun = datetime.now(UTC)
    for number in range(20):
        make_run(f"new-{number}", queue="taskq", created_at=begun - timedelta(seconds=20 - number))
    assert (queues.around().rates or {})["taskq"] == pytest.approx(10 / (10 / 60), rel=0.5)


def test_running_site_needs_none(admin_client: Client, make_run: Make, make_worker: Make) -> None:
    make_worker(info='{"queues": ["taskq"]}')
    count(1, 100, 2)
    page = text(admin_client)
    assert "Needs attention" not in page


def test_number_of_queries_does_not_grow(
    admin_client: Client, make_messages: Make, make_worker: Make, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        make_messages(f"queue-{number}")
        make_worker(f"boot-{number}", name=f"w{number}@host")
    for span in ("hour", "day", "week"):
        with django_assert_max_num_queries(12):  # two of them for the session
            text(admin_client, f"?span={span}")


@pytest.mark.parametrize(
    ("models", "there", "missing"),
    [
        (["taskrun"], ["Ended tasks", "Running"], ["Oldest wait", "<h2>Workers", "No worker runs"]),
        (["queue"], ["Oldest wait", "<h2>Queues"], ["Ended tasks", "no living worker", "<h2>Workers"]),
        (["worker"], ["<h2>Workers", "No worker runs"], ["Ended tasks", "Oldest wait", "secret.task"]),
    ],
)
def test_each_part_needs_its_permission(
    client: Client, make_messages: Make, make_worker: Make, models: list[str], there: list[str], missing: list[str]
) -> None:
    make_messages("tpyo")
    ago = datetime.now(UTC) - timedelta(hours=3)
    make_worker(seen_at=ago, info='{"slots": [{"slot": 0, "pid": 1, "id": "x", "name": "secret.task", "since": 1}]}')
    user = User.objects.create(username="u", password="!", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=[f"view_{model}" for model in models]))
    client.force_login(user)
    page = text(client)
    assert [each for each in there if each not in page] == []
    assert [each for each in missing if each in page] == []


def test_statistics_that_are_off_are_said(admin_client: Client) -> None:
    with override_settings(TASKQ_STATISTICS=False):
        assert "TASKQ_STATISTICS is off" in text(admin_client)


def test_id_of_a_running_task_may_have_line_breaks(admin_client: Client, make_run: Make, make_worker: Make) -> None:
    run = make_run("a\nb\r\n", name="shop.report")
    slot = {"slot": 0, "pid": 1, "id": run.task_id, "name": "shop.report", "since": 1}
    make_worker(info=json.dumps({"slots": [slot]}))
    (address,) = re.findall(r'href="(/admin/taskq/taskrun/id/[^"]*)"', text(admin_client))
    assert admin_client.get(address).headers["Location"] == f"/admin/taskq/taskrun/{run.pk}/change/"


def test_running_tasks_of_a_worker_are_named(admin_client: Client, make_run: Make, make_worker: Make) -> None:
    make_run("x", name="shop.report")
    make_worker(info='{"slots": [{"slot": 0, "pid": 1, "id": "x", "name": "shop.report", "since": 1}, {"slot": 1}]}')
    assert "shop.<wbr>report" in text(admin_client)
    assert TaskRun.objects.count() == 1


def test_parts_that_may_come_or_go_have_their_places(admin_client: Client, make_worker: Make) -> None:
    for number in range(2):
        page = text(admin_client)
        for name in ("begin", "attention", "overview-workers"):
            assert f'id="taskq-{name}" data-taskq-fragment' in page
        make_worker(f"boot-{number}", info='{"queues": ["mails"]}')
    assert "Nothing has run here yet" not in page
    assert '<a href="/admin/taskq/queue/mails/change/">mails</a>' in page


def test_names_of_unknown_tasks_are_for_who_may_see_tasks(
    staff_client: Callable[..., Client], make_scheduled: Make
) -> None:
    make_scheduled("mails", name="secret.task", headers=f'{{"{UNKNOWN_SINCE}": 1}}')
    client = staff_client("view_queue")
    assert "secret.task" not in text(client)
    user = User.objects.get(username="staff")
    user.user_permissions.add(Permission.objects.get(codename="view_taskrun"))
    assert "secret.task" in text(client)


def test_warnings_of_the_database_are_in_the_language_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    said = lambda **_: [checks.Warning(f"in {translation.get_language()}")]  # noqa: E731
    monkeypatch.setattr(attention, "run_checks", said)
    attention._checked.cache_clear()
    for language in ("de", "en"):
        with translation.override(language):
            assert attention.of_database()[0].text == f"in {language}"
    attention._checked.cache_clear()


def test_minutes_are_those_of_the_queues_that_are_shown(db: None) -> None:
    minute = int(clock.now()) // 60 - 30
    for number in range(5):
        for queue in ("mails", f"queue-{number}"):
            counters = [2, 1, *[0] * (len(statistics.COUNTERS) - 2)]
            statistics.add({(minute, f"shop.{number}", queue): counters}, "default")
    read = throughput.read([throughput.HOUR], ["mails", "nothing"])
    found = read.minutes
    assert {queue: (sum(each), len(each)) for queue, each in found.items()} == {"mails": (15, 60)}
    hour = read.spans["hour"]
    assert (sum(each.succeeded for each in hour), sum(each.failed for each in hour)) == (20, 10)
