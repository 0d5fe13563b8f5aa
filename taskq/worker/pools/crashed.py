"""The outcome of a delivery whose run failed outside of the task: nothing may be left without one."""

from __future__ import annotations

import json
import traceback

from taskq import states
from taskq.exceptions import wire_module
from taskq.worker.handover import Delivery, Outcome


def crashed(delivery: Delivery, error: BaseException) -> Outcome:
    """Return a failure with ``error`` as data, in plain values whatever ``error`` is."""
    cls = type(error)
    result = {"exc_type": cls.__name__, "exc_message": [_text(error)], "exc_module": wire_module(cls)}
    lines = traceback.format_exception(error)
    return Outcome(delivery.job, delivery.task_id, states.FAILURE, json.dumps(result), traceback="".join(lines))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} that can't be shown>"
