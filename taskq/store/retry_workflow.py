"""Retry in a workflow: a failed task runs again from its kept message, and its dependents wait for it again.

This takes back what ``workflows.advance`` did when the task failed, in the same order: the failures of dependents, then
the counts of their groups, then the failures of the bodies of these groups. Failures with other causes stay: a group
with another failed member stays failed until that member is retried too. Errbacks are not taken back.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from kombu.utils.json import loads

from taskq import states
from taskq.calls import masking
from taskq.calls.again import as_arguments, with_values
from taskq.calls.never_again import refuse_never
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.engines import Engine, for_alias
from taskq.exceptions import CannotRetry, DecodeError, EncodeError, SignatureMismatch, TaskqError
from taskq.messages import arguments, serializers
from taskq.messages.parking import home
from taskq.messages.protocol import MOST_OUTSIDE, decode_message, mapping_of, retry_envelope, seal, verify
from taskq.messages.protocol.options import is_storable
from taskq.models import Group, KeptMessage, Message, Node, ScheduledMessage, TaskRun
from taskq.records import LOOK_UP_IN_ROWS, Envelope, Unreachable
from taskq.workflows import large_bodies, rests
from taskq.workflows.dependents import dependents, dependents_of
from taskq.workflows.fields import split
from taskq.workflows.followups import of_message
from taskq.workflows.parts import PENDING_RANGE
from taskq.workflows.plan import is_member
from taskq.workflows.port import GroupCount

from . import failures
from .enqueue import follow, insert_runs, names_of, wake
from .transactions import repeated
from .workflow_rows import DatabaseWorkflows

#: How many tasks one transaction retries, with all of their dependents; and on SQLite, where other writers wait.
_AT_ONCE, _AT_ONCE_ALONE = 500, 50
_STILL_FAILING = "The tasks that were to follow {} are still failing: try it later."
#: Seconds of a pause behind such a transaction, at most.
_LONGEST_PAUSE = 0.1
#: The most tasks that one retry has wait again: it is one transaction, and somebody waits for the answer.
MOST_REOPENED = 25_000


def kept_among(task_ids: Sequence[str], alias: str) -> set[str]:
    """Return the failed tasks among ``task_ids`` that ``retry_kept`` can run again."""
    found: set[str] = set()
    task_ids = [task_id for task_id in task_ids if is_storable(task_id)]
    for start in range(0, len(task_ids), _AT_ONCE):
        part = task_ids[start : start + _AT_ONCE]
        kept = KeptMessage.objects.using(alias).filter(task_id__in=part).values_list("task_id", "created_at")
        if times := dict(kept):
            runs = TaskRun.objects.using(alias).filter(task_id__in=[*times], state__unindexed=states.FAILURE)
            pairs = runs.values_list("task_id", "created_at")
            found.update(task_id for task_id, created_at in pairs if created_at <= times[task_id])
    return found


def _failed(nodes: QuerySet[Node], alias: str) -> Iterator[tuple[str, str]]:
    """Yield the tasks of ``nodes`` that ran and failed, each with its group. They are read in parts.

    A failed task without a queue never ran. Runs are found by their ids: without statistics, a database would plan a
    join with their states as a product of both tables.
    """
    rows = nodes.order_by("id").values_list("task_id", "group_id").iterator(chunk_size=_AT_ONCE)
    for part in split(rows, _AT_ONCE):
        ids = [task_id for task_id, _ in part]
        runs = TaskRun.objects.using(alias).filter(task_id__in=ids, state__unindexed=states.FAILURE)
        ran = set(runs.exclude(queue="").values_list("task_id", flat=True))
        yield from (row for row in part if row[0] in ran)


def failed_in(root_id: str, alias: str | None = None) -> list[str]:
    """Return the tasks of a workflow that failed themselves and can be run again, in the order of their nodes.

    These are the tasks whose messages were kept, and those for which no task or group waits.
    """
    alias = alias or settings.DATABASE
    nodes = Node.objects.using(alias).filter(root_id=root_id)
    failed = dict(_failed(nodes, alias))
    if not failed:
        return []
    kept = kept_among([*failed], alias)
    awaited = (
        {*nodes.exclude(waits_for="").values_list("waits_for", flat=True).distinct()} if failed.keys() - kept else set()
    )
    return [task_id for task_id, group in failed.items() if task_id in kept or not (group or task_id in awaited)]


def retry_kept(
    task_ids: Sequence[str], *, alias: str | None = None, **changes: Any
) -> tuple[dict[str, Envelope], dict[str, CannotRetry]]:
    """Run failed tasks of workflows again, under their ids; return their messages, and who was refused and why.

    Their dependents wait again. ``changes`` are options of ``retry_envelope``: ``args``, ``kwargs``, ``queue``,
    ``countdown``, ``eta``, ``priority``; and ``update_kwargs``. The old outcomes become rows of ``Attempt``. Raises for
    ``args`` and ``kwargs`` the errors of any call; it is meant to be called with one task then.

    A transaction retries up to ``_AT_ONCE`` tasks. If that is refused as a whole, halves of them are tried. On SQLite
    it retries fewer, and a pause follows it: workers claim, and send their heartbeats, in between.
    """
    engine = for_alias(alias or settings.DATABASE)
    found: dict[str, Envelope] = {}
    refused: dict[str, CannotRetry] = {}
    most = _AT_ONCE if engine.skip_locked else min(_AT_ONCE, _AT_ONCE_ALONE)
    rest = [task_ids[start : start + most] for start in range(0, len(task_ids), most)][::-1]
    while rest:
        part, began = rest.pop(), time.monotonic()
        try:
            envelopes, refused_now = repeated(engine, partial(_retry, engine, part, changes))
        except CannotRetry as error:
            if len(part) == 1:
                refused[part[0]] = error
            else:
                rest += [part[len(part) // 2 :], part[: len(part) // 2]]
        else:
            found |= envelopes
            refused |= refused_now
        if not (engine.skip_locked or engine.in_transaction()):
            # Others wait with pauses of their own: without this one they would come last.
            time.sleep(min(_LONGEST_PAUSE, time.monotonic() - began))
    return found, refused


def _retry(
    engine: Engine, task_ids: Sequence[str], changes: Mapping[str, Any]
) -> tuple[dict[str, Envelope], dict[str, CannotRetry]]:
    """Retry tasks in one transaction. Raises ``CannotRetry`` if what failed with them can't wait again."""
    with engine.atomic():
        refused: dict[str, CannotRetry] = {}
        kept, runs = _locked(engine, task_ids)
        found: dict[str, Envelope] = {}
        for task_id in task_ids:
            try:
                found[task_id] = _planned(task_id, kept.get(task_id), runs.get(task_id), changes)
            except CannotRetry as error:
                refused[task_id] = error
        for task_id in _with_pending_rows({task_id: kept[task_id] for task_id in found}, engine.alias):
            del found[task_id]
            refused[task_id] = CannotRetry("unfinished", _STILL_FAILING.format(task_id))
        if found:
            steps = _Reopening(engine)
            steps.reopen([kept[task_id] for task_id in found])
            _send(engine, found, [runs[task_id].id for task_id in found])
            failures.forget(steps.gone, engine.alias)  # last, as they are written
    return found, refused


