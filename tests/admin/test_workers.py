from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from taskq.models import TaskRun, Worker
from taskq_admin.queries import workers

URL = "/admin/taskq/worker/"
EVIL = "<script>alert(1)</script>"
Make = Callable[..., Worker]


def page_of(client: Client, worker: Worker) -> str:
    response = client.get(reverse("admin:taskq_worker_change", args=[worker.pk]))
    assert response.status_code == 200
    return response.content.decode()


def test_list_shows_worker_states(admin_client: Client, make_worker: Make, django_assert_max_num_queries: Any) -> None:
    make_worker(info=json.dumps({"queues": ["mails", "hipri"], "concurrency": 4, "pool": "prefork"}))
    make_worker("boot-2", name="taskq@two", seen_at=datetime.now(UTC) - timedelta(minutes=10))
    with django_assert_max_num_queries(4):
        page = admin_client.get(URL).content.decode()
    for part in ("taskq@one", "one : 4711", "mails, hipri", "4 (prefork)", "running", "taskq@two", "silent", "10 min"):
        assert part in page


@pytest.mark.parametrize(
    "info",
    [
        "",
        "{}",
        "not json",
        "null",
        "[1]",
        '"x"',
        "[" * 20_000,
        json.dumps({"queues": None, "concurrency": None, "pool": {"a": [1]}}),
        json.dumps({"queues": {"mails": {}}, "concurrency": "\ud800"}),
        json.dumps({"queues": [{"name": "mails"}, {"x": 1}, None, 3], "concurrency": [2]}),
        json.dumps({"queues": [EVIL], "concurrency": EVIL, "pool": EVIL}),
        EVIL,
    ],
)
def test_malformed_worker_info_does_not_break_the_pages(admin_client: Client, make_worker: Make, info: str) -> None:
    worker = make_worker(info=info)
    assert admin_client.get(URL).status_code == 200
    assert "<script>alert" not in page_of(admin_client, worker)


def test_worker_page_shows_the_messages_it_holds(
    admin_client: Client,
    make_worker: Make,
    make_messages: Callable[..., None],
    make_run: Callable[..., TaskRun],
    django_assert_max_num_queries: Any,
) -> None:
    worker = make_worker()
    run = make_run(state="STARTED")
    make_messages("mails", token="boot-1", task_id="run-1")
    make_messages("mails", token="boot-1", task_id="untracked", name=EVIL)
    make_messages("mails", token="other", task_id="not-mine")
    with django_assert_max_num_queries(5):
        page = page_of(admin_client, worker)
    assert reverse("admin:taskq_taskrun_change", args=[run.pk]) in page
    assert "STARTED" in page
    assert "untracked" in page
    assert "not-mine" not in page
    assert EVIL not in page


def test_worker_is_silent_after_its_lease(make_worker: Make) -> None:
    now = datetime.now(UTC)
    worker = make_worker(lease=30.0, seen_at=now - timedelta(seconds=29))
    assert not workers.is_silent(worker, now)
    assert workers.is_silent(worker, now + timedelta(seconds=2))
    assert workers.silence(worker, now - timedelta(hours=1)) == 0.0


@pytest.mark.usefixtures("no_null_bytes")
def test_null_byte_in_the_worker_address_is_not_found(admin_client: Client) -> None:
    assert admin_client.get(f"{URL}%00/change/").status_code == 404


def test_host_name_of_a_worker_is_shown_when_known(admin_client: Client, make_worker: Make) -> None:
    worker = make_worker(host="4f1c-boot:4026531836", info=json.dumps({"host": "web7"}))
    assert "web7 : 4711" in admin_client.get(URL).content.decode()
    page = page_of(admin_client, worker)
    assert "<dd>web7</dd>" in page
    assert "4f1c-boot" not in page


def test_worker_page_of_a_missing_worker_is_not_found(admin_client: Client) -> None:
    assert admin_client.get(reverse("admin:taskq_worker_change", args=["boot-9"])).status_code == 404


def test_lost_worker_is_shown_as_lost_and_reads_no_queue(admin_client: Client, make_worker: Make) -> None:
    lost = make_worker(state="lost", info=json.dumps({"queues": ["mails"]}))
    for page in (admin_client.get(URL).content.decode(), page_of(admin_client, lost)):
        assert ">lost</span>" in page
    assert workers.read_queues() == set()


def doing(**said: Any) -> str:
    slots = [
        {"slot": 0, "pid": 51, "id": "run-1", "name": "shop.tasks.mail", "since": datetime.now(UTC).timestamp() - 61},
        {"slot": 1, "pid": 52},
        {"slot": 2, "pid": 53, "id": "no-row", "name": EVIL, "since": 1e300},
    ]
    processed = {"total": 12, "succeeded": 9, "failed": 1, "retried": 2, "revoked": 0}
    return json.dumps({"loadavg": [0.5, 1.25, 2], "processed": processed, "events": True, "slots": slots, **said})


def test_worker_page_shows_what_each_slot_runs(
    admin_client: Client,
    make_worker: Make,
    make_run: Callable[..., TaskRun],
    django_assert_max_num_queries: Any,
) -> None:
    folded = {"slots": 950, "running": 800, "tasks": {"shop.tasks.fetch": 800}}
    worker, run = make_worker(info=doing(folded=folded)), make_run()
    with django_assert_max_num_queries(5):
        page = page_of(admin_client, worker)
    assert f'<a href="{reverse("admin:taskq_taskrun_change", args=[run.pk])}">shop.tasks.mail</a>' in page
    for part in ("0.50, 1.25, 2.00", "9 succeeded", "2 retried", "0 revoked", "<dd>on</dd>", "1 min 1 s", "idle",
                 "no-row", "950 more slots, 800 of them", "shop.tasks.fetch: 800"):  # fmt: skip
        assert part in page
    assert EVIL not in page
    assert "About itself" not in page
    listed = admin_client.get(URL).content.decode()
    assert '<td data-label="Ended tasks" class="field-ended">12</td>' in listed
    assert '<td data-label="Load" class="field-load">0.50</td>' in listed


def test_tasks_of_slots_need_the_permission_to_see_tasks(
    staff_client: Callable[..., Client], make_worker: Make
) -> None:
    page = page_of(staff_client("view_worker"), make_worker(info=doing()))
    assert "a task" in page
    for hidden in ("run-1", "no-row", "shop.tasks.mail"):
        assert hidden not in page


@pytest.mark.parametrize(
    "rubbish", [None, 3, "x", [None, 3, [], {}], {"a": 1}, [10**400, float("nan")], [{"id": 3, "since": 10**400}]]
)
@pytest.mark.parametrize("key", ["loadavg", "processed", "events", "slots", "folded"])
def test_malformed_activity_does_not_break_the_pages(
    admin_client: Client, make_worker: Make, key: str, rubbish: Any
) -> None:
    worker = make_worker(info=doing(**{key: rubbish}))
    assert admin_client.get(URL).status_code == 200
    page_of(admin_client, worker)
