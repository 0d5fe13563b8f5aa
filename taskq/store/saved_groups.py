"""What is known of a group by its id: which results it has, for ``GroupResult.save`` and ``restore``.

A group that was sent has its nodes, which say it if each of its members ends in one task. The
result tuple of any other, and of one that is saved, is kept as a row of ``Group`` that nothing
counts: of size 0, with the tuple for a body, under a key of its own.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Group, Node
from taskq.workflows.nodes import saved_group_key


def save_group(group_id: str, data: Any, alias: str | None = None) -> None:
    """Keep the result tuple of a group in place of what was saved before."""
    alias = alias or settings.DATABASE
    engine = for_alias(alias)
    row = {
        "size": 0,
        "remaining": 0,
        "body": json.dumps(data),
        "created_at": datetime.fromtimestamp(engine.now(), UTC),
    }
    with engine.atomic():
        Group.objects.using(alias).update_or_create(group_id=saved_group_key(group_id), defaults=row)


def load_group(group_id: str, alias: str | None = None) -> Any:
    """Return the result tuple of a group that was saved or sent, ``None`` if it is not known."""
    alias = alias or settings.DATABASE
    kept = Group.objects.using(alias).filter(group_id=saved_group_key(group_id)).values_list("body", flat=True).first()
    if kept:
        return json.loads(kept)
    nodes = Node.objects.using(alias).filter(group_id=group_id).order_by("position", "id")
    ids = list(nodes.values_list("task_id", flat=True))
    return ((group_id, None), [((task_id, None), None) for task_id in ids]) if ids else None


def delete_group(group_id: str, alias: str | None = None) -> None:
    """Delete what was saved of a group. What was sent is there until its time is over."""
    alias = alias or settings.DATABASE
    groups = Group.objects.using(alias)
    if not groups.filter(group_id=group_id).exists():
        groups.filter(group_id=saved_group_key(group_id)).delete()
