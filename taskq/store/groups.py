"""What is known of a group by its id: which results it has, for ``GroupResult.save`` and ``restore``.

A group that was sent has its nodes, which say it. One that was put together by hand is
kept as a row of ``Group`` of size 0, which nothing counts, with the result tuple for a body.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Group, Node


def save_group(group_id: str, data: Any, alias: str | None = None) -> None:
    """Keep the result tuple of a group in place of what was saved before. Of one that was sent it is known."""
    alias = alias or settings.DATABASE
    engine = for_alias(alias)
    with engine.atomic():
        if Group.objects.using(alias).filter(group_id=group_id, size__gt=0).exists():
            return
        row = {
            "size": 0,
            "remaining": 0,
            "body": json.dumps(data),
            "created_at": datetime.fromtimestamp(engine.now(), UTC),
        }
        Group.objects.using(alias).update_or_create(group_id=group_id, defaults=row)


def load_group(group_id: str, alias: str | None = None) -> Any:
    """Return the result tuple of a group that was saved or sent, ``None`` if it is not known."""
    alias = alias or settings.DATABASE
    nodes = Node.objects.using(alias).filter(group_id=group_id).order_by("position", "id")
    if ids := list(nodes.values_list("task_id", flat=True)):
        return (group_id, None), [((task_id, None), None) for task_id in ids]
    saved = Group.objects.using(alias).filter(group_id=group_id, size=0).values_list("body", flat=True).first()
    return saved and json.loads(saved)


def delete_group(group_id: str, alias: str | None = None) -> None:
    """Delete what was saved of a group. What was sent is there until its time is over."""
    alias = alias or settings.DATABASE
    Group.objects.using(alias).filter(group_id=group_id, size=0).delete()
