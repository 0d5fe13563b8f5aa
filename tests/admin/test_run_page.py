from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from taskq.models import Attempt, Node, TaskEvent, TaskRun, Worker
from taskq_admin.admin.runs import PAYLOAD_PERMISSION
from taskq_admin.queries import payloads

from .conftest import START

Make = Callable[..., TaskRun]
EVIL = "<script>alert('x')</script>"
BOOM = json.dumps({"exc_type": "ValueError", "exc_message": ["boom", 3], "exc_module": "builtins"})


def url(run: TaskRun) -> str:
    return reverse("admin:taskq_taskrun_change", args=[run.pk])


def text(client: Client, run: TaskRun) -> str:
    response = client.get(url(run))
    assert response.status_code == 200
    return response.content.decode()


def after(seconds: float) -> Any:
    return START + timedelta(seconds=seconds)


def test_run_page_shows_arguments_result_worker_and_timeline(admin_client: Client, make_run: Make) -> None:
    run = make_run(
        state="SUCCESS",
        arguments='[["ann@example.com"], {"copies": 2}]',
        result='{"sent": true}',
        started_at=after(2),
        finished_at=after(3.25),
        runtime=1.25,
        worker="taskq@one",
        group_id="group-1",
    )
    page = text(admin_client, run)
    for part in ("shop.tasks.mail", "ann@example.com", "&quot;copies&quot;: 2", "&quot;sent&quot;: true", "taskq@one"):
        assert part in page
    for part in ("group-1", "+2 s", "+1.25 s", "taskq-bar-wait", "taskq-bar-success"):
        assert part in page


def test_run_page_shows_the_exception_and_the_traceback(admin_client: Client, make_run: Make) -> None:
    page = text(admin_client, make_run(state="FAILURE", result=BOOM, traceback=f"Traceback: {EVIL}"))
    assert "<strong>ValueError</strong>: boom, 3" in page
    assert "Traceback: &lt;script&gt;" in page


def test_earlier_attempts_are_listed(
    admin_client: Client, make_run: Make, make_attempt: Callable[..., Attempt]
) -> None:
    make_attempt(result=BOOM, traceback="first trace", started_at=after(1), finished_at=after(2), worker="taskq@lost")
    run = make_run(state="SUCCESS", retries=1, started_at=after(5), finished_at=after(6))
    page = text(admin_client, run)
    for part in ("Attempt 1", "first trace", "taskq@lost", "Attempt 2 started", "taskq-bar-retry", "1 retry"):
        assert part in page


def test_root_parent_and_children_are_linked(admin_client: Client, make_run: Make) -> None:
    root, parent, child = make_run("root"), make_run("parent"), make_run("child")
    children = json.dumps(["child", [["gone", None], None], [["g", None], [[["child", None], None]]]])
    run = make_run("middle", root_id="root", parent_id="parent", children=children)
    page = text(admin_client, run)
    for relative in (root, parent, child):
        assert url(relative) in page
    assert ">gone<" in page


def test_task_without_a_parent_shows_no_relatives(admin_client: Client, make_run: Make) -> None:
    page = text(admin_client, make_run(root_id="run-1"))
    assert "Began with" not in page
    assert "Sent by" not in page


@pytest.mark.parametrize(
    "bad",
    [
        "not json",
        "[1, 2",
        "[" * 20_000,
        "7" * 5000,
        '"\\ud800"',
        '{"exc_type": 3}',
        '{"exc_type": "E", "exc_message": {"a": "\\ud800"}, "exc_module": null}',
        '["x", "y"]',
        "NaN",
        "null",
        "",
        EVIL,
        json.dumps([[EVIL], {EVIL: EVIL}]),
        json.dumps([[EVIL, EVIL], [[EVIL, EVIL], None], [[], []], [[1]], {}]),
        json.dumps({"exc_type": EVIL, "exc_message": [EVIL], "exc_module": EVIL}),
    ],
)
@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "PROGRESS"])
def test_malformed_columns_do_not_break_the_run_page(
    admin_client: Client, make_run: Make, make_attempt: Callable[..., Attempt], bad: str, state: str
) -> None:
    make_attempt(result=bad, traceback=bad)
    page = text(admin_client, make_run(state=state, arguments=bad, result=bad, traceback=bad, children=bad))
    assert "<script>alert" not in page


