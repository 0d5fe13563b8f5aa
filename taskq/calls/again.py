"""Makes the message that runs an ended task again, from its ``TaskRun``. Sends nothing, and changes no row.

Name, arguments, queue and priority are those of the row; limits, compression and the like are those of the task's
definition, if it is registered here. The first message's expiry, follow-ups, stamps and own headers are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from taskq.exceptions import CannotRetry, DecodeError, EncodeError, QueueNotFound, SignatureMismatch
from taskq.messages import arguments, protocol, routing, serializers
from taskq.messages.arguments import StoredArguments
from taskq.messages.parking import home
from taskq.messages.reprs import MASK
from taskq.records import Envelope

from .definition import TaskDefinition
from .envelope import add_defaults, mask
from .masking import Shown
from .never_again import refuse_never
from .registry import tasks

Args = list[Any] | tuple[Any, ...]


class StoredRun(Protocol):
    """The columns of a ``TaskRun`` that its next message is made of."""

    task_id: str
    name: str
    queue: str
    priority: int
    arguments: str | None
    root_id: str
    parent_id: str


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes for the next run; ``None`` changes nothing.

    ``update_kwargs`` replaces single arguments by name, and leaves the others as they are.
    """

    args: Args | None = None
    kwargs: Mapping[str, Any] | None = None
    update_kwargs: Mapping[str, Any] | None = None
    queue: str | None = None
    countdown: float | timedelta | None = None
    eta: datetime | str | None = None
    priority: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The changes by name, without those that change nothing."""
        pairs = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in pairs if value is not None}


UNCHANGED = Changes()


def envelope_again(run: StoredRun, changes: Changes = UNCHANGED, *, new: bool = False) -> Envelope:
    """Return the message that runs the task of a ``TaskRun`` again, under its id, or with ``new`` under a new id.

    Raises ``CannotRetry``; for the caller's own arguments also the errors of ``envelope_for``. The caller has checked
    the queue and the times of ``changes``.
    """
    if not run.name:
        raise CannotRetry("unreadable", "The row of the task has no name.")
    refuse_never(run.name)
    task = tasks.get(run.name)
    build = partial(_build, run, task, changes, new)
    if changes.args is not None and changes.kwargs is not None:
        return build(*as_arguments(task, changes.args, changes.kwargs))
    stored = stored_arguments(run, changes)
    if changes.args is None and changes.kwargs is None:
        return _as_sent(run, task, stored, changes.update_kwargs, build)
    args = stored.args if changes.args is None else changes.args
    return build(*as_arguments(task, args, stored.kwargs if changes.kwargs is None else changes.kwargs))


# -- the arguments of the row


def stored_arguments(run: StoredRun, changes: Changes = UNCHANGED) -> StoredArguments:
    """Return the arguments of a row as they were sent. Raises ``CannotRetry`` if the row has not kept all of them.

    Masked arguments are no obstacle where ``changes`` has new values.
    """
    stored = _read_arguments(run)
    _refuse_masked(run, stored, changes)
    _refuse_inexact(run, tasks.get(run.name), stored)
    return stored


def _read_arguments(run: StoredRun) -> StoredArguments:
    if run.arguments is None:
        raise CannotRetry("unkept", f"The arguments of {run.name} were not kept: give them anew.")
    try:
        arguments.verify(run.arguments, run.task_id, run.name)
        return arguments.from_text(run.arguments)
    except SignatureMismatch as error:
        raise CannotRetry("altered", str(error)) from error
    except DecodeError as error:
        raise CannotRetry("unreadable", f"The arguments of {run.name} can't be read: {error}") from error


def _refuse_masked(run: StoredRun, stored: StoredArguments, changes: Changes) -> None:
    hidden = (stored.args and changes.args is None) or (stored.kwargs and changes.kwargs is None)
    if hidden and (stored.masked or may_be_masked(run.name, stored)):
        raise CannotRetry(
            "masked",
            f"Some arguments of {run.name} are sensitive, and were kept as asterisks only: give all arguments anew.",
        )


def may_be_masked(name: str, stored: StoredArguments) -> bool:
    """Tell whether asterisks in arguments without notes may be masked values: older versions wrote no notes.

    They may be in the arguments of a task that has sensitive parameters or is not known here, and in those of a
    signature of such a task.
    """
    if MASK not in stored.text:
        return False
    rest: list[tuple[Any, bool]] = [([stored.args, stored.kwargs], _may_hide(name))]
    while rest:
        value, hides = rest.pop()
        if hides and value == MASK:
            return True
        if isinstance(value, dict):
            hides = hides or ("task" in value and _may_hide(value["task"]))
            rest += [(each, hides) for each in value.values()]
        elif isinstance(value, list):
            rest += [(each, hides) for each in value]
    return False


def _may_hide(name: Any) -> bool:
    task = tasks.get(name) if isinstance(name, str) else None
    return task is None or bool(task.sensitive)


def _refuse_inexact(run: StoredRun, task: TaskDefinition | None, stored: StoredArguments) -> None:
    name = stored.serializer
    if stored.text and task is not None and not serializers.is_plain_json(task.serializer):
        raise CannotRetry(
            "unreadable",
            f"The row of {run.name} does not say by which serializer it was sent, and the task's is "
            f"{task.serializer}: give the arguments anew.",
        )
    if not stored.exact:
        raise CannotRetry(
            "unreadable",
            f"{run.name} was sent by {name} with arguments that its row, which is JSON, does not hold exactly: "
            "give them anew.",
        )
    if not serializers.is_plain_json(name) and not _is_accepted(name):
        raise CannotRetry(
            "unreadable",
            f"{run.name} was sent by {name}, which TASKQ_ACCEPT_CONTENT does not name: give arguments anew.",
        )


def _is_accepted(serializer: str) -> bool:
    return any(serializers.serializer_of(kind) == serializer for kind in serializers.accepted_content())


# -- the message


def as_arguments(
    task: TaskDefinition | None, args: Args, kwargs: Mapping[str, Any], serializer: str | None = None
) -> Shown:
    """Check the caller's own arguments, and return them with models as data. Raises ``TypeError``."""
    if task is not None and task.typing:
        task.check_arguments(args, kwargs)
    if task is not None and task.dump_arguments is not None and (serializer or task.serializer) != "pickle":
        args, kwargs = task.dump_arguments(args, kwargs)
    return args, kwargs


