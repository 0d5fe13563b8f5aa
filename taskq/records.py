"""The plain objects that go into the store and come out of it.

Rooms above (messages, worker, transport) build and read these; they never see a
model or a statement of SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Envelope:
    """A message to be sent, whole: what a publisher gives to the store or to kombu.

    ``delay`` is how many seconds from now the message is due; 0 is at once.
    ``expires`` is a Unix time. ``priority`` is 0 to 9, larger is sooner.
    ``arguments`` is the text ``[args, kwargs]`` that the task's row keeps, and is
    ``None`` for a message that gets no row when it is sent. ``reset`` says that
    the id was chosen by the caller, so that a row of it may exist.
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


@dataclass(slots=True)
class Claimed:
    """A message that this worker holds, as it lies in the row: nothing is decoded yet."""

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


@dataclass(slots=True)
class Settlement:
    """How one message ends: the row its task gets and what follows from it.

    ``state`` is a state of ``taskq.states``; ``IGNORED`` writes nothing.
    ``result`` is encoded text. Times are Unix times, ``runtime`` is in seconds.
    ``keep`` is false for a success whose result is ignored: its row is deleted
    if there is one and none is written. ``follow_ups`` are sent in the same
    transaction. ``lost`` marks a try that ended with its process.

    ``member`` says that it counts for its group. ``groups`` and ``nodes`` are of what
    follows; ``dependents`` never run because this failed. A success with ``keep`` false
    and a result is kept until the group is done. ``routed`` says that the queues of follow-ups
    that go to exchanges are found.
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
    retries: int = 0
    worker: str = ""
    tracked: bool = True
    keep: bool = True
    arguments: str | None = None
    root_id: str = ""
    parent_id: str = ""
    group_id: str = ""
    children: str | None = None
    lost: bool = False
    member: bool = False
    follow_ups: tuple[Envelope, ...] = ()
    groups: tuple[NewGroup, ...] = ()
    nodes: tuple[NewNode, ...] = ()
    dependents: tuple[Dependent, ...] = ()
    routed: bool = False


@dataclass(slots=True)
class NewGroup:
    """A group or a chord's header, as it is sent: the row that counts its members.

    ``size`` is how many members are to settle before ``body`` is sent. ``body`` is the
    chord's body as a frozen signature in JSON (every task in it has its ``task_id``), or
    ``None`` for a group without one. With ``added`` the group is there, and ``size`` members
    join it; their nodes get the positions after the last one.
    """

    group_id: str
    size: int
    body: str | None = None
    root_id: str = ""
    parent_id: str = ""
    added: bool = False


@dataclass(slots=True)
class NewNode:
    """One task of a workflow, as it is sent: for reading, drawing, resolving and revoking.

    ``root_id`` is the id that all nodes of one workflow share. ``group_id`` and
    ``position`` are those of the group it is a member of; ``waits_for`` is the id of the
    task or group after which it runs, empty if it is sent at once.
    """

    root_id: str
    task_id: str
    name: str
    kind: str = "task"
    group_id: str = ""
    position: int = 0
    waits_for: str = ""


@dataclass(slots=True)
class Dependent:
    """A task that will never run because something before it failed; it fails with it.

    ``group_id`` is set if it is a member of a group, which fails in turn.
    """

    task_id: str
    name: str = ""
    group_id: str = ""


@dataclass(slots=True)
class Sequel:
    """What comes of something that ended: what is sent, and what never will be.

    ``error`` is an exception as data: why what was to be sent can't be. ``group_id`` is
    the group that counts what ended.
    """

    envelopes: Sequence[Envelope] = ()
    groups: Sequence[NewGroup] = ()
    nodes: Sequence[NewNode] = ()
    dependents: Sequence[Dependent] = ()
    error: str | None = None
    group_id: str = ""


#: In place of dependents that nobody could read from a message: all that rows know to wait for the task.
FROM_ROWS = Dependent("")
