"""Workers: register, beat, leave. A worker's row is the lease of every message with its token."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import F

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.models import Worker

from .recover import give_back


@dataclass(slots=True, frozen=True)
class Beat:
    """What one worker sees of another: enough to tell whether it lives."""

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
    """Announce a worker and return its new token. ``lease`` is in seconds."""
    alias = alias or settings.DATABASE
    token = uuid.uuid4().hex
    now = datetime.now(UTC)
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


def beat(token: str, *, state: str | None = None, info: dict[str, Any] | None = None, alias: str | None = None) -> bool:
    """Renew the lease of all that ``token`` holds. False: the worker was taken for dead, its row is gone."""
    alias = alias or settings.DATABASE
    changes: dict[str, Any] = {"beats": F("beats") + 1, "seen_at": datetime.now(UTC)}
    if state is not None:
        changes["state"] = state
    if info is not None:
        changes["info"] = json.dumps(info)
    return Worker.objects.using(alias).filter(token=token).update(**changes) == 1


def leave(token: str, alias: str | None = None) -> None:
    """Take a worker off the list; what it still holds goes back."""
    alias = alias or settings.DATABASE
    with for_alias(alias).atomic():
        give_back(token, alias)
        Worker.objects.using(alias).filter(token=token).delete()


def readers(queue: str, alias: str | None = None, *, state: str | None = None) -> int:
    """Return how many workers, and programs of kombu, read ``queue``; with ``state`` only those in that state."""
    rows = Worker.objects.using(alias or settings.DATABASE)
    rows = rows.filter(state=state) if state else rows.all()
    return sum(queue in json.loads(info or "{}").get("queues", ()) for info in rows.values_list("info", flat=True))


def others(token: str, alias: str | None = None) -> list[Beat]:
    """Return what all workers but ``token`` show of themselves."""
    rows = Worker.objects.using(alias or settings.DATABASE).exclude(token=token)
    return [Beat(*row) for row in rows.values_list("token", "name", "host", "pid", "process_started", "beats", "lease")]
