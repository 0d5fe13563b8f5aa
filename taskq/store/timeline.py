"""The timeline: events of tasks as rows, written by workers that send events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskq.engines import for_alias


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a task at ``at``, a Unix time. The fields are those of ``TaskEvent``."""

    task_id: str
    kind: str
    at: float
    detail: str = ""


def write(worker: str, moments: Sequence[Moment], alias: str) -> None:
    """Write moments of tasks that a worker has noted, in one transaction."""
    engine = for_alias(alias)
    with engine.atomic():
        engine.insert_events([(m.task_id, m.kind, m.at, worker, m.detail) for m in moments])
