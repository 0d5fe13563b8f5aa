"""Settle: a batch of finished messages, in one transaction.

It starts by deleting the messages by id and token. Only what that returns gets a
state, follow-ups and counters, so a worker whose messages were taken over settles
nothing of them. A batch that the database refuses is halved until the culprit is
alone, and that one becomes a ``FAILURE``.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from django.db import DatabaseError, InterfaceError, OperationalError
from django.db.models import Q

from taskq import states
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.models import Attempt, TaskRun

from .enqueue import insert_messages, insert_runs, wake
from .records import Envelope, Settlement

#: The channel on which those who wait for results listen; the payload is task ids, or empty for "many".
RESULT_CHANNEL = "taskq_result"
_REPEATS = 8
_PAYLOAD = 7000
logger = logging.getLogger("taskq.store")


def settle(token: str, settlements: Sequence[Settlement], alias: str | None = None) -> set[int]:
    """Settle messages that ``token`` holds; return the ids of those that it did hold.

    Raises ``OperationalError`` or ``InterfaceError`` when the database can't be
    reached; nothing is settled then, and the call may be repeated.
    """
    if not settlements:
        return set()
    engine = for_alias(alias or settings.DATABASE)
    try:
        return _repeat(engine, token, settlements)
    except (OperationalError, InterfaceError):
        raise
    except (DatabaseError, ValueError, TypeError, OverflowError) as error:
        # ValueError and its like come from drivers that can't encode a value.
        if len(settlements) > 1:
            half = len(settlements) // 2
            return settle(token, settlements[:half], alias) | settle(token, settlements[half:], alias)
        logger.error("the result of task %s can't be stored: %s", settlements[0].task_id, error)
        return _repeat(engine, token, [_refused(settlements[0], error)])


def _repeat(engine: Engine, token: str, settlements: Sequence[Settlement]) -> set[int]:
    """Run the transaction again after a deadlock or a lock time-out."""
    for attempt in range(_REPEATS):
        try:
            return _settle(engine, token, settlements)
        except DatabaseError as error:
            if attempt == _REPEATS - 1 or engine.in_transaction() or not engine.is_transient(error):
                raise
            time.sleep(random.uniform(0, 0.01 * 2**attempt))
    raise AssertionError("unreachable")


def _settle(engine: Engine, token: str, settlements: Sequence[Settlement]) -> set[int]:
    with engine.atomic():
        held = engine.delete_held(token, sorted(s.message_id for s in settlements))
        settled = sorted((s for s in settlements if s.message_id in held), key=lambda s: s.task_id)
        write_ends(engine, settled)
    return held


def write_ends(engine: Engine, settled: Sequence[Settlement]) -> None:
    """Write the states of tasks whose messages are gone, and what follows from them."""
    written = [s for s in settled if s.keep and s.state != states.IGNORED]
    _write_runs(engine, written)
    _drop_ignored(engine, [s.task_id for s in settled if not s.keep and s.tracked])
    _write_attempts(engine, [s for s in settled if s.state == states.RETRY and s.keep])
    _send_follow_ups(engine, settled)
    _wake_waiters(engine, [s.task_id for s in settled if s.state in states.READY_STATES])


def _write_runs(engine: Engine, settled: Sequence[Settlement]) -> None:
    tracked = [s for s in settled if s.tracked]
    untracked = [s for s in settled if not s.tracked]
    if tracked:
        engine.update_runs(tracked)
    if untracked:
        engine.upsert_runs(untracked)


def _drop_ignored(engine: Engine, task_ids: Sequence[str]) -> None:
    if task_ids:
        rows = TaskRun.objects.using(engine.alias).filter(task_id__in=task_ids)
        rows.filter(~Q(state__in=states.READY_STATES))._raw_delete(engine.alias)


def _write_attempts(engine: Engine, settled: Sequence[Settlement]) -> None:
    if not settled:
        return
    Attempt.objects.using(engine.alias).bulk_create(
        Attempt(
            task_id=s.task_id,
            state=s.state,
            retries=s.retries,
            result=s.result,
            traceback=s.traceback,
            worker=s.worker,
            started_at=_moment(s.started),
            finished_at=_moment(s.finished),
        )
        for s in settled
    )


def _send_follow_ups(engine: Engine, settled: Sequence[Settlement]) -> None:
    again: list[Envelope] = []
    others: list[Envelope] = []
    for s in settled:
        for envelope in s.follow_ups:
            # The next try of the same task has its run already.
            (again if envelope.task_id == s.task_id else others).append(envelope)
    if again or others:
        insert_runs(engine, [e for e in others if e.tracked])
        insert_messages(engine, again + others)
        wake(engine, {e.queue for e in again + others})


def _wake_waiters(engine: Engine, task_ids: Iterable[str]) -> None:
    ids = list(task_ids)
    if ids and settings.NOTIFY:
        payload = ",".join(ids)
        engine.notify(RESULT_CHANNEL, payload if len(payload) < _PAYLOAD and "," not in "".join(ids) else "")


def _refused(settlement: Settlement, error: Exception) -> Settlement:
    """Return the failure that takes the place of an end that the database does not accept."""
    text = f"{type(error).__name__}: {error}".encode("ascii", "backslashreplace").decode().replace("\x00", "")
    result = json.dumps({"exc_type": "EncodeError", "exc_message": [text], "exc_module": "kombu.exceptions"})
    return replace(
        settlement,
        state=states.FAILURE,
        result=result,
        content_type="application/json",
        traceback=None,
        children=None,
        arguments=None,
        keep=True,
        follow_ups=(),
    )


def _moment(unix: float | None) -> datetime | None:
    return None if unix is None else datetime.fromtimestamp(unix, UTC)
