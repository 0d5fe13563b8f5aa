"""Keeps the messages of failed tasks that have dependents or callbacks. A retry sends the message again.

``settle`` calls ``keep`` before it deletes the messages; nothing happens here for tasks that succeed. A message is not
kept if a sensitive argument may be in it (``@task(sensitive=...)``), its own or that of a follower: no row may have
these after the end of the task.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from operator import or_

from django.db.models import Q
from django.db.models.functions import Right

from taskq import states
from taskq.calls.registry import tasks
from taskq.engines import Engine
from taskq.messages.protocol import MOST_OUTSIDE, decode_message, mapping_of
from taskq.models import KeptMessage, Message
from taskq.models.message import BaseMessage
from taskq.records import Settlement
from taskq.workflows import large_bodies
from taskq.workflows.followups import EMPTY_EMBED

from .texts import without_texts

#: Messages that are read at once; each may have the megabyte that is opened outside of a task.
_AT_ONCE = 50
_COPIED = [
    *("queue", "task_id", "name", "priority", "headers", "body", "content_type", "content_encoding", "properties"),
    *("exchange", "routing_key", "tracked"),
]


def keep(engine: Engine, token: str, settlements: Sequence[Settlement]) -> None:
    """Keep the messages of the failures among ``settlements`` that ``token`` holds, in the caller's transaction."""
    with_runs = large_bodies.without_runs(settlements)
    failed = {s.message_id: s for s in with_runs if s.state == states.FAILURE and s.keep and s.message_id}
    numbers = sorted(failed)
    for start in range(0, len(numbers), _AT_ONCE):
        _keep(engine, token, {number: failed[number] for number in numbers[start : start + _AT_ONCE]})


def _keep(engine: Engine, token: str, failed: dict[int, Settlement]) -> None:
    linked = [number for number, s in failed.items() if s.linked]
    rows = Message.objects.using(engine.alias).filter(id__in=failed, token__unindexed=token)
    # A callback without an id is no dependent, and makes no settlement linked: only the message names it.
    ends = rows.annotate(end=Right("body", len(EMPTY_EMBED)))
    followed = ends.filter(Q(id__in=linked) | ~Q(end=EMPTY_EMBED)).order_by("id")
    found = [
        m
        for m in without_texts(followed)
        if not (m.shortened or may_be_sensitive(m.headers + m.body, m)) and (m.id in linked or _has_followers(m))
    ]
    if not found:
        return
    kept = KeptMessage.objects.using(engine.alias)
    kept.filter(task_id__in=[m.task_id for m in found])._raw_delete(engine.alias)
    now = engine.now_expression()
    by_id = {m.task_id: m for m in found}
    kept.bulk_create(
        KeptMessage(**{name: getattr(by_id[task_id], name) for name in _COPIED}, created_at=now)
        for task_id in sorted(by_id)
    )


def _has_followers(message: Message) -> bool:
    """Tell whether a message has follow-ups, given that its text does not end as one without: it may be compressed."""
    if _is_plain(message):
        return True
    try:
        return any(decode_message(message, mapping_of(message.headers), MOST_OUTSIDE)[2].values())
    except Exception:  # the message may be malformed in any way
        return False


def _is_plain(message: BaseMessage) -> bool:
    return message.content_type == "application/json" and message.body.startswith("[")


def may_be_sensitive(text: str, message: BaseMessage | None = None) -> bool:
    """Tell whether ``text``, which has signatures in JSON, names a task with sensitive arguments.

    A ``message`` whose body is no plain JSON may name any.
    """
    if not tasks.guarded:
        return False
    if message is not None and not _is_plain(message):
        return True
    return any(quoted in text for quoted in _quoted_names())


def sensitive_names(column: str) -> Q | None:
    """Return the condition that ``may_be_sensitive`` is true of a column, ``None`` if it is of no text."""
    named = [Q(**{f"{column}__contains": quoted}) for quoted in _quoted_names()]
    return reduce(or_, named) if named else None


def _quoted_names() -> set[str]:
    return {quoted for name in tasks.guarded for quoted in (json.dumps(name), f'"{name}"')}
