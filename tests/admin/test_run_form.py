"""Running a task from a form: the fields that follow from its signature, what is sent, and who may do it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.http import QueryDict
from django.test import Client, override_settings

from taskq import task
from taskq.messages import arguments
from taskq.models import Message, ScheduledMessage, TaskRun
from taskq_admin import parameters
from taskq_admin.actions import run_form
from taskq_admin.actions.run_form import RunAgainAsJSONForm, RunAgainForm, RunForm, Signed
from tests.support.hostile import HOSTILE
from tests.unit.tasks.fixtures import registry

from .conftest import START
from .test_run_page import Make, url

__all__ = ["registry"]

PAGE = "/admin/taskq/taskrun/run/"
AGAIN = "/admin/taskq/taskrun/do/change/"
A = parameters.PREFIX


@pytest.fixture
def mail(registry: Any) -> str:
    @task(name="shop.mail", sensitive=("password",))
    def mail(to: str, copies: int = 1, password: str = "", *, at: date | None = None, urgent: bool = False) -> None:
        """Do nothing."""

    return str(mail.name)


@pytest.fixture
def plain(registry: Any) -> str:
    @task(name="shop.plain")
    def plain(first, /, second=2, *rest, text: str = "x", ratio: float = 0.5, when: datetime | None = None, **more):  # type: ignore[no-untyped-def]
        """Do nothing."""

    return str(plain.name)


def form(name: str, **data: str) -> RunForm:
    post = QueryDict(mutable=True)
    post.update({key if key in RunForm.base_fields else A + key: value for key, value in data.items()})
    return RunForm(name, post)


def called(found: Signed) -> tuple[list[Any], dict[str, Any]]:
    assert found.is_valid(), found.errors
    return found.cleaned_data["args"], found.cleaned_data["kwargs"]


def test_every_sensitive_field_hides_what_is_typed() -> None:
    @task(name="tests.keys", sensitive=("keys", "extra", "pin"))
    def keys(*keys: str, pin: bool = False, **extra: str) -> None: ...

    types = {field.widget.input_type for field in parameters.fields("tests.keys").values()}  # type: ignore[attr-defined]
    assert types == {"password"}


def test_fields_follow_the_signature(mail: str, plain: str) -> None:
    kinds = {name.removeprefix(A): type(field).__name__ for name, field in parameters.fields(mail).items()}
    assert kinds == {"to": "Text", "copies": "IntegerField", "password": "Text", "at": "DateField", "urgent": "Truth"}
    kinds = {field.label: type(field).__name__ for field in parameters.fields(plain).values()}
    assert kinds == {
        "first": "JSONText",
        "second": "IntegerField",
        "*rest": "JSONText",
        "text": "Text",
        "ratio": "FloatField",
        "when": "DateTimeField",
        "**more": "JSONText",
    }
    assert "shop.mail" in parameters.choices()
    assert not [name for name in parameters.choices() if name.startswith(("celery.", "taskq."))]


def test_what_is_empty_keeps_its_default(mail: str) -> None:
    assert called(form(mail, to="ann")) == ([], {"to": "ann"})
    filled = form(mail, to=" ann\r\nbob ", copies="12345678901234567890", at="2026-03-01", urgent="false")
    assert called(filled) == (
        [],
        {"to": " ann\nbob ", "copies": 12345678901234567890, "at": date(2026, 3, 1), "urgent": False},
    )


def test_positions_are_kept(plain: str) -> None:
    assert called(form(plain, first="[1, 1.5, null]")) == ([[1, 1.5, None]], {})
    assert called(form(plain, first="null", rest="[3, 4]")) == ([None, 2, 3, 4], {})
    assert called(form(plain, first="1", second="7", rest="[]", more='{"b": 2}')) == ([1], {"second": 7, "b": 2})


def test_errors_are_shown_at_their_fields(mail: str, plain: str) -> None:
    assert set(form(mail).errors) == {A + "to"}
    assert set(form(mail, to="x", copies="many", at="soon", urgent="maybe", priority="10").errors) == {
        A + "copies",
        A + "at",
        A + "urgent",
        "priority",
    }
    wrong = form(plain, first="{", rest='{"a": 1}', more="[1]", ratio="NaN", countdown="5", eta="2026-01-01 10:00")
    assert set(wrong.errors) == {A + "first", A + "rest", A + "more", A + "ratio", "eta"}
    assert form(plain, first="NaN").errors
    assert form(plain, first="1", more='{"second": 1, "text": "y"}').is_valid()


@pytest.mark.parametrize("index", range(len(HOSTILE)))
def test_no_text_breaks_the_form(admin_client: Client, mail: str, plain: str, index: int) -> None:
    text = HOSTILE[index][:20_000].encode(errors="replace").decode()
    for name in (mail, plain):
        data = {field: text for field in RunForm(name).fields}
        response = admin_client.post(f"{PAGE}?task={name}", data)
        assert response.status_code == 200
        assert "<script>alert" not in response.content.decode()
        assert response.context["form"].errors
    assert admin_client.get(PAGE, {"task": text[:5000]}).status_code in (200, 404)


def test_a_task_is_sent_and_logged_and_shown(admin_client: Client, mail: str) -> None:
    assert "<option>shop.mail</option>" in admin_client.get(PAGE).content.decode()
    page = admin_client.get(PAGE, {"task": mail}).content.decode()
    assert f'name="{A}password"' in page
    assert 'type="password"' in page
    data = {A + "to": "ann", A + "password": "secret", "queue": "hipri", "priority": "7", "confirm-reason": "a test"}
    response = admin_client.post(f"{PAGE}?task={mail}", data)
    run = TaskRun.objects.get()
    assert response["Location"] == url(run)
    assert (run.name, run.queue, run.priority) == (mail, "hipri", 7)
    assert "secret" not in (run.arguments or "")
    assert "secret" in Message.objects.get().body
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.get_change_message()) == (str(run.pk), "Run from a form: a test [taskrun.run]")


def test_a_task_is_sent_for_later(admin_client: Client, mail: str) -> None:
    admin_client.post(f"{PAGE}?task={mail}", {A + "to": "ann", "countdown": "3600"})
    assert ScheduledMessage.objects.count() == 1


def test_what_the_sender_refuses_is_shown_at_the_field(admin_client: Client, mail: str) -> None:
    with override_settings(TASKQ_CREATE_MISSING_QUEUES=False):
        response = admin_client.post(f"{PAGE}?task={mail}", {A + "to": "ann", A + "password": "secret", "queue": "no"})
    assert set(response.context["form"].errors) == {"queue"}
    assert "secret" not in response.content.decode()
    assert not TaskRun.objects.exists()
    assert not LogEntry.objects.exists()


def test_only_who_may_run_tasks_gets_the_form(staff_client: Callable[..., Client], mail: str, make_run: Make) -> None:
    run = make_run(name=mail, state="FAILURE", finished_at=START)
    client = staff_client("view_taskrun", "retry_taskrun", "view_taskrun_payload")
    assert client.get(PAGE).status_code == 403
    assert client.post(f"{PAGE}?task={mail}", {A + "to": "ann"}).status_code == 403
    assert "Run again with changes" not in client.get(url(run)).content.decode()
    assert TaskRun.objects.count() == 1


def test_a_built_in_task_is_not_run(admin_client: Client) -> None:
    assert admin_client.get(PAGE, {"task": "celery.backend_cleanup"}).status_code == 404
    assert admin_client.post(PAGE, {}).status_code == 200


def test_one_form_sends_once(admin_client: Client, mail: str) -> None:
    ticket = admin_client.get(PAGE, {"task": mail}).context["form"]["ticket"].value()
    data = {A + "to": "ann", "ticket": ticket}
    assert admin_client.post(f"{PAGE}?task={mail}", data).status_code == 302
    assert "sent already, as" in admin_client.post(f"{PAGE}?task={mail}", data).content.decode()
    other = {"ticket": TaskRun.objects.get().task_id}
    assert "not from this site" in admin_client.post(f"{PAGE}?task={mail}", data | other).content.decode()
    assert TaskRun.objects.count() == Message.objects.count() == 1


def test_the_form_begins_with_the_arguments_of_a_run(
    admin_client: Client, staff_client: Callable[..., Client], plain: str, make_run: Make
) -> None:
    number = 2**60 + 1
    stored = json.dumps([[[number], 3], {"text": "<b>", "ratio": 1.5, "more": 1}])
    run = make_run(name=plain, arguments=stored, queue="mails", state="FAILURE", finished_at=START)
    assert f"{AGAIN}?id={run.task_id}" in admin_client.get(url(run)).content.decode()
    page = admin_client.get(AGAIN, {"id": run.task_id})
    assert isinstance(page.context["form"], RunAgainForm)
    data = {name: value for name, value in page.context["form"].initial.items() if value is not None}
    assert called(RunForm(plain, _post(data))) == (
        [[number]],
        {"second": 3, "text": "<b>", "ratio": 1.5, "more": 1},
    )
    hidden = staff_client("view_taskrun", "run_taskrun").get(AGAIN, {"id": run.task_id})
    assert isinstance(hidden.context["form"], RunAgainAsJSONForm)
    assert str(number) not in hidden.content.decode()
    # What is as it was is sent as it was, to the letter; what was changed is a call of its own.
    sent = {"id": run.task_id, "confirmed": "1", "new": "on", **data, "priority": "3"}
    assert admin_client.post(AGAIN, sent).status_code == 302
    assert admin_client.post(AGAIN, sent | {A + "second": "4", "shown": "?"}).status_code == 302
    same, changed = TaskRun.objects.exclude(pk=run.pk).order_by("pk")
    assert (same.arguments, same.priority, same.queue) == (stored, 3, "mails")
    assert json.loads(changed.arguments or "") == [[[number]], {"second": 4, "text": "<b>", "ratio": 1.5, "more": 1}]


def _post(data: dict[str, Any]) -> QueryDict:
    post = QueryDict(mutable=True)
    post.update(data)
    return post


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "{",
        "[" * 5000,
        "[[1, 2], {}, {}, 3]x",
        '[["***"], {}, {"masked": true}]',
        '[[1], {}, {"serializer": "pickle", "exact": false}, "seal:00"]',
        '[[1], {"text": 5}]',
        '[[1], {"text": ""}]',
        '[[1], {"text": null}]',
        '[[1], {"ratio": "x"}]',
        "[[], {}, 7",
    ],
)
def test_arguments_that_are_not_known_exactly_are_not_filled_in(
    admin_client: Client, plain: str, make_run: Make, stored: str | None
) -> None:
    make_run(name=plain, arguments=stored, state="FAILURE", finished_at=START)
    page = admin_client.get(AGAIN, {"id": "run-1"})
    assert isinstance(page.context["form"], RunAgainAsJSONForm)


UUID = '{"__type__": "uuid", "__value__": {"hex": "11111111222233334444555555555555"}}'


@pytest.mark.parametrize(
    "stored",
    [
        f"[[{UUID}, 1], {{}}]",
        '[[{"a": 1}, 1], {}]',
        "[[null, 1], {}]",
        '[["", 1], {}]',
        '[["x", null], {}]',
        '[["x"], {"price": {"__type__": "decimal", "__value__": "1.10"}}]',
        '[["x"], {"at": {"__type__": "datetime", "__value__": "2026-01-01T10:00:00"}}]',
        '[["x"], {"day": {"a": 1}}]',
    ],
)
def test_what_a_field_cant_show_is_json_and_stays_as_it_was(
    admin_client: Client, registry: Any, make_run: Make, stored: str
) -> None:
    @task(name="shop.ship")
    def ship(
        order: str,
        n: int = 1,
        *,
        price: float = 0.0,
        at: datetime | None = None,
        day: date | None = None,
    ) -> None:
        """Do nothing."""

    make_run(name=ship.name, arguments=stored, state="FAILURE", queue="mails", finished_at=START)
    form = admin_client.get(AGAIN, {"id": "run-1"}).context["form"]
    assert isinstance(form, RunAgainAsJSONForm)
    # Only the queue: nothing is required.
    data = {"id": "run-1", "confirmed": "1", **form.initial, "queue": "slow", "new": ""}
    assert admin_client.post(AGAIN, data).status_code == 302
    run = TaskRun.objects.get()
    assert (run.arguments, run.queue) == (stored, "slow")


def test_what_is_not_changed_keeps_its_type(admin_client: Client, registry: Any, make_run: Make) -> None:
    @task(name="shop.ship")
    def ship(order, weight: float, at: datetime, limit: int | None = None, n: int = 7):  # type: ignore[no-untyped-def]
        """Do nothing."""

    at = '{"__type__": "datetime", "__value__": "2026-01-01T10:00:00+00:00"}'
    make_run(
        name=ship.name, arguments=f"[[{UUID}, 3, {at}, null, 2], {{}}]", state="FAILURE", queue="m", finished_at=START
    )
    form = admin_client.get(AGAIN, {"id": "run-1"}).context["form"]
    assert isinstance(form, RunAgainForm)
    data = {"id": "run-1", "confirmed": "1", "new": "on", **form.initial, A + "n": "3"}
    assert admin_client.post(AGAIN, data).status_code == 302
    new = TaskRun.objects.exclude(task_id="run-1").get()
    order, when = json.loads(UUID), json.loads(at)
    assert json.loads(new.arguments or "") == [[], {"order": order, "weight": 3, "at": when, "limit": None, "n": 3}]
    assert '"weight": 3,' in (new.arguments or "")


def test_what_is_missing_is_as_it_was_and_what_is_emptied_is_its_default(
    admin_client: Client, plain: str, make_run: Make
) -> None:
    stored = '[[1, 3], {"text": "y", "ratio": 1.5}]'
    make_run(name=plain, arguments=stored, queue="mails", state="FAILURE", finished_at=START)
    asked = {"id": "run-1", "confirmed": "1", "new": "on"}
    page = admin_client.get(AGAIN, {"id": "run-1"})
    assert "An argument that is emptied gets its default." in page.content.decode()
    admin_client.post(f"{AGAIN}?format=json", asked | {"queue": "slow"})
    admin_client.post(f"{AGAIN}?format=json", asked | {A + "ratio": "2.5", "shown": "?"})
    admin_client.post(f"{AGAIN}?format=json", asked | {A + "second": "", "shown": "?"})
    same, changed, emptied = TaskRun.objects.exclude(task_id="run-1").order_by("pk")
    assert same.arguments == stored
    assert json.loads(changed.arguments or "") == [[1], {"second": 3, "text": "y", "ratio": 2.5}]
    assert json.loads(emptied.arguments or "") == [[1], {"text": "y", "ratio": 1.5}]


@pytest.mark.parametrize("name", ["args", "kwargs", "update_kwargs"])
def test_arguments_for_another_form_are_refused(admin_client: Client, plain: str, make_run: Make, name: str) -> None:
    make_run(name=plain, arguments="[[1], {}]", state="FAILURE", finished_at=START)
    sent = {"id": "run-1", "confirmed": "1", name: "[2]"}
    answer = admin_client.post(f"{AGAIN}?format=json", sent).json()
    assert answer["errors"] == {"__all__": [f"This form has no field {name}."]}
    assert not Message.objects.exists()


def test_altered_arguments_are_not_signed_anew(admin_client: Client, plain: str, make_run: Make, settings: Any) -> None:
    settings.TASKQ_SIGNING = True
    genuine = arguments.seal("[[1], {}]", "run-1", plain) or ""
    run = make_run(name=plain, arguments=genuine, state="FAILURE", queue="mails", finished_at=START)
    assert isinstance(admin_client.get(AGAIN, {"id": "run-1"}).context["form"], RunAgainForm)
    run.arguments = genuine.replace("[[1]", "[[9]")
    run.save()
    assert isinstance(admin_client.get(AGAIN, {"id": "run-1"}).context["form"], RunAgainAsJSONForm)
    admin_client.post(AGAIN, {"id": "run-1", "confirmed": "1", A + "second": "4"})
    assert not Message.objects.exists()


def test_sensitive_arguments_are_not_filled_in(admin_client: Client, mail: str, make_run: Make) -> None:
    make_run(
        name=mail, arguments='[["ann", 1, "***"], {}, {"masked": true}]', state="FAILURE", queue="m", finished_at=START
    )
    form = admin_client.get(AGAIN, {"id": "run-1"}).context["form"]
    assert isinstance(form, RunAgainForm)
    assert not any(form[name].value() for name in form.fields if name.startswith(A))
    data = {"id": "run-1", "confirmed": "1", A + "to": "bob", A + "password": "n3w"}
    assert admin_client.post(AGAIN, data).status_code == 302
    assert "n3w" in Message.objects.get().body
    assert "n3w" not in (TaskRun.objects.get(task_id="run-1").arguments or "")


def test_the_form_is_there_as_json(admin_client: Client, mail: str) -> None:
    answer = admin_client.get(PAGE, {"task": mail, "format": "json"}).json()
    assert [field["name"] for field in answer["fields"]][:2] == [A + "to", A + "copies"]
    sent = admin_client.post(f"{PAGE}?task={mail}&format=json", {A + "to": "ann"}).json()
    assert TaskRun.objects.get().task_id == sent["task_id"]


def test_nothing_to_replace_is_no_change() -> None:
    assert run_form.given({"queue": "", "priority": 0, "update_kwargs": {}}, "update_kwargs") == {"priority": 0}