def with_values(
    name: str,
    task: TaskDefinition | None,
    args: Args,
    kwargs: Mapping[str, Any],
    values: Mapping[str, Any],
    serializer: str | None = None,
) -> Shown:
    """Return the arguments with those named in ``values`` replaced or added, and checked by ``as_arguments``.

    Raises ``CannotRetry`` if the task is not known here, so that a name may be that of one of ``args``, and
    ``TypeError`` if the function does not take the arguments.
    """
    args, kwargs = list(args), dict(kwargs)
    for key, value in values.items():
        if task is None and args and key not in kwargs:
            text = f"This process does not know {name}, so whether {key} is one of its positional arguments."
            raise CannotRetry("refused", text)
        place = task.positions.get(key, len(args)) if task is not None else len(args)
        if key not in kwargs and place < len(args):
            args[place] = value
        else:
            kwargs[key] = value
    if task is not None:
        task.check_arguments(args, kwargs)
    return as_arguments(task, args, kwargs, serializer)


def _as_sent(
    run: StoredRun,
    task: TaskDefinition | None,
    stored: StoredArguments,
    values: Mapping[str, Any] | None,
    build: Callable[..., Envelope],
) -> Envelope:
    """Return the message with the arguments of the row, of which ``values`` are replaced."""
    try:
        if values:
            return build(*with_values(run.name, task, stored.args, stored.kwargs, values))
        serializer = "json" if stored.text else stored.serializer
        # The body holds the text of the row as it is: nothing is lost by decoding and encoding.
        return build(stored.args, stored.kwargs, serializer=serializer, encoded=stored.text or None)
    except (TypeError, ValueError, EncodeError, QueueNotFound) as error:
        raise CannotRetry("refused", f"{run.name} can't be sent again: {error}") from error


def _build(
    run: StoredRun,
    task: TaskDefinition | None,
    changes: Changes,
    new: bool,
    args: Args,
    kwargs: Mapping[str, Any],
    **options: Any,
) -> Envelope:
    options |= _destination(run, task, args, kwargs, changes)
    options |= {"priority": run.priority if changes.priority is None else changes.priority}
    options |= {} if new else {"root_id": run.root_id or None, "parent_id": run.parent_id or None}
    options |= {"countdown": changes.countdown, "eta": changes.eta}
    if task is not None:
        add_defaults(task, options)
    if tasks.guarded or (task is not None and task.sensitive):
        mask(run.name, task, args, kwargs, options, check=False)
    envelope = protocol.build(name=run.name, args=args, kwargs=kwargs, task_id=None if new else run.task_id, **options)
    envelope.tracked = True
    return envelope


def _destination(
    run: StoredRun, task: TaskDefinition | None, args: Args, kwargs: Mapping[str, Any], changes: Changes
) -> dict[str, Any]:
    """Return the caller's queue, else that of the row. A row without a queue was sent to an exchange: route it anew."""
    if changes.queue is None and (queue := home(run.queue)):
        return {"queue": queue}
    route = routing.route(run.name, args, kwargs, {"queue": changes.queue}, task)
    return {"queue": route.queue, "exchange": route.exchange, "routing_key": route.routing_key}
