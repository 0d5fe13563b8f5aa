"""With ``TASKQ_SIGNING`` on: the rows of follow-ups in parts, and the message that sends a large body.

Each column is altered alone, half-way; rows are swapped, deleted, and put back after the end. What runs was sent, and
once.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from taskq import chord, task
from taskq.models import Group, Message
from taskq.records import Claimed
from taskq.store import large, parts
from taskq.store.authenticity import runnable
from taskq.store.settle import settle
from taskq.store.workflow_rows import DatabaseWorkflows
from taskq.workflows import large_bodies
from taskq.workflows import parts as plans
from tests.support.worker_here import WorkerHere

from .conftest import act, fail, put, ran, waiting

pytestmark = pytest.mark.parametrize("database", ["sqlite", "postgresql", "mariadb"], indirect=True)
COUNT = 9
#: For each column another value; that of the body is another one's.
COLUMNS: dict[str, Any] = {
    "group_id": "other", "size": 3, "remaining": 5, "failed": True, "body": None, "root_id": "other",
    "parent_id": "other",
}  # fmt: skip


@task(name="security.plain_join")
def plain_join(values: list[str]) -> str:
    ran.append(f"joined {values[0]}")
    return "joined"


class Verifying(WorkerHere):
    """Runs what it can verify, as a worker does."""

    def take(self) -> list[Claimed]:
        found = large.keep(super().take(), self.token, 1 << 24, self.alias)
        kept = runnable(self.token, found, self.alias)
        return kept if kept or not found else self.take()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatabaseWorkflows, "most_dependents", 2)
    for name, most in {"MOST_DEPENDENTS": 3, "MOST_MESSAGES": 3, "_DEPENDENTS": 2, "_NODES": 2, "_MESSAGES": 2}.items():
        monkeypatch.setattr(plans, name, most)


def with_callbacks(name: str, first: Any) -> Any:
    sig = first.s(f"{name} first")
    for number in range(COUNT):
        sig.link(act.si(f"{name} {number}").set(task_id=f"{name}-{number}"))
    return sig.apply_async()


def names(case: str, fails: bool) -> set[str]:
    return {f"{case} first"} | ({f"{case} {number}" for number in range(COUNT)} if not fails else set())


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("kind", ["pending:", "part:"])
@pytest.mark.parametrize("first", [act, fail], ids=["sent", "failed"])
def test_each_column_of_a_part_altered_alone(signed: str, kind: str, first: Any) -> None:
    worker, cases = Verifying(signed), [*COLUMNS, "deleted", "untouched"]
    roots = {case: with_callbacks(case, first).id for case in cases}
    for _ in cases:
        settle(worker.token, worker.run(worker.take()), signed)
    rows = Group.objects.using(signed).filter(group_id__startswith=kind).order_by("group_id")
    mine: dict[str, Any] = {case: rows.filter(root_id=root)[0] for case, root in roots.items()}
    for column, value in COLUMNS.items():
        other = mine["size"].body if column == "body" else value
        assert rows.filter(id=mine[column].id).update(**{column: other}) == 1
    mine["deleted"].delete()
    worker.work()
    counts = Counter(ran)
    assert max(counts.values()) == 1
    assert counts.keys() <= {name for case in cases for name in names(case, first is fail)}
    assert counts.keys() >= names("untouched", first is fail)
    # Nothing of the others is sealed: a count that nobody reads, and one that says nothing.
    assert counts.keys() >= names("remaining", first is fail) | names("failed", first is fail)


@pytest.mark.usefixtures("small_parts")
def test_parts_that_are_put_back_after_the_end_run_nothing_again(signed: str) -> None:
    worker, saved = Verifying(signed), dict[str, dict[str, Any]]()
    with_callbacks("x", act)
    groups = Group.objects.using(signed)
    while (held := worker.take()) or parts.pending_rows(signed):
        settle(worker.token, worker.run(held), signed)
        for row in groups.filter(body__isnull=False).values():
            saved.setdefault(row.pop("group_id"), row)
        for row_id in parts.pending_rows(signed):
            parts.work_off(row_id, signed)
    assert Counter(ran) == Counter(names("x", False))
    assert {key.partition(":")[0] for key in saved} == {"part", "pending"}
    for group_id, row in saved.items():
        row.pop("id")
        groups.update_or_create(group_id=group_id, defaults=row)
    worker.work()
    assert Counter(ran) == Counter(names("x", False))


def test_message_for_a_large_body_is_verified_and_sends_it_once(signed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_bodies, "MOST_BYTES", -1)
    cases = ["body", "headers", "swapped", "row", "copied", "untouched"]
    members = {case: [act.s(case).set(priority=9)] * 2 for case in cases}
    sent = {case: chord(header, plain_join.s()).delay() for case, header in members.items()}
    worker, messages = Verifying(signed), Message.objects.using(signed)
    worker.work(2 * len(cases))
    groups = {case: result.parent.id for case, result in sent.items()}
    mine = {case: messages.get(task_id=group_id, name=large_bodies.TASK) for case, group_id in groups.items()}
    saved = [row for row in waiting(signed) if row["task_id"] == groups["copied"]]
    for case, column, old, new in (
        ("body", "body", '[["', '[["x'),
        ("headers", "headers", '"retries": 0', '"retries": 1'),
        ("swapped", "headers", groups["swapped"], groups["untouched"]),
    ):
        text = getattr(mine[case], column)
        assert old in text
        messages.filter(id=mine[case].id).update(**{column: text.replace(old, new)})
    text = Group.objects.using(signed).get(group_id=groups["row"]).body or ""
    Group.objects.using(signed).filter(group_id=groups["row"]).update(body=text.replace("plain_join", "join"))
    worker.work()
    put(signed, *saved)
    worker.work()
    assert sent["row"].state == "FAILURE"
    assert [name for name in ran if name.startswith("join")] == ["joined copied", "joined untouched"]