@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "application/x-yaml", "", EVIL])
def test_result_of_other_content_is_shown_undecoded(admin_client: Client, make_run: Make, content_type: str) -> None:
    page = text(admin_client, make_run(state="SUCCESS", result="gASVBQAAAAAAAABLAS4=", content_type=content_type))
    assert "gASVBQAAAAAAAABLAS4=" in page


def test_times_in_any_order_do_not_break_the_run_page(admin_client: Client, make_run: Make) -> None:
    text(admin_client, make_run("a", started_at=after(-5), finished_at=after(-9), eta=after(-100)))
    text(admin_client, make_run("b", finished_at=after(0)))
    text(admin_client, make_run("c", state="REVOKED", finished_at=after(5), expires_at=after(4)))
    assert "Expires" in text(admin_client, make_run("d", expires_at=after(60)))


def test_huge_payloads_are_cut_by_the_database(admin_client: Client, make_run: Make) -> None:
    huge = json.dumps([["x" * payloads.LIMIT * 4], {}])
    page = text(admin_client, make_run(arguments=huge, result=huge, traceback=huge))
    assert "Only the first 65,536 characters are shown." in page
    assert len(page) < payloads.LIMIT * 4


def test_run_page_makes_few_queries(
    admin_client: Client, make_run: Make, make_attempt: Callable[..., Attempt], django_assert_max_num_queries: Any
) -> None:
    children = json.dumps([f"child-{number}" for number in range(200)])
    for _ in range(150):
        make_attempt()
    run = make_run(root_id="root", parent_id="parent", children=children)
    with django_assert_max_num_queries(12):
        page = text(admin_client, run)
    assert "and 100 more" in page


def test_page_of_a_waiting_task_makes_few_queries(
    admin_client: Client, make_run: Make, make_messages: Any, make_worker: Any, django_assert_max_num_queries: Any
) -> None:
    make_worker(info='{"queues": ["mails"]}')
    run = make_run()
    make_messages("mails", 3, task_id="other")
    make_messages("mails", task_id=run.task_id)
    with django_assert_max_num_queries(12):
        assert "3 are before it" in text(admin_client, run)


@pytest.mark.parametrize("pk", ["0", "x", "9" * 30, "-1"])
def test_run_page_of_a_missing_row_is_not_found(admin_client: Client, pk: str) -> None:
    assert admin_client.get(f"/admin/taskq/taskrun/{pk}/change/").status_code == 404


@pytest.mark.parametrize("task_id", ["run-1", "a/b c", EVIL])
def test_address_by_task_id_redirects_to_the_run_page(admin_client: Client, make_run: Make, task_id: str) -> None:
    run = make_run(task_id)
    response = admin_client.get(reverse("admin:taskq_taskrun_by_task_id", args=[task_id]))
    assert response["Location"] == url(run)
    assert admin_client.get(reverse("admin:taskq_taskrun_by_task_id", args=["other"])).status_code == 404


def test_run_page_has_no_inline_script_or_style(admin_client: Client, make_run: Make) -> None:
    deep = f"[[{'[' * 50}{']' * 50}], {{}}]"
    page = text(admin_client, make_run(arguments=deep, state="FAILURE", result=BOOM, started_at=after(1)))
    assert page.count("<details><summary>") == 8
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    assert not [tag for tag in re.findall(r"<script\b[^>]*>", page) if "src=" not in tag and "json" not in tag]


def test_payloads_are_shown_to_all_viewers_without_a_declared_permission(
    staff_client: Callable[..., Client], make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaskRun._meta, "permissions", ())
    assert "secret" in text(staff_client("view_taskrun"), make_run(arguments='[["secret"], {}]'))


def test_payloads_are_hidden_without_the_declared_permission(
    staff_client: Callable[..., Client], make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaskRun._meta, "permissions", [(PAYLOAD_PERMISSION, "Can see arguments and results")])
    run = make_run(state="FAILURE", arguments='[["secret"], {}]', result=BOOM, traceback="secret")
    page = text(staff_client("view_taskrun"), run)
    assert "secret" not in page
    assert "boom" not in page
    assert "no permission to see arguments" in page


def test_run_page_shows_what_events_told(admin_client: Client, make_run: Make) -> None:
    run = make_run(state="REVOKED", started_at=after(2), finished_at=after(3))
    for kind, detail in (("received", ""), *[("retried", "")] * 6, ("revoked", "terminated SIGTERM")):
        TaskEvent.objects.create(task_id=run.task_id, kind=kind, at=after(1), worker="w7@h", detail=detail)
    page = text(admin_client, run)
    assert "Received by w7@h" in page
    assert "Revoked terminated SIGTERM by w7@h" in page


