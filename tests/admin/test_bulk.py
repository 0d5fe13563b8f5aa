"""Acting on all tasks that match a filter: the question, the task that does it, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.core.exceptions import PermissionDenied
from django.test import Client

from taskq import control
from taskq.models import Message, TaskRun, Worker
from taskq.records import Settlement
from taskq.store import claim, settle, workers
from taskq.testing import runner
from taskq_admin.actions import bulk
from taskq_admin.actions.base import Who, get
from tests.support.hostile import HOSTILE
from tests.unit.tasks.fixtures import registry

from .conftest import START

__all__ = ["registry"]

DO = "/admin/taskq/taskrun/do/"
ALL_FAILED = {"scope": "all", "filter": "tab=failed&p=3"}
COUNT = 25
Make = Callable[..., TaskRun]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "FEW", 5)
    monkeypatch.setattr(bulk, "CHUNK", 10)


@pytest.fixture
def failed(db: None) -> None:
    fail(COUNT)
    TaskRun.objects.create(task_id="fine", name="shop.tasks.mail", state="SUCCESS", created_at=START, finished_at=START)


def fail(count: int, start: int = 0) -> None:
    TaskRun.objects.bulk_create(
        TaskRun(
            task_id=f"run-{number}",
            name="shop.tasks.mail",
            queue="mails",
            state="FAILURE",
            arguments="[[1], {}]",
            created_at=START,
            finished_at=START,
        )
        for number in range(start, start + count)
    )


def job(user: User, key: str = "retry", **fields: Any) -> bulk.Job:
    action = get("taskrun", key)
    assert action is not None
    wanted = bulk.wanted_by({"tab": "failed"})
    run = bulk.begin(action, wanted, fields.pop("data", {}), Who(user, "why"), "admin")
    message = Message.objects.get(task_id=run.task_id)
    from taskq.messages import values

    return bulk.Job.of(values.decode(message.body)[1])


def run(job: bulk.Job, stopped: Callable[[], bool] = lambda: False) -> tuple[dict[str, Any], list[Any]]:
    told: list[Any] = []
    return bulk.run(job, lambda meta: told.append(dict(meta)), stopped), told


def waiting() -> int:
    return Message.objects.filter(name="shop.tasks.mail").count()


def test_question_counts_and_names_some(admin_client: Client, failed: None) -> None:
    page = admin_client.get(f"{DO}retry/", ALL_FAILED).content.decode()
    assert "Retry: 25 tasks" in page
    assert page.count("shop.tasks.mail[run-") == 10
    assert "and 15 more" in page
    assert "No living worker takes from the queue taskq" in page
    assert not Message.objects.exists()


def test_when_it_began_is_by_the_clock_of_the_database(
    admin_user: User, failed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.timezones.now", lambda: START - timedelta(days=1))
    began = job(admin_user).began
    assert abs(began - datetime.now(UTC)) < timedelta(minutes=10)


def test_it_is_begun_by_a_post_and_done_by_a_worker(admin_client: Client, failed: None) -> None:
    sent = {**ALL_FAILED, "confirmed": "1", "confirm-reason": "the network is back"}
    response = admin_client.post(f"{DO}retry/", sent)
    (said,) = [str(message) for message in get_messages(response.wsgi_request)]
    task = TaskRun.objects.get(name="taskq_admin.bulk")
    assert f'href="/admin/taskq/taskrun/id/{task.task_id}/"' in said
    entry = LogEntry.objects.get()
    assert entry.get_change_message() == "Retry all that match tab=failed&p=3: the network is back [taskrun.retry]"
    assert entry.object_repr == str(task)
    assert waiting() == 0
    reports: list[Any] = []
    work(reports)
    task.refresh_from_db()
    assert task.state == "SUCCESS", task.result
    assert "25 retried" in (task.result or "")
    assert "the network is back" in (task.result or "")
    assert waiting() == COUNT
    assert reports


def work(reports: list[Any]) -> None:
    """Run what waits in the default queue, as a worker does."""
    token = workers.register("here")
    for message in claim.claim("taskq", 10, token):
        end: Settlement | None = runner.run(message, lambda *report: reports.append(report)).settlement
        assert end is not None
        settle.settle(token, [end])


def test_few_are_acted_upon_at_once(admin_client: Client, db: None) -> None:
    fail(5)
    response = admin_client.post(f"{DO}retry/", {**ALL_FAILED, "confirmed": "1"})
    assert [str(message) for message in get_messages(response.wsgi_request)] == ["5 retried."]
    assert waiting() == 5
    assert not TaskRun.objects.filter(name="taskq_admin.bulk").exists()
    assert LogEntry.objects.count() == 5


def test_each_is_retried_once_though_two_people_press(admin_user: User, failed: None) -> None:
    one, other = job(admin_user), job(admin_user)
    assert run(one)[0]["counts"] == {"retried": COUNT}
    # Some have run meanwhile, and failed again.
    again = TaskRun.objects.filter(task_id__in=["run-3", "run-24"])
    Message.objects.filter(task_id__in=["run-3", "run-24"]).delete()
    again.update(state="FAILURE", finished_at=datetime.now(UTC) + timedelta(seconds=1))
    assert run(other)[0]["counts"] == {}
    assert waiting() == COUNT - 2


def test_it_stays_behind_another_one_at_the_same_place(
    admin_user: User, failed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, rests = job(admin_user), list[float]()
    monkeypatch.setattr("time.sleep", rests.append)
    act = control.retry_many
    # The first ten are retried by somebody else between the look and the act.
    first = [[f"run-{number}" for number in range(15, 25)]]

    def overtaken(ids: list[str], **options: Any) -> Any:
        act(first.pop() if first else [])
        return act(ids, **options)

    monkeypatch.setattr(control, "retry_many", overtaken)
    result, _ = run(begun)
    assert result["counts"] == {"retried": 15, "unfinished": 10}
    assert rests == [bulk.BEHIND]
    assert waiting() == COUNT


def test_what_is_sent_later_is_left_alone(admin_user: User, failed: None) -> None:
    begun = job(admin_user)
    fail(3, start=100)
    assert run(begun)[0]["done"] == COUNT
    assert TaskRun.objects.filter(state="FAILURE").count() == 3


def test_it_tells_how_far_it_is(admin_user: User, failed: None) -> None:
    result, told = run(job(admin_user))
    assert [(each["done"], each["total"]) for each in told] == [(10, 25), (20, 25), (25, 25)]
    assert result["report"] == "25 retried"
    assert (result["by"], result["reason"]) == ("admin", "why")


def test_it_stops_when_it_is_revoked(admin_user: User, failed: None) -> None:
    begun = job(admin_user)
    answers = iter([False, True])
    result, _ = run(begun, lambda: next(answers))
    assert (result["done"], result["stopped"]) == (10, True)
    assert result["report"] == "10 retried; stopped before its end"
    task = TaskRun.objects.get(name="taskq_admin.bulk")
    assert not bulk.is_revoked(task.task_id)
    Message.objects.filter(task_id=task.task_id).update(revoked="revoke")
    assert bulk.is_revoked(task.task_id)


@pytest.mark.parametrize("lost", ["retry_taskrun", "view_taskrun", "is_staff", "is_active"])
def test_permission_is_asked_for_again_when_it_runs(failed: None, lost: str) -> None:
    user = User.objects.create(username="staff", password="!", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["retry_taskrun", "view_taskrun"]))
    begun = job(user)
    User.objects.update(**({lost: False} if lost.startswith("is_") else {}))
    user.user_permissions.remove(*Permission.objects.filter(codename=lost))
    with pytest.raises(PermissionDenied, match="staff may not"):
        run(begun)
    assert waiting() == 0


def test_what_others_were_is_in_the_report(admin_user: User, failed: None, make_run: Make) -> None:
    make_run("masked", state="FAILURE", arguments='[["*"], {}, {"masked": true}]', finished_at=START)
    result, _ = run(job(admin_user))
    assert result["counts"] == {"retried": COUNT, "masked": 1}
    assert result["report"] == "25 retried, 1 not retried, because sensitive arguments are masked"


def test_what_the_user_may_not_look_for_is_not_found(staff_client: Callable[..., Client], failed: None) -> None:
    client = staff_client("view_taskrun", "retry_taskrun")
    by_argument = {"scope": "all", "filter": "tab=failed&exception=ValueError", "confirmed": "1"}
    response = client.post(f"{DO}retry/", by_argument)
    said = [str(message) for message in get_messages(response.wsgi_request)]
    assert said[0].startswith("Nothing was done")
    assert "no permission to look for" in said[1]
    assert waiting() == 0


UNREADABLE = [
    "tab=faild",
    "tab=failed&state=FAILURE",
    "tab=failed&since=yesterdy",
    "tab=failed&tab=",
    "tab=failed&q=error:",
    "",
    "name=",
    "?p=2",
]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("query", UNREADABLE)
def test_filter_that_cant_be_read_is_not_everything(
    admin_client: Client, failed: None, query: str, method: str
) -> None:
    response = getattr(admin_client, method)(f"{DO}delete/", {"scope": "all", "filter": query, "confirmed": "1"})
    assert response.status_code == 302
    said = [str(message) for message in get_messages(response.wsgi_request)]
    assert said[0].startswith("Nothing was done")
    assert len(said) == 2
    assert TaskRun.objects.count() == COUNT + 1


def test_everything_is_meant_by_a_word_of_its_own(admin_client: Client, failed: None) -> None:
    assert 'name="everything" value="1"' in admin_client.get("/admin/taskq/taskrun/").content.decode()
    assert "everything" not in admin_client.get("/admin/taskq/taskrun/?tab=failed").content.decode()
    asked = {"scope": "all", "filter": "", "everything": "1"}
    page = admin_client.post(f"{DO}delete/", asked).content.decode()
    assert "26 tasks" in page
    assert 'name="everything" value="1"' in page
    assert admin_client.post(f"{DO}delete/", {**asked, "confirmed": "1"}).status_code == 302
    assert TaskRun.objects.filter(name="taskq_admin.bulk").exists()


def test_run_again_as_new_doubles_nothing(admin_user: User, failed: None) -> None:
    one, other = job(admin_user, "rerun"), job(admin_user, "rerun")
    assert run(one)[0]["counts"] == {"rerun": COUNT}
    # Its worker was lost, and it runs again; and somebody else had pressed the button at the same time.
    assert run(one)[0]["counts"] == {"repeated": COUNT}
    assert "25 had been run again as new already" in run(other)[0]["report"]
    assert waiting() == COUNT
    # Who presses it now wants them once more.
    assert run(job(admin_user, "rerun"))[0]["counts"] == {"rerun": COUNT}
    assert waiting() == 2 * COUNT


@pytest.mark.parametrize("key", ["retry", "rerun", "change"])
@pytest.mark.parametrize("more", [[], ["run-0"]])
def test_nobody_runs_it_again_in_the_name_of_who_began_it(
    admin_user: User, staff_client: Callable[..., Client], failed: None, key: str, more: list[str]
) -> None:
    job(admin_user, "delete")
    task = TaskRun.objects.get(name="taskq_admin.bulk")
    control.revoke(task.task_id)
    client = staff_client("view_taskrun", "retry_taskrun", "run_taskrun")
    response = client.post(f"{DO}{key}/", {"id": [task.task_id, *more], "confirmed": "1"})
    said = " ".join(str(message) for message in get_messages(response.wsgi_request))
    assert "in the name of who began it" in said
    assert not Message.objects.filter(name="taskq_admin.bulk").exists()
    assert TaskRun.objects.get(name="taskq_admin.bulk").state == "REVOKED"
    assert waiting() == (1 if more else 0)


def test_it_is_left_out_of_a_bulk_retry(admin_user: User, failed: None) -> None:
    job(admin_user, "delete")
    Message.objects.all().delete()
    TaskRun.objects.filter(name="taskq_admin.bulk").update(state="FAILURE", finished_at=START)
    assert run(job(admin_user))[0]["counts"] == {"retried": COUNT, "refused": 1}


def test_it_stops_with_another_broker_too(
    admin_user: User, failed: None, make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.store.revocations.database_broker_alias", lambda: None)
    make_run("bulk-1", name="taskq_admin.bulk", state="PROGRESS", started_at=START)
    assert not bulk.is_revoked("bulk-1")
    control.revoke("bulk-1")
    assert bulk.is_revoked("bulk-1")


def test_unknown_site_has_a_sentence_of_its_own(admin_user: User, failed: None) -> None:
    with pytest.raises(PermissionDenied, match="no admin site nowhere that shows tasks"):
        run(replace(job(admin_user), site="nowhere"))


def test_the_site_says_who_may_enter(admin_user: User, failed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = job(admin_user)
    # A user model may have no column of this name.
    monkeypatch.setattr("django.contrib.admin.site.has_permission", lambda request: False)
    with pytest.raises(PermissionDenied, match="admin may not"):
        run(begun)
    with pytest.raises(PermissionDenied, match="admin may not"):
        run(replace(begun, user="no number"))


def test_list_has_boxes_and_a_form_for_them(admin_client: Client, failed: None) -> None:
    page = admin_client.get("/admin/taskq/taskrun/", {"tab": "failed"}).content.decode()
    assert '<input type="checkbox" name="id" value="run-3" form="taskq-act"' in page
    assert '<form method="post" id="taskq-act"' in page
    assert f'formaction="{DO}retry/"' in page
    assert "all 25 that match" in page
    assert f"{DO}delete/" in page
    assert f"{DO}revoke/" not in page
    assert f"{DO}change/" in page
    assert 'name="filter" value="tab=failed"' in page
    assert page.index("</form>", page.index('id="taskq-act"')) < page.index('id="changelist-form"')


def test_bulk_delete_ends(admin_user: User, failed: None) -> None:
    assert run(job(admin_user, "delete"))[0]["counts"] == {"deleted": COUNT}
    assert not TaskRun.objects.filter(state="FAILURE").exists()


def test_arguments_of_the_task_survive_the_message(admin_user: User, failed: None) -> None:
    begun = job(admin_user)
    assert bulk.Job.of(asdict(begun)) == begun
    assert begun.wanted.tab == "failed"
    assert isinstance(begun.began, datetime)


def test_nobody_acts_in_the_name_of_others_by_sending_the_task(admin_user: User, failed: None) -> None:
    begun = job(admin_user)
    task_id = TaskRun.objects.get(name="taskq_admin.bulk").task_id
    begun.verify(task_id)
    for forged, its_id in [
        (begun, "another"),
        (replace(begun, key="delete"), task_id),
        (replace(begun, user="99"), task_id),
        (replace(begun, wanted=replace(begun.wanted, tab="")), task_id),
        (replace(begun, seal=""), task_id),
    ]:
        with pytest.raises(PermissionDenied, match="altered"):
            forged.verify(its_id)
    from taskq_admin.tasks import bulk as task

    sent = task.apply_async(kwargs=asdict(begun))
    work([])
    assert TaskRun.objects.get(task_id=sent.id).state == "FAILURE"


def test_living_worker_silences_the_warning(
    admin_client: Client, failed: None, make_worker: Callable[..., Worker]
) -> None:
    make_worker(info='{"queues": ["taskq"]}')
    assert b"No living worker" not in admin_client.get(f"{DO}retry/", ALL_FAILED).content


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:20])
@pytest.mark.usefixtures("no_null_bytes")
def test_hostile_filters_break_nothing(admin_client: Client, failed: None, value: str) -> None:
    from urllib.parse import quote

    sent = value[:3000].encode(errors="replace").decode()
    for query in (
        sent,
        f"tab=failed&name={quote(sent)}",
        f"q={quote(sent)}",
        f"tab={quote(sent)}&before={quote(sent)}",
    ):
        answer = admin_client.get(f"{DO}revoke/", {"scope": "all", "filter": query})
        assert answer.status_code in (200, 302, 400)
        assert "<script>alert" not in answer.content.decode()
    assert TaskRun.objects.filter(state="FAILURE").count() == COUNT
