"""The plain objects that rooms hand to each other and to the store, without models and SQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice
from typing import Any, NamedTuple

from taskq import clock, states

#: A time for the database: a Unix time, or seconds from its now. ``NEVER`` has neither.
Moment = tuple[float | None, float | None]
NEVER: Moment = (None, None)
#: The place of a message in the schedule: the Unix time when it is due, and its id.
DuePlace = tuple[float, int]
#: Ancestors that are written with a result that is stored: JSON can't be nested for ever.
MOST_ANCESTORS = 100


@dataclass(slots=True)
class Envelope:
    """A message that a publisher gives to the store or to kombu.

    ``delay`` is in seconds from now; 0 is at once. ``eta`` and ``expires`` are Unix times, ``expires_in`` is in seconds
    from now. If the caller gave an ``eta``, it decides, and not ``delay``, which is by the sender's clock; if the
    caller gave seconds, ``expires_in`` decides, and not ``expires``. ``priority`` is 0 to 9, larger is sooner.
    ``arguments`` is the text ``[args, kwargs]`` for the TaskRun, ``None`` for a message that gets no row when it is
    sent. ``reset`` means that the caller chose the id: an old TaskRun with it may exist, and is reset.
    """

    task_id: str
    name: str
    queue: str
    headers: dict[str, Any]
    body: str | bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    exchange: str = ""
    routing_key: str = ""
    priority: int = 0
    delay: float = 0.0
    expires: float | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    arguments: str | None = None
    tracked: bool = False
    reset: bool = False
    eta: float | None = None
    expires_in: float | None = None

    @property
    def later(self) -> bool:
        """Whether the message goes into the schedule. Only the database knows whether an ``eta`` is past."""
        return self.delay > 0 or self.eta is not None

    @property
    def due(self) -> Moment:
        """When the message is due."""
        if self.eta is not None:
            return self.eta, None
        return (None, self.delay) if self.delay > 0 else NEVER

    @property
    def expiry(self) -> Moment:
        """When the message expires."""
        return (self.expires, None) if self.expires_in is None else (None, self.expires_in)


@dataclass(slots=True)
class Claimed:
    """A message that this worker has claimed, as in its row: nothing is decoded yet.

    ``expires_by`` is the time of the monotonic clock when the message expires by the database's clock. ``created`` is
    the Unix time by that clock when the message was written, or became due. ``promoted`` says that the message was in
    the schedule, and is due whatever its header ``eta`` says. ``granted`` says that it may start by the rate limit of
    its task. A large message has its ``size`` in bytes; one that is too large has no texts, and ``refused`` says why.
    The body of one that is ``in_row`` is read where its task runs.
    """

    id: int
    queue: str
    task_id: str
    headers: str
    body: str
    content_type: str
    content_encoding: str
    properties: str
    exchange: str
    routing_key: str
    priority: int
    deliveries: int
    redelivered: bool
    tracked: bool
    revoked: str = ""
    promoted: bool = False
    expires_by: float | None = None
    created: float | None = None
    granted: bool = False
    size: int = 0
    refused: str = ""
    in_row: bool = False

    @property
    def expires_in(self) -> float | None:
        """The seconds until the message expires."""
        return None if self.expires_by is None else clock.seconds_until(self.expires_by)


@dataclass(slots=True)
class Progress:
    """A state that a running task has reached at ``at``, a Unix time; ``meta`` is encoded text.

    Without a ``state`` it says no more than that the task runs since ``at``.
    """

    message_id: int
    task_id: str
    name: str
    queue: str
    state: str | None
    meta: str | None
    content_type: str
    at: float
    worker: str


@dataclass(slots=True)
class NewGroup:
    """The new row of a group or a chord's header, which counts its members.

    ``size`` is the number of members that settle before ``body`` is sent. ``body`` is the chord's body as a frozen
    signature in JSON (each task in it has its ``task_id``), or ``None``. With ``added``, the ids of the tasks that
    ``add_to_chord`` adds, the row exists, and ``size`` members join the group after its last member.
    """

    group_id: str
    size: int
    body: str | None = None
    root_id: str = ""
    parent_id: str = ""
    added: Sequence[str] = ()


@dataclass(slots=True)
class NewNode:
    """The new row of one task of a workflow: for reading, drawing, resolving and revoking.

    All nodes of a workflow share ``root_id``. ``group_id`` and ``position`` are set for a member. ``waits_for``
    is the id of the predecessor, a task or a group; it is empty for a task that is sent at once.
    """

    root_id: str
    task_id: str
    name: str
    kind: str = "task"
    group_id: str = ""
    position: int = 0
    waits_for: str = ""


@dataclass(slots=True)
class Unreachable:
    """A dependent that fails because a predecessor did not succeed. A member has its group ``group_id`` fail too."""

    task_id: str
    name: str = ""
    group_id: str = ""


class FrozenResult(NamedTuple):
    """The result of a frozen signature as plain data.

    ``parent`` is the result that it follows in a chain. ``members`` are the results of a
    group's members, ``None`` for a task. ``ignored`` says that the sender wants no result.
    """

    id: str
    parent: FrozenResult | None = None
    members: Sequence[FrozenResult] | None = None
    ignored: bool = False

    def as_tuple(self, most_ancestors: int | None = None) -> tuple[Any, Any]:
        """Return Celery's form of a result: see ``result_tuple``."""
        return result_tuple(self, most_ancestors)

    def _member_tuples(self, most_ancestors: int | None) -> list[Any] | None:
        """Return Celery's form of each member, ``None`` for a task."""
        return None if self.members is None else [member.as_tuple(most_ancestors) for member in self.members]


