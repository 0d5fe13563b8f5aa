"""The rows of workflows: groups, nodes, and the runs of linked tasks.

``DatabaseWorkflows`` is what ``workflows.advance`` works on, in the transactions of ``settle``, ``revoke`` and
``recover``. ``insert`` is for senders too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

from django.db import DatabaseError, IntegrityError, InterfaceError
from django.db.models import Case, F, Q, QuerySet, Sum, TextField, Value, When, Window
from django.db.models.lookups import LessThanOrEqual

from taskq import states
from taskq.conf import settings
from taskq.engines import Engine
from taskq.exceptions import SignatureMismatch
from taskq.messages.parking import home
from taskq.messages.protocol import seal
from taskq.models import Group, Message, Node, TaskRun
from taskq.models.fields import Octets
from taskq.records import Envelope, NewGroup, NewNode, Settlement
from taskq.workflows import cascade
from taskq.workflows.parts import Pending, is_pending
from taskq.workflows.plan import ADDED
from taskq.workflows.port import Body, Dependents, GroupCount, Member

from . import authenticity, exchanges, failures, finalize, log_lines
from .enqueue import follow, insert_runs, names_of, wake
from .kept_messages import may_be_sensitive, sensitive_names
from .sealed_values import opened_type, seal_values
from .sealed_workflows import Place, open_body, read_places, seal_body, seal_nodes, seal_place
from .texts import without_texts
from .transactions import SentTwice, after_commit

T = TypeVar("T")
#: About how many dependents a transaction fails. This takes some 20 ms; on SQLite all other writers wait meanwhile.
MOST_DEPENDENTS = 100
#: The bytes of the bodies that are read at once, as a multiple of those of the largest small body.
_MOST_SMALL = 16


def insert(engine: Engine, groups: Iterable[NewGroup], nodes: Iterable[NewNode], *, reset: bool = False) -> None:
    """Write groups and nodes in the caller's transaction.

    With ``reset``, for a sender's workflow, nodes of an earlier sending begin anew.
    """
    new = {g.group_id: _group_row(g) for g in groups if not g.added}
    for chunk in _chunks(engine, [new[group_id] for group_id in sorted(new)]):
        engine.insert_groups(chunk)
    # One row for an id: no statement meets a row twice.
    rest = iter(nodes)
    while nodes_chunk := {n.task_id: n for n in islice(rest, engine.chunk)}:
        known = frozenset() if reset else _known_nodes(engine, nodes_chunk)
        if missing := seal_nodes(n for task_id, n in nodes_chunk.items() if task_id not in known):
            engine.insert_nodes([(*row, False, False, "") for row in missing], reset=reset)


def _known_nodes(engine: Engine, task_ids: Collection[str]) -> frozenset[str]:
    """Return the ids of nodes that exist: the sender has written most of them, and reading is cheaper."""
    rows = Node.objects.using(engine.alias).filter(task_id__in=task_ids)
    return frozenset(rows.values_list("task_id", flat=True))


def forget_earlier_ends(engine: Engine, task_ids: Sequence[str]) -> None:
    """Delete the final runs that an earlier sending left under the ids of tasks that run later."""
    for chunk in _chunks(engine, task_ids):
        rows = TaskRun.objects.using(engine.alias).filter(task_id__in=chunk, state__in=states.READY_STATES)
        rows._raw_delete(engine.alias)


def _group_row(g: NewGroup) -> tuple[Any, ...]:
    parent_id = g.parent_id or ""
    body = None if g.body is None else seal_body(g.body, g.group_id, g.size, g.root_id, parent_id)
    return (g.group_id, g.size, g.size, False, body, g.root_id, parent_id)


def _chunks(engine: Engine, rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + engine.chunk] for start in range(0, len(rows), engine.chunk))


def _is_small(most: int, count: int) -> Q:
    """Return the condition that the body of one of ``count`` groups is read.

    It has up to ``most`` bytes, and the small bodies before it have not used up the bytes that are read at once.
    """
    small = Q(LessThanOrEqual(Octets("body"), most))
    if count <= _MOST_SMALL:
        return small
    sizes = Case(When(small, then=Octets("body")), default=Value(0))
    return small & Q(LessThanOrEqual(Window(Sum(sizes), order_by="group_id"), _MOST_SMALL * most))


def _body(text: str | None, group_id: str, size: int, root_id: str, parent_id: str) -> Body:
    """Return the body of a row whose ``text`` was read, ``None`` if it is large and was not."""
    opened = "" if text is None else _opened(text, group_id, size, root_id, parent_id)
    return Body(group_id, opened, root_id, parent_id, size, large=text is None)


def _opened(text: str | None, group_id: str, size: int, root_id: str, parent_id: str) -> str:
    """Return the text of a body without its seal, an empty text if it was altered."""
    try:
        return open_body(text or "", group_id, size, root_id, parent_id)
    except SignatureMismatch as error:
        log_lines.stored_text_altered(error)
        return ""


def _seal_again(group: QuerySet[Group], size: int) -> None:
    """Seal the body of a group, which is locked, for ``size`` more members. A body that was altered stays altered."""
    for row in group.filter(body__isnull=False).values_list("body", "group_id", "size", "root_id", "parent_id"):
        _, group_id, old, *lineage = row
        if opened := _opened(*row):
            group.update(body=seal_body(opened, group_id, old + size, *lineage))


def _verified(member: Member) -> Member:
    if member.state is None:
        return member
    if member.state not in states.READY_STATES:
        raise SignatureMismatch(f"The rows of {member.task_id} were altered: it has not ended, but was counted.")
    opened = opened_type(member.content_type or "", member.result, member.task_id, member.state)
    return member._replace(content_type=opened)


class DatabaseWorkflows:
    """The rows of one database as a ``workflows.port.WorkflowStore``; see there."""

    most_dependents = MOST_DEPENDENTS

    def __init__(self, engine: Engine, messages: Mapping[int, Message] | None = None) -> None:
        self._engine = engine
        #: Messages that this transaction deletes, read before.
        self._messages = messages or {}
        #: For groups that have grown, the position of their next member.
        self._next: dict[str, int] = {}
        #: The ends that were written as failures.
        self.failed: list[Settlement] = []

    # Made when asked for: most batches are of tasks without a workflow, and a queryset costs more than the question.

    @property
    def _groups(self) -> QuerySet[Group]:
        return Group.objects.using(self._engine.alias)

    @property
    def _nodes(self) -> QuerySet[Node]:
        return Node.objects.using(self._engine.alias)

    # -- messages

    def message(self, settlement: Settlement) -> Message | None:
        known = self._messages.get(settlement.message_id)
        rows = Message.objects.using(self._engine.alias).filter(id=settlement.message_id)
        found = known or next(iter(without_texts(rows)), None)
        return None if found is None else authenticity.readable(found)

    def resolve(self, envelopes: Sequence[Envelope]) -> Sequence[Envelope]:
        return exchanges.resolve(envelopes, self._engine.alias)

    def must_raise(self, error: Exception) -> bool:
        return isinstance(error, DatabaseError | InterfaceError)

    def send(self, envelopes: Sequence[Envelope]) -> None:
        """Write runs and messages, and wake the workers."""
        for chunk in _chunks(self._engine, envelopes):
            ended = self._revoked_or_ended(chunk)
            if going := [e for e in chunk if e.task_id not in ended]:
                seal(going)
                insert_runs(self._engine, [e for e in going if e.tracked])
                follow(self._engine, going)
        wake(self._engine, names_of(envelopes))

    def _revoked_or_ended(self, envelopes: Sequence[Envelope]) -> set[str]:
        """Return the tasks that were revoked, or have ended without a run. ``Node`` is the only record of both.

        The nodes are locked: a concurrent revoke finds the message, or the sender finds the mark.
        """
        nodes = self._nodes.select_for_update().order_by("task_id")
        rows = nodes.filter(task_id__in=[e.task_id for e in envelopes]).values_list("task_id", "revoked", "state")
        return {task_id for task_id, revoked, state in rows if revoked or state}

    # -- ends

    def finalize(self, settlements: Sequence[Settlement]) -> set[str]:
        first = finalize.write(self._engine, settlements)
        self.failed += [s for s in failures.failed(settlements) if s.task_id in first]
        return first

    def fail(self, settlements: Sequence[Settlement]) -> set[str]:
        now = self._engine.now()
        final: set[str] = set()
        for chunk in _chunks(self._engine, settlements):
            for settlement in chunk:
                settlement.finished = now
            seal_values(chunk)
            final |= self._engine.end_runs(chunk)
        self.failed += [s for s in settlements if s.task_id in final]
        return final

    # -- nodes

    def write_pending(self, groups: Sequence[NewGroup]) -> None:
        self._write(groups, ())

    def insert(self, groups: Iterable[NewGroup], nodes: Iterable[NewNode], new: Collection[str] = ()) -> None:
        """Raises ``SentTwice`` if another transaction has written a node of ``new``; then this one is repeated."""
        nodes = [self._placed(n) for n in nodes] if self._next else list(nodes)
        if added := seal_nodes(n for n in nodes if n.task_id in new):
            now = self._engine.now_expression()
            try:
                self._nodes.bulk_create(
                    [Node(**dict(zip(Place._fields, row, strict=True)), created_at=now) for row in added]
                )
            except IntegrityError as error:
                raise SentTwice("Another transaction sends the same frozen signature.") from error
        self._write(list(groups), [n for n in nodes if n.task_id not in new])

    def _write(self, groups: Sequence[NewGroup], nodes: Iterable[NewNode]) -> None:
        """Write groups and nodes. This worker is told of pending rows, at commit; others look for them now and then."""
        insert(self._engine, groups, nodes)
        if left := [group.group_id for group in groups if is_pending(group.group_id)]:
            after_commit(self._engine, partial(log_lines.parts_left, left, self._engine.alias))

    def _placed(self, n: NewNode) -> NewNode:
        """Return ``n``; a member that ``add_to_chord`` adds comes behind the others."""
        if n.position != ADDED or n.group_id not in self._next:
            return n
        self._next[n.group_id] += 1
        return replace(n, position=self._next[n.group_id] - 1)

    def known_nodes(self, task_ids: Collection[str]) -> frozenset[str]:
        return _known_nodes(self._engine, task_ids)

    def predecessor(self, task_id: str) -> str:
        return next((place.waits_for for place in read_places(self._nodes.filter(task_id=task_id))), "")

    def set_predecessor(self, task_id: str, waits_for: str) -> None:
        rows = self._nodes.filter(task_id=task_id)
        if not settings.SIGNING:
            rows.update(waits_for=waits_for)
            return
        for place in read_places(rows):
            sealed = seal_place(place._replace(waits_for=waits_for))
            rows.update(waits_for=waits_for, kind=sealed.kind)

    def dependents(self, task_id: str) -> Dependents:
        own = self._own_place(task_id)
        if own is None:
            return Dependents()
        nodes = read_places(self._nodes.filter(root_id=own.root_id))
        groups = self._groups.filter(group_id__in={place.group_id for place in nodes})
        sent = set(groups.values_list("group_id", flat=True))
        return Dependents(own.group_id, cascade.unreachable_after(task_id, nodes, sent))

    def _own_place(self, task_id: str) -> Place | None:
        """Return the place of a task, or that of one member of a group."""
        rows = self._nodes.filter(Q(task_id=task_id) | Q(group_id=task_id)).order_by("id")
        return next(iter(read_places(rows if settings.SIGNING else rows[:1])), None)

    # -- groups

    def grow(self, sizes: Mapping[str, int]) -> None:
        rows = self._groups.select_for_update().filter(group_id__in=sizes).order_by("group_id")
        for group_id, self._next[group_id] in rows.values_list("group_id", "size"):
            size = sizes[group_id]
            group = self._groups.filter(group_id=group_id)
            if settings.SIGNING:
                _seal_again(group, size)
            group.update(size=F("size") + size, remaining=F("remaining") + size)

    def revoked_members(self, group_id: str) -> Sequence[str]:
        """Return revoked members. All members are locked: whoever revokes a member from now on finds the group."""
        nodes = self._nodes.select_for_update().filter(group_id=group_id).order_by("task_id")
        return [task_id for task_id, revoked in nodes.values_list("task_id", "revoked") if revoked]

    def counts(self, group_ids: Collection[str]) -> Sequence[GroupCount]:
        rows = self._groups.select_for_update().filter(group_id__in=sorted(group_ids)).order_by("group_id")
        return [GroupCount(*row) for row in rows.values_list("group_id", "remaining", "failed")]

    def set_counts(self, counts: Sequence[GroupCount]) -> None:
        self._engine.count_groups([(remaining, failed, group_id) for group_id, remaining, failed in counts])

    def bodies(self, group_ids: Collection[str], most: int | None = None) -> Sequence[Body]:
        rows = self._groups.filter(group_id__in=group_ids, body__isnull=False)
        if most is not None:
            small = When(_is_small(most, len(group_ids)), then=F("body"))
            rows = rows.annotate(small=Case(small, default=Value(None), output_field=TextField()))
        text = "body" if most is None else "small"
        fields = rows.order_by("group_id").values_list(text, "group_id", "size", "root_id", "parent_id")
        return [_body(*row) for row in fields]

    def take_bodies(self, group_ids: Collection[str]) -> Sequence[Body]:
        if bodies := self.bodies(group_ids):
            self.clear_bodies([body.group_id for body in bodies])
        return bodies

    def failed_bodies(self, group_ids: Collection[str], most: int | None = None) -> Sequence[Body]:
        """Return bodies that do not run, and leave them for a retry, but for those with sensitive arguments."""
        found = self.bodies(group_ids, most)
        if guarded := [body.group_id for body in found if may_be_sensitive(body.body)]:
            self.clear_bodies(guarded)
        return found

    def clear_bodies(self, group_ids: Collection[str]) -> None:
        """Bodies are cleared because nobody needs them again, and they may hold arguments."""
        self._groups.filter(group_id__in=group_ids).update(body=None)

    def with_large_values(self, group_ids: Collection[str], most: int) -> Collection[str]:
        return [group_id for group_id, size in self._engine.sizes_of_values(group_ids).items() if size > most]

    def waiting_bodies(self, group_ids: Collection[str]) -> dict[str, bool]:
        rows = self._groups.select_for_update().filter(group_id__in=group_ids, body__isnull=False)
        waiting = rows.filter(Q(failed=True) | Q(remaining__lte=0)).order_by("group_id")
        return dict(waiting.values_list("group_id", "failed"))

    def end_bodies(self, group_ids: Mapping[str, bool]) -> None:
        """Clear bodies, and have the runs deleted that were kept for them. Those of failed groups stay for a retry."""
        if sent := [group_id for group_id, failed in group_ids.items() if not failed]:
            self.clear_bodies(sent)
            kept = self._nodes.filter(group_id__in=sent, ignored=True, state="").values_list("group_id", "root_id")
            self.write_pending([Pending(key, root_id=root_id, after=-1).row for key, root_id in kept.distinct()])
        for group_id in group_ids.keys() - sent:
            # The database looks for the names: the text is large, and is not read.
            named = sensitive_names("body")
            if named is not None:
                self._groups.filter(named, group_id=group_id).update(body=None)

    def drop_next_values(self, pending: Pending, after: int) -> None:
        """Delete the next values that were kept for a body, and leave the others pending."""
        members = self._nodes.filter(group_id=pending.key, position__gt=after).order_by("position")
        found = list(members.values_list("position", "task_id", "ignored", "state")[: self._engine.chunk])
        self.drop_values([task_id for _, task_id, ignored, state in found if ignored and not state])
        if len(found) == self._engine.chunk:
            self.write_pending([replace(pending, after=found[-1][0]).row])

    def queue_of(self, group_id: str) -> str:
        nodes = self._nodes.filter(group_id=group_id).order_by("-position").values_list("task_id", flat=True)
        runs = TaskRun.objects.using(self._engine.alias).filter(task_id__in=list(nodes[: self._engine.chunk]))
        return home(runs.exclude(queue="").values_list("queue", flat=True).first() or "")

    def members(self, group_id: str) -> Iterator[Member]:
        """Raises ``SignatureMismatch`` if a member is missing or has not ended, or a value is not as it was stored."""
        parts = self._parts_of_members(group_id)
        return self._verified_members(group_id, parts) if settings.SIGNING else chain.from_iterable(parts)

    def _parts_of_members(self, group_id: str) -> Iterator[list[Member]]:
        place, most, more = (-1, 0), self._engine.chunk, True
        while more:
            rows = self._engine.members(group_id, place, most)
            yield [Member(*fields) for *fields, _, _ in rows]
            more = len(rows) == most
            place = rows[-1][-2:] if more else place

    def _verified_members(self, group_id: str, parts: Iterable[list[Member]]) -> Iterator[Member]:
        """Yield the members whose nodes have a seal, in the order that the seals cover, each with its sealed value."""
        last, count = -1, 0
        for part in parts:
            nodes = self._nodes.filter(group_id=group_id, task_id__in=[member.task_id for member in part])
            positions = {place.task_id: place.position for place in read_places(nodes)}
            for member in part:
                if (position := positions.get(member.task_id)) is None:
                    continue
                if position <= last:
                    raise SignatureMismatch(f"The stored order of the members of {group_id} was altered.")
                last, count = position, count + 1
                yield _verified(member)
        # The seal of the body covers the size, and all members have ended: none is added any more. Where the body is
        # sent at once, the row is locked besides.
        if count != self._groups.values_list("size", flat=True).get(group_id=group_id):
            raise SignatureMismatch(f"The stored members of {group_id} were altered: {count} are left of them.")

    def drop_values(self, task_ids: Sequence[str]) -> None:
        for chunk in _chunks(self._engine, task_ids):
            TaskRun.objects.using(self._engine.alias).filter(task_id__in=chunk)._raw_delete(self._engine.alias)
            self._nodes.filter(task_id__in=chunk).update(state=states.SUCCESS)
