"""The options of a task and of a call: their names, defaults and checks.

``Task`` takes its class attributes from here; ``@task(...)`` and ``apply_async`` check
their options with it. Nothing here sends or runs a task.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, TypedDict

from taskq import value_kinds as kinds
from taskq.conf import settings

if TYPE_CHECKING:
    from kombu.entity import Exchange, Queue

__all__ = [
    "SEND_OPTIONS",
    "Exceptions",
    "FromSetting",
    "OnCommitOptions",
    "RetryOptions",
    "SendOptions",
    "check_retry_policy",
    "from_setting",
    "refuse_unknown",
]


#: The value of ``throws``, ``autoretry_for`` and ``dont_autoretry_for``.
Exceptions = type[BaseException] | Sequence[type[BaseException]]


class FromSetting:
    """A class attribute that reads a setting, unless a subclass or an instance sets a value of its own."""

    def __init__(self, name: str) -> None:
        self.setting = name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return getattr(settings, self.setting)


def from_setting(name: str) -> Any:
    """Return a default that reads ``settings.<name>`` on each access."""
    return FromSetting(name)


class RetryOptions(TypedDict, total=False):
    """The options of ``retry()`` besides its own arguments: options of the message that a retry may change."""

    expires: float | timedelta | datetime | str | None
    queue: str | Queue | None
    exchange: str | Exchange | None
    exchange_type: str | None
    routing_key: str | None
    priority: int | None
    serializer: str | None
    compression: str | None
    ignore_result: bool | None
    time_limit: float | None
    soft_time_limit: float | None
    shadow: str | None
    headers: Mapping[str, Any] | None


class SendOptions(RetryOptions, total=False):
    """The options of ``apply_async`` besides its arguments. ``None`` is "not given"; times as text are ISO 8601."""

    task_id: str | None
    argsrepr: str | None
    kwargsrepr: str | None
    countdown: float | timedelta | None
    eta: datetime | str | None
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    group_index: int | None
    retries: int
    reply_to: str | None
    #: One or several signatures: called with the return value after a success, or after a final failure.
    link: Any
    link_error: Any
    #: The next steps of the chain as signatures, the next step last; the body of the chord of this member.
    chain: Any
    chord: Any
    #: The names of stamps; their values are options with these names.
    stamped_headers: Collection[str] | None
    stamps: Mapping[str, Any] | None
    replaced_task_nesting: int
    #: Properties of the message for other programs: ``self.request.properties["app_id"]``.
    app_id: str | None
    cluster_id: str | None
    message_id: str | None
    type: str | None
    user_id: str | None
    #: The task name that ``TASKQ_ROUTES`` gets, if not the task's own.
    route_name: str | None
    add_to_parent: bool
    #: Raise the task's exception in the caller while ``TASKQ_ALWAYS_EAGER`` is on, as with ``apply``.
    throw: bool | None
    #: As ``TASKQ_PUBLISH_RETRY`` and its policy; sending through the database broker is never retried.
    retry: bool | None
    retry_policy: Mapping[str, Any] | None


class OnCommitOptions(SendOptions, total=False):
    """The options of ``apply_async_on_commit``."""

    #: The alias of the database whose commit is waited for; default: that of the caller's transaction.
    using: str | None


#: The names that ``apply_async`` accepts.
SEND_OPTIONS: Final = frozenset(SendOptions.__annotations__) | frozenset(RetryOptions.__annotations__)


def refuse_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise ``TypeError`` for a name in ``given`` that is not ``known``, and suggest the nearest known name."""
    for name in given:
        if name not in (names := set(known)):
            near = get_close_matches(name, names, n=1)
            hint = f": did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(names))}."
            raise TypeError(f"{what} has no option {name!r}{hint}")


def check_retry_policy(name: str, policy: object) -> None:
    """Raise ``TypeError`` unless ``policy`` is a valid ``retry_policy``."""
    if policy is not None:
        try:
            kinds.POLICY.convert(policy)
        except (TypeError, ValueError):
            raise TypeError(f"{name}: retry_policy must be {kinds.POLICY.words}, not {policy!r}.") from None