def lineage(result: Any) -> Iterator[Any]:
    """Yield a ``FrozenResult`` or ``AsyncResult``, its parent, the parent's parent, and so on."""
    while result is not None:
        yield result
        result = result.parent


def result_tuple(result: Any, most_ancestors: int | None) -> tuple[Any, Any]:
    """Return ``((id, parent), members)``, Celery's form of a ``FrozenResult`` or ``AsyncResult``.

    The parents beyond ``most_ancestors`` are left out; ``None`` writes all of them.
    """
    # Not by recursion: a chain may be longer than Python's stack.
    line = list(islice(lineage(result), None if most_ancestors is None else most_ancestors + 1))
    written: Any = None
    for link in reversed(line):
        written = (link.id, written), link._member_tuples(most_ancestors)
    return tuple(written)


@dataclass(slots=True)
class Rest:
    """The end of a step of a chain, behind which a reference to the rest of the chain stands: the Group row ``key``.

    ``value`` is the step's value in JSON, ``task_id`` its id. ``chain`` are the steps behind that rest in JSON, the
    next step last. ``trail`` says that the task notes its children. ``trace`` are the headers that carry its trace.
    If ``planned``, the first step of the rest is among the follow-ups already.
    """

    key: str
    value: str
    task_id: str
    root_id: str
    chain: str = "[]"
    trail: bool = True
    trace: dict[str, str] = field(default_factory=dict)
    planned: bool = False


#: Sentinel: the message body can't be decoded; look the dependents up in the workflow's Node rows.
LOOK_UP_IN_ROWS = Unreachable("")


@dataclass(frozen=True, slots=True)
class FollowUps:
    """The follow-ups of a task's end, for the transaction that settles it.

    ``envelopes`` are the messages to send, ``groups`` and ``nodes`` the rows of their workflows; a group of size 0 may
    say what is sent later (``workflows.parts``). ``unreachable`` are the dependents that fail now; ``rests`` are the
    steps that only the rows have.
    """

    envelopes: Sequence[Envelope] = ()
    groups: Sequence[NewGroup] = ()
    nodes: Sequence[NewNode] = ()
    unreachable: Sequence[Unreachable] = ()
    rests: Sequence[Rest] = ()

    def __bool__(self) -> bool:
        return bool(self.envelopes or self.groups or self.unreachable or self.rests)

    def __add__(self, other: FollowUps) -> FollowUps:
        return FollowUps.joined((self, other))

    @classmethod
    def joined(cls, parts: Iterable[FollowUps]) -> FollowUps:
        """Return all follow-ups of ``parts``, in their order."""
        parts = list(parts)
        return cls(
            [each for part in parts for each in part.envelopes],
            [each for part in parts for each in part.groups],
            [each for part in parts for each in part.nodes],
            [each for part in parts for each in part.unreachable],
            [each for part in parts for each in part.rests],
        )

    @property
    def lists(self) -> tuple[Sequence[Any], ...]:
        """All lists, in the order of the fields."""
        return self.envelopes, self.groups, self.nodes, self.unreachable, self.rests


