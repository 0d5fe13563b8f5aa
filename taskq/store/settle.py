"""Settle: a batch of finished messages, in one transaction.

It starts by deleting the messages by id and token. Only tasks whose messages this deletes get a state, follow-ups and
counters, so a worker settles nothing that was taken over. A batch that the database refuses is halved until the
culprit is alone, and that task becomes a ``FAILURE``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter

from django.db.models import Q

from taskq import states
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.engines.marks import RESULT_CHANNEL
from taskq.exceptions import EncodeError
from taskq.messages.exception_data import encode_exception
from taskq.messages.protocol import seal
from taskq.models import Attempt, Message, TaskRun
from taskq.records import NO_FOLLOW_UPS, FollowUps, Settlement
from taskq.workflows import large_bodies
from taskq.workflows.advance import REVOKED_RESULT, advance
from taskq.workflows.followups import complete
from taskq.workflows.sendable import sendable

from . import failures, kept_messages, large_results, log_lines, logs
from .authenticity import readable
from .enqueue import follow, names_of, wake
from .finalize import finish_pending, note_ended
from .masking import mask_arguments
from .sealed_values import seal_values
from .texts import without_texts
from .transactions import repeated
from .workflow_rows import DatabaseWorkflows


def settle(token: str, settlements: Sequence[Settlement], alias: str | None = None) -> set[int]:
    """Settle messages that ``token`` holds; return the ids of the messages that it did hold.

    Raises ``OperationalError`` or ``InterfaceError`` while the database is away, or rows are locked: then nothing is
    settled, and the call may be repeated.
    """
    if not settlements:
        return set()
    engine = for_alias(alias or settings.DATABASE)
    began = time.monotonic()
    try:
        held = repeated(engine, lambda: _settle(engine, token, settlements), locked=False)
        log_lines.batch_settled(len(held), time.monotonic() - began)
        return held
    except Exception as error:
        if not engine.refuses(error):
            raise
        if len(settlements) > 1:
            half = len(settlements) // 2
            return settle(token, settlements[:half], alias) | settle(token, settlements[half:], alias)
        log_lines.settlement_refused(settlements[0], error)
        return _settle_refused(engine, token, _failure_instead(engine, settlements[0], error))


def _settle_refused(engine: Engine, token: str, settlement: Settlement) -> set[int]:
    """Settle the failure that replaces a refused settlement.

    If the database refuses the failure too, the message is deleted without a TaskRun, and dependents fail. If they
    can't be written either, the message is deleted alone.
    """
    # Rows of size 0 may name the last of the dependents.
    named = [group for group in settlement.follow_ups.groups if not group.size and not group.added]
    dependents = FollowUps(groups=named, unreachable=settlement.follow_ups.unreachable)
    unwritten = replace(settlement, state=states.IGNORED, follow_ups=dependents)
    for attempt in (settlement, unwritten):
        try:
            return repeated(engine, partial(_settle, engine, token, [attempt]), locked=False)
        except Exception as error:
            if not engine.refuses(error):
                raise
            log_lines.failure_refused(settlement)
    alone = replace(unwritten, member=False, follow_ups=NO_FOLLOW_UPS)
    return repeated(engine, partial(_settle, engine, token, [alone]), locked=False)


def _settle(engine: Engine, token: str, settlements: Sequence[Settlement]) -> set[int]:
    with engine.atomic():
        sending = [s for s in settlements if s.follow_ups.envelopes or s.follow_ups.rests or s.replaced]
        messages = _locked(engine, token, [s.message_id for s in sending if s.unfinished or s.new_tasks])
        rows = DatabaseWorkflows(engine, messages)
        if sending:
            settlements = [sendable(rows, _revoked_if_asked(s, messages.get(s.message_id))) for s in settlements]
        kept_messages.keep(engine, token, settlements)
        held = engine.delete_held(token, sorted(s.message_id for s in settlements))
        settled = sorted([s for s in settlements if s.message_id in held], key=attrgetter("task_id"))
        write_ends(engine, settled, rows)
        large_results.drop(engine, settlements)
    return held


def _locked(engine: Engine, token: str, message_ids: Sequence[int]) -> dict[int, Message]:
    if not message_ids:
        return {}
    rows = Message.objects.using(engine.alias).select_for_update().filter(id__in=message_ids, token__unindexed=token)
    return {message.id: message for message in without_texts(rows.order_by("id"))}


def _revoked_if_asked(s: Settlement, message: Message | None) -> Settlement:
    """Return ``s``, or a ``REVOKED`` in its place if the task would run again: its next message would lack the flag."""
    if message is None or not (message.revoked and s.unfinished):
        return s
    log_lines.retry_revoked(s)
    revoked = replace(s, state=states.REVOKED, result=REVOKED_RESULT, content_type="application/json", traceback=None)
    return complete(revoked, readable(message))


def write_ends(engine: Engine, settled: Sequence[Settlement], rows: DatabaseWorkflows | None = None) -> None:
    """Write the states of tasks whose messages were deleted, and send their follow-ups."""
    settled = large_bodies.without_runs(settled)
    linked = [s for s in settled if s.linked]
    plain = [s for s in settled if not s.linked] if linked else settled
    _write_plain(engine, plain)
    ended = [s.task_id for s in plain if s.state in states.READY_STATES]
    failed = failures.failed(plain)
    if linked:
        rows = rows or DatabaseWorkflows(engine)
        ended += advance(rows, linked)
        failed += rows.failed
    if tasks.guarded:
        mask_arguments(engine, settled)
    failures.note(engine, failed)
    wake_waiters(engine, ended)


def _write_plain(engine: Engine, settled: Sequence[Settlement]) -> None:
    """Write retries, and ends of tasks without a workflow."""
    _write_runs(engine, [s for s in settled if s.keep and s.state != states.IGNORED])
    _delete_ignored(engine, [s for s in settled if not s.keep])
    finish_pending(engine, [s.task_id for s in settled if s.state == states.IGNORED and s.tracked])
    retried = [s for s in settled if s.state == states.RETRY]
    _write_attempts(engine, [s for s in retried if s.keep])
    _try_again(engine, retried)


def _write_runs(engine: Engine, settled: Sequence[Settlement]) -> None:
    seal_values(settled)
    tracked = [s for s in settled if s.tracked]
    untracked = [s for s in settled if not s.tracked]
    if tracked:
        engine.update_runs(tracked)
    if untracked:
        engine.upsert_runs(untracked)


def _delete_ignored(engine: Engine, settled: Sequence[Settlement]) -> None:
    tracked = [s.task_id for s in settled if s.tracked]
    if tracked:
        rows = TaskRun.objects.using(engine.alias).filter(task_id__in=tracked)
        rows.filter(~Q(state__in=states.READY_STATES))._raw_delete(engine.alias)
    logs.forget([s.task_id for s in settled], engine.alias)
    note_ended(engine, [s for s in settled if s.state in states.READY_STATES])


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


def _try_again(engine: Engine, retried: Sequence[Settlement]) -> None:
    """Send the messages of the next attempts; their TaskRuns exist."""
    again = [envelope for s in retried for envelope in s.follow_ups.envelopes]
    if again:
        seal(again)
        follow(engine, again)
        wake(engine, names_of(again))


def wake_waiters(engine: Engine, task_ids: Iterable[str]) -> None:
    """Notify those who wait for the results of tasks, when the caller's transaction is committed."""
    ids = list(task_ids)
    if ids:
        engine.notify(RESULT_CHANNEL, ids)


def refusal(error: Exception) -> EncodeError:
    """Return the exception of a task whose end or message the database refuses with ``error``."""
    text = f"{type(error).__name__}: {error}".encode("ascii", "backslashreplace").decode().replace("\x00", "")
    return EncodeError(text)


def database_refusal(error: Exception) -> str:
    """Return that exception as data."""
    return encode_exception(refusal(error))


def _failure_instead(engine: Engine, settlement: Settlement, error: Exception) -> Settlement:
    """Return the failure that replaces a settlement which the database refuses."""
    refused = replace(
        settlement,
        state=states.FAILURE,
        result=database_refusal(error),
        content_type="application/json",
        traceback=None,
        children=None,
        arguments=None,
        # The database may have refused these fields, which come from the headers of a foreign message.
        name=settlement.name[:255].replace("\x00", ""),
        root_id="",
        parent_id="",
        group_id="",
        member=False,
        retries=0,
        keep=True,
        follow_ups=NO_FOLLOW_UPS,
    )
    message = DatabaseWorkflows(engine).message(settlement) if settlement.linked else None
    return refused if message is None else complete(refused, message)


def _moment(unix: float | None) -> datetime | None:
    return None if unix is None else datetime.fromtimestamp(unix, UTC)