def _locked(engine: Engine, task_ids: Sequence[str]) -> tuple[dict[str, KeptMessage], dict[str, TaskRun]]:
    """Lock and return the kept messages and the runs of tasks. Of two retries at once the second finds no messages."""
    messages = KeptMessage.objects.using(engine.alias).select_for_update().filter(task_id__in=task_ids)
    kept = {message.task_id: message for message in messages.order_by("task_id")}
    runs = TaskRun.objects.using(engine.alias).select_for_update().filter(task_id__in=task_ids).order_by("task_id")
    return kept, {run.task_id: run for run in runs.defer("result", "traceback", "children")}


def _planned(task_id: str, kept: KeptMessage | None, run: TaskRun | None, changes: Mapping[str, Any]) -> Envelope:
    """Return the message that runs a task again. Raises ``CannotRetry``, and for arguments given other errors."""
    if run is None:
        raise CannotRetry("missing", f"There is no task {task_id}, or its row was deleted.")
    if run.state != states.FAILURE:
        reason = "succeeded" if run.state == states.SUCCESS else "unfinished"
        raise CannotRetry(
            reason, f"The task {task_id} is {run.state}: only a task that has failed runs again in its workflow."
        )
    refuse_never(run.name)
    if kept is None or kept.created_at < run.created_at:
        raise CannotRetry(
            "unkept",
            f"The message of {task_id} was not kept: the task never ran, or its message or that of a follower "
            "has sensitive arguments, or it is too large, or it failed before taskq kept messages.",
        )
    try:
        if settings.SIGNING:
            verify(kept)
        return _again(kept, run, changes)
    except SignatureMismatch as error:
        raise CannotRetry("altered", f"The kept message of {task_id} was altered: {error}") from error
    except (TypeError, ValueError, EncodeError, DecodeError, TaskqError) as error:
        if isinstance(error, CannotRetry) or not changes.keys().isdisjoint(("args", "kwargs")):
            raise
        raise CannotRetry("refused", f"{task_id} can't be sent again: {error}") from error