NO_FOLLOW_UPS = FollowUps()


class End(Enum):
    """The effect of a settlement on the TaskRun of its task."""

    #: The row gets the state.
    KEPT = auto()
    #: The result is ignored, but the row keeps it until the body of the chord has it.
    KEPT_FOR_BODY = auto()
    #: The result is ignored: the row is deleted.
    DROPPED = auto()
    #: The task raised Ignore: the row keeps the state that the task wrote itself.
    WITHOUT_STATE = auto()
    #: Another signature takes the task's place and ends under its id.
    REPLACED = auto()


@dataclass(slots=True)
class Settlement:
    """The end of one message: the state of its task, and its follow-ups.

    ``state`` is a state of ``taskq.states``; ``IGNORED`` is not written. ``result`` is encoded text.
    Times are Unix times; ``runtime``, and how long the message ``waited`` until its task started, are in seconds.
    ``keep`` is false if the result is ignored. ``member`` tells whether the end counts for the group ``group_id``.
    ``shadow`` is the name that monitors show, of a task that ends without an Outcome.
    ``result_row`` and ``result_size`` are those of the ``Outcome``: the Group row is deleted with any end.
    """

    message_id: int
    task_id: str
    state: str
    name: str = ""
    queue: str = ""
    result: str | None = None
    content_type: str = "application/json"
    traceback: str | None = None
    started: float | None = None
    finished: float | None = None
    runtime: float | None = None
    waited: float | None = None
    retries: int = 0
    worker: str = ""
    tracked: bool = True
    keep: bool = True
    arguments: str | None = None
    root_id: str = ""
    parent_id: str = ""
    group_id: str = ""
    children: str | None = None
    member: bool = False
    shadow: str | None = None
    result_row: str = ""
    result_size: int = 0
    follow_ups: FollowUps = NO_FOLLOW_UPS

    @property
    def size(self) -> int:
        """About how many characters are written with it."""
        size, found = len(self.result or "") + len(self.traceback or "") + self.result_size, self.follow_ups
        if found is not NO_FOLLOW_UPS:
            size += sum(len(e.body) for e in found.envelopes) + sum(len(rest.value) for rest in found.rests)
        return size

    @property
    def moves_result(self) -> bool:
        """Whether the run gets the text of ``result_row``. A failure in place of a success has its own result."""
        return bool(self.result_row) and self.state == states.SUCCESS

    @property
    def replaced(self) -> bool:
        """Whether another signature takes the task's place: the task has not ended. A large one is sent in parts."""
        return self.state == states.IGNORED and bool(self.follow_ups.envelopes or self.follow_ups.nodes)

    @property
    def unfinished(self) -> bool:
        """Whether the task has not ended: it is tried again, or was replaced."""
        return self.state == states.RETRY or self.replaced

    @property
    def new_tasks(self) -> list[str]:
        """The ids of the tasks of a replacement, and of those of new members of a chord. None was sent before."""
        if self.replaced:
            return [node.task_id for node in self.follow_ups.nodes if node.task_id != self.task_id]
        return [task_id for group in self.follow_ups.groups for task_id in group.added]

    @property
    def linked(self) -> bool:
        """Whether the workflow of the task goes on with this end, or its result moves: it has to be the first end.

        A retry is no end.
        """
        if self.state == states.RETRY:
            return False
        # Most tasks have the one object that says "none".
        follows = self.follow_ups is not NO_FOLLOW_UPS and bool(self.follow_ups)
        return self.member or follows or self.moves_result

    @property
    def end(self) -> End:
        """The effect on the row of a linked task."""
        if self.state == states.IGNORED:
            return End.REPLACED if self.replaced else End.WITHOUT_STATE
        if self.keep:
            return End.KEPT
        awaited = self.member and self.state == states.SUCCESS and self.result is not None
        return End.KEPT_FOR_BODY if awaited else End.DROPPED
