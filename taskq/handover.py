"""The objects that the main process and a pool's child exchange.

A ``Delivery`` goes to the child. While the task runs, ``Report`` objects may come back, and one ``Outcome``
at its end. All have plain values, which a pool can send through a socket (``to_wire``/``from_wire``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from taskq import states
from taskq.clock import seconds_until
from taskq.records import NO_FOLLOW_UPS, Envelope, FollowUps, NewGroup, NewNode, Rest, Unreachable

#: The number of the format, raised with each new field: mixed versions then notice.
FORMAT = 7
#: The ``event`` of a report that has lines of the task's log. No task can send an event of this type.
LOGGED = "log"
#: From so many characters on the arguments of a message do not travel beside its body.
_LARGE = 64 * 1024


@dataclass(slots=True)
class Delivery:
    """One run of a task, as handed to a child, a thread or the inline runner.

    ``job`` is the worker's own number for this delivery. ``headers`` and ``body`` are text as received. Time limits are
    in seconds and resolved (message, then task, then worker). ``want_arguments`` asks for ``Outcome.arguments``: the
    task has no row yet. Masked arguments come unasked. ``expires_by`` is a time of the monotonic clock, ``clock`` the
    measure of ``taskq.clock``. A body that was left in its row is read from the message ``stored_as``.
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
    expires_by: float | None = None
    clock: float | None = None
    stored_as: int = 0

    @property
    def expires_in(self) -> float | None:
        """The seconds until the message expires, ``None`` if it does not, or if its headers alone say when."""
        return None if self.expires_by is None else seconds_until(self.expires_by)

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as a tuple of plain values."""
        return _delivery_fields(self)

    @classmethod
    def from_wire(cls, fields: tuple[Any, ...]) -> Delivery:
        """Rebuild the object from the values of ``to_wire``."""
        return cls(*fields)


@dataclass(slots=True)
class Report:
    """A state that a running task wants written: ``STARTED`` or a custom state.

    With an ``event`` it is an event of that type for monitors instead, and ``meta`` has its fields. With ``LOGGED`` it
    is lines of the task's log: ``meta`` has them as ``TaskLog.lines`` has, ``at`` is the start of the run.
    """

    job: int
    task_id: str
    state: str
    meta: str | None = None
    content_type: str = "application/json"
    at: float = 0.0
    event: str = ""

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as a tuple of plain values."""
        return _report_fields(self)

    @classmethod
    def from_wire(cls, fields: tuple[Any, ...]) -> Report:
        """Rebuild the object from the values of ``to_wire``."""
        return cls(*fields)


@dataclass(slots=True)
class Outcome:
    """How a run ended.

    ``state`` is SUCCESS, FAILURE, RETRY, REVOKED, IGNORED or REJECTED; ``requeue``
    belongs to REJECTED. ``result`` is encoded text: a value, or an exception as data.
    ``follow_ups`` are sent by the transaction that settles this run. ``memory`` is the resident size
    of the process in KiB, 0 when unknown. A large value is in a Group row already, whose key is
    ``result_row``, in ``result_size`` characters: ``result`` has its beginning, ``content_type`` the seal of the whole.
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
    result_row: str = ""
    result_size: int = 0
    follow_ups: FollowUps = NO_FOLLOW_UPS

    @property
    def replaced(self) -> bool:
        """Whether another signature takes the task's place: the task has not ended. A large one is sent in parts."""
        return self.state == states.IGNORED and bool(self.follow_ups.envelopes or self.follow_ups.nodes)

    def to_wire(self) -> tuple[Any, ...]:
        """Return the fields as a tuple of plain values."""
        return (*_outcome_fields(self), as_lists(self.follow_ups) if self.follow_ups else None)

    @classmethod
    def from_wire(cls, fields: tuple[Any, ...]) -> Outcome:
        """Rebuild the object from the values of ``to_wire``."""
        outcome = cls(*fields)
        outcome.follow_ups = NO_FOLLOW_UPS if fields[-1] is None else of_lists(fields[-1])
        return outcome


def as_lists(found: FollowUps) -> tuple[list[tuple[Any, ...]], ...]:
    """Return follow-ups as plain values, which JSON can carry too."""
    return tuple([*map(fields, records)] for records, (fields, _) in zip(found.lists, _KINDS, strict=True))


def of_lists(lists: Sequence[Sequence[Sequence[Any]]]) -> FollowUps:
    """Rebuild the follow-ups from the values of ``as_lists``."""
    return FollowUps(*([kind(*fields) for fields in rows] for rows, (_, kind) in zip(lists, _KINDS, strict=True)))


def _message_fields(e: Envelope) -> tuple[Any, ...]:
    """Return the fields of a message; in place of large arguments, with which its body begins, their length."""
    fields, shown = _envelope_fields(e), e.arguments
    if shown is not None and len(shown) > _LARGE and isinstance(e.body, str) and e.body.startswith(shown[:-1]):
        return *fields[:_ARGUMENTS], len(shown), *fields[_ARGUMENTS + 1 :]
    return fields


def _message(*fields: Any) -> Envelope:
    """Rebuild the message from its fields."""
    message, length = Envelope(*fields), fields[_ARGUMENTS]
    if isinstance(length, int):
        message.arguments = f"{message.body[: length - 1]}]"  # type: ignore[str-bytes-safe]  # it is text
    return message


# One call in C for all fields, in their order: these run several times for each task.
_delivery_fields = attrgetter(*Delivery.__slots__)
_report_fields = attrgetter(*Report.__slots__)
_outcome_fields = attrgetter(*Outcome.__slots__[:-1])
_envelope_fields = attrgetter(*Envelope.__slots__)
_ARGUMENTS = Envelope.__slots__.index("arguments")
#: The functions that make plain values of follow-ups, and make them anew, in the order of ``FollowUps.lists``.
_KINDS: tuple[tuple[Callable[[Any], tuple[Any, ...]], Callable[..., Any]], ...] = (
    (_message_fields, _message),
    *((attrgetter(*kind.__slots__), kind) for kind in (NewGroup, NewNode, Unreachable, Rest)),
)