def test_run_page_leaves_out_what_events_told_of_an_earlier_task_with_this_id(
    admin_client: Client, make_run: Make
) -> None:
    run = make_run(state="SUCCESS", started_at=after(2), finished_at=after(3))
    for seconds, worker in ((-3600, "w1@h"), (1, "w2@h")):
        TaskEvent.objects.create(task_id=run.task_id, kind="received", at=after(seconds), worker=worker)
    page = text(admin_client, run)
    assert "Received by w2@h" in page
    assert "Received by w1@h" not in page
    # The row of this one was made when it had ended: nothing says when it was sent.
    late = make_run("late", state="SUCCESS", started_at=after(-2), finished_at=after(0))
    TaskEvent.objects.create(task_id=late.task_id, kind="received", at=after(-3), worker="w3@h")
    assert "Received by w3@h" in text(admin_client, late)


def test_parts_that_may_come_have_their_places(admin_client: Client, make_run: Make) -> None:
    """A refresh fills fragments, and makes none."""
    page = text(admin_client, make_run())
    for name in ("log", "children", "earlier", "message", "workflow-of-task"):
        assert f'id="taskq-{name}" data-taskq-fragment' in page


def test_attempts_and_bulk_reports_are_shown_without_payloads(
    staff_client: Callable[..., Client], make_run: Make, make_attempt: Callable[..., Attempt]
) -> None:
    make_attempt(worker="taskq@one", result=BOOM)
    client = staff_client("view_taskrun")
    page = text(client, make_run(state="RETRY", retries=1, started_at=after(1)))
    assert "<h2>Attempts</h2>" in page
    assert "boom" not in page
    meta = json.dumps({"done": 3, "total": 4, "report": "3 retried."})
    assert "3 retried." in text(client, make_run("bulk", name="taskq_admin.bulk", state="PROGRESS", result=meta))
    assert "secret" not in text(
        client, make_run("own", state="PROGRESS", result='{"done": 3, "total": 4, "a": "secret"}')
    )


def test_ids_workers_and_groups_are_links(
    admin_client: Client, make_run: Make, make_attempt: Callable[..., Attempt], make_worker: Callable[..., Worker]
) -> None:
    make_worker()
    make_attempt(worker="taskq@one")
    page = text(admin_client, make_run(worker="taskq@one", group_id="g/1", state="RETRY", started_at=after(1)))
    assert page.count('href="/admin/taskq/worker/by-name/?name=taskq%40one"') == 3
    assert 'href="/admin/taskq/taskrun/?group=g%2F1"' in page
    there = admin_client.get("/admin/taskq/worker/by-name/", {"name": "taskq@one"})
    assert there["Location"] == "/admin/taskq/worker/boot-1/change/"
    for name in ("gone", "\0"):
        assert admin_client.get("/admin/taskq/worker/by-name/", {"name": name})["Location"] == "/admin/taskq/worker/"


def test_the_story_goes_on_while_the_page_is_open(admin_client: Client, make_run: Make) -> None:
    page = text(admin_client, make_run(state="FAILURE", finished_at=after(5), worker="<b>", runtime=2.0))
    assert re.search(r'Failed <time [^>]*data-taskq-clock="%s"[^>]*>[^<]+</time> ago, after 2 s, on &lt;b&gt;', page)


def test_address_by_task_id_stays_json(admin_client: Client, make_run: Make) -> None:
    run = make_run()
    address = reverse("admin:taskq_taskrun_by_task_id", args=[run.task_id])
    assert admin_client.get(address, {"format": "json"})["Location"] == f"{url(run)}?format=json"


def test_page_of_the_first_task_of_a_chain_makes_few_queries(
    admin_client: Client, make_run: Make, make_messages: Any, make_worker: Any, django_assert_max_num_queries: Any
) -> None:
    make_worker(info='{"queues": ["mails"]}')
    run = make_run("a", root_id="a")
    make_messages("mails", task_id="a")
    for task_id, before in (("a", ""), ("b", "a")):
        Node.objects.create(root_id="a", task_id=task_id, waits_for=before, name="shop.step", created_at=run.created_at)
    with django_assert_max_num_queries(12):
        assert "<h2>Workflow</h2>" in text(admin_client, run)
