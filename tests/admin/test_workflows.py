from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from taskq import states
from taskq.models import Group, Message, Node, TaskRun
from taskq_admin.admin.workflows import WorkflowAdmin
from taskq_admin.queries import workflow_list, workflows
from taskq_admin.queries.workflows import NOT_SENT, Counted, Step, Workflow
from tests.support.jobs.flows import add

LIST, PAGE = "/admin/taskq/node/", "/admin/taskq/node/workflow/"
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7|add:7 }}{% debug %}",
    "\u202eexe.gpj\u2066",
    "n" * 255,
    "مرحبا بالعالم",
    "a\x07\x1b[31m",
    "&lt;b&gt;",
]


@pytest.fixture
def make_nodes(db: None) -> Callable[..., None]:
    """Write the nodes of a workflow: each is ``(task id, group, waits for)``, or has a name behind that."""

    def make(root: str, *rows: tuple[str, ...], name: str = "shop.tasks.step", at: datetime = START) -> None:
        Node.objects.bulk_create(
            Node(
                root_id=root, task_id=row[0], group_id=row[1], waits_for=row[2], position=number, created_at=at,
                name=row[3] if len(row) > 3 else name, kind="body" if row[2].startswith("g") else "task",
            )
            for number, row in enumerate(rows)
        )  # fmt: skip

    return make


# -- why


def test_why_a_task_waits() -> None:
    steps = [
        Step("a", "shop.a", states.SUCCESS),
        Step("b", "shop.b", states.STARTED, waits_for="a"),
        Step("c", "shop.c", NOT_SENT, waits_for="b"),
        Step("d", "shop.d", NOT_SENT, waits_for="a"),
        Step("e", "shop.e", NOT_SENT, waits_for="g"),
        Step("f", "shop.f", states.PENDING, queue="mails"),
        Step("h", "shop.h", states.REVOKED, waits_for="b", revoked=True),
        Step("i", "shop.i", NOT_SENT, waits_for="unknown"),
        Step("j", "shop.j", states.FAILURE, waits_for="k"),
        Step("k", "shop.k", states.FAILURE, queue="mails"),
    ]
    workflow = Workflow("a", steps, {"g": Counted(10, 3, False)}, more=False)
    workflow.members["g"] = []
    assert {step.task_id: workflows.why(workflow, step) for step in steps} == {
        "a": "",
        "b": "",
        "c": "waits for b, which runs",
        "d": "was sent; more is known when it ends",
        "e": "waits for 3 of 10 of the group",
        "f": "waits in the queue mails",
        "h": "revoked before it was sent",
        "i": "waits for something that is not known any more",
        "j": "never ran: k did not succeed",
        "k": "",
    }


# -- the page


def test_page_shows_states_reasons_and_links(
    admin_client: Client, make_nodes: Any, make_run: Callable[..., TaskRun], django_assert_max_num_queries: Any
) -> None:
    make_nodes("a", ("a", "", ""), ("m1", "grp", "a"), ("m2", "grp", "a"), ("body", "", "grp"))
    Group.objects.create(group_id="grp", size=2, remaining=1, root_id="a", created_at=START)
    runs = [make_run("a", state="SUCCESS"), make_run("m1", state="SUCCESS"), make_run("m2", state="STARTED")]
    with django_assert_max_num_queries(12):
        page = admin_client.get(PAGE, {"root": "a"}).content.decode()
    assert "waits for 1 of 2 of the group" in page
    assert "1 of 2</text>" in page
    assert page.count("<title>shop.tasks.step: ") == 4
    for run in runs:
        links = 3 if run.task_id == "a" else 2
        assert page.count(f'href="/admin/taskq/taskrun/{run.pk}/change/"') == links, "the box, the list, and the root"
    assert 'style="' not in page.partition("<svg")[2]


def test_page_of_a_task_shows_its_workflow(
    admin_client: Client,
    staff_client: Callable[..., Client],
    make_nodes: Any,
    make_run: Callable[..., TaskRun],
    django_assert_max_num_queries: Any,
) -> None:
    make_nodes("a", ("a", "", ""), ("m1", "grp", "a"), ("m2", "grp", "a"), ("body", "", "grp"))
    run = make_run("m1", state="SUCCESS")
    with django_assert_max_num_queries(12):
        page = admin_client.get(f"/admin/taskq/taskrun/{run.pk}/change/").content.decode()
    assert page.count("taskq-lit") == 1
    assert f'href="{PAGE}?root=a"' in page
    page = staff_client("view_taskrun").get(f"/admin/taskq/taskrun/{run.pk}/change/").content.decode()
    assert "taskq-graph" not in page


