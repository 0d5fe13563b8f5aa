"""The plain objects that go into the store and come out of it.

Rooms above (messages, worker, transport) build and read these; they never see a
model or a statement of SQL.
"""

from __future__ import annotations

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
    follow_ups: tuple[Envelope, ...] = ()
