"""Saved groups: the result tuple of a group by its id, for ``GroupResult.save`` and ``restore``.

The tuple is the body of a ``Group`` row of size 0, which nothing counts, under a key of its own. A group that was sent
and not saved is read from its nodes, if each of its members is one task; sending saves the tuple of any other group.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Group, Node
from taskq.workflows.nodes import saved_group_key

from .sealed_workflows import open_body, read_places, seal_body


def save_group(group_id: str, data: Any, alias: str | None = None) -> None:
    """Save the result tuple of a group; it replaces a tuple that was saved before."""
    alias = alias or settings.DATABASE
    engine = for_alias(alias)
    key = saved_group_key(group_id)
    row = {
        "size": 0,
        "remaining": 0,
        "body": seal_body(json.dumps(data), key, 0, "", ""),
        "root_id": "",
        "parent_id": "",
        "created_at": datetime.fromtimestamp(engine.now(), UTC),
    }
    with engine.atomic():
        Group.objects.using(alias).update_or_create(group_id=key, defaults=row)


def load_group(group_id: str, alias: str | None = None) -> Any:
    """Return the result tuple of a group that was saved or sent; ``None`` for an unknown id.

    Raises ``SignatureMismatch`` if the stored tuple was altered.
    """
    alias = alias or settings.DATABASE
    key = saved_group_key(group_id)
    kept = Group.objects.using(alias).filter(group_id=key).values_list("body", "size", "root_id", "parent_id").first()
    if kept and kept[0]:
        return json.loads(open_body(kept[0], key, *kept[1:]))
    nodes = Node.objects.using(alias).filter(group_id=group_id).order_by("position", "id")
    ids = [place.task_id for place in read_places(nodes)]
    return ((group_id, None), [((task_id, None), None) for task_id in ids]) if ids else None


def delete_group(group_id: str, alias: str | None = None) -> None:
    """Delete the saved result tuple of a group. The rows of a group that was sent stay until they expire."""
    alias = alias or settings.DATABASE
    groups = Group.objects.using(alias)
    if not groups.filter(group_id=group_id).exists():
        groups.filter(group_id=saved_group_key(group_id)).delete()
