"""The outcome of a delivery whose run failed outside of the task: nothing may be left without one.

Neither may what was to follow: it fails with it, as the message says.
"""

from __future__ import annotations

import json
import traceback

from taskq import states
from taskq.exceptions import wire_module
from taskq.handover import Delivery, Outcome
from taskq.workflows import followups


def crashed(delivery: Delivery, error: BaseException) -> Outcome:
    """Return a failure with ``error`` as data, in plain values whatever ``error`` is."""
    cls = type(error)
    result = {"exc_type": cls.__name__, "exc_message": [_text(error)], "exc_module": wire_module(cls)}
    text = json.dumps(result)
    lines = traceback.format_exception(error)
    return Outcome(
        delivery.job,
        delivery.task_id,
        states.FAILURE,
        text,
        traceback="".join(lines),
        follow_ups=followups.of_message(delivery, states.FAILURE, text),
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} that can't be shown>"
