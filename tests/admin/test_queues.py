from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from taskq import control
from taskq.messages.parking import parking
from taskq.models import TaskRun, Worker
from taskq_admin.queries import capped, queues

URL = "/admin/taskq/queue/"
Make = Callable[..., None]


def loads(*declared: str) -> dict[str, queues.QueueLoad]:
    return {load.name: load for load in queues.overview(declared).queues}


def test_overview_counts_waiting_claimed_and_scheduled_messages(make_messages: Make, make_scheduled: Make) -> None:
    make_messages("mails", 3)
    make_messages("mails", 2, token="boot-1")
    make_messages("held", 1, token="boot-2")
    make_scheduled("mails", 4)
    make_scheduled("later", 5)
    found = {name: (str(load.waiting), str(load.claimed), str(load.scheduled)) for name, load in loads("empty").items()}
    assert found == {
        "empty": ("0", "0", "0"),
        "held": ("0", "1", "0"),
        "later": ("0", "0", "5"),
        "mails": ("3", "2", "4"),
    }


def test_messages_that_wait_for_a_rate_limit_count_for_their_queue(make_messages: Make) -> None:
    make_messages("mails", 3)
    make_messages(parking("mails", "shop.mail"), 2)
    make_messages(parking("mails", "shop.mail"), 1, token="boot-1")
    make_messages(parking("others", "shop.mail"), 1)
    found = {name: (str(load.waiting), str(load.claimed)) for name, load in loads().items()}
    assert found == {"mails": ("5", "1"), "others": ("1", "0")}


def test_oldest_waiting_message_is_found_in_every_priority(make_messages: Make) -> None:
    now = datetime.now(UTC)
    make_messages("mails", created_at=now - timedelta(seconds=10), priority=9)
    make_messages("mails", created_at=now - timedelta(seconds=5), priority=9)
    make_messages("mails", created_at=now - timedelta(seconds=900), priority=0)
    make_messages("mails", created_at=now - timedelta(seconds=4000), token="held")
    oldest = loads()["mails"].oldest
    assert oldest is not None
    assert 900 <= oldest < 1000


def test_empty_queue_has_no_oldest_message(db: None) -> None:
    assert loads("mails")["mails"].oldest is None


