"""What the actions on tasks do and say, on rows of the tests' database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.messages import get_messages
from django.test import Client

from taskq.calls import never_again
from taskq.models import Message, Rerun, TaskRun
from taskq_admin.admin import TaskRunAdmin
from taskq_admin.queries import again
from tests.support.hostile import HOSTILE

from .conftest import START
from .test_run_page import url

DO = "/admin/taskq/taskrun/do/"
Make = Callable[..., TaskRun]
#: An integer that JavaScript can't hold, and a datetime as kombu writes it.
ARGUMENTS = '[[9007199254740993, {"__type__": "datetime", "__value__": "2026-01-01T00:00:00+00:00"}], {"a": "ü"}]'


@pytest.fixture
def failed(make_run: Make) -> TaskRun:
    return make_run("run-1", state="FAILURE", arguments=ARGUMENTS, finished_at=START, started_at=START)


def post(client: Client, key: str, *ids: str, **data: Any) -> list[str]:
    response = client.post(f"{DO}{key}/", {"id": ids, "confirmed": "1", **data})
    assert response.status_code == 302, response.content.decode()
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_retry_puts_a_failed_task_into_its_queue_again(admin_client: Client, failed: TaskRun) -> None:
    said = post(admin_client, "retry", "run-1", **{"confirm-reason": "the network is back"})
    assert said[0] == "The task shop.tasks.mail was put into the queue mails again."
    assert "does not know the task" in said[1]
    assert json.loads(Message.objects.get().body)[0] == json.loads(ARGUMENTS)[0]
    assert TaskRun.objects.get().state == "PENDING"
    assert LogEntry.objects.get().get_change_message() == "Retry: the network is back [taskrun.retry]"
    assert "has not ended" in post(admin_client, "retry", "run-1")[-1]
    assert Message.objects.count() == 1
    assert LogEntry.objects.count() == 1


def test_run_again_as_new_leaves_the_old_one(admin_client: Client, failed: TaskRun) -> None:
    said = post(admin_client, "rerun", "run-1", **{"confirm-reason": "to compare"})
    link = Rerun.objects.get()
    assert f'<a href="/admin/taskq/taskrun/id/{link.task_id}/">' in said[0]
    assert (link.of_task_id, link.by, link.reason) == ("run-1", "admin", "to compare")
    assert TaskRun.objects.get(task_id="run-1").state == "FAILURE"
    assert TaskRun.objects.get(task_id=link.task_id).arguments == ARGUMENTS


def test_many_are_retried_with_the_reasons_of_the_others(admin_client: Client, failed: TaskRun, make_run: Make) -> None:
    make_run("run-2", state="SUCCESS", arguments="[[], {}]", finished_at=START)
    make_run("run-3", state="PENDING", arguments="[[], {}]")
    said = post(admin_client, "retry", "run-1", "run-2", "run-3")
    assert "1 retried" in said[0]
    assert "1 had succeeded" in said[0]
    assert "1 had not ended" in said[0]
    assert any("run-2" in text for text in said[1:])


def test_changed_arguments_are_sent_and_the_others_stay_exact(admin_client: Client, failed: TaskRun) -> None:
    form = admin_client.get(f"{DO}change/", {"id": "run-1"}).context["form"]
    before = {name: form.initial[name] for name in ("args", "kwargs")}
    assert "9007199254740993" in before["args"]
    post(admin_client, "change", "run-1", **before | {"kwargs": '{"a": "b"}', "queue": "slow", "countdown": "600"})
    assert TaskRun.objects.get(task_id="run-1").state == "PENDING"
    run = TaskRun.objects.get()
    assert json.loads(run.arguments or "")[:2] == [json.loads(ARGUMENTS)[0], {"a": "b"}]
    assert run.queue == "slow"
    assert run.eta is not None


def test_changed_task_may_be_a_new_one(admin_client: Client, failed: TaskRun) -> None:
    post(admin_client, "change", "run-1", args="[1]", new="on")
    new = TaskRun.objects.exclude(task_id="run-1").get()
    assert json.loads(new.arguments or "")[:2] == [[1], {"a": "ü"}]


@pytest.mark.parametrize("text", ["{", "{}", "[NaN]", "[" * 100_000, '["\ud800"]', '["\\ud800"]', "1", "[1]]"])
def test_arguments_that_are_no_list_are_refused(admin_client: Client, failed: TaskRun, text: str) -> None:
    sent = text.encode(errors="replace").decode()
    answer = admin_client.post(f"{DO}change/", {"id": "run-1", "confirmed": "1", "args": sent})
    assert answer.status_code in (200, 302)
    assert answer.status_code == 200 or text == '["\ud800"]'
    if answer.status_code == 200:
        assert not Message.objects.exists()


def test_arguments_are_filled_in_for_who_may_see_them(staff_client: Callable[..., Client], failed: TaskRun) -> None:
    page = staff_client("view_taskrun", "run_taskrun").get(f"{DO}change/", {"id": "run-1"})
    assert "9007199254740993" not in page.content.decode()


def test_a_rule_of_ones_own_hides_arguments_and_buttons(
    admin_client: Client, failed: TaskRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = f"/admin/taskq/taskrun/{failed.pk}/change/"
    assert f"{DO}retry/" in admin_client.get(page).content.decode()
    monkeypatch.setattr(TaskRunAdmin, "has_payload_permission", lambda *given: False)
    assert "9007199254740993" not in admin_client.get(f"{DO}change/", {"id": "run-1"}).content.decode()
    monkeypatch.setattr(TaskRunAdmin, "has_action_permission", lambda *given: False)
    for address in (page, "/admin/taskq/taskrun/", "/admin/taskq/error/"):
        assert f"{DO}retry/" not in admin_client.get(address).content.decode()


def test_several_are_run_again_with_changes(admin_client: Client, failed: TaskRun, make_run: Make) -> None:
    make_run("run-2", state="SUCCESS", arguments='[[], {"a": 1, "b": 2}]', finished_at=START)
    page = admin_client.get(f"{DO}change/", {"id": ["run-1", "run-2"]})
    assert "update_kwargs" in page.content.decode()
    data = {"new": "on", "update_kwargs": '{"b": 9007199254740993}', "priority": "8", "queue": "slow"}
    (said, why) = post(admin_client, "change", "run-1", "run-2", **data)
    assert "1 run again as new" in said
    assert "1 refused" in said
    assert "does not know" in why
    new = TaskRun.objects.exclude(task_id__in=["run-1", "run-2"]).get()
    assert json.loads(new.arguments or "")[:2] == [[], {"a": 1, "b": 2**53 + 1}]
    assert (new.queue, new.priority) == ("slow", 8)


def test_form_of_many_is_not_taken_for_that_of_one(admin_client: Client, failed: TaskRun) -> None:
    """Of two tasks one is gone: the arguments to replace must not be dropped without a word."""
    data = {"id": "run-1", "confirmed": "1", "shape": "many", "update_kwargs": "{}"}
    answer = admin_client.post(f"{DO}change/", data)
    assert "has changed meanwhile" in answer.content.decode()
    assert not Message.objects.exists()


@pytest.mark.parametrize("ids", [["run-1"], ["run-1", "run-2"]])
def test_pressing_twice_on_one_page_runs_each_again_once(
    admin_client: Client, failed: TaskRun, make_run: Make, ids: list[str]
) -> None:
    make_run("run-2", state="SUCCESS", arguments="[[], {}]", finished_at=START)
    shown = admin_client.get(f"{DO}rerun/", {"id": ids}).context["shown"]
    assert f'name="shown" value="{datetime.now(UTC):%Y-%m-%d}' in admin_client.get(url(failed)).content.decode()
    post(admin_client, "rerun", *ids, shown=shown)
    said = post(admin_client, "rerun", *ids, shown=shown)
    assert "again already" in " ".join(said)
    assert Message.objects.count() == Rerun.objects.count() == len(ids)
    post(admin_client, "rerun", *ids, shown=datetime.now(UTC).isoformat())
    assert Rerun.objects.count() == 2 * len(ids), "from a new page it is meant"


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_clock_of_the_web_server_may_be_wrong(
    admin_client: Client, failed: TaskRun, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    wrong = lambda: datetime.now(UTC) + timedelta(seconds=seconds)  # noqa: E731
    monkeypatch.setattr("taskq.timezones.now", wrong)
    shown = admin_client.get(f"{DO}rerun/", {"id": "run-1"}).context["shown"]
    post(admin_client, "rerun", "run-1", shown=shown)
    assert "again already" in " ".join(post(admin_client, "rerun", "run-1", shown=shown))
    post(admin_client, "rerun", "run-1", shown=wrong().isoformat())
    assert Rerun.objects.count() == 2, "from a new page it is meant"


def test_button_knows_what_the_project_never_runs_again(
    admin_client: Client, failed: TaskRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(never_again._REASONS, failed.name, "Payments are entered anew.")
    page = admin_client.get(url(failed)).content.decode()
    assert "Payments are entered anew." in page
    assert f"{DO}retry/" not in page
    assert f"{DO}change/" not in page


def test_reports_of_errors_have_nothing_that_was_posted(admin_client: Client, failed: TaskRun) -> None:
    answer = admin_client.post(f"{DO}change/", {"id": "run-1", "confirmed": "1", "args": "secret"})
    assert answer.wsgi_request.sensitive_post_parameters == "__ALL__"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("key", "data", "changed"),
    [
        ("retry", {}, {"run-1"}),
        ("rerun", {}, {"run-1"}),
        ("delete", {}, {"run-1"}),
        ("move", {"queue": "slow"}, {"waits"}),
        ("prioritize", {"priority": "7"}, {"waits"}),
        ("revoke", {}, {"waits"}),
    ],
)
def test_log_names_what_was_changed_and_nothing_else(
    admin_client: Client,
    failed: TaskRun,
    make_run: Make,
    make_messages: Callable[..., None],
    key: str,
    data: dict[str, str],
    changed: set[str],
) -> None:
    make_run("waits")
    make_messages("mails", task_id="waits")
    post(admin_client, key, "run-1", "waits", "gone", **data)
    logged = LogEntry.objects.values_list("object_repr", flat=True)
    assert set(logged) == {f"shop.tasks.mail[{task_id}]" for task_id in changed}


MASKED = [
    ('[["**********"], {}, {"masked": true}]', True),
    ('[["x"], {}, {"masked": true, "serializer": "json"}, "seal:' + "0" * 64 + '"]', True),
    ('[[{"masked": true}], {"masked": true}]', False),
    ('[["}, {\\"masked\\": true}]"], {}]', False),
    ('[[], {"a": [{}, {"masked": true}]}]', False),
]


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_masked_task_says_why_it_cant_be_retried(admin_client: Client, make_run: Make, text: str, masked: bool) -> None:
    run = make_run("run-1", state="FAILURE", arguments=text, finished_at=START)
    assert bool(again.refusal(run)) is masked
    said = post(admin_client, "retry", "run-1")
    assert ("asterisks" in said[0]) is masked
    assert Message.objects.exists() is not masked


def test_revoke_says_what_happened_to_each(
    admin_client: Client, make_run: Make, make_messages: Callable[..., None], failed: TaskRun
) -> None:
    make_run("waits")
    make_messages("mails", task_id="waits")
    make_run("runs", state="STARTED", started_at=START)
    make_messages("mails", task_id="runs", token="boot-1")
    said = post(admin_client, "revoke", "run-1", "waits", "runs")
    assert said[0] == "1 had ended, 1 revoked, 1 told to stop, because a worker holds them."
    assert "goes on to its end" in said[1]
    assert TaskRun.objects.get(task_id="waits").state == "REVOKED"
    assert set(LogEntry.objects.values_list("object_repr", flat=True)) == {
        "shop.tasks.mail[waits]",
        "shop.tasks.mail[runs]",
    }


def test_revoked_bulk_task_is_said_to_stop(
    admin_client: Client, make_run: Make, make_messages: Callable[..., None]
) -> None:
    make_run("bulk-1", name="taskq_admin.bulk", state="STARTED", started_at=START)
    make_messages("taskq", task_id="bulk-1", name="taskq_admin.bulk", token="boot-1")
    said = post(admin_client, "revoke", "bulk-1")
    assert "stops after those that it acts on now" in said[1]
    assert "goes on to its end" not in "".join(said)


@pytest.mark.parametrize(("key", "data"), [("revoke", {}), ("terminate", {"signal": "SIGTERM"})])
def test_no_worker_is_said_to_hold_what_is_with_another_broker(
    admin_client: Client, make_run: Make, monkeypatch: pytest.MonkeyPatch, key: str, data: dict[str, str]
) -> None:
    monkeypatch.setattr("taskq_admin.actions.tasks.database_broker_alias", lambda: None)
    make_run("waits")
    assert post(admin_client, key, "waits", **data)[0] == (
        "1 revoked: workers refuse or stop them when they hear of it."
    )


def test_terminate_names_its_signal(admin_client: Client, make_run: Make, make_messages: Callable[..., None]) -> None:
    make_run("runs", state="STARTED", started_at=START)
    make_messages("mails", task_id="runs", token="boot-1")
    post(admin_client, "terminate", "runs", signal="SIGINT", grace="5")
    assert Message.objects.get().revoked == "SIGINT+5"


def test_move_and_prioritize_reach_what_waits(
    admin_client: Client, make_run: Make, make_messages: Callable[..., None], failed: TaskRun
) -> None:
    make_run("waits")
    make_messages("mails", task_id="waits")
    assert "1 moved" in post(admin_client, "move", "waits", "run-1", queue="slow")[0]
    assert "1 with the new priority" in post(admin_client, "prioritize", "waits", priority="7")[-1]
    assert (Message.objects.get().queue, Message.objects.get().priority) == ("slow", 7)
    assert (TaskRun.objects.get(task_id="waits").queue, TaskRun.objects.get(task_id="waits").priority) == ("slow", 7)


def test_delete_leaves_what_has_not_ended(admin_client: Client, make_run: Make, failed: TaskRun) -> None:
    make_run("waits")
    said = post(admin_client, "delete", "run-1", "waits")
    assert "1 deleted, 1 had not ended" in said[0]
    assert list(TaskRun.objects.values_list("task_id", flat=True)) == ["waits"]
    assert {entry.action_flag for entry in LogEntry.objects.all()} == {DELETION}


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:20])
@pytest.mark.usefixtures("no_null_bytes")
def test_hostile_text_in_every_field_of_every_form(
    admin_client: Client, failed: TaskRun, make_run: Make, value: str
) -> None:
    make_run("waits")
    sent = value.encode(errors="replace").decode()
    fields = {
        "change": ("args", "kwargs", "queue", "countdown", "eta", "new"),
        "terminate": ("signal", "grace"),
        "move": ("queue",),
        "prioritize": ("priority",),
    }
    for key, names in fields.items():
        task = "run-1" if key == "change" else "waits"
        for data in [dict.fromkeys(names, sent), {names[0]: json.dumps([value])}]:
            answer = admin_client.post(f"{DO}{key}/", {"id": task, "confirmed": "1", **data})
            assert answer.status_code in (200, 302, 400), (key, data)
            assert "<script>alert" not in answer.content.decode()
            assert "<img src=x" not in answer.content.decode()
    assert admin_client.get("/admin/taskq/taskrun/").status_code == 200
