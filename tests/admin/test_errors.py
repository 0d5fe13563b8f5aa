"""The page of errors: failures that are alike, how many when, and what can be done to all of them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.db import connection
from django.http import Http404
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from taskq import states
from taskq.engines import for_alias
from taskq.messages.exception_data import encode_exception
from taskq.models import Error, ErrorCount, Message, TaskRun
from taskq.records import Settlement
from taskq.store import failures
from taskq_admin.admin.errors import ErrorAdmin
from taskq_admin.queries import errors, matching, unfinished
from taskq_admin.queries.wanted import Wanted

URL = "/admin/taskq/error/"
LIST = "/admin/taskq/taskrun/"


@pytest.fixture
def make_failure(make_run: Callable[..., TaskRun]) -> Callable[..., TaskRun]:
    def make(task_id: str, error: Exception, name: str = "shop.tasks.mail", **fields: Any) -> TaskRun:
        text = encode_exception(error)
        run = make_run(task_id, state=states.FAILURE, result=text, name=name, **fields)
        failures.note(for_alias("default"), [Settlement(0, task_id, states.FAILURE, result=text)])
        return run

    return make


@pytest.fixture
def three_errors(make_failure: Callable[..., TaskRun]) -> None:
    for number in range(3):
        make_failure(f"key-{number}", KeyError(f"no order {number}"))
    make_failure("value", ValueError("bad"))
    make_failure("other", ValueError("bad"), name="shop.tasks.pay")


def ids(response: Any) -> list[str]:
    return [run.task_id for run in response.context["cl"].result_list]


def staff(*codenames: str) -> Client:
    user = User.objects.create(username="staff", password="!", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def test_errors_are_counted_and_lead_to_their_tasks(
    admin_client: Client, three_errors: None, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(7):
        page = admin_client.get(URL)
    rows = [row for row, _ in page.context["rows"]]
    assert [(row.error.exception, row.error.name, list(row.counts)) for row in rows] == [
        ("ValueError", "shop.tasks.pay", [1, 1, 1]),
        ("ValueError", "shop.tasks.mail", [1, 1, 1]),
        ("KeyError", "shop.tasks.mail", [3, 3, 3]),
    ]
    tasks = admin_client.get(f"{URL}{rows[2].error.key}/change/", follow=True)
    assert ids(tasks) == ["key-2", "key-1", "key-0"]
    assert "no order 2" in page.content.decode()


def test_these_are_revoked_that_wait_or_run_to_be_tried_again(
    admin_client: Client,
    three_errors: None,
    make_run: Callable[..., TaskRun],
    make_attempt: Callable[..., Any],
    make_messages: Callable[..., None],
) -> None:
    """Whatever state they are in, if their last try has failed like this."""
    alike, other = encode_exception(KeyError("no order 77")), encode_exception(ValueError("bad"))
    for task_id, state, results in [
        ("waits", states.RETRY, [other, alike]),
        ("runs", "PROGRESS", [alike]),
        ("retried", states.PENDING, [alike]),
        ("had another", states.RETRY, [alike, other]),
        ("never failed", states.PENDING, []),
        ("has ended", states.SUCCESS, [alike]),
    ]:
        make_run(task_id, state=state)
        for result in results:
            make_attempt(task_id, state=states.FAILURE if state == states.PENDING else states.RETRY, result=result)
    for task_id, token in {"waits": "", "runs": "w", "retried": "", "had another": ""}.items():
        make_messages("mails", task_id=task_id, token=token)
    make_run("another task", state=states.RETRY, name="shop.tasks.pay")
    make_attempt("another task", result=alike)
    key = Error.objects.get(exception="KeyError").key
    page = admin_client.get(URL).content.decode()
    (address,) = re.findall(rf'href="([^"]*do/revoke/[^"]*{key}[^"]*)"', page)
    asked = admin_client.get(html.unescape(address))
    assert asked.context["chosen"].ids == ["retried", "runs", "waits"]
    data = {"scope": "all", "filter": asked.context["chosen"].query, "confirmed": "1"}
    answer = admin_client.post(asked.request["PATH_INFO"], data)
    assert answer.status_code == 302
    assert set(TaskRun.objects.filter(state=states.REVOKED).values_list("task_id", flat=True)) == {"retried", "waits"}
    assert Message.objects.get(task_id="runs").revoked, "its worker was told"
    assert not Message.objects.get(task_id="had another").revoked
    again = admin_client.post(asked.request["PATH_INFO"], data | {"filter": "tab=unfinished&error=none"})
    assert str(list(get_messages(again.wsgi_request))[-1]) == "No task matches (any more)."


def test_backlog_is_not_read_for_what_waits_to_be_tried_again(
    three_errors: None,
    make_run: Callable[..., TaskRun],
    make_attempt: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that wait are looked up by the newest attempts, one by one, and what was not looked at is said."""
    alike = encode_exception(KeyError("no order 77"))
    for number in range(4):
        make_run(f"tried {number}")
        make_attempt(f"tried {number}", state=states.FAILURE, result=alike)
    wanted = Wanted.of({"tab": "unfinished", "error": Error.objects.get(exception="KeyError").key})
    with CaptureQueriesContext(connection) as captured:
        assert (len(matching.find(wanted).ids), matching.find(wanted).looked_at) == (4, None)
    waiting = [query["sql"] for query in captured if "PENDING" in query["sql"]]
    assert waiting
    of_attempt = re.compile(r'"task_id" = \("taskq_attempt"."task_id"\)')
    assert all("EXISTS" not in sql and of_attempt.search(sql) for sql in waiting)
    for module in (matching, unfinished):
        monkeypatch.setattr(module, "NEWEST", 3)
    found = matching.find(wanted)
    assert (len(found.ids), found.looked_at) == (3, 3)