def _send(engine: Engine, found: Mapping[str, Envelope], run_ids: Sequence[int]) -> None:
    """Put the messages into their queues, in place of the kept ones; the outcomes become attempts."""
    task_ids, envelopes = list(found), list(found.values())
    KeptMessage.objects.using(engine.alias).filter(task_id__in=task_ids)._raw_delete(engine.alias)
    engine.keep_attempts(run_ids)
    seal(envelopes)
    insert_runs(engine, envelopes)
    Node.objects.using(engine.alias).filter(task_id__in=task_ids).update(state="", revoked=False)
    follow(engine, envelopes)
    wake(engine, names_of(envelopes))


def _with_pending_rows(kept: Mapping[str, KeptMessage], alias: str) -> list[str]:
    """Return the tasks whose workflows have pending rows: some dependents have not failed yet."""
    roots = {task_id: str(mapping_of(row.headers).get("root_id") or task_id) for task_id, row in kept.items()}
    first, behind = PENDING_RANGE
    rows = Group.objects.using(alias).filter(group_id__gte=first, group_id__lt=behind, root_id__in={*roots.values()})
    pending = set(rows.values_list("root_id", flat=True)) if roots else set()
    return [task_id for task_id, root_id in roots.items() if root_id in pending]


def _again(kept: KeptMessage, run: TaskRun, changes: Mapping[str, Any]) -> Envelope:
    """Return the kept message as one that is sent now: the first try, which does not expire."""
    envelope = retry_envelope(kept, **_with_arguments(kept, changes))
    envelope.headers |= {"retries": 0, "expires": None}
    envelope.expires = None
    envelope.queue = changes.get("queue") or home(kept.queue)
    envelope.tracked = envelope.reset = True
    envelope.arguments = envelope.arguments or _stored_arguments(run)
    return envelope


