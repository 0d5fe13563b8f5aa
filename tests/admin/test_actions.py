"""The frame of all actions, by actions of the tests' own: asking, permissions, the log, the way back, messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.urls import path

from taskq.exceptions import TaskqError
from taskq.models import Queue, TaskRun, Worker
from taskq_admin.actions.base import ACTIONS, Action, Report, Who, register
from taskq_admin.admin import QueueAdmin, TaskRunAdmin, WorkerAdmin
from tests.support.hostile import HOSTILE

DO = "/admin/taskq/taskrun/do/"
LIST = "/admin/taskq/taskrun/"
#: Any permission that exists; it stands for the action's own.
NEEDED = "change_taskrun"

site = AdminSite(name="ops")
site.register(TaskRun, TaskRunAdmin)
site.register(Queue, QueueAdmin)
site.register(Worker, WorkerAdmin)
urlpatterns = [path("ops/", site.urls)]


class Amount(forms.Form):
    amount = forms.IntegerField(min_value=1, max_value=10)


class Calls(list[tuple[list[str], dict[str, Any], Who]]):
    """What the fake actions were called with."""

    error: Exception | None = None
    report: Report | None = None

    def act(self, ids: Sequence[str], data: Mapping[str, Any], who: Who) -> Report:
        self.append((list(ids), dict(data), who))
        if self.error is not None:
            raise self.error
        return self.report or Report(done=len(ids)).say(f"{len(ids)} marked.")


@pytest.fixture
def calls() -> Iterator[Calls]:
    before, calls = dict(ACTIONS), Calls()
    common: dict[str, Any] = {"of": "taskrun", "permission": f"taskq.{NEEDED}", "act": calls.act}
    register(
        Action(key="mark", label="Mark", **common),
        Action(key="ask", label="Ask", question="Really?", **common),
        Action(key="fill", label="Fill", form=Amount, **common),
        Action(key="type", label="Type", type_to_confirm=True, destroys=True, **common),
        Action(key="refused", label="Refused", refuses=lambda run: "It <b>can't</b>.", **common),
        Action(key="hidden", label="Hidden", applies=lambda run: False, **common),
    )
    yield calls
    ACTIONS.clear()
    ACTIONS.update(before)


@pytest.fixture
def run(make_run: Callable[..., TaskRun]) -> TaskRun:
    return make_run("run-1")


@pytest.fixture
def client(staff_client: Callable[..., Client]) -> Client:
    return staff_client("view_taskrun", NEEDED)


def said(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"of": "reports"}, "'reports': that is no model of taskq"),
        ({"of": "TaskRun"}, "'TaskRun': that is no model of taskq"),
        ({"key": "a/b"}, "its key stands in addresses"),
        ({"key": ""}, "its key stands in addresses"),
    ],
)
def test_action_that_no_page_could_have_is_refused_where_it_is_registered(
    admin_client: Client, calls: Calls, changes: dict[str, str], said: str
) -> None:
    fine = Action(key="fine", of="taskrun", label="Fine", permission="taskq.view_taskrun", act=calls.act)
    with pytest.raises(ImproperlyConfigured, match=said):
        register(fine, replace(fine, **changes))
    assert ("taskrun", "fine") not in ACTIONS
    assert admin_client.get("/admin/taskq/taskrun/audit/").status_code == 200


@pytest.mark.parametrize("key", ["mark", "ask", "fill", "type"])
def test_get_asks_and_never_acts(client: Client, run: TaskRun, calls: Calls, key: str) -> None:
    page = client.get(f"{DO}{key}/", {"id": "run-1", "confirmed": "1"})
    assert page.status_code == 200
    assert "shop.tasks.mail[run-1]" in page.content.decode()
    assert not calls
    assert not LogEntry.objects.exists()


def test_action_that_asks_nothing_says_what_it_does(client: Client, run: TaskRun, calls: Calls) -> None:
    """By the tooltip of its button, and on the page that comes before it acts on several."""
    common: dict[str, Any] = {"of": "taskrun", "permission": f"taskq.{NEEDED}", "act": calls.act}
    register(Action(key="mark", label="Mark", about="It <b>marks</b>.", bulk=True, **common))
    button = 'title="It &lt;b&gt;marks&lt;/b&gt;.">Mark</button>'
    assert button in client.get(f"{LIST}{run.pk}/change/").content.decode()
    assert button in client.get(LIST).content.decode()
    page = client.post(f"{DO}mark/", {"id": "run-1", "ask": "1"}).content.decode()
    assert "<p>It &lt;b&gt;marks&lt;/b&gt;.</p>" in page
    assert not calls


def test_action_that_asks_nothing_acts_with_one_post(client: Client, run: TaskRun, calls: Calls) -> None:
    response = client.post(f"{DO}mark/", {"id": "run-1"})
    assert (response.status_code, response["Location"]) == (302, LIST)
    assert calls[0][:2] == (["run-1"], {})
    assert said(response) == ["1 marked."]


def test_action_that_asks_acts_when_it_is_confirmed(client: Client, run: TaskRun, calls: Calls) -> None:
    assert client.post(f"{DO}ask/", {"id": "run-1"}).status_code == 200
    assert not calls
    client.post(f"{DO}ask/", {"id": "run-1", "confirmed": "1", "confirm-reason": "a mistake"})
    (_, _, who), entry = calls[0], LogEntry.objects.get()
    assert (who.name, who.reason) == ("staff", "a mistake")
    assert (entry.object_id, entry.object_repr) == (str(run.pk), "shop.tasks.mail[run-1]")
    assert entry.get_change_message() == "Ask: a mistake [taskrun.ask]"
    assert entry.user == who.user


def test_several_rows_are_asked_for_and_logged_each(
    client: Client, make_run: Callable[..., TaskRun], calls: Calls
) -> None:
    for number in range(12):
        make_run(f"run-{number}")
    ids = [f"run-{number}" for number in range(12)]
    page = client.post(f"{DO}mark/", {"id": ids}).content.decode()
    assert not calls
    assert "12 tasks" in page
    assert "and 2 more" in page
    client.post(f"{DO}mark/", {"id": [*ids, "run-1"], "confirmed": "1"})
    assert calls[0][0] == ids
    assert LogEntry.objects.count() == 12


def test_rows_that_are_gone_are_said(client: Client, run: TaskRun, calls: Calls) -> None:
    response = client.post(f"{DO}mark/", {"id": ["run-1", "run-2"], "confirmed": "1"})
    assert said(response) == ["1 marked.", "run-2 is gone."]
    response = client.post(f"{DO}mark/", {"id": "run-2"})
    assert said(response)[-1] == "run-2 is gone."
    assert said(client.post(f"{DO}mark/"))[-1] == "Nothing was chosen."
    assert len(calls) == 1


def test_form_is_checked_before_it_acts(client: Client, run: TaskRun, calls: Calls) -> None:
    wrong = {"id": "run-1", "confirmed": "1", "amount": "11", "confirm-reason": "x" * 501}
    page = client.post(f"{DO}fill/", wrong)
    assert page.status_code == 200
    assert "less than or equal to 10" in page.content.decode()
    assert "at most 500" in page.content.decode()
    assert not calls
    client.post(f"{DO}fill/", wrong | {"amount": "3", "confirm-reason": ""})
    assert calls[0][1] == {"amount": 3}


def test_name_or_number_has_to_be_typed(client: Client, make_run: Callable[..., TaskRun], calls: Calls) -> None:
    make_run("run-1")
    make_run("run-2")
    one: dict[str, Any] = {"id": "run-1", "confirmed": "1"}
    for typed in ("", "run", "run-2"):
        assert client.post(f"{DO}type/", one | {"confirm-typed": typed}).status_code == 200
    assert not calls
    assert client.post(f"{DO}type/", one | {"confirm-typed": "run-1"}).status_code == 302
    assert client.post(f"{DO}type/", one | {"id": ["run-1", "run-2"], "confirm-typed": "2"}).status_code == 302
    assert len(calls) == 2


@pytest.mark.parametrize("has", ["view_taskrun", NEEDED, "view_worker"])
def test_without_the_permission_or_that_of_the_model_it_is_refused(
    staff_client: Callable[..., Client], run: TaskRun, calls: Calls, has: str
) -> None:
    client = staff_client(has)
    assert client.get(f"{DO}ask/", {"id": "run-1"}).status_code == 403
    assert client.post(f"{DO}mark/", {"id": "run-1", "confirmed": "1"}).status_code == 403
    assert not calls
    assert not LogEntry.objects.exists()


def test_visitor_is_sent_to_the_login(run: TaskRun, calls: Calls) -> None:
    assert "/login/" in Client().post(f"{DO}mark/", {"id": "run-1"})["Location"]
    assert not calls


def test_post_needs_the_token(client: Client, run: TaskRun, calls: Calls) -> None:
    client.handler.enforce_csrf_checks = True
    assert client.post(f"{DO}mark/", {"id": "run-1"}).status_code == 403
    assert not calls


@pytest.mark.parametrize("address", ["do/nothing/", "do/pause/"])
def test_unknown_action_is_not_found(client: Client, run: TaskRun, address: str) -> None:
    assert client.get(LIST + address, {"id": "run-1"}).status_code == 404


def test_other_methods_are_refused(client: Client, run: TaskRun, calls: Calls) -> None:
    assert client.put(f"{DO}mark/?id=run-1").status_code == 405
    assert not calls


def test_it_goes_back_only_to_this_site(client: Client, run: TaskRun, calls: Calls) -> None:
    for wanted, got in [
        (f"{LIST}?tab=failed", f"{LIST}?tab=failed"),
        ("https://evil.example/", LIST),
        ("//evil.example/", LIST),
        ("javascript:alert(1)", LIST),
        ("/\\evil.example", LIST),
    ]:
        assert client.post(f"{DO}mark/", {"id": "run-1", "next": wanted})["Location"] == got


def test_unexpected_error_becomes_a_message_and_a_line_of_the_log(
    client: Client, run: TaskRun, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    calls.error = RuntimeError("disk <full> \ud800")
    response = client.post(f"{DO}mark/", {"id": "run-1"})
    assert said(response) == ["Mark failed, perhaps half-way, with RuntimeError: disk <full> ?"]
    assert "action mark of taskrun failed" in caplog.text
    assert LogEntry.objects.get().get_change_message() == "Mark (RuntimeError) [taskrun.mark]"
    assert "disk &lt;full&gt;" in client.get(LIST).content.decode()


@pytest.mark.parametrize("error", [TaskqError("It still runs."), ValueError("It still runs.")])
def test_refusal_is_shown_in_its_own_words(client: Client, run: TaskRun, calls: Calls, error: Exception) -> None:
    calls.error = error
    assert said(client.post(f"{DO}mark/", {"id": "run-1"})) == ["It still runs."]
    assert not LogEntry.objects.exists()


def test_only_what_was_touched_is_logged(client: Client, make_run: Callable[..., TaskRun], calls: Calls) -> None:
    make_run("run-1")
    make_run("run-2")
    ids = {"id": ["run-1", "run-2"], "confirmed": "1"}
    calls.report = Report(done=1, touched=["run-2"])
    client.post(f"{DO}mark/", ids)
    assert LogEntry.objects.get().object_repr == "shop.tasks.mail[run-2]"
    calls.report = Report().say("It had ended.", messages.WARNING)
    client.post(f"{DO}mark/", ids)
    assert LogEntry.objects.count() == 1


def test_many_messages_are_summed_up(client: Client, run: TaskRun, calls: Calls) -> None:
    calls.report = Report(done=1)
    for number in range(25):
        calls.report.say(f"Sentence {number}.", messages.ERROR if number == 24 else messages.SUCCESS)
    response = client.post(f"{DO}mark/", {"id": "run-1"})
    assert said(response)[19:] == ["Sentence 19.", "5 more messages are not shown."]
    assert [message.level for message in get_messages(response.wsgi_request)][-1] == messages.ERROR


def test_actions_are_there_as_json(client: Client, run: TaskRun, calls: Calls) -> None:
    asked = client.get(f"{DO}fill/", {"id": ["run-1", "run-2"], "format": "json"}).json()
    assert (asked["count"], asked["gone"], asked["fields"]) == (1, ["run-2"], ["amount"])
    done = client.post(f"{DO}mark/?format=json", {"id": "run-1"}).json()
    assert done == {"done": 1, "messages": [{"level": "success", "text": "1 marked."}]}


def test_transactions_of_requests_leave_actions_out(client: Client, run: TaskRun) -> None:
    from django.urls import resolve

    assert "default" in resolve(f"{DO}mark/").func._non_atomic_requests  # type: ignore[attr-defined]


@pytest.mark.urls("tests.admin.test_actions")
def test_another_site_serves_its_own_addresses(client: Client, run: TaskRun, calls: Calls) -> None:
    page = client.get("/ops/taskq/taskrun/do/ask/", {"id": "run-1"}).content.decode()
    assert 'href="/ops/taskq/taskrun/"' in page
    assert "/admin/" not in page.replace("/static/admin/", "").replace("static/admin/", "")
    response = client.post("/ops/taskq/taskrun/do/mark/", {"id": "run-1"})
    assert response["Location"] == "/ops/taskq/taskrun/"


@pytest.mark.urls("tests.admin.test_actions")
def test_links_in_messages_stay_on_the_site(admin_client: Client, make_run: Callable[..., TaskRun]) -> None:
    make_run("run-1", state="FAILURE", arguments="[[], {}]", finished_at="2026-01-01T00:00:00Z")
    response = admin_client.post("/ops/taskq/taskrun/do/rerun/", {"id": "run-1", "confirmed": "1"})
    assert 'href="/ops/taskq/taskrun/id/' in said(response)[0]


# -- buttons


def buttons(rf: RequestFactory, user: Any, row: Any) -> str:
    request = rf.get("/admin/taskq/taskrun/?tab=failed")
    request.user = user
    template = Template('{% load taskq_actions %}{% taskq_actions "taskrun" row %}')
    return template.render(Context({"request": request, "row": row, "csrf_token": "TOKEN"}))


def test_buttons_are_forms_or_links_to_the_question(
    rf: RequestFactory, admin_user: Any, run: TaskRun, calls: Calls
) -> None:
    shown = buttons(rf, admin_user, run)
    assert f'<form method="post" action="{DO}mark/">' in shown
    assert 'name="csrfmiddlewaretoken" value="TOKEN"' in shown
    assert f'href="{DO}ask/?id=run-1&amp;next=%2Fadmin%2Ftaskq%2Ftaskrun%2F%3Ftab%3Dfailed"' in shown
    assert "taskq-destroys" in shown
    assert "<b>Refused</b>: It &lt;b&gt;can&#x27;t&lt;/b&gt;." in shown
    assert "Hidden" not in shown


def test_buttons_are_shown_to_who_may_press_them(
    rf: RequestFactory, staff_client: Callable[..., Client], run: TaskRun, calls: Calls
) -> None:
    from django.contrib.auth.models import User

    staff_client("view_taskrun")
    assert not buttons(rf, User.objects.get(), run).strip()


# -- hostile texts


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:20])
@pytest.mark.usefixtures("no_null_bytes")
def test_hostile_text_in_every_field_breaks_nothing(client: Client, run: TaskRun, calls: Calls, value: str) -> None:
    sent = value.encode(errors="surrogatepass").decode("latin-1")
    for key in ("fill", "type"):
        for field in ("id", "next", "confirm-reason", "amount", "confirm-typed", "ask", "confirmed"):
            data = {"id": "run-1", "confirmed": "1", "amount": "3"} | {field: value.encode(errors="replace").decode()}
            answer = client.post(f"{DO}{key}/", data)
            assert answer.status_code in (200, 302, 400)
            assert "<script>alert" not in answer.content.decode()
            assert "<img src=x" not in answer.content.decode()
    assert client.get(LIST).status_code == 200
    assert client.get(f"{DO}fill/", {"id": sent[:500]}).status_code in (200, 302)