def test_old_failures_are_out_of_the_counts(admin_client: Client, three_errors: None) -> None:
    error = Error.objects.get(exception="KeyError")
    ErrorCount.objects.filter(error=error.key).update(period=ErrorCount.objects.latest("id").period - 7200)
    rows = {row.error.key: row for row, _ in admin_client.get(URL).context["rows"]}
    assert list(rows[error.key].counts) == [0, 3, 3]


@pytest.mark.parametrize("order", ["1h", "24h"])
def test_most_frequent_errors_come_first(admin_client: Client, three_errors: None, order: str) -> None:
    rows = [row.error.exception for row, _ in admin_client.get(URL, {"order": order}).context["rows"]]
    assert rows == ["KeyError", "ValueError", "ValueError"]


def test_errors_of_one_task(admin_client: Client, three_errors: None) -> None:
    rows = [row.error.name for row, _ in admin_client.get(URL, {"name": "shop.tasks.pay"}).context["rows"]]
    assert rows == ["shop.tasks.pay"]
    empty = admin_client.get(URL, {"name": "nobody\0"})
    assert "Show all errors" in empty.content.decode()


def test_without_failures_the_page_says_what_would_fill_it(admin_client: Client) -> None:
    assert "No task has failed." in admin_client.get(URL).content.decode()


def test_page_as_json(admin_client: Client, three_errors: None) -> None:
    data = admin_client.get(URL, {"format": "json"}).json()
    assert data["pages"] == 1
    assert data["rows"][2]["exception"] == "KeyError"
    assert data["rows"][2]["failures"] == {"1h": 3, "24h": 3, "7d": 3}
    assert data["rows"][2]["sample"] == "key-2"


def test_messages_are_for_who_may_see_payloads(three_errors: None) -> None:
    some = staff("view_error", "view_taskrun")
    page = some.get(URL)
    assert "KeyError" in page.content.decode()
    assert "no order" not in page.content.decode()
    assert "no order" not in json.dumps(some.get(URL, {"format": "json"}).json())
    assert "KeyError" not in some.get(LIST, {"tab": "failed"}).content.decode()
    # Nor can they be guessed by what is found.
    for query in ({"q": "error:order"}, {"exception": "KeyError"}, {"q": "order_id=1"}, {"error": "x"}):
        refused = some.get(LIST, query)
        assert ids(refused) == []
        assert "no permission" in refused.content.decode()


def test_without_the_permission_there_is_no_page(three_errors: None) -> None:
    assert staff("view_taskrun", "view_taskrun_payload").get(URL).status_code == 403


def test_hostile_errors_are_escaped(admin_client: Client, make_failure: Callable[..., TaskRun]) -> None:
    evil = "<script>alert(1)</script>"
    kind = type(evil, (Exception,), {"__module__": evil})
    make_failure("evil", kind(evil + "\0\ud800"), name=evil)
    for url in (URL, LIST, f"{LIST}?tab=failed"):
        page = admin_client.get(url).content.decode()
        assert evil not in page
        assert "&lt;script&gt;" in page
        assert not re.search(r"<style|\sstyle=|\son\w+=", page)


def test_tasks_of_errors_are_for_who_sees_messages(staff_client: Any, three_errors: None) -> None:
    client = staff_client("view_error", "view_taskrun")
    assert "/taskrun/" not in client.get(URL).content.decode().split('id="taskq-errors"')[1]
    assert {row["sample"] for row in client.get(URL, {"format": "json"}).json()["rows"]} == {""}


def test_a_site_without_tasks_has_no_page_of_an_error(admin_user: Any, three_errors: None) -> None:
    site = AdminSite(name="bare")
    request = RequestFactory().get("/")
    request.user = admin_user
    with pytest.raises(Http404):
        ErrorAdmin(Error, site).change_view(request, Error.objects.values_list("key", flat=True)[0])


def test_a_limited_number_of_counts_is_read(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "MOST_COUNTS", 3)
    now = int(for_alias("default").now()) // ErrorCount.SECONDS
    for age, (key, count) in enumerate([("new", 1), ("often", 5), ("new", 7), ("old", 99)]):
        ErrorCount.objects.create(error=key, period=(now - age) * ErrorCount.SECONDS, failures=count)
    assert errors.by_number(errors.SPANS[-1]) == ["new", "often"]