def test_state_of_a_task_without_a_row_is_that_of_its_node(admin_client: Client, make_nodes: Any) -> None:
    make_nodes("a", ("a", "", ""), ("b", "", "a"), ("c", "", "b"))
    Node.objects.filter(task_id="a").update(state="SUCCESS")
    Node.objects.filter(task_id="c").update(revoked=True)
    data = admin_client.get(PAGE, {"root": "a", "format": "json"}).json()
    assert [row["state"] for row in data["rows"]] == ["SUCCESS", "NOT SENT", "REVOKED"]
    assert (data["done"], data["waiting"], data["failed"]) == (1, 1, 1)


def test_large_workflow_is_read_page_by_page(admin_client: Client, make_nodes: Any) -> None:
    members = [(f"m{n}", "grp", "a") for n in range(1000)]
    make_nodes("a", ("a", "", ""), *members, ("body", "", "grp"))
    Group.objects.create(group_id="grp", size=1000, remaining=1000, root_id="a", created_at=START)
    page = admin_client.get(PAGE, {"root": "a"}).content.decode()
    assert "1,000 \N{MULTIPLICATION SIGN} step" in page
    assert "group=grp#taskq-steps" in page
    data = admin_client.get(PAGE, {"root": "a", "group": "grp", "page": "10", "format": "json"}).json()
    assert (data["count"], len(data["rows"]), data["rows"][-1]["task_id"]) == (1000, 100, "m999")
    for odd in ("0", "99", "-1", "x", "9" * 40):
        assert admin_client.get(PAGE, {"root": "a", "page": odd}).status_code == 200


def test_links_of_a_workflow_lead_to_its_states_and_pages(admin_client: Client, make_nodes: Any) -> None:
    make_nodes("a&b", ("a&b", "", ""), *((f"m{n}", "g#p", "a&b") for n in range(450)), ("body", "", "g#p"))
    Group.objects.create(group_id="g#p", size=450, remaining=449, root_id="a&b", created_at=START)
    Node.objects.filter(task_id__in=["a&b", "m449"]).update(state="SUCCESS")
    asked = {"root": "a&b", "group": "g#p", "lit": "m1", "page": "3"}
    found = admin_client.get(PAGE, asked)
    tabs, pages = found.context["tabs"], found.context["pages"]
    assert [dict(parse_qsl(tab["address"].removeprefix("?"), keep_blank_values=True)) for tab in tabs] == [
        {"root": "a&b", "lit": "m1", **part} for part in ({}, {"part": "waiting"}, {"part": "done"})
    ]
    assert [(page["number"], page["selected"]) for page in pages] == [(n, n == 3) for n in range(1, 6)]
    for page in pages:
        assert dict(parse_qsl(page["address"].removeprefix("?"), keep_blank_values=True)) == {
            **asked,
            "page": str(page["number"]),
        }
        opened = admin_client.get(PAGE + page["address"])
        assert opened.context["rows"][0][0].task_id == f"m{(page['number'] - 1) * 100}"
        assert opened.context["count"] == 450
    done = admin_client.get(PAGE + tabs[-1]["address"])
    assert [step.task_id for step, *_ in done.context["rows"]] == ["a&b", "m449"]
    assert f'href="{escape(tabs[-1]["address"])}#taskq-steps"' in found.content.decode()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_and_ids(
    admin_client: Client, make_nodes: Any, make_run: Callable[..., TaskRun], text: str
) -> None:
    make_nodes(
        text, (text, "", ""), ("m1", f"g{text}", text), ("m2", f"g{text}", text), ("b", "", f"g{text}"), name=text
    )
    make_run("m1", name=text, state=text[:50], queue=text)
    for address in (f"{LIST}", PAGE):
        answer = admin_client.get(address, {"root": text} if address == PAGE else {})
        page = answer.content.decode()
        assert answer.status_code == 200
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "14{%" not in page
        # Nothing isolates the texts of a picture: what turns letters round is not drawn.
        drawn = re.findall(r"<text\b[^>]*>(.*?)</text>", page, re.DOTALL)
        assert bool(drawn) is (address == PAGE)
        assert "\u202e" not in "".join(drawn)
    assert admin_client.get(PAGE, {"root": text, "format": "json"}).json()["root_id"] == text


@pytest.mark.parametrize("root", ["", "nothing", "\0", "x" * 5000, "../..", "'; --"])
def test_unknown_workflow_is_a_404(admin_client: Client, root: str) -> None:
    assert admin_client.get(PAGE, {"root": root}).status_code == 404


