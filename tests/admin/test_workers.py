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


def test_lists_workers(admin_client: Client, make_worker: Make, django_assert_max_num_queries: Any) -> None:
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
def test_any_info_is_shown(admin_client: Client, make_worker: Make, info: str) -> None:
    worker = make_worker(info=info)
    assert admin_client.get(URL).status_code == 200
    assert "<script>alert" not in page_of(admin_client, worker)


def test_the_page_shows_what_it_holds(
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


def test_silence_is_measured_by_the_lease(make_worker: Make) -> None:
    now = datetime.now(UTC)
    worker = make_worker(lease=30.0, seen_at=now - timedelta(seconds=29))
    assert not workers.is_silent(worker, now)
    assert workers.is_silent(worker, now + timedelta(seconds=2))
    assert workers.silence(worker, now - timedelta(hours=1)) == 0.0


@pytest.mark.usefixtures("no_null_bytes")
def test_a_null_byte_in_the_address(admin_client: Client) -> None:
    assert admin_client.get(f"{URL}%00/change/").status_code == 404


def test_the_hosts_name_is_shown_where_it_is_known(admin_client: Client, make_worker: Make) -> None:
    worker = make_worker(host="4f1c-boot:4026531836", info=json.dumps({"host": "web7"}))
    assert "web7 : 4711" in admin_client.get(URL).content.decode()
    page = page_of(admin_client, worker)
    assert "<dd>web7</dd>" in page
    assert "4f1c-boot" not in page


def test_a_worker_that_is_gone(admin_client: Client) -> None:
    assert admin_client.get(reverse("admin:taskq_worker_change", args=["boot-9"])).status_code == 404
