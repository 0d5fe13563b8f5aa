"""Chords and chains as rows and messages, for tests of the store, and what became of them."""

from __future__ import annotations

import json
from typing import Any

from taskq.engines import for_alias
from taskq.models import Message, TaskRun
from taskq.records import Claimed, Envelope, NewGroup, NewNode
from taskq.store import workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.workflow_rows import insert
from tests.support.envelopes import ending, envelope

FAILED = '{"exc_type": "ValueError", "exc_message": ["boom"], "exc_module": "builtins"}'


def signature(task_id: str, **options: Any) -> dict[str, Any]:
    """A frozen task, as messages and rows carry it."""
    return {
        "task": "shop.total", "args": [], "kwargs": {}, "options": {"task_id": task_id, **options},
        "subtask_type": None, "immutable": False,
    }  # fmt: skip


def member(task_id: str, group_id: str = "g", index: int = 0, chain: Any = None, **changes: Any) -> Envelope:
    """A message that counts for a group; with ``chain`` it only leads to what counts."""
    headers = {"task": "shop.add", "id": task_id, "root_id": task_id}
    if chain is None:
        headers |= {"group": group_id, "group_index": index}
    embed = {"callbacks": None, "errbacks": None, "chain": chain, "chord": None if chain else signature("body")}
    return envelope(task_id, headers=headers, body=json.dumps([[1, 2], {}, embed]), reset=False, **changes)


def counting(message: Claimed, state: str = "SUCCESS", **changes: Any) -> Any:
    """The end of a member."""
    return ending(message, state, **{"group_id": "g", "member": True, **changes})


def chord(
    alias: str, *ids: str, body: Any = None, group_id: str = "g", tracked: bool = True
) -> tuple[str, list[Claimed]]:
    """Send a chord whose body is the task ``body``; return who holds the members, and these in their order."""
    frozen = body or signature("body")
    nodes = [NewNode("root", task_id, "shop.add", "task", group_id, n) for n, task_id in enumerate(ids)]
    nodes.append(NewNode("root", frozen["options"]["task_id"], "shop.total", "body", waits_for=group_id))
    insert(for_alias(alias), [NewGroup(group_id, len(ids), json.dumps(frozen), "root")], nodes)
    enqueue([member(task_id, group_id, n, tracked=tracked) for n, task_id in enumerate(ids)])
    return held()


def held() -> tuple[str, list[Claimed]]:
    token = workers.register("w")
    return token, claim("taskq", 1000, token)


def state_of(alias: str, task_id: str) -> str | None:
    return TaskRun.objects.using(alias).filter(task_id=task_id).values_list("state", flat=True).first()


def error_of(alias: str, task_id: str) -> tuple[str, str]:
    data = json.loads(TaskRun.objects.using(alias).get(task_id=task_id, state="FAILURE").result or "")
    return data["exc_type"], data["exc_message"][0]


def bodies(alias: str) -> list[Any]:
    """The arguments of all bodies that were sent."""
    rows = Message.objects.using(alias).filter(name="shop.total").order_by("id")
    return [json.loads(body)[0] for body in rows.values_list("body", flat=True)]


def waiting(alias: str) -> set[str]:
    return set(Message.objects.using(alias).filter(token="").values_list("task_id", flat=True))


def chain(alias: str, *ids: str) -> None:
    """Send a chain: the first task, and rows for the rest."""
    nodes = [NewNode("root", i, "shop.add", waits_for=before) for before, i in zip(("", *ids), ids, strict=False)]
    insert(for_alias(alias), [], nodes)
    enqueue([member(ids[0], chain=[signature(i) for i in reversed(ids[1:])])])
