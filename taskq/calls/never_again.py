"""The names of tasks that are never run again, and why. It imports little: apps call ``never_retry`` when ready."""

from __future__ import annotations

from typing import Any

from taskq.exceptions import CannotRetry

#: The reason by the name of the task.
_REASONS: dict[str, Any] = {}


def never_retry(name: str, reason: Any) -> None:
    """Let ``retry``, ``retry_many`` and ``retry_workflow`` refuse all tasks of a name, and say ``reason``.

    For a task that only its first sender may have run, such as the admin's ``taskq_admin.bulk``. ``reason`` is a text,
    or a lazy translation.

    >>> never_retry("shop.tasks.pay_out", "A payment is not made twice: enter it anew.")  # doctest: +SKIP
    """
    _REASONS[name] = reason


def why_never(name: str) -> str:
    """Return why the tasks of this name are never run again, empty if they may be."""
    return str(_REASONS.get(name, ""))


def refuse_never(name: str) -> None:
    """Raise ``CannotRetry`` for the name of a task that is never run again."""
    if name in _REASONS:
        raise CannotRetry("refused", why_never(name))
