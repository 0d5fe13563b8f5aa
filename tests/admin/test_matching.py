"""The list of tasks finds what it is asked for, by an index or among the newest rows, and says which."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from taskq import states
from taskq.engines import for_alias
from taskq.messages.exception_data import encode_exception
from taskq.models import Message, Node, TaskRun
from taskq.records import Settlement
from taskq.store import failures
from taskq_admin.queries import matching
from taskq_admin.queries.matching import find, walk
from taskq_admin.queries.wanted import Wanted

from .conftest import START

URL = "/admin/taskq/taskrun/"
Make = Callable[..., TaskRun]
#: Values that a page gets from people and programs that mean no good, or mean something else.
HOSTILE = (
    *("\0", "\ud800", "<script>alert(1)</script>", "%", "_", "'; --", "\u202eabc", "x" * 10_000),
    *("…", "...", '"', "=", ":", "a="),
)


def ids(**parameters: str) -> list[str]:
    found = find(Wanted.of(parameters))
    rows = TaskRun.objects.filter(pk__in=found.ids) if found.rows is None else found.rows
    return list(rows.order_by("-id").values_list("task_id", flat=True))


@pytest.fixture
def shop(make_run: Make) -> None:
    make_run("0190-aaaa-1a2b3c4d", name="shop.tasks.mail", queue="mails", arguments='[[1], {"order_id": 123}]')
    make_run("0190-bbbb-99999999", name="shop.tasks.pay", queue="money", worker="taskq@one", state=states.SUCCESS)
    make_run("own", name="other.sweep", queue="mails", arguments='[[], {"order_id": "123", "who": "ann \\u00e9"}]')


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"q": "0190-bbbb-99999999"}, {"0190-bbbb-99999999"}),
        ({"q": "0190"}, {"0190-aaaa-1a2b3c4d", "0190-bbbb-99999999"}),
        ({"q": "…1a2b3c4d"}, {"0190-aaaa-1a2b3c4d"}),
        ({"q": "1a2b3c4d"}, {"0190-aaaa-1a2b3c4d"}),
        ({"q": "shop.tasks"}, {"0190-aaaa-1a2b3c4d", "0190-bbbb-99999999"}),
        ({"q": "PAY"}, {"0190-bbbb-99999999"}),
        ({"q": "nothing"}, set()),
        ({"q": "%"}, set()),
        ({"name": "other.sweep"}, {"own"}),
        ({"name": "shop"}, set()),
        ({"queue": "mails", "q": "sweep"}, {"own"}),
        ({"worker": "taskq@one"}, {"0190-bbbb-99999999"}),
        ({"q": "worker:taskq@one queue:money"}, {"0190-bbbb-99999999"}),
        ({"q": "order_id=123"}, {"0190-aaaa-1a2b3c4d", "own"}),
        ({"q": "order_id=12"}, set()),
        ({"q": 'who="ann é"'}, {"own"}),
        ({"q": "order_id=123", "queue": "money"}, set()),
        ({"q": "order_id=123 sweep"}, {"own"}),
        ({"tab": "succeeded", "q": "0190"}, {"0190-bbbb-99999999"}),
        ({"tab": "waiting", "queue": "money"}, set()),
        ({"tab": "waiting", "q": "own"}, {"own"}),
    ],
)
def test_search_and_filters(shop: None, parameters: dict[str, str], expected: set[str]) -> None:
    assert set(ids(**parameters)) == expected


def test_positional_arguments_are_known_by_their_parameters(make_run: Make) -> None:
    from taskq import task
    from taskq.calls.registry import tasks

    @task(name="matching.total")
    def total(x: int, y: int = 0) -> int:
        return x + y

    try:
        make_run("a", name="matching.total", arguments="[[1, 20], {}]")
        make_run("b", name="matching.total", arguments="[[20, 1], {}]")
        make_run("c", name="unknown", arguments="[[1, 20], {}]")
        assert ids(q="y=20") == ["a"]
        assert ids(q="x=20") == ["b"]
    finally:
        tasks.remove("matching.total")


def test_errors_by_class_and_text(make_run: Make) -> None:
    for task_id, error in {"k": KeyError("no order 1"), "v": ValueError("refused by the bank")}.items():
        text = encode_exception(error)
        make_run(task_id, state=states.FAILURE, result=text, queue=task_id)
        failures.note(for_alias("default"), [Settlement(0, task_id, states.FAILURE, result=text)])
    assert ids(exception="KeyError") == ["k"]
    assert ids(q="error:BANK") == ["v"]
    assert ids(q='error:"no order"', tab="failed") == ["k"]
    assert ids(q="error:order", queue="v") == []
    assert ids(q="error:order", tab="succeeded") == []
    # A run that was sent again is no failure, whatever is noted of it.
    TaskRun.objects.filter(task_id="k").update(state=states.PENDING)
    assert ids(exception="KeyError") == []


def test_time_of_sending(make_run: Make) -> None:
    for day in range(5):
        make_run(f"day-{day}", created_at=START + timedelta(days=day, microseconds=1))
    assert ids(since="2026-01-03") == ["day-4", "day-3", "day-2"]
    assert ids(until="2026-01-03 00:00") == ["day-1", "day-0"]
    assert ids(since="2026-01-02", until="2026-01-04", q="day-2") == ["day-2"]
    assert ids(since="24h") == []
    wanted = Wanted.of({"since": "tomorrow", "until": "2026-02-31"})
    assert len(wanted.problems) == 2
    assert len(ids(since="tomorrow")) == 5


def test_workflows_by_group_and_root(make_run: Make) -> None:
    for number in range(3):
        make_run(f"m{number}", root_id="m0", group_id="g" if number else "")
    Node.objects.create(root_id="r", task_id="m2", group_id="h", created_at=START)
    assert ids(group="g") == ["m2", "m1"]
    assert ids(root="m0") == ["m2", "m1", "m0"]
    assert ids(q="root:r") == ["m2"]
    assert ids(group="h", queue="nowhere") == []


def test_stamps_of_tasks_that_have_not_ended(make_run: Make, make_messages: Callable[..., None]) -> None:
    for task_id, value in (("one", 7), ("two", 8)):
        make_run(task_id)
        make_messages("mails", task_id=task_id, headers=f'{{"stamps": {{"customer": [{value}]}}}}')
    assert ids(stamp="customer=7") == ["one"]
    assert ids(q="stamp:customer") == ["two", "one"]
    assert ids(stamp="nobody") == []


def test_scheduled_tasks_are_no_waiting_ones(make_run: Make) -> None:
    now = datetime.now(UTC)
    make_run("due", eta=now - timedelta(minutes=1))
    make_run("later", eta=now + timedelta(hours=1))
    make_run("runs", started_at=now)
    assert ids(tab="waiting") == ["due"]
    assert ids(tab="scheduled") == ["later"]


def test_only_the_newest_rows_are_looked_at_and_older_ones_follow(
    admin_client: Client, make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "NEWEST", 10)
    for number in range(25):
        make_run(f"t{number}", queue="odd" if number % 2 else "even")
    found = find(Wanted.of({"queue": "odd"}))
    assert (len(found.ids), found.looked_at) == (5, 10)
    page = admin_client.get(URL, {"queue": "even"})
    assert "only the newest 10 rows were looked at" in page.content.decode()
    assert f"before={found.older}" in page.content.decode()
    assert [len(chunk) for chunk in walk(Wanted.of({"queue": "odd"}), size=3)] == [3, 2, 3, 2, 2]
    every = [task_id for chunk in walk(Wanted.of({})) for task_id in chunk]
    assert every == [f"t{number}" for number in reversed(range(25))]


def test_no_more_arguments_are_read_than_is_said(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "READ", 3)
    for number in range(5):
        make_run(f"t{number}", arguments='[[], {"a": 1}]')
    found = find(Wanted.of({"q": "a=1"}))
    assert (len(found.ids), found.looked_at) == (3, 3)
    assert find(Wanted.of({"q": "a=1", "before": str(found.older)})).looked_at is None


@pytest.mark.usefixtures("no_null_bytes")
@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_answered(admin_client: Client, make_run: Make, text: str) -> None:
    make_run("evil", name="a", arguments='[[], {"a": ""}]')
    value = text.encode("utf-8", "surrogatepass")
    columns = dict.fromkeys(("name", "queue", "worker", "group", "root"), value)
    failed = dict.fromkeys(("exception", "error", "since", "until"), value)
    term = f'error:{text} a={text} id:"{text}"'.encode("utf-8", "surrogatepass")
    for query in ({"q": value}, columns, failed, {"stamp": value}, {"q": term}):
        page = admin_client.get(URL, query)
        assert page.status_code == 200
        assert "<script>alert" not in page.content.decode()


def test_index_answers_without_a_look_at_other_rows(shop: None) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("reads SQLite's query plans")
    make: list[dict[str, str]] = [{"q": "0190"}, {"group": "g"}, {"exception": "KeyError"}, {"since": "24h"}]
    Node.objects.create(root_id="r", task_id="own", group_id="g", created_at=START)
    for parameters in make:
        with CaptureQueriesContext(connection) as queries:
            ids(**parameters)
        assert queries.captured_queries
        for query in queries:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
                plan = "\n".join(row[-1] for row in cursor.fetchall())
            assert "SCAN taskq_taskrun" not in plan or "24h" in parameters.values(), (query["sql"], plan)


def test_list_says_what_went_wrong_and_how_far_tasks_are(admin_client: Client, make_run: Make) -> None:
    text = encode_exception(KeyError("no order 7\nsecond line"))
    run = make_run("new", state=states.FAILURE, result=text, retries=2)
    failures.note(for_alias("default"), [Settlement(0, "new", states.FAILURE, result=text)])
    make_run("old", state=states.FAILURE, result=encode_exception(ValueError("from before")))
    make_run("again", state=states.RETRY, result=encode_exception(OSError("no answer")))
    make_run("runs", state="PROGRESS", result='{"done": 3, "total": 4}', started_at=START)
    page = admin_client.get(URL)
    html = page.content.decode()
    for part in ("KeyError", "no order 7", "ValueError", "from before", "OSError", "no answer", 'value="75"', "try 3"):
        assert part in html
    assert "second line" not in html
    data: Any = admin_client.get(URL, {"format": "json"}).json()
    by_id = {row["task_id"]: row for row in data["rows"]}
    assert by_id["new"]["error"]["message"] == "no order 7"
    assert by_id["runs"]["progress"]["percent"] == 75
    assert f"/admin/taskq/taskrun/{run.pk}/change/" in html


def test_empty_lists_say_what_would_fill_them(admin_client: Client) -> None:
    assert "Nothing waits." in admin_client.get(URL, {"tab": "waiting"}).content.decode()
    assert "No task meets all of this." in admin_client.get(URL, {"queue": "x"}).content.decode()


def test_ids_that_begin_alike_are_not_all_read(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "NEWEST", 10)
    for number in range(25):
        state = states.SUCCESS if number else states.REVOKED
        make_run(f"01a2-{number:02}", queue="odd" if number % 2 else "even", state=state)
    found = find(Wanted.of({"q": "01a2", "queue": "absent"}))
    assert (found.ids, found.looked_at) == ([], 10)
    assert found.older is not None
    assert ids(q="01a2", queue="odd") == [f"01a2-{number}" for number in (23, 21, 19, 17, 15)]
    assert ids(q="01a2", before=str(found.older), queue="odd") == [f"01a2-{number:02}" for number in (13, 11, 9, 7, 5)]
    assert ids(q="01a2", tab="revoked") == ["01a2-00"]
    assert ids(q="01a2-03") == ["01a2-03"]


def test_ids_and_other_limits_are_met_together(shop: None) -> None:
    Node.objects.create(root_id="r", task_id="own", group_id="g", created_at=START)
    assert ids(q="0190", group="g") == []
    assert ids(q="0190 order_id=123") == ["0190-aaaa-1a2b3c4d"]


def test_stamps_are_looked_for_among_the_newest_and_older_ones_follow(
    make_run: Make, make_messages: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        make_run(f"t{number}")
        make_messages("mails", task_id=f"t{number}", headers=f'{{"stamps": {{"customer": [{number % 2}]}}}}')
    whole = find(Wanted.of({"stamp": "customer=1"}))
    assert (len(whole.ids), whole.looked_at, whole.older) == (6, None, None)
    monkeypatch.setattr(matching, "NEWEST", 8)
    cut = find(Wanted.of({"stamp": "customer=1"}))
    assert (len(cut.ids), cut.looked_at) == (4, 8)
    assert cut.count.more
    assert [len(chunk) for chunk in walk(Wanted.of({"stamp": "customer=1"}))] == [4, 2]
    assert find(Wanted.of({"stamp": "nothing=1"})).looked_at == 8


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize(
    "time", ["999999d", "0001-01-01", "9999-12-31 23:59:59", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_times_far_away_are_answered(admin_client: Client, make_run: Make, zone: str, time: str) -> None:
    make_run("one", created_at=datetime.now(UTC))
    with timezone.override(zone):
        late = time.startswith("9999-")
        assert ids(since=time) == ([] if late else ["one"])
        assert ids(until=time) == (["one"] if late else [])
        assert admin_client.get(URL, {"since": time, "until": time}).status_code == 200


def test_messages_are_no_runs(make_run: Make) -> None:
    assert not Message.objects.exists()
    assert ids(tab="running", queue="x") == []


def test_a_long_filter_is_kept_whole(admin_client: Client, make_run: Make) -> None:
    group = "g" * 300
    page = admin_client.get(URL, {"group": group}).content.decode()
    assert f'<input type="hidden" name="group" value="{group}">' in page
