"""The page that says who did what: to rows of taskq only, filtered, for who may see Django's admin log."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from taskq.models import Node, Queue, TaskRun
from taskq.timezones import now
from taskq_admin.queries import audit
from taskq_admin.queries.wanted import without_payloads
from tests.support.hostile import HOSTILE

from .test_run_page import Make, url

PAGE = "/admin/taskq/taskrun/audit/"


def log(who: str, said: str, row: Any, age: timedelta = timedelta()) -> LogEntry:
    user, _ = User.objects.get_or_create(username=who)
    entry = LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(row),
        object_id=str(row.pk),
        object_repr=str(row)[:200],
        action_flag=CHANGE,
        change_message=said,
    )
    LogEntry.objects.filter(pk=entry.pk).update(action_time=now() - age)
    return entry


@pytest.fixture
def entries(make_run: Make) -> None:
    run = make_run("run-1", state="FAILURE")
    log("ann", "Retry: it was refused", run, timedelta(hours=30))
    log("bob", "Revoke", run)
    log("bob", "Pause: maintenance", Queue.objects.create(name="mails"))
    log("ann", "Changed the name", User.objects.get(username="ann"))


def said(client: Client, **asked: str) -> list[str]:
    return [row["said"] for row in client.get(PAGE, {**asked, "format": "json"}).json()["rows"]]


def test_entries_are_filtered(admin_client: Client, entries: None) -> None:
    assert said(admin_client) == ["Pause: maintenance", "Revoke", "Retry: it was refused"]
    assert said(admin_client, who="ann") == ["Retry: it was refused"]
    assert said(admin_client, action="Pause") == ["Pause: maintenance"]
    assert said(admin_client, of="taskrun") == ["Revoke", "Retry: it was refused"]
    assert said(admin_client, of="taskrun", object="run-1", since="24h") == ["Revoke"]
    assert said(admin_client, of="queue", object=str(Queue.objects.get().pk)) == ["Pause: maintenance"]
    assert said(admin_client, who="nobody") == []
    page = admin_client.get(PAGE, {"since": "soon"}).content.decode()
    assert "no time" in page


def test_page_links_rows_and_is_linked(admin_client: Client, entries: None) -> None:
    run = TaskRun.objects.get()
    page = admin_client.get(PAGE).content.decode()
    assert f'href="{url(run)}"' in page
    assert "it was refused" in page
    assert f'href="{PAGE}"' in admin_client.get("/admin/taskq/").content.decode()
    assert escape(f"{PAGE}?of=taskrun&id={run.pk}") in admin_client.get(url(run)).content.decode()
    TaskRun.objects.all().delete()
    assert admin_client.get(PAGE).status_code == 200


def test_link_of_a_row_shows_its_entries_only(admin_client: Client, db: None) -> None:
    for name in ("mail", "mails"):
        log("ann", f"Pause: {name}", Queue.objects.create(name=name))
    assert said(admin_client, of="queue", id="mail") == ["Pause: mail"]
    assert said(admin_client, of="queue", object="mail") == ["Pause: mails", "Pause: mail"]
    page = admin_client.get(PAGE, {"of": "queue", "id": "mail"}).content.decode()
    assert '<input type="hidden" name="id" value="mail">' in page


def test_workflow_links_the_entries_of_its_first_node(admin_client: Client, make_run: Make) -> None:
    times = {"created_at": now(), "name": "shop.step"}
    make_run("root-task")
    first = Node.objects.create(root_id="root-task", task_id="first", **times)
    Node.objects.create(root_id="root-task", task_id="second", **times)
    log("ann", "Revoke the whole", first)
    page = admin_client.get("/admin/taskq/node/workflow/", {"root": "root-task"}).content.decode()
    assert escape(f"{PAGE}?of=node&id={first.pk}") in page
    assert said(admin_client, of="node", id=str(first.pk)) == ["Revoke the whole"]


def test_action_is_the_whole_label(admin_client: Client, make_run: Make, settings: Any) -> None:
    settings.LANGUAGE_CODE = "en"
    run = make_run("run-1")
    for text in ("Retry", "Retry: why", "Retry (ValueError)", "Retry all that match ?tab=failed"):
        log("ann", text, run)
    for text in ("Retry what failed", "Run from a form: a test"):
        log("ann", text, run)
    assert len(said(admin_client, action="Retry")) == 4
    assert said(admin_client, action="Run from a form") == ["Run from a form: a test"]
    assert '<option value="taskrun.run">Run from a form (task)</option>' in admin_client.get(PAGE).content.decode()


@pytest.mark.parametrize("name", ["a\nb", "a/b_0A?#", "a%0Ab"])
def test_any_name_of_a_queue_leads_to_its_page(admin_client: Client, name: str, db: None) -> None:
    log("ann", "Pause", Queue.objects.create(name=name))
    page = admin_client.get(PAGE)
    assert page.status_code == 200
    (address,) = re.findall(r'href="(/admin/taskq/queue/[^"]+)"', page.content.decode())
    assert admin_client.get(html.unescape(address)).context["row"].name == name


def test_time_ends_the_pages(admin_client: Client, make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "NEWEST", 3)
    run = make_run("run-1")
    for age in (50, 40, 30, 2, 1):
        log("ann", f"Retry: {age}", run, timedelta(hours=age))
    answer = admin_client.get(PAGE, {"since": "24h", "format": "json"}).json()
    assert ([row["said"] for row in answer["rows"]], answer["older"]) == (["Retry: 1", "Retry: 2"], None)
    assert "were looked at" not in admin_client.get(PAGE, {"since": "24h"}).content.decode()
    assert "were looked at" in admin_client.get(PAGE, {"since": "48h"}).content.decode()


def test_permission_is_that_of_the_admin_log(staff_client: Callable[..., Client], entries: None) -> None:
    client = staff_client("view_taskrun", "retry_taskrun")
    assert client.get(PAGE).status_code == 403
    assert client.get(PAGE, {"format": "json"}).status_code == 403
    assert PAGE not in client.get("/admin/taskq/").content.decode()
    assert PAGE not in client.get(url(TaskRun.objects.get())).content.decode()
    User.objects.get(username="staff").user_permissions.add(Permission.objects.get(codename="view_logentry"))
    page = client.get(PAGE).content.decode()
    assert url(TaskRun.objects.get()) in page
    assert "/admin/taskq/queue/" not in page, "no link to what the user may not see"
    assert client.post(PAGE).status_code == 405


def test_history_of_a_row_needs_the_permission_too(staff_client: Callable[..., Client], entries: None) -> None:
    client = staff_client("view_taskrun", "retry_taskrun")
    address = f"/admin/taskq/taskrun/{TaskRun.objects.get().pk}/history/"
    assert client.get(address).status_code == 403
    User.objects.get(username="staff").user_permissions.add(Permission.objects.get(codename="view_logentry"))
    assert client.get(address).status_code == 200


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?tab=failed&p=3", "tab=failed&p=3"),
        ("exception=KeyError&error=0123&stamp=a%3Db&queue=q", "exception=...&error=...&stamp=...&queue=q"),
        ("q=order_id%3D123+error:refused+queue:q+mail", "q=order_id%3D...+error%3A...+queue%3Aq+mail"),
        ("q=name%3D%22a+secret%22&q=b%3D2", "q=name%3D...&q=b%3D..."),
    ],
)
def test_log_says_nothing_of_payloads(query: str, told: str) -> None:
    assert without_payloads(query) == told


def test_older_entries_are_a_page_of_their_own(
    admin_client: Client, make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE", 3)
    monkeypatch.setattr(audit, "NEWEST", 6)
    run = make_run("run-1")
    for number in range(8):
        log("ann", f"Retry: {number}", run)
    found, before, pages = [], "", 0
    while before is not None:
        answer = admin_client.get(PAGE, {"before": before, "format": "json"}).json()
        found += [row["said"] for row in answer["rows"]]
        before, pages = answer["older"], pages + 1
    assert found == [f"Retry: {number}" for number in range(8)][::-1]
    assert "newest 6 entries" in admin_client.get(PAGE, {"action": "Revoke"}).content.decode()


def test_statements_do_not_grow_with_the_entries(staff_client: Callable[..., Client], make_run: Make) -> None:
    client = staff_client("view_taskrun")
    User.objects.get(username="staff").user_permissions.add(Permission.objects.get(codename="view_logentry"))
    for number in range(20):
        log(f"user-{number}", "Retry", make_run(f"run-{number}"))
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(PAGE).status_code == 200
    assert len(captured) <= 12


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_break_nothing(admin_client: Client, make_run: Make, value: str) -> None:
    text = value[:200].replace("\0", "").encode(errors="replace").decode()
    log("ann", text, make_run("run-1"))
    asked = {name: value[:3000].encode(errors="replace").decode() for name in audit.PARAMETERS}
    assert admin_client.get(PAGE, asked).status_code == 200
    assert "<script>alert" not in admin_client.get(PAGE).content.decode()


def test_action_is_found_by_its_key_whatever_the_language_was(
    admin_client: Client, make_run: Make, settings: Any
) -> None:
    run = make_run("run-1", state="FAILURE", arguments="[[1], {}]", finished_at=now())
    settings.LANGUAGE_CODE = "de"
    sent = {"id": "run-1", "confirm-reason": "a [taskrun.revoke]"}
    assert admin_client.post("/admin/taskq/taskrun/do/rerun/", {**sent, "confirmed": "1"}).status_code == 302
    settings.LANGUAGE_CODE = "en"
    log("ann", "Run again as new: older", run)
    log("ann", "Run again as new: see [shop.rerun]", run)
    log("ann", "Run again as new: another [taskrun.other]", run)
    assert said(admin_client, action="taskrun.rerun") == [
        "Run again as new: see [shop.rerun]",
        "Run again as new: older",
        "Als neue ausführen: a [taskrun.revoke]",
    ]
    assert said(admin_client, action="taskrun.revoke") == []
    row = admin_client.get(PAGE, {"who": "admin", "format": "json"}).json()["rows"][0]
    assert row["action"] == "taskrun.rerun"
    page = admin_client.get(PAGE, {"action": "taskrun.rerun"}).content.decode()
    assert '<option value="taskrun.rerun" selected>' in page
    assert "[taskrun.rerun]" not in page
