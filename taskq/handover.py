"""What the main process and the place where a task runs say to each other.

A ``Delivery`` goes out, ``Report`` objects may come back while the task runs and
one ``Outcome`` when it has ended. All of them consist of plain values, so that a
pool may carry them through a socket (``to_wire``/``from_wire``); a number says
which format that is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

#: Raised by one whenever a field is added, so that mixed versions notice.
FORMAT = 2


@dataclass(slots=True)
class Delivery:
    """One run of a task, as handed to a child, a thread or the inline runner.

    ``job`` is the worker's own number for this hand-over. ``headers`` and
    ``body`` are text as received. Time limits are in seconds and already
    resolved (message, then task, then worker). ``want_arguments`` asks for
    ``Outcome.arguments``, because the task has no row yet.
    """

    job: int
    task_id: str
    name: str
    headers: str
    body: str
    content_type: str
    content_encoding: str
    properties: str
    exchange: str
    routing_key: str
    priority: int
    redelivered: bool
    deliveries: int
    hostname: str
    time_limit: float | None = None
    soft_time_limit: float | None = None
    want_arguments: bool = False

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as a tuple of plain values."""
        return _delivery_fields(self)

    @classmethod
    def from_wire(cls, fields: tuple[Any, ...]) -> Delivery:
        """Rebuild what ``to_wire`` gave."""
        return cls(*fields)


@dataclass(slots=True)
class Report:
    """Something a running task wants written: a state of its own, or that it started."""

    job: int
    task_id: str
    state: str
    meta: str | None = None
    content_type: str = "application/json"
    at: float = 0.0

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as a tuple of plain values."""
        return _report_fields(self)

    @classmethod
    def from_wire(cls, fields: tuple[Any, ...]) -> Report:
        """Rebuild what ``to_wire`` gave."""
        return cls(*fields)


@dataclass(slots=True)
class Outcome:
    """How a run ended.

    ``state`` is SUCCESS, FAILURE, RETRY, REVOKED, IGNORED or REJECTED; ``requeue``
    belongs to REJECTED. ``result`` is encoded text: a value, or an exception as data.
    ``follow_ups`` are ``Envelope`` fields in plain form (``Envelope(*fields)``), to
    be sent in the transaction that settles this run; ``groups``, ``nodes`` and
    ``dependents`` are those of ``Settlement`` in the same form. IGNORED with follow-ups is
    a task that was replaced. ``memory`` is the resident size of the process in KiB, 0 when unknown.
    """

    job: int
    task_id: str
    state: str
    result: str | None = None
    content_type: str = "application/json"
    traceback: str | None = None
    started: float = 0.0
    runtime: float = 0.0
    requeue: bool = False
    arguments: str | None = None
    children: str | None = None
    memory: int = 0
    follow_ups: list[tuple[Any, ...]] = field(default_factory=list)
    groups: list[tuple[Any, ...]] = field(default_factory=list)
    nodes: list[tuple[Any, ...]] = field(default_factory=list)
    dependents: list[tuple[Any, ...]] = field(default_factory=list)

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as a tuple of plain values."""
        return _outcome_fields(self)

    @classmethod
    def from_wire(cls, fields: tuple[Any, ...]) -> Outcome:
        """Rebuild what ``to_wire`` gave."""
        return cls(*fields)


# One call in C for all fields, in their order: these run several times for each task.
_delivery_fields = attrgetter(*Delivery.__slots__)
_report_fields = attrgetter(*Report.__slots__)
_outcome_fields = attrgetter(*Outcome.__slots__)
