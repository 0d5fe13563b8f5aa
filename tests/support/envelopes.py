"""Envelopes for tests of the store: what a sender would give it, short."""

from __future__ import annotations

from typing import Any

from taskq import ids
from taskq.records import Claimed, Envelope, FollowUps, Settlement


def envelope(task_id: str | None = None, **changes: Any) -> Envelope:
    """Return the message of a task ``shop.add``."""
    values: dict[str, Any] = {
        "task_id": task_id or ids.new_id(),
        "name": "shop.add",
        "queue": "taskq",
        "body": '[[1, 2], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]',
        "arguments": "[[1, 2], {}]",
        "tracked": True,
        "reset": task_id is not None,
    }
    values.update(changes)
    values.setdefault("headers", {"task": values["name"], "id": values["task_id"], "root_id": values["task_id"]})
    return Envelope(**values)


def ending(message: Claimed, state: str = "SUCCESS", **changes: Any) -> Settlement:
    """Return the settlement of a claimed message."""
    values: dict[str, Any] = {
        "message_id": message.id,
        "task_id": message.task_id,
        "state": state,
        "name": "shop.add",
        "queue": message.queue,
        "result": "3",
        "started": 1_700_000_000.25,
        "finished": 1_700_000_000.5,
        "runtime": 0.25,
        "worker": "w@host",
        "tracked": message.tracked,
    }
    parts = [changes.pop(part, ()) for part in ("follow_ups", "groups", "nodes", "unreachable")]
    return Settlement(**{**values, **changes}, follow_ups=FollowUps(*parts))
