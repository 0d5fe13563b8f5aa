"""What a bulk task runs again: all that match with changes, and what has failed in a workflow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client

from taskq import chord, task
from taskq.models import Message, Node, Rerun, ScheduledMessage, TaskRun
from taskq.store import claim, settle, workers
from taskq.testing import runner
from taskq_admin.actions import bulk
from taskq_admin.actions.base import ACTIONS, Who, define, register
from taskq_admin.actions.workflows import revoke
from taskq_admin.queries.wanted import Wanted
from tests.support.jobs.flows import fragile, mended, same
from tests.unit.tasks.fixtures import registry

from .test_bulk import ALL_FAILED, COUNT, DO, failed, small, work

__all__ = ["failed", "registry", "small"]

WORKFLOWS = "/admin/taskq/node/do/"


@pytest.mark.parametrize("new", [True, False])
def test_all_that_match_run_again_with_changes(admin_client: Client, failed: None, registry: Any, new: bool) -> None:
    """The changes travel with the bulk task, sealed with it, and a task that does not take them is left as it is."""

    @task(name="shop.tasks.mail")
    def mail(number: int, to: str = "") -> None:
        """Do nothing."""

    TaskRun.objects.filter(task_id="run-3").update(arguments="[[1, 2, 3], {}]")
    page = admin_client.get(f"{DO}change/", ALL_FAILED)
    assert "update_kwargs" in page.content.decode()
    data = {"update_kwargs": '{"to": "ann", "number": 9007199254740993}', "queue": "slow", "priority": "7"}
    data |= {"eta": "2036-01-31 08:00", **({"new": "on"} if new else {})}
    response = admin_client.post(f"{DO}change/", {**ALL_FAILED, **data, "confirmed": "1"})
    assert "A task does it" in str(next(iter(get_messages(response.wsgi_request))))
    work([])
    done = "rerun" if new else "retried"
    ended = json.loads(TaskRun.objects.get(name="taskq_admin.bulk").result or "")
    assert ended["counts"] == {done: COUNT - 1, "refused": 1}
    sent = ScheduledMessage.objects.filter(name="shop.tasks.mail")
    assert {(row.queue, row.priority, row.due_at.year) for row in sent} == {("slow", 7, 2036)}
    assert {json.dumps(json.loads(row.body)[:2]) for row in sent} == {'[[9007199254740993], {"to": "ann"}]'}
    assert Rerun.objects.count() == (COUNT - 1 if new else 0)


def test_sensitive_arguments_are_no_arguments_of_the_bulk_task(
    admin_client: Client, failed: None, registry: Any
) -> None:
    @task(name="shop.tasks.pay", sensitive=("card",))
    def pay(card: str = "") -> None:
        """Do nothing."""

    data = {"update_kwargs": '{"card": "4111"}', "confirmed": "1"}
    response = admin_client.post(f"{DO}change/", {**ALL_FAILED, **data})
    assert "card is a sensitive argument" in str(next(iter(get_messages(response.wsgi_request))))
    assert not Message.objects.exists()
    assert not LogEntry.objects.exists()


def test_workflow_with_many_failed_members_is_retried_by_a_task(
    admin_client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq_admin.actions.workflows.MANY", 20)
    mended.clear()
    members = [fragile.s(number, "key").set(queue="flow") for number in range(25)]
    chord(members, same.s().set(queue="flow")).apply_async()
    flow = workers.register("there")
    for message in claim.claim("flow", 100, flow):
        end = runner.run(message, lambda *report: None).settlement
        assert end is not None
        settle.settle(flow, [end])
    assert TaskRun.objects.filter(state="FAILURE").count() == 26
    root = Node.objects.order_by("id").first()
    assert root is not None
    answer = admin_client.post(f"{WORKFLOWS}retry/", {"id": root.root_id, "confirmed": "1"})
    assert "A task does it" in str(next(iter(get_messages(answer.wsgi_request))))
    assert not Message.objects.filter(queue="flow").exists()
    work([])
    task = TaskRun.objects.get(name="taskq_admin.bulk")
    # The body, which failed with them, is no failure of its own.
    assert json.loads(task.result or "")["counts"] == {"retried": 25, "passed": 1}
    assert Message.objects.filter(queue="flow").count() == 25
    assert not TaskRun.objects.filter(state="FAILURE").exists()
    assert LogEntry.objects.get().get_change_message() == "Retry what failed [node.retry]"


@pytest.fixture
def large(db: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """A chord of 25, which counts as a large workflow. Return its root."""
    monkeypatch.setattr("taskq_admin.actions.workflows.MANY", 20)
    monkeypatch.setattr("taskq_admin.actions.workflows.AT_ONCE", 10)
    chord([same.s(number).set(queue="flow") for number in range(25)], same.s().set(queue="flow")).apply_async()
    return Node.objects.values_list("root_id", flat=True)[0]


def revoke_whole(client: Client, root_id: str) -> str:
    answer = client.post(f"{WORKFLOWS}revoke/", {"id": root_id, "confirmed": "1", "terminate": "on"})
    return str(next(iter(get_messages(answer.wsgi_request))))


def test_large_workflow_is_revoked_by_a_task(admin_client: Client, large: str) -> None:
    asked = admin_client.get(f"{WORKFLOWS}revoke/", {"id": large}).content.decode()
    assert "It has 26 tasks. Another task revokes them" in asked
    assert asked.count("<li>tests.support.jobs.flows.same[") == 10
    held = Message.objects.order_by("id").first()
    Message.objects.filter(pk=held.pk if held else 0).update(token="w")
    assert "A task does it" in revoke_whole(admin_client, large)
    assert Message.objects.filter(queue="flow").count() == 25, "nothing is done in the request"
    told: list[Any] = []
    work(told)
    task = TaskRun.objects.get(name="taskq_admin.bulk")
    assert json.loads(task.result or "")["counts"] == {"revoked": 25, "terminated": 1}
    assert len(told) == 3
    assert Message.objects.get(queue="flow").revoked == "SIGTERM"
    assert not TaskRun.objects.filter(state="FAILURE").exists()
    revoke_whole(admin_client, large)
    work([])
    counts = json.loads(TaskRun.objects.filter(name="taskq_admin.bulk").latest("pk").result or "")["counts"]
    assert counts == {"ended": 25, "terminated": 1}


def test_revoking_a_large_workflow_can_be_stopped(
    admin_client: Client, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke_whole(admin_client, large)
    answers = iter([False, True])
    monkeypatch.setattr(bulk, "is_revoked", lambda task_id: next(answers))
    work([])
    ended = json.loads(TaskRun.objects.get(name="taskq_admin.bulk").result or "")
    assert (ended["stopped"], ended["done"], ended["total"]) == (True, 10, 26)
    assert TaskRun.objects.filter(state="REVOKED").count() == 10


def test_who_may_not_end_running_tasks_any_more_ends_none(admin_client: Client, admin_user: User, large: str) -> None:
    revoke_whole(admin_client, large)
    User.objects.update(is_superuser=False)
    allowed = ("view_node", "revoke_taskrun")
    admin_user.user_permissions.set(Permission.objects.filter(codename__in=allowed))
    work([])
    assert TaskRun.objects.get(name="taskq_admin.bulk").state == "FAILURE"
    assert Message.objects.filter(queue="flow").count() == 26 - 1


@pytest.mark.parametrize("has_steps", [False, True])
def test_an_action_of_ones_own_that_calls_taskqs_begins_no_task_after_the_other(
    admin_client: Client, large: str, monkeypatch: pytest.MonkeyPatch, has_steps: bool
) -> None:
    """It replaces the action, and begins a task for a large workflow; that task would begin another one, and so on."""

    def steps(wanted: Wanted, data: Any, who: Who) -> Any:
        return 1, iter([lambda: (1, revoke([wanted.root], data, who).counts)])

    monkeypatch.setitem(ACTIONS, ("node", "revoke"), ACTIONS["node", "revoke"])
    more = {"in_steps": steps} if has_steps else {}
    register(define("node", "revoke", "Revoke", "revoke_taskrun", revoke, question="?", **more))
    said = revoke_whole(admin_client, large)
    assert ("A task does it" if has_steps else "node.revoke has neither on_tasks nor in_steps") in said
    work([])
    begun = TaskRun.objects.filter(name="taskq_admin.bulk")
    assert [each.state for each in begun] == (["FAILURE"] if has_steps else [])
    assert Message.objects.filter(queue="flow").count() == 25


def test_another_action_whose_bulk_task_revokes_a_large_workflow_begins_a_task_for_that(
    admin_user: User, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steps(wanted: Wanted, data: Any, who: Who) -> Any:
        return 1, iter([lambda: (1, revoke([large], data, who).counts)])

    monkeypatch.setitem(ACTIONS, ("taskrun", "revoke"), ACTIONS["taskrun", "revoke"])
    own = define("taskrun", "revoke", "Revoke", "revoke_taskrun", revoke, in_steps=steps)
    register(own)
    bulk.begin(own, Wanted(root=large), {}, Who(admin_user), "admin")
    work([])
    work([])
    begun = TaskRun.objects.filter(name="taskq_admin.bulk").order_by("id")
    assert [each.state for each in begun] == ["SUCCESS", "SUCCESS"]
    assert not Message.objects.filter(queue="flow").exists()
