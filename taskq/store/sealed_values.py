"""Sealed values: with ``TASKQ_SIGNING`` the values in the rows of tasks have seals, which their readers verify.

The seal is a parameter of ``TaskRun.content_type``. It covers the value, its type, the task's id, and the state if
that is final.
"""

from __future__ import annotations

from collections.abc import Iterable

from taskq import states
from taskq.conf import settings
from taskq.messages import arguments
from taskq.messages.signing import open_value, seal_value
from taskq.records import Settlement


def seal_values(settlements: Iterable[Settlement]) -> None:
    """Put the seals of their results into settlements that are about to be written.

    A result that is stored already has its seal: the process of the task had the whole text.
    """
    if settings.SIGNING:
        for s in settlements:
            if not s.moves_result:
                s.content_type = sealed_type(s.content_type, s.result, s.task_id, s.state)
            s.arguments = arguments.seal(s.arguments, s.task_id, s.name)


def sealed_type(content_type: str, text: str | None, task_id: str, state: str) -> str:
    """Return the content type of a value of a task in ``state``, with its seal while ``TASKQ_SIGNING`` is on."""
    return seal_value(content_type, text, task_id, _bound(state))


def opened_type(content_type: str, text: str | None, task_id: str, state: str) -> str:
    """Return the plain content type of a value that was read from a row.

    Raises ``SignatureMismatch`` if ``TASKQ_SIGNING`` is on and the seal is missing or wrong. A task that has not ended
    may have no value, and so no seal.
    """
    if text is None and state not in states.READY_STATES:
        return content_type
    return open_value(content_type, text, task_id, _bound(state))


def _bound(state: str) -> str:
    # A task that was started and waits again keeps the value of its earlier state.
    return state if state in states.READY_STATES else ""
