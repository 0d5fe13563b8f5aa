"""Running ended tasks again, moving and deleting tasks: functions of ``taskq.control``.

They act on rows alone, whether a worker runs or not. Each says what really happened to each task, or how many of many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from taskq.calls.again import Changes, envelope_again
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.exceptions import CannotRetry
from taskq.ids import MAX_NAME
from taskq.messages.protocol.options import check_priority, due
from taskq.messages.routing.queues import refuse_missing
from taskq.records import Envelope
from taskq.sending import publisher
from taskq.store import move as moving
from taskq.store import retention, retry_workflow

from . import log_lines
from .revoking import named

#: Tasks of one transaction.
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Retried:
    """A task that runs again: ``of`` was retried, as ``task_id``. ``known`` tells if its name is registered here."""

    task_id: str
    of: str
    name: str
    queue: str
    known: bool

    @property
    def new(self) -> bool:
        """Whether it is a new task."""
        return self.task_id != self.of


@dataclass(slots=True)
class Counts:
    """What happened to many tasks: to ``done`` of them, whose ids are ``ids``, what was asked for.

    ``refused`` has how many were refused by the word of the reason (see ``CannotRetry``; ``"held"`` by a worker,
    ``"not_waiting"``), and ``examples`` one sentence for each reason.
    """

    done: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)

    def add(self, ids: Iterable[str], refused: Iterable[tuple[str, str]]) -> None:
        """Add what happened to some more: the ids of those done, the reason and the sentence of each refused one."""
        self.ids.extend(ids)
        self.done = len(self.ids)
        for reason, text in refused:
            self.refused[reason] = self.refused.get(reason, 0) + 1
            self.examples.setdefault(reason, text)


def retry(
    task_id: str,
    *,
    args: list[Any] | tuple[Any, ...] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    update_kwargs: Mapping[str, Any] | None = None,
    queue: str | None = None,
    countdown: float | timedelta | None = None,
    eta: datetime | str | None = None,
    priority: int | None = None,
    new: bool = False,
    since: datetime | None = None,
    by: str = "",
    reason: str = "",
) -> Retried:
    """Run an ended task again, as it was sent: name, arguments, queue and priority are those of its row.

    In place it keeps its id: its outcome becomes an attempt, and whoever waits for it gets the new one. A task that has
    succeeded runs again with ``new=True`` only: as a task with an id of its own, and a row ``Rerun`` that links both
    and says ``by`` whom and with what ``reason``.

    ``args``, ``kwargs``, ``queue``, ``countdown``, ``eta`` and ``priority`` are other than the first time, as in
    ``apply_async``; ``update_kwargs`` replaces arguments by name, and leaves the others as they were. The expiry, the
    callbacks and the stamps of the first message are not kept. But a task of a workflow that has failed runs again from
    its own message: in place, what failed with it waits for it again, and goes on when it succeeds.

    With ``new`` and ``since``, a task that was run again as new since then is refused: pressing twice doubles nothing.

    Raises:
        CannotRetry: with the reason in words: the task has not ended or is unknown, its arguments are masked, were not
            kept, or can't be read. Nothing was changed.
        TypeError, ValueError, EncodeError, QueueNotFound: for the arguments given, as ``apply_async`` does; and for
            ``since`` without ``new``.

    >>> retry("0190c5a6-7d1e-7c3e-8f5b-2f8a5e0d3b1c", queue="slow")  # doctest: +SKIP
    """
    changes = _checked(Changes(args, kwargs, update_kwargs, queue, countdown, eta, priority))
    _refuse_since(since, new)
    made, refused = _again([named("task_id", task_id)], changes, new, by, reason, since)
    for error in refused.values():
        raise error
    (retried,) = made
    log_lines.tasks_retried(1, retried.name, by)
    return retried


def retry_many(
    task_ids: Iterable[str],
    *,
    update_kwargs: Mapping[str, Any] | None = None,
    queue: str | None = None,
    countdown: float | timedelta | None = None,
    eta: datetime | str | None = None,
    priority: int | None = None,
    new: bool = False,
    since: datetime | None = None,
    by: str = "",
    reason: str = "",
) -> Counts:
    """Do ``retry`` for many tasks, some hundreds in a transaction; return how many, and why others were refused.

    Ids that are there twice are retried once, as are tasks that two callers retry in place at the same time. With
    ``new`` and ``since``, tasks that were run again as new since then are refused: so who tries again doubles nothing.
    One that can't be sent, or does not take ``update_kwargs``, is refused, and the others are retried. Raises the
    errors of ``retry`` for ``queue``, ``countdown``, ``eta``, ``priority`` and ``since``, before anything is changed.
    """
    changes = _checked(Changes(None, None, update_kwargs, queue, countdown, eta, priority))
    _refuse_since(since, new)

    def act(chunk: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
        made, refused = _again(chunk, changes, new, by, reason, since)
        for name, count in Counter(retried.name for retried in made).items():
            log_lines.tasks_retried(count, name, by)
        return [retried.of for retried in made], [(error.reason, str(error)) for error in refused.values()]

    return _counted(task_ids, act)


def move(task_ids: Iterable[str], queue: str) -> Counts:
    """Move waiting and scheduled tasks to ``queue``, and wake its workers. A task that a worker holds stays."""
    refuse_missing(named("queue", queue))
    return _counted(task_ids, partial(_moved, lambda chunk: moving.move(chunk, queue)))


def prioritize(task_ids: Iterable[str], priority: int) -> Counts:
    """Give waiting and scheduled tasks another priority: 0 to 9, larger is sooner. A task that a worker holds stays."""
    wanted = check_priority(priority)
    return _counted(task_ids, partial(_moved, lambda chunk: moving.prioritize(chunk, wanted)))


def delete_runs(task_ids: Iterable[str]) -> Counts:
    """Delete the rows of ended tasks, with attempts and events. A task that has not ended has to be revoked first.

    The result of a member of a chord whose body is still to come is deleted when the body gets it.
    """

    def act(chunk: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
        gone, unfinished = retention.delete(chunk)
        left = len(chunk) - len(gone) - len(unfinished)
        return gone, [
            *(("unfinished", f"{task_id} has not ended: revoke it first.") for task_id in unfinished),
            *[("missing", "There is no such task, or its row was deleted.")] * left,
        ]

    return _counted(task_ids, act)


def _checked(changes: Changes) -> Changes:
    """Return what the caller changes. Errors in queue, time and priority are the caller's, and none of the tasks'."""
    if changes.queue is not None:
        refuse_missing(named("queue", changes.queue))
    due(changes.countdown, changes.eta)
    if changes.priority is not None:
        check_priority(changes.priority)
    if changes.update_kwargs is not None and not (changes.args is None and changes.kwargs is None):
        raise ValueError("update_kwargs changes arguments as they were sent: give it without args and kwargs.")
    return changes


def _refuse_since(since: datetime | None, new: bool) -> None:
    if since is not None and not new:
        raise ValueError("since goes with new=True only: a task that runs again in its place does so once anyway.")


def _again(
    task_ids: Sequence[str], changes: Changes, new: bool, by: str, reason: str, since: datetime | None = None
) -> tuple[list[Retried], Mapping[str, CannotRetry]]:
    plan = partial(envelope_again, changes=changes, new=new)
    if new:
        found, refused = publisher.publish_as_new(task_ids, plan, _short(by), _short(reason), since)
    else:
        kept, refused_in_place = _in_workflows(task_ids, changes)
        others = [task_id for task_id in task_ids if task_id not in refused_in_place and task_id not in kept]
        envelopes, refused = publisher.publish_in_place(others, plan) if others else ([], {})
        refused = {**refused, **refused_in_place}
        found = [(envelope.task_id, envelope) for envelope in [*kept.values(), *envelopes]]
    return [_retried(task_id, envelope) for task_id, envelope in found], refused


def _in_workflows(task_ids: Sequence[str], changes: Changes) -> tuple[dict[str, Envelope], Mapping[str, CannotRetry]]:
    """Retry the failed tasks that others were to follow, with what waits for them."""
    kept = sorted(retry_workflow.kept_among(task_ids, settings.DATABASE))
    return retry_workflow.retry_kept(kept, **changes.given) if kept else ({}, {})


def _retried(of: str, envelope: Envelope) -> Retried:
    return Retried(envelope.task_id, of, envelope.name, envelope.queue, envelope.name in tasks)


def _moved(
    change: Callable[[Sequence[str]], tuple[set[str], set[str]]], chunk: Sequence[str]
) -> tuple[list[str], list[tuple[str, str]]]:
    done, held = change(chunk)
    held -= done
    rest = set(chunk) - done - held
    return sorted(done), [
        *(("held", f"A worker has taken {task_id} already.") for task_id in sorted(held)),
        *(("not_waiting", f"{task_id[:100]} does not wait: it has ended, or is unknown.") for task_id in sorted(rest)),
    ]


def _counted(
    task_ids: Iterable[str], act: Callable[[Sequence[str]], tuple[list[str], list[tuple[str, str]]]]
) -> Counts:
    counts = Counts()
    if isinstance(task_ids, str):
        raise TypeError("task_ids has to be a list of ids, not one text")
    for chunk in _chunks(task_ids):
        counts.add(*act(chunk))
    return counts


def _chunks(task_ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(dict.fromkeys(task_ids))
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _short(text: str) -> str:
    return str(text).replace("\0", "")[:MAX_NAME]