def test_address_of_a_node_leads_to_its_workflow(admin_client: Client, make_nodes: Any) -> None:
    make_nodes("a/b?c", ("a/b?c", "", ""), ("b", "", "a/b?c"))
    node = Node.objects.get(task_id="b")
    answer = admin_client.get(f"{LIST}{node.pk}/change/")
    assert answer["Location"] == f"{PAGE}?root=a%2Fb%3Fc"
    assert admin_client.get(f"{LIST}999/change/").status_code == 404
    assert admin_client.get(f"{LIST}x/change/").status_code == 404


# -- the list


def test_list_shows_each_workflow_once_with_its_progress(
    admin_client: Client, make_nodes: Any, make_run: Callable[..., TaskRun], django_assert_max_num_queries: Any
) -> None:
    make_nodes("a", ("a", "", ""), ("b", "", "a"), at=START - timedelta(hours=1))
    make_nodes("c", ("c", "", ""), ("d", "", "c"))
    make_nodes("a", ("e", "", "b"))
    make_run("a", state="SUCCESS")
    make_run("b", state="FAILURE")
    make_run("c", state="SUCCESS")
    make_run("d", state="SUCCESS")
    with django_assert_max_num_queries(12):
        page = admin_client.get(LIST).content.decode()
    assert "1 done · 1 failed · 1 waiting" in page
    found = {row["root_id"]: row for row in admin_client.get(LIST, {"format": "json"}).json()["rows"]}
    assert list(found) == ["a", "c"], "the newest node decides"
    assert (found["a"]["tasks"], found["a"]["state"], found["c"]["state"]) == (3, "PENDING", "SUCCESS")


def test_older_workflows_are_on_the_next_page(make_nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_list, "PAGE", 3)
    monkeypatch.setattr(workflow_list, "SCAN", 4)
    for number in range(8):
        make_nodes(f"w{number}", (f"a{number}", "", ""))
    make_nodes("w2", ("late", "", "a2"))
    seen, before = [], None
    while True:
        page = workflow_list.page(before)
        seen += [row.root_id for row in page.rows]
        before = page.older
        if before is None:
            break
    assert seen == ["w2", "w7", "w6", "w5", "w4", "w3", "w1", "w0"]


def test_large_workflow_in_the_list_is_counted_by_its_groups(make_nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_list, "SCAN", 20)
    monkeypatch.setattr(workflow_list, "_LARGE", 10)
    make_nodes("small", ("s", "", ""), ("t", "", "s"))
    make_nodes("large", *[(f"m{n}", "grp", "") for n in range(200)])
    Group.objects.create(group_id="grp", size=200, remaining=50, failed=True, root_id="large", created_at=START)
    large, small = workflow_list.page().rows
    assert (large.root_id, large.more, large.counts["waiting"], large.counts["failed"]) == ("large", True, 50, 1)
    assert (small.root_id, small.total) == ("small", 2)


