"""The options of a task and of a call: their names, defaults and checks.

``Task`` takes its class attributes from here, ``@task(...)`` and ``apply_async``
check what they are given against it. Nothing here sends or runs anything.
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
    "RetryOptions",
    "SendOptions",
    "check_limit_order",
    "check_retry_policy",
    "from_setting",
    "refuse_unknown",
]


#: The value of ``throws``, ``autoretry_for`` and ``dont_autoretry_for``.
Exceptions = type[BaseException] | Sequence[type[BaseException]]


class FromSetting:
    """A class attribute that reads a setting until a subclass or an instance gives a value of its own."""

    def __init__(self, name: str) -> None:
        self.setting = name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return getattr(settings, self.setting)


def from_setting(name: str) -> Any:
    """Return a default that is ``settings.<name>`` at the time it is read."""
    return FromSetting(name)


class RetryOptions(TypedDict, total=False):
    """What ``retry()`` accepts besides its own arguments: the message's options that a retry may change."""

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
    """What ``apply_async`` accepts besides its arguments. ``None`` is "not given"; texts of moments are ISO 8601."""

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
    #: A signature, or several: sent with the value after a success, called after a final failure.
    link: Any
    link_error: Any
    #: Signatures that follow, the next one last; the body of the chord that this is a member of.
    chain: Any
    chord: Any
    #: The names of stamps; their values are options of these names.
    stamped_headers: Collection[str] | None
    stamps: Mapping[str, Any] | None
    replaced_task_nesting: int
    #: The name by which ``TASKQ_ROUTES`` is asked, if not the task's own.
    route_name: str | None
    add_to_parent: bool
    #: As ``TASKQ_PUBLISH_RETRY`` and its policy; a database that is the broker is never asked again.
    retry: bool | None
    retry_policy: Mapping[str, Any] | None


#: The names that ``apply_async`` accepts.
SEND_OPTIONS: Final = frozenset(SendOptions.__annotations__) | frozenset(RetryOptions.__annotations__)


def refuse_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise ``TypeError`` for a name in ``given`` that is not ``known``, with the nearest known one."""
    for name in given:
        if name not in (names := set(known)):
            near = get_close_matches(name, names, n=1)
            hint = f": did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(names))}."
            raise TypeError(f"{what} has no option {name!r}{hint}")


def check_retry_policy(name: str, policy: object) -> None:
    """Raise ``TypeError`` unless ``policy`` can be a call's ``retry_policy``."""
    if policy is not None:
        try:
            kinds.POLICY.convert(policy)
        except (TypeError, ValueError):
            raise TypeError(f"{name}: retry_policy must be {kinds.POLICY.words}, not {policy!r}.") from None


def check_limit_order(name: str, hard: float | None, soft: float | None) -> None:
    """Raise ``ValueError`` if the soft limit could never run out before the hard one."""
    if hard and soft and soft > hard:
        raise ValueError(f"{name}: soft_time_limit ({soft:g} s) is longer than time_limit ({hard:g} s).")
