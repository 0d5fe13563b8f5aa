"""What a bulk task runs again: all that match with changes, and what has failed in a workflow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.test import Client

from taskq import chord, task
from taskq.models import Message, Node, Rerun, ScheduledMessage, TaskRun
from taskq.store import claim, settle, workers
from taskq.testing import runner
from tests.support.jobs.flows import fragile, mended, same
from tests.unit.tasks.fixtures import registry

from .test_bulk import ALL_FAILED, COUNT, DO, failed, small, work

__all__ = ["failed", "registry", "small"]


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
    do = "/admin/taskq/node/do/retry/"
    answer = admin_client.post(do, {"id": root.root_id, "confirmed": "1"})
    assert "A task does it" in str(next(iter(get_messages(answer.wsgi_request))))
    assert not Message.objects.filter(queue="flow").exists()
    work([])
    task = TaskRun.objects.get(name="taskq_admin.bulk")
    # The body, which failed with them, is no failure of its own.
    assert json.loads(task.result or "")["counts"] == {"retried": 25, "passed": 1}
    assert Message.objects.filter(queue="flow").count() == 25
    assert not TaskRun.objects.filter(state="FAILURE").exists()
    assert LogEntry.objects.get().get_change_message() == "Retry what failed"