def test_message_counts_are_capped(make_messages: Make, make_scheduled: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (capped, queues):
        monkeypatch.setattr(module, "CAP", 5)
    monkeypatch.setattr(queues, "SCHEDULED", 5)
    make_messages("mails", 9)
    make_scheduled("mails", 9)
    load = loads()["mails"]
    assert (str(load.waiting), str(load.scheduled)) == ("5+", "5+")


def test_overview_lists_a_limited_number_of_queues(make_messages: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "MANY", 3)
    for number in range(5):
        make_messages(f"q{number}")
    overview = queues.overview()
    assert [load.name for load in overview.queues] == ["q0", "q1", "q2"]
    assert overview.more


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's query plans")
def test_no_overview_query_sorts_or_scans_waiting_messages(make_messages: Make, make_scheduled: Make) -> None:
    make_messages("mails", 500)
    make_messages("other", 500, priority=3)
    make_scheduled("mails", 500)
    with CaptureQueriesContext(connection) as queries:
        queues.overview()
    read = set()
    with connection.cursor() as cursor:
        for query in queries:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            for (line,) in [row[-1:] for row in cursor.fetchall()]:
                indexes = {name for name in ("taskq_message_to_claim", "taskq_scheduled_due") if name in line}
                assert indexes or not re.match(r"(SCAN|SEARCH) taskq_(message|scheduledmessage)\b", line), line
                read |= indexes
    assert read == {"taskq_message_to_claim", "taskq_scheduled_due"}
    plans = [queues._held().explain(), queues._due().explain()]
    # Only what workers hold is grouped.
    assert [("TEMP B-TREE" in plan) for plan in plans] == [True, False], plans


def test_queue_page_escapes_html(admin_client: Client, make_messages: Make, django_assert_max_num_queries: Any) -> None:
    for name in ("a", "b", "<script>c"):
        make_messages(name, 2)
    with django_assert_max_num_queries(2 + 8):
        page = admin_client.get(URL).content.decode()
    assert "&lt;script&gt;c" in page
    assert "<script>c" not in page
    assert ">taskq</a>" in page  # the default queue, though nothing is in it


def test_queue_page_says_when_messages_are_on_another_broker(admin_client: Client) -> None:
    assert "another broker" not in admin_client.get(URL).content.decode()
    with override_settings(TASKQ_BROKER_URL="redis://localhost"):
        assert "another broker" in admin_client.get(URL).content.decode()


def test_queue_from_which_nobody_takes_has_a_badge(
    admin_client: Client, make_messages: Make, make_worker: Callable[..., Worker]
) -> None:
    make_messages("mails")
    make_messages("tpyo")
    make_worker(info=json.dumps({"queues": ["mails", "taskq"]}))
    assert {name: load.read for name, load in loads("taskq").items()} == {"mails": True, "taskq": True, "tpyo": False}
    assert admin_client.get(URL).content.decode().count("no worker") == 1
    Worker.objects.update(seen_at=datetime.now(UTC) - timedelta(hours=1))
    assert not any(load.read for load in loads("taskq").values()), "its lease is over"
    with override_settings(TASKQ_BROKER_URL="redis://localhost"):
        assert all(load.read for load in loads("taskq").values()), "only the broker knows"


def test_list_of_tasks_says_from_which_queues_nobody_takes(
    admin_client: Client, make_messages: Make, make_worker: Callable[..., Worker]
) -> None:
    tasks = "/admin/taskq/taskrun/"
    assert "no living worker" not in admin_client.get(tasks).content.decode()
    make_messages("<i>tpyo")
    make_messages("mails")
    make_messages("held", token="boot-1")
    make_worker(info=json.dumps({"queues": ["mails"]}))
    page = admin_client.get(tasks).content.decode()
    assert "in the queue &lt;i&gt;tpyo, and no living worker takes from it: start one with -Q &lt;i&gt;tpyo." in page
    assert page.count("no living worker") == 1
    make_messages("other")
    page = admin_client.get(tasks).content.decode()
    assert "from them: <bdi>&lt;i&gt;tpyo</bdi>, <bdi>other</bdi></p>" in page
    assert page.count("no living worker") == 1, "one sentence, however many there are"
    with override_settings(TASKQ_BROKER_URL="redis://localhost"):
        assert queues.unread() == []


def test_paused_queue_has_a_badge_that_says_why(admin_client: Client) -> None:
    control.pause_queue("reports", reason='"moving" & <more>', by="ann")
    page = admin_client.get(URL).content.decode()
    assert "&quot;moving&quot; &amp; &lt;more&gt;" in page
    assert ">paused<" in page
    assert control.resume_queue("reports")
    assert ">paused<" not in admin_client.get(URL).content.decode()


def test_page_of_a_queue(
    admin_client: Client, make_messages: Make, make_worker: Callable[..., Worker], django_assert_max_num_queries: Any
) -> None:
    make_messages("<b>mails", 3)
    make_messages(parking("<b>mails", "shop.mail"), 2)
    make_worker(info=json.dumps({"queues": ["<b>mails"]}))
    control.pause_queue("<b>mails", reason="moving", by="ann", seconds=3600)
    address = reverse("admin:taskq_queue_change", args=[quote("<b>mails")])
    with django_assert_max_num_queries(12):
        page = admin_client.get(address).content.decode()
    for part in ("&lt;b&gt;mails", ">5</a>", "taskq@one", "moving", "by ann", "until", "do/resume/", "do/purge/"):
        assert part in page, part
    for part in ("<b>mails", "do/pause/"):
        assert part not in page
    found = admin_client.get(address, {"format": "json"}).json()
    assert (found["waiting"], found["read"], found["paused"]["by"]) == (5, True, "ann")


def test_page_of_a_queue_that_nobody_knows_says_how_to_read_it(admin_client: Client) -> None:
    page = admin_client.get(f"{URL}nobody/change/").content.decode()
    assert "python manage.py taskworker -Q nobody" in page
    assert admin_client.get(f"{URL}{'x' * 300}/change/").status_code == 404
    assert admin_client.get(f"{URL}a%00b/change/").status_code == 404


def test_list_as_json(admin_client: Client, staff_client: Callable[..., Client], make_messages: Make) -> None:
    make_messages("mails", 2)
    rows = {row["name"]: row for row in admin_client.get(URL, {"format": "json"}).json()["queues"]}
    assert rows["mails"]["waiting"] == 2
    assert rows["mails"]["read"] is False
    rows = staff_client("view_queue").get(URL, {"format": "json"}).json()["queues"]
    assert "read" not in rows[0]  # that is for those who see workers


# -- actions


def do(client: Client, key: str, queue: str, **data: str) -> list[str]:
    response = client.post(f"{URL}do/{key}/", {"id": queue, "confirmed": "1", **data}, follow=True)
    assert response.status_code == 200
    return [str(message) for message in get_messages(response.wsgi_request)] or [
        str(message) for message in response.context.get("messages", ())
    ]


def test_queue_is_paused_and_resumed(staff_client: Callable[..., Client]) -> None:
    client = staff_client("view_queue", "pause_queue")
    (said,) = do(client, "pause", "mails", minutes="90", **{"confirm-reason": "moving"})
    assert said.startswith("The queue mails is paused")
    (pause,) = control.paused_queues()
    assert (pause.queue, pause.by, pause.reason) == ("mails", "staff", "moving")
    assert pause.until is not None
    assert pause.until - pause.since == timedelta(minutes=90)
    assert do(client, "resume", "mails") == ["The queue mails is resumed."]
    assert do(client, "resume", "mails") == ["The queue mails was not paused."]
    assert LogEntry.objects.count() == 2


def test_queue_is_purged_by_its_name(
    staff_client: Callable[..., Client], make_messages: Make, make_run: Callable[..., Any]
) -> None:
    make_run("run-1", queue="mails")
    make_messages("mails", task_id="run-1", tracked=True)
    make_messages("mails", 2)
    client = staff_client("view_queue", "purge_queue")
    do(client, "purge", "mails", **{"confirm-typed": "mail"})
    assert loads()["mails"].waiting.value == 3
    (said,) = do(client, "purge", "mails", **{"confirm-typed": "mails"})
    assert said == "3 messages of mails were deleted, and their tasks revoked."
    assert "mails" not in loads()
    assert TaskRun.objects.get().state == "REVOKED"


def test_one_request_purges_a_limited_number(
    admin_client: Client, make_messages: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq_admin.actions.queues.MOST", 2)
    monkeypatch.setattr("taskq.store.consuming._CHUNK", 1)
    make_messages("mails", 3)
    deleted, more = do(admin_client, "purge", "mails", **{"confirm-typed": "mails"})
    assert deleted == "2 messages of mails were deleted, and their tasks revoked."
    assert more == "No more are deleted at once: purge mails again if messages still wait in it."
    assert loads()["mails"].waiting.value == 1


@pytest.mark.parametrize("key", ["pause", "resume", "purge"])
def test_action_of_a_queue_needs_its_permission(staff_client: Callable[..., Client], key: str) -> None:
    others = {"pause": "purge_queue", "resume": "purge_queue", "purge": "pause_queue"}
    client = staff_client("view_queue", others[key])
    assert client.post(f"{URL}do/{key}/", {"id": "mails", "confirmed": "1"}).status_code == 403


def test_other_brokers_queue_is_not_purged(admin_client: Client) -> None:
    with override_settings(TASKQ_BROKER_URL="redis://localhost"):
        assert "use the tools of the broker" in admin_client.get(f"{URL}mails/change/").content.decode()
        (said,) = do(admin_client, "purge", "mails", **{"confirm-typed": "mails"})
    assert "only django:// can be purged" in said