def _with_arguments(kept: KeptMessage, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``changes`` with both arguments if one is changed: checked as those of any call, and masked in the row."""
    args, kwargs, task = changes.get("args"), changes.get("kwargs"), tasks.get(kept.name)
    values, others = changes.get("update_kwargs"), {k: v for k, v in changes.items() if k != "update_kwargs"}
    if args is None and kwargs is None and not values:
        return others
    if args is None or kwargs is None:
        old_args, old_kwargs, _ = decode_message(kept, mapping_of(kept.headers), MOST_OUTSIDE)
        args, kwargs = old_args if args is None else args, old_kwargs if kwargs is None else kwargs
    serializer = serializers.serializer_of(kept.content_type)
    if values:
        args, kwargs = with_values(kept.name, task, args, kwargs, values, serializer)
    else:
        args, kwargs = as_arguments(task, args, kwargs, serializer)
    return {**others, "args": args, "kwargs": kwargs, "shown": masking.shown(kept.name, args, kwargs)}


def _stored_arguments(run: TaskRun) -> str | None:
    """Return the arguments of a row, for the row itself. A text that was altered gets no seal, and is dropped."""
    try:
        arguments.verify(run.arguments or "", run.task_id, run.name)
    except SignatureMismatch:
        return None
    return run.arguments


class _Reopening:
    """Takes a failure back. The rows are locked in the order in which ``workflows.advance`` locks them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rows = DatabaseWorkflows(engine)
        self._reopened: set[str] = set()
        self._of = ""
        self._retried = 0
        #: The ids of the runs that were deleted.
        self.gone: list[int] = []

    def reopen(self, kept: Sequence[KeptMessage]) -> None:
        """Reopen the dependents of the failed tasks with these messages, and the groups that they failed."""
        self._reopened.update(message.task_id for message in kept)
        self._retried = len(kept)
        self._of = kept[0].task_id
        joined: Counter[str] = Counter()
        unreachable: list[Unreachable] = []
        for message in kept:
            follow_ups = of_message(message, states.REVOKED, "{}")  # of a revoked task: without errbacks
            headers = mapping_of(message.headers)
            if is_member(headers):
                joined[str(headers["group"])] += 1
            unreachable += self._with_rests(follow_ups.unreachable, message.task_id)
            self._refuse_many(len(unreachable))
        joined += self._reopen_tasks(unreachable)
        while joined:
            joined = self._reopen_groups(joined)

    def _with_rests(self, found: Iterable[Unreachable], of: str) -> list[Unreachable]:
        """Return dependents with those in the rests of their chains."""
        unreachable, seen = list(found), set[str]()
        self._refuse_many(len(unreachable))
        while keys := set(rests.references(unreachable)) - seen:
            self._refuse_many(len(unreachable))
            seen |= keys
            unreachable = [each for each in unreachable if each.task_id not in keys]
            bodies = [body for body in self._rows.bodies(keys) if body.body]
            if len(bodies) < len(keys):
                raise CannotRetry(
                    "unkept", f"The rest of the chain of {of} was not kept: it may have sensitive arguments."
                )
            unreachable += [each for body in bodies for each in dependents({"chain": loads(body.body)})]
        if LOOK_UP_IN_ROWS in unreachable:
            raise CannotRetry("unreadable", f"The kept message of {of} can't be read.")
        return [each for each in unreachable if each.name != rests.NAME]

    def _refuse_many(self, more: int) -> None:
        if len(self._reopened) - self._retried + more > MOST_REOPENED:
            raise CannotRetry(
                "refused",
                f"More than {MOST_REOPENED:,} tasks have failed with {self._of}, which is too many for one retry: "
                "run it as a new task, or send its workflow anew.",
            )

    def _reopen_tasks(self, unreachable: Sequence[Unreachable]) -> Counter[str]:
        """Take back the failures of tasks that never ran; return by how many members the count of each group grows."""
        by_id = {each.task_id: each for each in unreachable if each.task_id not in self._reopened}
        ids = sorted(by_id)
        failed: list[str] = []
        for start in range(0, len(ids), self._engine.chunk):
            runs = TaskRun.objects.using(self._engine.alias).filter(task_id__in=ids[start : start + self._engine.chunk])
            rows = runs.filter(state=states.FAILURE).select_for_update().order_by("task_id")
            found = {task_id: (queue, number) for number, task_id, queue in rows.values_list("id", "task_id", "queue")}
            # A task without a queue was never sent: its failure is its only row. A replaced task was sent.
            never_sent = {task_id: number for task_id, (queue, number) in found.items() if not queue}
            runs.filter(task_id__in=list(never_sent))._raw_delete(self._engine.alias)
            self.gone += never_sent.values()
            runs.filter(task_id__in=found.keys() - never_sent.keys()).update(
                state=states.PENDING, result=None, traceback=None, finished_at=None, content_type="application/json"
            )
            failed += found
        self._reopened.update(failed)
        return Counter(by_id[task_id].group_id for task_id in failed if by_id[task_id].group_id)

    def _reopen_groups(self, joined: Mapping[str, int]) -> Counter[str]:
        """Have groups wait for members again, and reopen their bodies; return as ``_reopen_tasks`` does for these."""
        groups = Group.objects.using(self._engine.alias)
        rows = groups.select_for_update().filter(group_id__in=sorted(joined)).order_by("group_id")
        found = {row.group_id: row for row in rows.defer("body")}
        # In one statement: such a message may go from one table into the other meanwhile.
        of_group = {"task_id": OuterRef("group_id"), "name": large_bodies.TASK}
        waiting = Exists(Message.objects.filter(**of_group)) | Exists(ScheduledMessage.objects.filter(**of_group))
        if groups.filter(waiting, group_id__in=found).exists():
            raise CannotRetry("unfinished", _STILL_FAILING.format(self._of))
        # A group whose id was sent again meanwhile may have failed members of before, and not have failed itself.
        ended = [group_id for group_id, row in found.items() if row.failed]
        failing = self._with_failed_members(ended)
        counts = [
            GroupCount(row.group_id, row.remaining + joined[row.group_id], row.group_id in failing)
            for row in found.values()
        ]
        self._rows.set_counts(counts)
        again = [group_id for group_id in ended if group_id not in failing]
        for count in counts:
            if count.group_id in again:
                self._refuse_expired(found[count.group_id].size - count.remaining, count.group_id)
        return self._reopen_tasks(self._dependents_of_groups(again))

    def _refuse_expired(self, ended: int, group_id: str) -> None:
        """Raise ``CannotRetry`` if values of the ``ended`` members are gone: a body would fail for want of them."""
        members = Node.objects.using(self._engine.alias).filter(group_id=group_id)
        kept = TaskRun.objects.filter(task_id=OuterRef("task_id"), state=states.SUCCESS)
        if members.filter(Exists(kept)).count() < ended and self._has_body(group_id):
            raise CannotRetry(
                "unkept",
                f"Results of other members of the group of {self._of} have expired or were deleted, and its body needs "
                "them: send the workflow anew.",
            )

    def _has_body(self, group_id: str) -> bool:
        return Group.objects.using(self._engine.alias).filter(group_id=group_id, body__isnull=False).exists()

    def _with_failed_members(self, group_ids: Collection[str]) -> set[str]:
        """Return the groups that have a failed or revoked member still."""
        return {group_id for group_id in group_ids if self._has_failed_member(group_id)}

    def _has_failed_member(self, group_id: str) -> bool:
        ended = TaskRun.objects.filter(task_id=OuterRef("task_id"), state__in=states.PROPAGATE_STATES)
        nodes = Node.objects.using(self._engine.alias).filter(group_id=group_id)
        failed = nodes.filter(Q(revoked=True) | Q(state__in=states.PROPAGATE_STATES) | Exists(ended))
        # One more than this retry reopens, so that another one is among them. The last ones: a retry of many goes from
        # the first to the last.
        last = failed.order_by("-position").values_list("task_id", flat=True)[: len(self._reopened) + 1]
        return any(task_id not in self._reopened for task_id in last)

    def _dependents_of_groups(self, group_ids: Sequence[str]) -> list[Unreachable]:
        bodies = {body.group_id: body.body for body in self._rows.bodies(group_ids)} if group_ids else {}
        found: list[Unreachable] = []
        for group_id in group_ids:
            if body := bodies.get(group_id):
                found += self._with_rests(dependents_of(body), group_id)
            elif (
                Node.objects.using(self._engine.alias)
                .filter(waits_for=group_id, root_id=self._root_of(group_id))
                .exists()
            ):
                raise CannotRetry(
                    "unkept", f"The body of the group {group_id} was not kept: it may have sensitive arguments."
                )
        return found

    def _root_of(self, group_id: str) -> str:
        nodes = Node.objects.using(self._engine.alias).filter(group_id=group_id)
        return nodes.values_list("root_id", flat=True).first() or ""
