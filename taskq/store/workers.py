"""Workers: register, heartbeat, deregister. A worker's row is the lease of every message with its token."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DatabaseError
from django.db.models import F

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Worker

from .recover import requeue_free, requeue_held

#: Seconds after its last heartbeat for which a lost worker is kept, unless a worker of its name starts before.
KEEP_LOST = 3600.0


@dataclass(slots=True, frozen=True)
class PeerStatus:
    """The columns of a worker's row by which its peers judge whether it lives. ``lease`` is in seconds."""

    token: str
    name: str
    host: str
    pid: int
    process_started: int
    beats: int
    lease: float


def register(
    name: str,
    *,
    host: str = "",
    pid: int = 0,
    process_started: int = 0,
    lease: float = 30.0,
    info: dict[str, Any] | None = None,
    state: str = "running",
    alias: str | None = None,
) -> str:
    """Insert the row of a worker and return its new token. ``lease`` is in seconds.

    Lost workers of this name are forgotten.
    """
    alias = alias or settings.DATABASE
    if state != Worker.CONSUMER:  # connections are never lost ones
        Worker.objects.using(alias).filter(name=name, state=Worker.LOST)._raw_delete(alias)
    token = uuid.uuid4().hex
    now = for_alias(alias).now_expression()
    Worker.objects.using(alias).create(
        token=token,
        name=name,
        host=host,
        pid=pid,
        process_started=process_started,
        lease=lease,
        state=state,
        info=json.dumps(info or {}),
        started_at=now,
        seen_at=now,
    )
    return token


def heartbeat(
    token: str, *, state: str | None = None, info: dict[str, Any] | None = None, alias: str | None = None
) -> bool:
    """Renew the lease of all messages of ``token``. False: a peer took the worker for dead and deleted its row."""
    alias = alias or settings.DATABASE
    changes: dict[str, Any] = {"beats": F("beats") + 1, "seen_at": for_alias(alias).now_expression()}
    if state is not None:
        changes["state"] = state
    if info is not None:
        changes["info"] = json.dumps(info)
    # A transaction, for an engine that sets its patience there.
    with for_alias(alias).atomic():
        return Worker.objects.using(alias).filter(token=token).update(**changes) == 1


def deregister(token: str, alias: str | None = None, *, holds: bool = True) -> None:
    """Requeue the messages that a worker still ``holds``, if it does, and delete its row.

    If rows are locked for too long, the row of the worker may stay: then a peer recovers what it still holds.
    """
    alias = alias or settings.DATABASE
    engine = for_alias(alias)
    try:
        with engine.atomic():
            if holds:
                requeue_held(token, alias)
            Worker.objects.using(alias).filter(token=token).delete()
    except DatabaseError as error:
        if engine.in_transaction() or not engine.gave_up(error):
            raise
        requeue_free(token, alias)


def readers(queue: str, alias: str | None = None, *, state: str | None = None) -> int:
    """Return how many workers and kombu connections consume from ``queue``; with ``state`` only those in that state."""
    rows = Worker.objects.using(alias or settings.DATABASE)
    rows = rows.filter(state=state) if state else rows.exclude(state=Worker.LOST)
    return sum(queue in queues_of(info) for info in rows.values_list("info", flat=True))


def queues_of(info: str) -> tuple[str, ...]:
    """Return the queues from which a worker or kombu connection with this ``info`` consumes.

    A worker of another version may have written anything.
    """
    try:
        queues = json.loads(info or "{}")["queues"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return ()
    return tuple(name for name in queues if isinstance(name, str)) if isinstance(queues, list | dict) else ()


def peers(token: str, alias: str | None = None) -> list[PeerStatus]:
    """Return the status of all workers and kombu connections but ``token``."""
    rows = Worker.objects.using(alias or settings.DATABASE).exclude(token=token).exclude(state=Worker.LOST)
    return [PeerStatus(*row) for row in rows.values_list(*PeerStatus.__slots__)]


def forget_lost(alias: str | None = None) -> int:
    """Delete the rows of workers that were lost ``KEEP_LOST`` seconds ago; return how many they were."""
    alias = alias or settings.DATABASE
    before = datetime.fromtimestamp(for_alias(alias).now(), UTC) - timedelta(seconds=KEEP_LOST)
    return Worker.objects.using(alias).filter(state=Worker.LOST, seen_at__lt=before).delete()[0]
