"""Retention reaches every row that is over age, whatever lies before it, and no other."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings

from taskq.engines import for_alias
from taskq.models import Attempt, Failure, Group, KeptMessage, Lease, Node, Rerun, TaskEvent, TaskLog, TaskRun
from taskq.store import retention
from taskq.store.enqueue import enqueue
from taskq.store.saved_groups import save_group
from taskq.worker import log_lines
from taskq.worker.duties import maintenance
from taskq.worker.duties.lease import WorkerLease
from taskq.workflows.parts import Pending
from tests.support.envelopes import envelope

DAY = timedelta(days=1)
_numbers = itertools.count()


def told(task_id: str, age: timedelta, alias: str) -> None:
    """Write an event and a line of the log of a task."""
    at = ago(age, alias)
    TaskEvent.objects.using(alias).create(task_id=task_id, kind="received", at=at)
    TaskLog.objects.using(alias).create(task_id=task_id, started_at=at, at=at, lines="[]")


def ago(age: timedelta, alias: str) -> datetime:
    return datetime.fromtimestamp(for_alias(alias).now(), UTC) - age


def runs(alias: str, count: int, state: str = "SUCCESS", age: timedelta | None = None, **fields: Any) -> None:
    """Write the runs of tasks that ended in ``state`` that long ago; ``None`` is not yet."""
    ended = None if age is None else ago(age, alias)
    fields = {"state": state, "finished_at": ended, "created_at": ago(9 * DAY, alias), **fields}
    TaskRun.objects.using(alias).bulk_create(TaskRun(task_id=f"r{next(_numbers)}", **fields) for _ in range(count))


def sweep(alias: str, limit: int = 5, marks: retention.Marks | None = None) -> int:
    return sum(retention.sweep({} if marks is None else marks, alias, limit))


def left(alias: str) -> list[str]:
    return sorted(TaskRun.objects.using(alias).values_list("state", flat=True))


def test_rows_with_small_ids_that_stay_hold_up_no_others(alias: str) -> None:
    runs(alias, 12, age=DAY / 2)
    runs(alias, 12, "STARTED")
    Group.objects.using(alias).create(group_id="g", size=30, remaining=1, body="{}", created_at=ago(3 * DAY, alias))
    runs(alias, 12, age=3 * DAY, group_id="g")
    runs(alias, 7, age=2 * DAY)
    assert sweep(alias) == 7
    assert left(alias) == ["STARTED"] * 12 + ["SUCCESS"] * 24


def test_rows_that_ended_at_one_time_are_all_reached(alias: str) -> None:
    moment = ago(2 * DAY, alias)
    runs(alias, 23, finished_at=moment)
    assert sweep(alias) == 23


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_large_texts_are_deleted_in_short_transactions(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(for_alias(alias), "batch_bytes", 100)
    moment = ago(2 * DAY, alias)
    for length in (40, 60, 1, 101, 100):
        runs(alias, 1, finished_at=moment, arguments="x" * (length // 2), result="y" * (length - length // 2))
    runs(alias, 3, finished_at=moment)
    assert [count for count in retention.sweep({}, alias, 100) if count] == [2, 1, 1, 4]
    assert left(alias) == []
    for key in ("g", "result:"):
        Group.objects.using(alias).bulk_create(
            Group(group_id=f"{key}{length}", size=0, remaining=0, body="x" * length, created_at=ago(9 * DAY, alias))
            for length in (40, 60, 99)
        )
    assert [count for count in retention.sweep({}, alias, 100) if count] == [2, 1, 2, 1]
    assert not Group.objects.using(alias).exists()


def test_every_state_has_its_age(alias: str) -> None:
    for state in ("SUCCESS", "REVOKED", "STARTED", "HALFWAY", "ärgerlich", "FAILURE", "PENDING"):
        runs(alias, 1, state, age=2 * DAY)
    runs(alias, 1, "FAILURE", age=8 * DAY)
    runs(alias, 1, "HALFWAY")
    with override_settings(TASKQ_RESULT_EXPIRES=DAY, TASKQ_RESULT_FAILURE_EXPIRES=7 * DAY):
        sweep(alias)
    assert left(alias) == ["FAILURE", "HALFWAY"]


def test_every_table_is_emptied_of_old_rows(alias: str) -> None:
    for age in (9 * DAY, DAY / 2):
        moment = ago(age, alias)
        Attempt.objects.using(alias).bulk_create(
            Attempt(task_id="gone", state="RETRY", finished_at=moment) for _ in range(8)
        )
        Node.objects.using(alias).bulk_create(
            Node(root_id=f"root{age}", task_id=f"n{age}{n}", group_id=f"g{age}", created_at=moment) for n in range(8)
        )
        Group.objects.using(alias).create(group_id=f"g{age}", size=8, remaining=0, created_at=moment)
        Group.objects.using(alias).create(group_id=f"without nodes {age}", size=8, remaining=0, created_at=moment)
        save_group(f"s{age}", [], alias)
        Group.objects.using(alias).filter(size=0, group_id__contains=f"s{age}").update(created_at=moment)
    sweep(alias)
    assert Attempt.objects.using(alias).count() == 8
    assert {*Node.objects.using(alias).values_list("group_id", flat=True)} == {f"g{DAY / 2}"}
    # A group that was sent without a node is no workflow's, whatever its age.
    assert Group.objects.using(alias).count() == 3


def test_results_of_members_go_by_age_if_their_body_will_not_run(alias: str) -> None:
    now = ago(timedelta(0), alias)
    Group.objects.using(alias).create(group_id="g", size=3, remaining=1, failed=True, body="{}", created_at=now)
    runs(alias, 2, age=3 * DAY, group_id="g")
    assert sweep(alias) == 2


def test_living_workflow_stays_and_holds_up_no_others(alias: str) -> None:
    enqueue([envelope("a0")])
    for root in ("a", "b"):
        Node.objects.using(alias).bulk_create(
            Node(root_id=root, task_id=f"{root}{n}", created_at=ago(9 * DAY, alias)) for n in range(12)
        )
    sweep(alias)
    assert list(Node.objects.using(alias).values_list("root_id", flat=True)) == ["a"] * 12


def test_follow_ups_in_parts_stay_until_they_are_sent(alias: str) -> None:
    moment = ago(9 * DAY, alias)
    for root in ("a", "b"):
        Node.objects.using(alias).create(root_id=root, task_id=f"{root}0", created_at=moment)
        # A member's node may be in a part.
        for key, size in ((f"part:{root}", 0), (f"rest:{root}", 0), (f"chord {root}", 8)):
            Group.objects.using(alias).create(
                group_id=key, size=size, remaining=size, body="{}", root_id=root, created_at=moment
            )
    pending = Pending("part:a", root_id="a").row.group_id
    Group.objects.using(alias).create(group_id=pending, size=0, remaining=0, root_id="a", created_at=moment)
    sweep(alias)
    assert [*Node.objects.using(alias).values_list("task_id", flat=True)] == ["a0"]
    kept = {"part:a", "rest:a", "chord a", pending}
    assert {*Group.objects.using(alias).values_list("group_id", flat=True)} == kept
    # Nodes that were deleted earlier, or are not there yet, change nothing.
    Node.objects.using(alias).all().delete()
    sweep(alias)
    assert Group.objects.using(alias).count() == len(kept)
    Group.objects.using(alias).filter(group_id=pending).delete()
    sweep(alias)
    assert not Group.objects.using(alias).exists()


def test_rows_of_a_task_that_is_kept_for_ever_are_kept_and_not_read_again(alias: str) -> None:
    runs(alias, 1, "FAILURE", age=100 * DAY)
    kept = TaskRun.objects.using(alias).get().task_id
    for task_id in (kept, "gone"):
        Node.objects.using(alias).create(root_id=task_id, task_id=task_id, created_at=ago(9 * DAY, alias))
        Attempt.objects.using(alias).bulk_create(
            Attempt(task_id=task_id, state="RETRY", finished_at=ago(9 * DAY, alias)) for _ in range(12)
        )
    marks: retention.Marks = {}
    with override_settings(TASKQ_RESULT_FAILURE_EXPIRES=None):
        sweep(alias, marks=marks)
        assert {*Attempt.objects.using(alias).values_list("task_id", flat=True)} == {kept}
        assert {*Node.objects.using(alias).values_list("task_id", flat=True)} == {kept}
        Attempt.objects.using(alias).update(finished_at=ago(10 * DAY, alias), task_id="gone")
        sweep(alias, marks=marks)
    assert Attempt.objects.using(alias).count() == 12


def test_nothing_is_deleted_if_all_is_kept_for_ever(alias: str) -> None:
    runs(alias, 2, age=1000 * DAY)
    Node.objects.using(alias).create(root_id="x", task_id="x", created_at=ago(1000 * DAY, alias))
    with override_settings(TASKQ_RESULT_EXPIRES=None, TASKQ_RESULT_FAILURE_EXPIRES=None):
        assert sweep(alias) == 0


def test_failures_and_kept_messages_go_if_their_runs_have_gone(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_ORPHAN_BATCHES", 2)
    runs(alias, 12, "FAILURE", age=DAY)
    kept = dict(TaskRun.objects.using(alias).values_list("task_id", "id"))
    ids = [*kept, *(f"gone{n}" for n in range(12))]
    KeptMessage.objects.using(alias).bulk_create(
        KeptMessage(task_id=task_id, created_at=ago(DAY, alias)) for task_id in ids
    )
    numbers = [*kept.values(), *(max(kept.values()) + 1 + n for n in range(12))]
    Failure.objects.using(alias).bulk_create(Failure(run_id=number, error="e") for number in numbers)
    marks: retention.Marks = {}
    with override_settings(TASKQ_RESULT_EXPIRES=None, TASKQ_RESULT_FAILURE_EXPIRES=None):
        assert sweep(alias, marks=marks) == 0
        sweep(alias, marks=marks)
        assert KeptMessage.objects.using(alias).count() == 16
        sweep(alias, marks=marks)
        assert {*KeptMessage.objects.using(alias).values_list("task_id", flat=True)} == {*kept}
        assert {*Failure.objects.using(alias).values_list("run_id", flat=True)} == {*kept.values()}
        assert sweep(alias, marks=marks) == 0


def test_end_of_a_pass_is_noted(alias: str) -> None:
    sweep(alias)
    noted = Lease.objects.using(alias).get(name=Lease.RETENTION).done_at
    assert noted is not None
    assert abs(noted - ago(timedelta(0), alias)) < timedelta(seconds=20)


@pytest.fixture
def duty(alias: str, monkeypatch: pytest.MonkeyPatch) -> maintenance.Maintenance:
    lease = WorkerLease("w", 30.0, alias, info=dict, on_revoked=lambda asked: None, on_lost=lambda ids: None)
    lease.heartbeat()
    made = maintenance.Maintenance(lease, alias)
    monkeypatch.setattr(made, "_next_round", 0.0)
    monkeypatch.setattr(maintenance, "_LEAST_PAUSE", 0.0)
    monkeypatch.setattr(maintenance, "_PAUSE", 0.0)
    return made


def test_leader_deletes_until_nothing_is_over_age(alias: str, duty: maintenance.Maintenance) -> None:
    runs(alias, 2 * retention.BATCH + 1, age=2 * DAY)
    for _ in range(5):
        duty.work()
    assert not TaskRun.objects.using(alias).exists()
    assert (duty.due() or 0) > 10


def test_pass_that_takes_too_long_is_said(
    alias: str, duty: maintenance.Maintenance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "BEHIND", 0.0)
    runs(alias, 1, age=2 * DAY)
    said: list[int] = []

    def note(seconds: float, deleted: int) -> None:
        said.append(deleted)

    log_lines.retention_behind.subscribe(note)
    duty.work()
    log_lines.retention_behind.unsubscribe(note)
    assert said == [1]
    assert "Old rows are deleted more slowly" in caplog.text


def test_events_of_tasks_go_by_age_and_with_their_runs(alias: str) -> None:
    TaskRun.objects.using(alias).create(
        task_id="old", state="SUCCESS", finished_at=ago(2 * DAY, alias), created_at=ago(9 * DAY, alias)
    )
    ages = {"none": 9 * DAY, "old": DAY / 2, "new": DAY / 2}
    for task_id, age in ages.items():
        told(task_id, age, alias)
    with override_settings(TASKQ_RESULT_EXPIRES=DAY):
        sweep(alias)
    for model in (TaskEvent, TaskLog):
        assert set(model.objects.using(alias).values_list("task_id", flat=True)) == {"new"}


def test_events_stay_with_runs_that_are_kept_for_ever(alias: str) -> None:
    runs(alias, 1, age=9 * DAY)
    kept = TaskRun.objects.using(alias).get().task_id
    for task_id, age in {kept: 9 * DAY, "none": 9 * DAY, "new": DAY / 2}.items():
        told(task_id, age, alias)
    with override_settings(TASKQ_RESULT_EXPIRES=None, TASKQ_RESULT_FAILURE_EXPIRES=None):
        marks: retention.Marks = {}
        sweep(alias, limit=1, marks=marks)
        sweep(alias, limit=1, marks=marks)
    for model in (TaskEvent, TaskLog):
        assert set(model.objects.using(alias).values_list("task_id", flat=True)) == {kept, "new"}


def test_links_of_tasks_that_were_run_again_go_by_age_and_with_their_runs(alias: str) -> None:
    runs(alias, 1, age=DAY / 2)
    task_id = TaskRun.objects.using(alias).get().task_id
    for new, age in ((task_id, DAY / 2), ("gone", 99 * DAY), ("sent", DAY / 2)):
        Rerun.objects.using(alias).create(task_id=new, of_task_id="old", created_at=ago(age, alias))
    sweep(alias)
    assert {*Rerun.objects.using(alias).values_list("task_id", flat=True)} == {task_id, "sent"}
    retention.forget([task_id], alias)
    assert Rerun.objects.using(alias).get().task_id == "sent"