def test_a_workflow_that_was_not_read_whole_has_no_state_if_all_that_was_read_has_ended(
    admin_client: Client, make_nodes: Any, make_run: Callable[..., TaskRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that was not read may run."""
    make_nodes("a", ("a", "", ""), ("b", "", "a"))
    make_run("a", state="SUCCESS")
    make_run("b", state="STARTED")
    monkeypatch.setattr(workflows, "MOST", 1)
    monkeypatch.setattr(workflow_list, "STATES", 1)
    page, listed = admin_client.get(PAGE, {"root": "a"}), admin_client.get(LIST)
    assert '<span id="taskq-state" data-taskq-fragment></span>' in page.content.decode()
    assert '<td data-label="State"></td>' in listed.content.decode()
    assert admin_client.get(LIST, {"format": "json"}).json()["rows"][0]["state"] == ""
    TaskRun.objects.filter(task_id="a").update(state="STARTED")
    found = workflows.find("a")
    assert found is not None
    assert (found.more, found.state) == (True, states.STARTED)


def test_list_and_page_need_the_permission(staff_client: Callable[..., Client], make_nodes: Any) -> None:
    make_nodes("a", ("a", "", ""))
    client = staff_client("view_taskrun", "view_group", "change_node", "delete_node")
    assert [client.get(page, {"root": "a"}).status_code for page in (LIST, PAGE)] == [403, 403]


def test_page_without_the_permission_to_see_tasks_has_no_links_to_them(
    staff_client: Callable[..., Client], make_nodes: Any, make_run: Callable[..., TaskRun]
) -> None:
    make_nodes("a", ("a", "", ""), ("b", "", "a"))
    make_run("a")
    page = staff_client("view_node").get(PAGE, {"root": "a"}).content.decode()
    assert "/taskrun/" not in page


def test_a_rule_of_ones_own_hides_the_workflow_of_a_task(
    admin_client: Client, make_nodes: Any, make_run: Callable[..., TaskRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_nodes("a", ("a", "", ""), ("b", "", "a"))
    page = f"/admin/taskq/taskrun/{make_run('a').pk}/change/"
    assert "taskq-picture" in admin_client.get(page).content.decode()
    monkeypatch.setattr(WorkflowAdmin, "has_view_permission", lambda *given: False)
    assert "taskq-picture" not in admin_client.get(page).content.decode()


# -- actions


@pytest.fixture
def waiting(db: None) -> Iterator[str]:
    """A chain of two tasks, of which the first waits. Return its root."""
    (add.s(1, 1) | add.s(1)).apply_async()
    yield Message.objects.get().task_id
    Message.objects.all().delete()


def test_whole_workflow_is_revoked_with_a_log_entry(admin_client: Client, waiting: str) -> None:
    assert "Revoke the whole" in admin_client.get(PAGE, {"root": waiting}).content.decode()
    asked = admin_client.get(f"{LIST}do/revoke/", {"id": waiting}).content.decode()
    assert "are revoked, for good" in asked
    assert Message.objects.exists()
    sent = {"id": waiting, "confirmed": "1", "confirm-reason": "wrong"}
    answer = admin_client.post(f"{LIST}do/revoke/", sent, follow=True)
    assert "1 task was revoked, or told to stop" in answer.content.decode()
    assert "goes on to its end" in answer.content.decode()
    assert set(TaskRun.objects.values_list("state", flat=True)) == {states.REVOKED}
    assert "wrong" in LogEntry.objects.get().get_change_message()


@pytest.mark.parametrize(("key", "permission"), [("retry", "retry_taskrun"), ("revoke", "revoke_taskrun")])
def test_action_without_its_permission_does_nothing(
    staff_client: Callable[..., Client], waiting: str, key: str, permission: str
) -> None:
    others = {"view_node", "view_taskrun", "retry_taskrun", "revoke_taskrun", "terminate_taskrun"} - {permission}
    client = staff_client(*others)
    assert client.post(f"{LIST}do/{key}/", {"id": waiting, "confirmed": "1"}).status_code == 403
    assert Message.objects.exists()


def test_running_tasks_are_ended_with_a_permission_of_its_own_only(
    staff_client: Callable[..., Client], waiting: str
) -> None:
    client = staff_client("view_node", "revoke_taskrun")
    sent = {"id": waiting, "confirmed": "1", "terminate": "on"}
    assert client.post(f"{LIST}do/revoke/", sent).status_code == 403
    assert Message.objects.exists()


def test_button_to_retry_is_there_when_something_has_failed(
    admin_client: Client, make_nodes: Any, make_run: Callable[..., TaskRun]
) -> None:
    make_nodes("a", ("a", "", ""), ("b", "", "a"))
    run = make_run("a", state="SUCCESS")
    page = admin_client.get(PAGE, {"root": "a"}).content.decode()
    assert ("Retry what failed" in page, "Revoke the whole" in page) == (False, True)
    TaskRun.objects.filter(pk=run.pk).update(state="FAILURE")
    make_run("b", state="FAILURE", queue="")
    page = admin_client.get(PAGE, {"root": "a"}).content.decode()
    assert ("Retry what failed" in page, "Revoke the whole" in page) == (True, False)
    assert "✗ never ran" in page


def test_retry_says_that_nothing_has_failed(admin_client: Client, waiting: str) -> None:
    answer = admin_client.post(f"{LIST}do/retry/", {"id": waiting, "confirmed": "1"}, follow=True)
    assert "Nothing was retried" in answer.content.decode()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's query plans")
def test_no_query_scans_a_table(make_nodes: Any) -> None:
    for number in range(30):
        make_nodes(f"w{number}", (f"a{number}", "", ""), (f"b{number}", "grp", f"a{number}"))
    with CaptureQueriesContext(connection) as queries:
        page = workflow_list.page()
        workflow_list.page(page.older)
        workflows.find("w1")
    assert queries.captured_queries
    with connection.cursor() as cursor:
        for query in queries:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plan = "\n".join(row[-1] for row in cursor.fetchall())
            assert "LIMIT" in query["sql"] or "SCAN" not in plan, f"{plan}\n{json.dumps(query['sql'])}"


def test_numbers_of_any_length_are_answered(admin_client: Client, make_nodes: Any) -> None:
    make_nodes("a", ("a", "", ""), ("b", "", "a"))
    assert admin_client.get(PAGE, {"root": "a", "page": "9" * 5000}).status_code == 200
    assert admin_client.get(f"{LIST}{'9' * 5000}/change/").status_code == 404
