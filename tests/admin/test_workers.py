from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from django.urls import reverse

from taskq import control
from taskq.models import Statistic, TaskRun, Worker
from taskq_admin import parameters
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
    with django_assert_max_num_queries(5):
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
    assert f'<a href="{reverse("admin:taskq_taskrun_change", args=[run.pk])}">shop.<wbr>tasks.<wbr>mail</a>' in page
    for part in ("0.50, 1.25, 2.00", "9 succeeded", "2 retried", "0 revoked", "<dd>on</dd>", "1 min 1 s", "idle",
                 "no-row", "950 more slots, 800 of them", "shop.tasks.fetch: 800"):  # fmt: skip
        assert part in page
    assert EVIL not in page
    assert "About itself" not in page
    listed = admin_client.get(URL).content.decode()
    assert '<td data-label="Ended tasks" class="field-ended">12</td>' in listed
    assert '<td data-label="Running tasks" class="field-running">802</td>' in listed


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


# -- actions: what the workers answer is told


class Answers:
    """Workers that answer as they are told to; what they were asked is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by_command: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[tuple[str, dict[str, Any], Any]] = []
        monkeypatch.setattr(control, "broadcast", self.broadcast)
        monkeypatch.setattr(control, "shutdown", lambda destination: self.broadcast("shutdown", {}, destination))

    def broadcast(self, command: str, arguments: dict[str, Any], destination: Any, **options: Any) -> Any:
        self.asked.append((command, arguments, destination))
        return self.by_command.get(command, [])


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


def do(client: Client, key: str, *tokens: str, **data: Any) -> list[str]:
    response = client.post(f"{URL}do/{key}/", {"id": tokens, "confirmed": "1", **data}, follow=True)
    assert response.status_code == 200
    return [str(message) for message in response.context["messages"]]


@pytest.mark.parametrize(
    ("key", "command", "data", "arguments"),
    [
        ("pool-grow", "pool_grow", {"n": "2"}, {"n": 2}),
        ("pool-shrink", "pool_shrink", {"n": "1"}, {"n": 1}),
        ("autoscale", "autoscale", {"max": "4", "min": "1"}, {"max": 4, "min": 1}),
        ("add-consumer", "add_consumer", {"queue": "hipri"}, {"queue": "hipri"}),
        ("cancel-consumer", "cancel_consumer", {"queue": "hipri"}, {"queue": "hipri"}),
        ("rate-limit", "rate_limit", {"task_name": "a.b", "rate_limit": ""}, {"task_name": "a.b", "rate_limit": None}),
        (
            "time-limit", "time_limit", {"task_name": "a.b", "soft": "1.5", "hard": ""},
            {"task_name": "a.b", "soft": 1.5, "hard": None},
        ),
        ("enable-events", "enable_events", {}, {}),
        ("disable-events", "disable_events", {}, {}),
        ("pool-restart", "pool_restart", {"reload": "on"}, {"reload": True}),
    ],
)  # fmt: skip
def test_command_is_sent_and_its_answers_are_told(
    admin_client: Client, make_worker: Make, answers: Answers, key: str, command: str, data: Any, arguments: Any
) -> None:
    make_worker()
    make_worker("boot-2", name="taskq@two")
    make_worker("boot-3", name="taskq@three")
    answers.by_command[command] = [{"taskq@one": {"ok": "done <b>it</b>"}}, {"taskq@two": {"error": "no such thing"}}]
    said = do(admin_client, key, "boot-1", "boot-2", "boot-3", **data)
    assert said == [
        "taskq@one: done <b>it</b>",
        "The worker taskq@three did not answer within 1.6 s: whether it has obeyed is not known.",
        "taskq@two: no such thing",
    ]
    assert answers.asked[-1][:2] == (command, arguments)
    assert sorted(answers.asked[-1][2]) == ["taskq@one", "taskq@three", "taskq@two"]
    assert [entry.object_id for entry in LogEntry.objects.all()] == ["boot-1"]


def test_form_offers_tasks_and_queues_without_asking_the_worker(
    admin_client: Client, make_worker: Make, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_worker(info=json.dumps({"queues": ["mails", EVIL]}))
    monkeypatch.setattr(parameters, "choices", lambda: ["shop.mail"])
    hour = int(datetime.now(UTC).timestamp()) // 3600 * 3600
    for period, name in ((hour, "other.program"), (hour - 7200, "long.ago")):
        Statistic.objects.create(seconds=3600, period=period, name=name, succeeded=1)
    page = admin_client.get(f"{URL}do/rate-limit/", {"id": "boot-1"}).content.decode()
    assert '<option value="shop.mail"></option>' in page
    assert '<option value="other.program"></option>' in page
    assert "long.ago" not in page
    assert answers.asked == []
    page = admin_client.get(f"{URL}do/cancel-consumer/", {"id": "boot-1"}).content.decode()
    assert '<option value="mails"></option>' in page
    assert EVIL not in page


@pytest.mark.parametrize("data", [{"max": "1", "min": "2"}, {"max": "0", "min": "0"}, {"max": "x"}])
def test_wrong_numbers_are_not_sent(admin_client: Client, make_worker: Make, answers: Answers, data: Any) -> None:
    make_worker()
    assert do(admin_client, "autoscale", "boot-1", **data) == []
    assert answers.asked == []


def test_ping_and_shutdown_say_who_is_there(admin_client: Client, make_worker: Make, answers: Answers) -> None:
    make_worker()
    answers.by_command["ping"] = [{"taskq@one": {"ok": "pong"}}]
    (said,) = do(admin_client, "ping", "boot-1")
    assert said.startswith("The worker taskq@one answers, within ")
    (said,) = do(admin_client, "shutdown", "boot-1")
    assert said.startswith("The worker taskq@one was told to shut down: it takes no more tasks")
    assert answers.asked[-1] == ("shutdown", {}, ["taskq@one"])
    answers.by_command.clear()
    (said,) = do(admin_client, "shutdown", "boot-1")
    assert "but does not answer" in said


@pytest.mark.parametrize(
    ("key", "permission"),
    [("ping", "control_worker"), ("pool-grow", "control_worker"), ("shutdown", "shutdown_worker"),
     ("enable-events", "toggle_events")],
)  # fmt: skip
def test_command_needs_its_permission(
    staff_client: Callable[..., Client], make_worker: Make, answers: Answers, key: str, permission: str
) -> None:
    make_worker()
    others = {"control_worker", "shutdown_worker", "toggle_events"} - {permission}
    client = staff_client("view_worker", *others)
    assert client.post(f"{URL}do/{key}/", {"id": "boot-1", "confirmed": "1"}).status_code == 403
    assert f"do/{key}/" not in client.get(f"{URL}boot-1/change/").content.decode()
    assert answers.asked == []


def test_buttons_are_those_that_can_do_something(admin_client: Client, make_worker: Make) -> None:
    make_worker(info=json.dumps({"events": True, "pool": "solo"}))
    make_worker("lost", state="lost")
    page = admin_client.get(f"{URL}boot-1/change/").content.decode()
    assert "do/disable-events/" in page
    assert "do/enable-events/" not in page
    assert "The pool has one thread." in page
    assert "do/" not in admin_client.get(f"{URL}lost/change/").content.decode()
    page = admin_client.get(URL).content.decode()
    assert "The worker that runs:" in page
    assert "do/enable-events/?id=boot-1" in page


# -- the stack of a task, and JSON


def test_stack_of_a_task_is_shown(
    admin_client: Client, make_worker: Make, make_run: Any, make_messages: Any, answers: Answers
) -> None:
    make_worker()
    make_worker("boot-2", name="taskq@two")
    make_run("run-1")
    make_messages("mails", token="boot-2", task_id="run-1")
    answers.by_command["stack"] = [{"taskq@two": {"ok": f'  File "{EVIL}", line 1\n'}}]
    address = reverse("admin:taskq_worker_stack")
    page = admin_client.get(address, {"id": "run-1"}).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert EVIL not in page
    # Each look interrupts the worker: none is made by a clock.
    assert "data-taskq-refresh" not in page
    assert 'href="?id=run-1"' in page
    assert answers.asked == [("stack", {"task_id": "run-1"}, ["taskq@two"])]
    found = admin_client.get(address, {"id": "run-1", "format": "json"}).json()
    assert (found["worker"], found["stack"][:6]) == ("taskq@two", "  File")
    answers.by_command["stack"] = [{"taskq@two": {"error": "does not run here"}}]
    assert "does not run here" in admin_client.get(address, {"id": "other"}).content.decode()
    answers.by_command.clear()
    for task_id in ("run-1", "a\0b", ""):
        assert "No worker has answered" in admin_client.get(address, {"id": task_id}).content.decode()


def test_what_a_stranger_answers_for_a_stack_is_cut(admin_client: Client, make_worker: Make, answers: Answers) -> None:
    make_worker()
    address = reverse("admin:taskq_worker_stack")
    for said in ({"ok": "x" * 2_000_000}, {"error": "x" * 2_000_000}):
        answers.by_command["stack"] = [{"taskq@one": said}]
        assert len(admin_client.get(address, {"id": "run-1"}).content) < 200_000


def test_names_of_tasks_are_suggested_to_who_may_see_tasks(
    staff_client: Callable[..., Client], make_worker: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_worker()
    monkeypatch.setattr(parameters, "choices", lambda: ["shop.mail"])
    client = staff_client("view_worker", "control_worker")
    page = client.get(f"{URL}do/rate-limit/", {"id": "boot-1"})
    assert page.status_code == 200
    assert "shop.mail" not in page.content.decode()
    User.objects.get(username="staff").user_permissions.add(Permission.objects.get(codename="view_taskrun"))
    assert "shop.mail" in client.get(f"{URL}do/rate-limit/", {"id": "boot-1"}).content.decode()


def test_stack_needs_permissions(staff_client: Callable[..., Client], answers: Answers) -> None:
    address = reverse("admin:taskq_worker_stack")
    assert staff_client("view_worker", "view_taskrun").get(address, {"id": "run-1"}).status_code == 403
    assert answers.asked == []


def test_pages_as_json(admin_client: Client, make_worker: Make, make_messages: Any) -> None:
    slots = [{"slot": 0, "pid": 9, "id": "run-1", "name": "shop.mail", "since": 1.0}]
    make_worker(info=json.dumps({"queues": ["mails"], "memory": 10, "version": "1.2", "slots": slots}))
    make_messages("mails", token="boot-1", task_id="run-1")
    (row,) = admin_client.get(URL, {"format": "json"}).json()["rows"]
    assert (row["name"], row["state"], row["memory"], row["version"]) == ("taskq@one", "running", 10240, "1.2")
    assert "task_id" not in row["slots"][0]
    found = admin_client.get(f"{URL}boot-1/change/", {"format": "json"}).json()
    assert (found["slots"][0]["task_id"], found["held"][0]["task_id"]) == ("run-1", "run-1")
    found = admin_client.get(reverse("admin:taskq_overview"), {"format": "json"}).json()
    assert {"tiles", "notices", "chart", "times", "queues", "workers"} == set(found)
    assert found["workers"][0]["slots"][0]["task_id"] == "run-1"


def test_slots_have_a_place_before_there_are_any_and_holds_are_links(
    admin_client: Client, make_worker: Make, make_run: Any, make_messages: Any
) -> None:
    worker = make_worker()
    run = make_run()
    make_messages("mails", token="boot-1", task_id="run-1")
    page = admin_client.get(f"/admin/taskq/worker/{worker.pk}/change/").content.decode()
    assert 'id="taskq-slots" data-taskq-fragment' in page
    assert '<a href="/admin/taskq/queue/mails/change/">mails</a>' in page
    assert f'<a href="/admin/taskq/taskrun/{run.pk}/change/"><code class="taskq-id">run-1</code></a>' in page


@pytest.mark.parametrize("address", ["/admin/taskq/worker/stack/", "/admin/taskq/worker/do/ping/"])
def test_no_transaction_of_taskqs_database_is_around_what_waits_for_answers(
    address: str,
) -> None:
    with override_settings(TASKQ_DATABASE="other"):
        urls = admin.site._registry[Worker].get_urls()
    view = next(url for url in urls if url.resolve(address.removeprefix("/admin/taskq/worker/")))
    assert {"default", "other"} <= view.callback._non_atomic_requests  # type: ignore[attr-defined]


def test_empty_list_says_how_to_start_a_worker(admin_client: Client, make_worker: Callable[..., Worker]) -> None:
    url = "/admin/taskq/worker/"
    assert "Start one: <code>python manage.py taskworker</code>" in admin_client.get(url).content.decode()
    make_worker()
    assert "Start one:" not in admin_client.get(url).content.decode()
