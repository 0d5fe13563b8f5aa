from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from taskq import states
from taskq.models import TaskRun
from taskq_admin.queries import capped, runs
from taskq_admin.queries.tabs import TABS

from .conftest import START

URL = "/admin/taskq/taskrun/"
Make = Callable[..., TaskRun]


@pytest.fixture
def one_of_each(make_run: Make) -> None:
    for state in sorted(states.ALL_STATES):
        make_run(f"id-{state.lower()}", state=state)
    make_run("id-own", state="PROGRESS")


@pytest.fixture
def many(db: None) -> None:
    """3,000 rows, of which three quarters have succeeded and the rest is spread."""
    spread = (states.PENDING, states.RETRY, states.RECEIVED, states.STARTED, states.FAILURE)
    TaskRun.objects.bulk_create(
        (
            TaskRun(
                task_id=f"many-{number}",
                name=f"shop.tasks.t{number % 7}",
                state=states.SUCCESS if number % 4 else spread[number // 4 % 5],
                arguments="[[1], {}]",
                created_at=START,
            )
            for number in range(3000)
        ),
        batch_size=1000,
    )


def shown(response: Any) -> list[str]:
    return [run.task_id for run in response.context["cl"].result_list]


@pytest.mark.parametrize(
    ("tab", "expected"),
    [
        ("waiting", {"id-pending"}),
        ("running", set()),
        ("scheduled", set()),
        ("retrying", {"id-retry"}),
        ("succeeded", {"id-success"}),
        ("failed", {"id-failure"}),
        ("revoked", {"id-revoked"}),
    ],
)
def test_tab_shows_runs_of_its_states(admin_client: Client, one_of_each: None, tab: str, expected: set[str]) -> None:
    assert set(shown(admin_client.get(URL, {"tab": tab}))) == expected


def test_running_tab_shows_the_started_tasks_whose_messages_a_worker_holds(
    admin_client: Client, one_of_each: None, make_run: Make, make_messages: Callable[..., None]
) -> None:
    make_run("id-long", state="PENDING", worker="taskq@one", started_at=START)
    make_run("id-second", state="RETRY", worker="taskq@one", started_at=START)
    for task_id in ("id-long", "id-second", "id-started", "id-own", "id-pending", "id-success"):
        make_messages("mails", token="boot-1", task_id=task_id)
    make_run("id-paused", state="RETRY", started_at=START)
    make_messages("mails", task_id="id-paused")
    running = admin_client.get(URL, {"tab": "running"})
    assert set(shown(running)) == {"id-long", "id-second", "id-started", "id-own"}
    waiting = admin_client.get(URL, {"tab": "waiting"})
    assert set(shown(waiting)) == {"id-pending"}
    assert "PENDING" not in running.content.decode().partition("result_list")[2]


@pytest.mark.parametrize("tab", [None, "", "nonsense"])
def test_without_a_known_tab_all_runs_are_shown_newest_first(
    admin_client: Client, one_of_each: None, tab: str | None
) -> None:
    ids = shown(admin_client.get(URL, {} if tab is None else {"tab": tab}))
    assert ids[0] == "id-own"
    assert len(ids) == len(states.ALL_STATES) + 1


def test_tabs_have_counts_and_addresses(admin_client: Client, one_of_each: None) -> None:
    page = admin_client.get(URL).content.decode()
    tabs = re.findall(r'href="(\?[^"]*)"[^>]*>\s*(\w+) <span class="taskq-count">([^<]+)', page)
    assert tabs == [
        ("?", "All", "9"),
        ("?tab=running", "Running", "0"),
        ("?tab=waiting", "Waiting", "1"),
        ("?tab=scheduled", "Scheduled", "0"),
        ("?tab=succeeded", "Succeeded", "1"),
        ("?tab=failed", "Failed", "1"),
        ("?tab=retrying", "Retrying", "1"),
        ("?tab=revoked", "Revoked", "1"),
    ]


def test_tabs_keep_the_other_filters_and_then_have_no_counts(admin_client: Client, one_of_each: None) -> None:
    page = admin_client.get(URL, {"name": "shop.tasks.mail", "tab": "failed", "before": "5"}).content.decode()
    assert "?name=shop.tasks.mail&amp;tab=revoked" in page
    assert "taskq-count" not in page


def test_name_filter_offers_the_registry_and_takes_any_name(admin_client: Client, make_run: Make) -> None:
    from taskq.calls.registry import tasks

    make_run("one")
    make_run("two", name="other.tasks.gone")
    response = admin_client.get(URL, {"name": "other.tasks.gone"})
    assert shown(response) == ["two"]
    assert len(tasks) > 1
    for name in tasks:
        assert f'<option value="{name}">' in response.content.decode()


def test_search_by_id_or_its_start_is_answered_by_an_index(admin_client: Client, make_run: Make) -> None:
    make_run("0190-abc")
    make_run("0190-abcd")
    make_run("other")
    found = {" 0190-abcd ": ["0190-abcd"], "0190-": ["0190-abcd", "0190-abc"], "id:other": ["other"]}
    for term, expected in found.items():
        with CaptureQueriesContext(connection) as queries:
            assert shown(admin_client.get(URL, {"q": term})) == expected
        assert queries.captured_queries
        assert not [query for query in queries if " LIKE " in query["sql"]]


def test_search_takes_ids_with_blanks_and_hostile_text(admin_client: Client, make_run: Make) -> None:
    make_run("a b")
    assert shown(admin_client.get(URL, {"q": "a b"})) == ["a b"]
    assert admin_client.get(URL, {"q": "\"'<script>"}).status_code == 200


@pytest.mark.parametrize("lookup", ["arguments__contains", "state", "name__icontains", "pk__gt"])
def test_filtering_by_column_lookups_is_refused(admin_client: Client, make_run: Make, lookup: str) -> None:
    make_run()
    assert admin_client.get(URL, {lookup: "1"}).status_code == 400


def test_unknown_query_parameter_is_dropped(admin_client: Client, make_run: Make) -> None:
    make_run()
    assert admin_client.get(URL, {"utm_source": "mail"}, follow=True).status_code == 200


def test_sort_parameter_is_ignored(admin_client: Client, one_of_each: None) -> None:
    newest_first = shown(admin_client.get(URL))
    for column in range(1, 10):
        assert shown(admin_client.get(URL, {"o": str(column)})) == newest_first


def test_list_queries_leave_out_large_columns(admin_client: Client, make_run: Make) -> None:
    make_run(arguments="[[1], {}]")
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(URL)
    assert not [query for query in queries for column in runs.LARGE if f'"{column}"' in query["sql"]]


@pytest.mark.parametrize("tab", [tab.key for tab in TABS])
def test_list_makes_few_queries_on_a_large_table(
    admin_client: Client, many: None, tab: str, django_assert_max_num_queries: Any
) -> None:
    # Session, user, the list's count or what it looks at, a page, two for the tabs' counts; what went wrong, and how
    # far running tasks are; and three for queues in which something waits.
    with django_assert_max_num_queries(12):
        assert admin_client.get(URL, {"tab": tab, "p": "2"}).status_code == 200


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's query plans")
@pytest.mark.parametrize("tab", [tab.key for tab in TABS])
@pytest.mark.parametrize("narrowed", [False, True])
def test_every_query_of_a_tab_uses_an_index(admin_client: Client, many: None, tab: str, narrowed: bool) -> None:
    newest = TaskRun.objects.latest("id").pk
    parameters = {"tab": tab, "p": "2"} | ({"before": str(newest - 100)} if narrowed else {})
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(URL, parameters)
    asked = [query["sql"] for query in queries if "taskq_taskrun" in query["sql"]]
    assert asked
    for sql in asked:
        plan = explain(sql)
        if '"token" >' in sql:
            # The few tasks whose messages a worker holds, each looked up by its id.
            assert "(token>?)" in plan, (sql, plan)
            assert "(task_id=?" in plan, (sql, plan)
            continue
        # The rows of a merged page are fetched by number; sorting those fifty costs nothing.
        assert "TEMP B-TREE" not in plan or '"id" IN (' in sql, (sql, plan)
        if "state" in sql.partition("WHERE")[2]:
            assert "taskq_run_by_state" in plan or "INTEGER PRIMARY KEY" in plan, (sql, plan)


def explain(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return "\n".join(row[-1] for row in cursor.fetchall())


@pytest.mark.parametrize("tab", ["", "waiting", "succeeded"])
def test_tab_is_in_order_on_every_page(admin_client: Client, many: None, tab: str) -> None:
    state = {"waiting": states.PENDING, "succeeded": states.SUCCESS}.get(tab)
    rows = TaskRun.objects.filter(state=state) if state else TaskRun.objects.all()
    expected = list(rows.order_by("-id").values_list("task_id", flat=True)[:150])
    got = [task_id for page in "123" for task_id in shown(admin_client.get(URL, {"tab": tab, "p": page}))]
    assert got == expected


def test_list_beyond_the_cap_goes_on_by_row(admin_client: Client, many: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capped, "CAP", 100)
    page = admin_client.get(URL, {"p": "2"})
    assert "100+" in page.content.decode()
    last = page.context["cl"].result_list[49].pk
    assert f"?before={last}" in page.content.decode()
    older = admin_client.get(URL, {"before": str(last)})
    assert older.context["cl"].result_list[0].pk == last - 1
    assert "Back to the newest" in older.content.decode()
    assert admin_client.get(URL, {"p": "3"}).status_code == 302  # Django's answer to a page that is not there


@pytest.mark.parametrize("before", ["x", "-1", "9" * 40, "", "²"])
def test_before_parameter_that_is_no_row_number_is_ignored(admin_client: Client, make_run: Make, before: str) -> None:
    make_run()
    assert shown(admin_client.get(URL, {"before": before})) == ["run-1"]


def test_hostile_text_in_the_list_is_escaped(admin_client: Client, make_run: Make) -> None:
    evil = "<script>alert(1)</script>"
    make_run(task_id=f"{evil}id", name=evil, state="<b>X</b>", queue=evil, worker=evil)
    page = admin_client.get(URL).content.decode()
    assert evil not in page
    assert "<b>X</b>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_run_list_has_no_inline_script_or_style(admin_client: Client, make_run: Make) -> None:
    make_run()
    page = admin_client.get(URL).content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    assert not [tag for tag in re.findall(r"<script\b[^>]*>", page) if "src=" not in tag and "json" not in tag]


def test_every_tab_shows_an_empty_table(admin_client: Client) -> None:
    for tab in TABS:
        assert "0 tasks" in re.sub(r"\s+", " ", admin_client.get(URL, {"tab": tab.key}).content.decode())


@pytest.mark.usefixtures("no_null_bytes")
def test_null_byte_in_parameters_or_address_finds_nothing(admin_client: Client, make_run: Make) -> None:
    make_run()
    for url in ("?name=%00", "?q=%00", "?before=%00", "?tab=%00"):
        assert admin_client.get(URL + url).status_code == 200
    for url in ("id/%00/", "%00/change/"):
        assert admin_client.get(URL + url).status_code == 404
    assert shown(admin_client.get(f"{URL}?name=%00")) == []
